"""`phigate audit`: verify everything that a period of an account left behind."""

import argparse
import asyncio
import importlib
import json
from pathlib import Path

from phigate.cli import values
from phigate.cli.audit_page import as_json, page
from phigate.cli.command import Command, CommandFailed
from phigate.cli.key_sets import roots_from
from phigate.cli.period import PERIOD_EXAMPLE, days_of, period_flags
from phigate.cli.store import Store, on_store, place_flags
from phigate.effects.audit.auditor import Period, audit
from phigate.effects.signing.key_files import LOCAL_STACK
from phigate.wire.jws import JWS_BYTES_MAX

# Importing boto3 costs 0.2 s, and only an audit against a bucket needs it.
_BUCKET_MODULE = "phigate.cli.bucket"


def _flags(parser: argparse.ArgumentParser) -> None:
    period_flags(parser)
    parser.add_argument(
        "--digest",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="digests saved earlier (phigate days save): a day signed anew since is found",
    )
    parser.add_argument("--bucket", metavar="NAME", help="an S3 bucket in which digests are kept")
    parser.add_argument(
        "--stack",
        default=LOCAL_STACK,
        metavar="NAME",
        help=f"whose digests in the bucket (default: {LOCAL_STACK})",
    )
    parser.add_argument(
        "--jwks",
        metavar="FILE|URL",
        help="the stack's key set as you know it (default: the roots in the table itself)",
    )
    parser.add_argument(
        "--allow-uncertified",
        type=values.count_or_none,
        default=0,
        metavar="N",
        help="accept up to N general receipts whose key nobody vouches for (default: 0); nothing "
        "proves that the stack has made them",
    )
    parser.add_argument(
        "--max-tombstones",
        type=values.count_or_none,
        metavar="N",
        help="more tombstones than N are a finding (default: they are counted and listed)",
    )
    parser.add_argument(
        "--allow-override",
        type=str.lower,
        action="append",
        default=[],
        metavar="HOST",
        help="accept PHI at an address that the operator set in a provider's place "
        "(PHIGATE_<NAME>_BASE_URL), with or without its port; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    place_flags(parser)


async def _audit(store: Store, flags: argparse.Namespace) -> int:
    first, last = days_of(flags)
    saved = [(str(path), _text(path)) for path in flags.digest]
    if flags.bucket is not None:
        saved += await _in_bucket(store, flags)
    period = Period(
        account=flags.account,
        first_day=first,
        last_day=last,
        # In a thread: it has an event loop of its own.
        roots=None if flags.jwks is None else await asyncio.to_thread(roots_from, flags.jwks),
        saved=saved,
        uncertified_max=flags.allow_uncertified,
        tombstones_max=flags.max_tombstones,
        overrides_allowed=frozenset(flags.allow_override),
    )
    report = await audit(store.dynamodb, store.clock, period)
    if report is None:
        raise CommandFailed(f"there is no account {flags.account}; phigate account list names them")
    anchor = flags.jwks or "the table itself"
    print(json.dumps(as_json(report, anchor)) if flags.json else page(report, anchor))
    return 1 if report.findings else 0


async def _in_bucket(store: Store, flags: argparse.Namespace) -> list[tuple[str, str]]:
    try:
        bucket = importlib.import_module(_BUCKET_MODULE)
    except ImportError as exc:
        raise CommandFailed("a bucket on AWS needs boto3: pip install boto3") from exc
    digests = bucket.digests_in(flags.bucket, flags.stack, store.clock, store.aws_region)
    saved: list[tuple[str, str]] = await digests.saved(flags.account)
    if not saved:
        raise CommandFailed(
            f"the bucket {flags.bucket} holds no digest under {flags.stack}/{flags.account}/"
        )
    return saved


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(JWS_BYTES_MAX + 2).decode("ascii", "replace").strip()


COMMANDS = (
    Command(
        words="audit",
        summary="Verify every receipt, certificate, catalog, number and digest of a period. "
        "Exit status 0: nothing was found, 1: something was.",
        example=f"phigate audit {PERIOD_EXAMPLE} --digest saved-digests/*.jws",
        flags=_flags,
        run=on_store(_audit),
    ),
)
