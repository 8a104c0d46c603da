"""The ledger's facts and decisions: what stands in an account, and what a request is refused for.

Law 1: avail + Σ h.a + spent = top, at every instant; a hold moves micros, it never makes any.
Law 2: the receipt's item decides what a hold costs, and whoever puts it first decides it.
Law 3: a hold is known by its id and its seq. A write that arrives long after its answer was given
up can put a settled hold back; its seq is another one, so the receipt is not charged to it again.

    A#<account>#S0       avail spent top seq salt h{id: {a e p [d l]}} q{id: seq} k{key: on}
                         w{"key:minute": calls, "key:minuter": refusals} d{"key:YYYYMMDD": micros}
    R#<account>#<day>    sk <id>: st, c = cost, p = charged by the sweeper, s = seq, ttl, and the
                         signed record (core.receipt_item); sk <id>.<seq>: a stray hold's number
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from phigate.core.attributes import flag_at, int_at, map_at, text_at
from phigate.core.ledger.hold import IllegalTransition, State, StoredHold
from phigate.core.ledger.port import AccountView, CountRefusal, HoldRefused, HoldRequest
from phigate.core.limits import HOLDS_MAX, REFUSALS_PER_MINUTE_MAX
from phigate.core.receipts.ids import day_of

DIRECTORY_PK = "ACCOUNTS"
ACCOUNT_SK = "A"
KEY_SK = "K"
DAY_S = 86_400

_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Refusal = Literal["key", "credit", "spend_limit", "rate", "holds", "refusals"]


@dataclass(frozen=True, slots=True)
class ReceiptState:
    """What stands under a receipt's key. `swept_micros`: what the sweeper charged, or would."""

    state: Literal["done", "expired", "late"]
    seq: int
    cost_micros: int
    swept_micros: int


def state_of(hold: StoredHold | None, verdict: ReceiptState | None) -> State:
    """The state of a hold by what is stored of it."""
    if verdict is None:
        return "absent" if hold is None else "used" if hold.used_micros else "held"
    if verdict.state != "done":
        return verdict.state
    return "done" if hold is not None and hold.seq == verdict.seq else "settled"


def swept_charge(hold: StoredHold, verdict: ReceiptState) -> int:
    """What the sweeper charges for an expired hold whose receipt or tombstone stands."""
    if hold.seq != verdict.seq:
        return 0
    return verdict.cost_micros if verdict.state == "done" else verdict.swept_micros


def refusal(item: Mapping[str, Any] | None, request: HoldRequest) -> HoldRefused:
    """Why a hold's condition did not hold, by the account as it stood (ALL_OLD)."""
    if item is None:
        return HoldRefused("key")
    for reason, refuses in REFUSALS:
        if refuses(item, request):
            return HoldRefused(reason, _spendable(item, request))
    raise IllegalTransition("a hold was refused although every condition held")


def count_refusal(item: Mapping[str, Any] | None, key_id: str) -> CountRefusal:
    """Why a call was not counted, by the account as it stood (ALL_OLD)."""
    is_on = item is not None and flag_at(map_at(item, "k"), key_id)
    return "rate" if is_on else "key"


def holds(item: Mapping[str, Any]) -> Iterator[StoredHold]:
    """Every hold that stands in an account."""
    return (_hold(item, hold_id, entry["M"]) for hold_id, entry in map_at(item, "h").items())


def hold_at(item: Mapping[str, Any], hold_id: str) -> StoredHold | None:
    """The hold with this id, if it stands."""
    entry = map_at(item, "h").get(hold_id)
    return None if entry is None else _hold(item, hold_id, entry["M"])


def expired_ids(item: Mapping[str, Any], now_s: int, *, but: str = "") -> tuple[str, ...]:
    """The ids of holds past their time, one of them left out."""
    return tuple(h.id for h in holds(item) if h.expires_at_s <= now_s and h.id != but)


def stale_counters(item: Mapping[str, Any], now_s: int) -> dict[str, list[str]]:
    """Counters nobody needs, by map: minutes before the last one, days before yesterday.

    A hold removes those of the two minutes before its own; after a pause others are left.
    """
    minute, day = now_s // 60, _day(now_s - DAY_S)
    in_use = {hold.day for hold in holds(item)}
    return {
        "w": [name for name in map_at(item, "w") if _minute_of(name) < minute - 1],
        "d": [
            name
            for name in map_at(item, "d")
            if name.rpartition(":")[2] < day and name not in in_use
        ],
    }


def view(account: str, item: Mapping[str, Any]) -> AccountView:
    """The account in micros."""
    held = [hold.micros for hold in holds(item)]
    return AccountView(
        account=account,
        available_micros=int_at(item, "avail"),
        held_micros=sum(held),
        spent_micros=int_at(item, "spent"),
        topped_up_micros=int_at(item, "top"),
        seq=int_at(item, "seq"),
        holds=len(held),
    )


