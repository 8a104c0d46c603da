"""Reads what people write on the command line. Law: a value is taken exactly or refused.

Every function takes the text of one flag and raises argparse.ArgumentTypeError, whose message
argparse shows behind the flag's name.
"""

import argparse
import re
from datetime import UTC, date, datetime

from phigate.core.catalog.price import MICROS_PER_USD
from phigate.core.ledger.account import check_account
from phigate.core.limits import NAME_BYTES_MAX
from phigate.core.receipts.ids import MalformedId, seconds_of
from phigate.core.types import MODEL_TIERS, REGIONS
from phigate.effects.store.admin import REF_BYTES_MAX

DIGITS_MAX = 18  # fits a 64-bit integer; DynamoDB's numbers have 38 digits
DOLLAR_DIGITS_MAX = 12  # in micros these are DIGITS_MAX digits
PORT_MAX = 65_535

_USD = re.compile(rf"([0-9]{{1,{DOLLAR_DIGITS_MAX}}})(?:\.([0-9]{{1,6}}))?")
_COUNT = re.compile(rf"[0-9]{{1,{DIGITS_MAX}}}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def usd(text: str) -> int:
    """Dollars with at most six decimals, as micros: `1.00` is 1_000_000."""
    match = _USD.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(
            "must be dollars in digits with at most 6 decimals, such as 1.00"
        )
    return int(match[1]) * MICROS_PER_USD + int((match[2] or "").ljust(6, "0"))


def usd_above_zero(text: str) -> int:
    """Dollars as micros, at least one."""
    micros = usd(text)
    if micros == 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return micros


def count(text: str) -> int:
    """A whole number above 0."""
    if _COUNT.fullmatch(text) is None or int(text) == 0:
        raise argparse.ArgumentTypeError("must be a whole number above 0")
    return int(text)


def count_or_none(text: str) -> int:
    """A whole number, 0 too."""
    return 0 if text == "0" else count(text)


def port(text: str) -> int:
    """A TCP port."""
    number = count(text)
    if number > PORT_MAX:
        raise argparse.ArgumentTypeError(f"must be at most {PORT_MAX}")
    return number


def day(text: str) -> int:
    """A day as the seconds since the epoch at its 00:00 UTC."""
    try:
        if _DAY.fullmatch(text) is None:
            raise ValueError
        parsed = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a day as YYYY-MM-DD") from None
    return int(datetime(parsed.year, parsed.month, parsed.day, tzinfo=UTC).timestamp())


def account(text: str) -> str:
    """The name of an account."""
    try:
        return check_account(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"is no account name: {exc}") from None


def receipt_id(text: str) -> str:
    """The id of a receipt, or the completion's id that holds it."""
    name = text.removeprefix("chatcmpl-")
    try:
        seconds_of(name)
    except MalformedId as exc:
        raise argparse.ArgumentTypeError(f"is no receipt id: {exc}") from None
    return name


def reference(text: str) -> str:
    """The reference of a credit: an invoice number or a payment's id."""
    if not text.isprintable() or not 0 < len(text.encode()) <= REF_BYTES_MAX:
        raise argparse.ArgumentTypeError(f"must be 1 to {REF_BYTES_MAX} bytes of printable text")
    return text


def region(text: str) -> str:
    """A region, in any case."""
    if text.upper() not in REGIONS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(REGIONS)}")
    return text.upper()


def regions(text: str) -> frozenset[str]:
    """Regions with commas between them."""
    return frozenset(region(part.strip()) for part in text.split(","))


def models(text: str) -> frozenset[str]:
    """Names of models with commas between them."""
    return frozenset(model(part.strip()) for part in text.split(","))


def model(text: str) -> str:
    """A row id, an upstream id, an alias or `auto`. Whether it is known is another question."""
    if not text.isprintable() or not 0 < len(text.encode()) <= NAME_BYTES_MAX:
        raise argparse.ArgumentTypeError("must name models, with commas between them")
    return text


def model_tier(text: str) -> str:
    """fast, baseline or thinking."""
    if text.lower() not in MODEL_TIERS:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(MODEL_TIERS)}")
    return text.lower()