def verdict_of(item: Mapping[str, Any]) -> ReceiptState:
    """What a receipt's item says about money."""
    state = text_at(item, "st")
    for known in ("done", "expired", "late"):
        if state == known:
            return ReceiptState(known, int_at(item, "s"), int_at(item, "c"), int_at(item, "p"))
    raise IllegalTransition("a receipt is in a state that this version does not know")


def check_account(account: str) -> str:
    """The account's name, when it may be one: it stands inside keys of items. ValueError."""
    if not _ACCOUNT.fullmatch(account):
        raise ValueError("an account is 1 to 64 letters, digits, dots, hyphens or underscores")
    return account


def account_pk(account: str) -> str:
    """The partition of an account's own item; the shard suffix is there from day one."""
    return f"A#{account}#S0"


def receipt_pk(account: str, hold_id: str) -> str:
    """The partition of a receipt. Raises MalformedId."""
    return receipts_pk(account, day_of(hold_id))


def receipts_pk(account: str, day: str) -> str:
    """The partition of an account's receipts of one UTC day, `YYYY-MM-DD`."""
    return f"R#{account}#{day}"


def key_pk(sha256: str) -> str:
    """The partition of a key."""
    return f"K#{sha256}"


def keys_pk(account: str) -> str:
    """The partition that lists an account's keys."""
    return f"KEYS#{account}"


def credit_pk(account: str) -> str:
    """The partition of an account's credit references."""
    return f"C#{account}"


def calls_name(request: HoldRequest, minutes_ago: int = 0) -> str:
    """The name in `w` under which a hold is counted; refusals have counters of their own."""
    name = f"{request.key_id}:{request.now_s // 60 - minutes_ago}"
    return name + "r" if request.is_refusal else name


def day_name(request: HoldRequest, days_ago: int = 0) -> str:
    """The name in `d` of a key's spending on one UTC day."""
    return f"{request.key_id}:{_day(request.now_s - days_ago * DAY_S)}"


def _hold(item: Mapping[str, Any], hold_id: str, entry: Mapping[str, Any]) -> StoredHold:
    limit = int_at(entry, "l", -1)
    return StoredHold(
        id=hold_id,
        seq=int_at(map_at(item, "q"), hold_id),
        micros=int_at(entry, "a"),
        expires_at_s=int_at(entry, "e"),
        used_micros=int_at(entry, "p"),
        day=text_at(entry, "d"),
        spend_limit_micros=None if limit < 0 else limit,
    )


def _day(now_s: int) -> str:
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%d")


def _minute_of(name: str) -> int:
    return int(name.rpartition(":")[2].removesuffix("r"))


def _spendable(item: Mapping[str, Any], request: HoldRequest) -> int:
    """Credit, or what is left of the key's limit for the day, whichever is less; not negative."""
    available = int_at(item, "avail")
    if request.spend_limit_micros is not None:
        spent = int_at(map_at(item, "d"), day_name(request))
        available = min(available, request.spend_limit_micros - spent)
    return max(0, available)


def _key_is_off(item: Mapping[str, Any], request: HoldRequest) -> bool:
    return not flag_at(map_at(item, "k"), request.key_id)


def _lacks_credit(item: Mapping[str, Any], request: HoldRequest) -> bool:
    return not request.is_refusal and int_at(item, "avail") < request.micros


def _is_past_spend_limit(item: Mapping[str, Any], request: HoldRequest) -> bool:
    if request.is_refusal or request.spend_limit_micros is None:
        return False
    spent = int_at(map_at(item, "d"), day_name(request))
    return spent + request.micros > request.spend_limit_micros


def _is_past_rate(item: Mapping[str, Any], request: HoldRequest) -> bool:
    calls = int_at(map_at(item, "w"), calls_name(request))
    return not request.is_refusal and calls >= request.rpm


def _is_past_refusals(item: Mapping[str, Any], request: HoldRequest) -> bool:
    refused = int_at(map_at(item, "w"), calls_name(request))
    return request.is_refusal and refused >= REFUSALS_PER_MINUTE_MAX


def _has_too_many_holds(item: Mapping[str, Any], _: HoldRequest) -> bool:
    return len(map_at(item, "h")) >= HOLDS_MAX


# The reasons in the order of the table of errors in docs/api.md: 401, 402, 429.
REFUSALS: tuple[tuple[Refusal, Callable[[Mapping[str, Any], HoldRequest], bool]], ...] = (
    ("key", _key_is_off),
    ("credit", _lacks_credit),
    ("spend_limit", _is_past_spend_limit),
    ("rate", _is_past_rate),
    ("refusals", _is_past_refusals),
    ("holds", _has_too_many_holds),
)
