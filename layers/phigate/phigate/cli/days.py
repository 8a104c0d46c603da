"""`phigate days`: close days by signed digests, and save these where the operator has no hand."""

import argparse
from pathlib import Path

from phigate.cli import values
from phigate.cli.command import Command, CommandFailed, remark
from phigate.cli.period import PERIOD_EXAMPLE, days_of, period_flags
from phigate.cli.store import Store, on_store, place_flags
from phigate.effects.audit.day_closer import DayCloser
from phigate.effects.signing.key_files import LOCAL_STACK, file_signer, publish
from phigate.effects.store.receipts import DynamoReceipts
from phigate.verify.roots import DIGESTS


def _close_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--account", type=values.account, metavar="A", help="this account alone (default: all)"
    )
    place_flags(parser)


async def _close(store: Store, flags: argparse.Namespace) -> int:
    if store.state is None:
        raise CommandFailed(
            "a day on AWS is closed with the stack's own key, which this command cannot use; "
            "the stack closes its days by itself"
        )
    receipts = DynamoReceipts(store.dynamodb, store.clock)
    signer = file_signer(store.state, DIGESTS)
    await publish({DIGESTS: signer}, receipts, int(store.clock.now_s()))
    closer = DayCloser(
        ledger=store.ledger,
        receipts=receipts,
        root=signer,
        clock=store.clock,
        stack=LOCAL_STACK,
    )
    if flags.account is None:
        closings, failed = await closer.close_all()
    elif await store.ledger.account(flags.account) is None:
        raise CommandFailed(f"there is no account {flags.account}; phigate account list names them")
    else:
        closings, failed = [await closer.close(flags.account)], []
    for closing in closings:
        for day in closing.days:
            print(f"closed {day} of {closing.account}")
        if closing.left_open is not None:
            remark(f"{closing.account} is left open from {closing.left_open}")
    for account in failed:
        remark(f"the days of {account} were not closed to the last; close again")
    return 1 if failed or any(closing.left_open is not None for closing in closings) else 0


def _save_flags(parser: argparse.ArgumentParser) -> None:
    period_flags(parser)
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the files go")
    place_flags(parser)


async def _save(store: Store, flags: argparse.Namespace) -> int:
    first, last = days_of(flags)
    digests = await DynamoReceipts(store.dynamodb, store.clock).digests(flags.account)
    chosen = [(day, jws) for day, jws in digests if first <= day <= last]
    if not chosen:
        raise CommandFailed(f"no day of {flags.account} from {first} to {last} is closed")
    flags.folder.mkdir(parents=True, exist_ok=True)
    written = sum(_saved(flags.folder / f"{flags.account}-{day}.jws", jws) for day, jws in chosen)
    print(f"saved {written} digests in {flags.folder}; {len(chosen) - written} were there before")
    return 0


def _saved(path: Path, jws: str) -> bool:
    """Write a copy; False where the same stands. One that differs is what copies are kept for."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(f"{jws}\n")
    except FileExistsError:
        if path.read_text(encoding="utf-8", errors="replace").strip() == jws:
            return False
        raise CommandFailed(
            f"{path} holds another digest of this day: the day was signed anew since; "
            "see phigate audit --digest"
        ) from None
    return True


COMMANDS = (
    Command(
        words="days close",
        summary="Close every day that ended over an hour ago by a signed digest that names the "
        "one before. `phigate local` does this by itself.",
        example="phigate days close",
        flags=_close_flags,
        run=on_store(_close),
    ),
    Command(
        words="days save",
        summary="Save the digests of a period as files, one a day, to hold an audit against "
        "later. A file that stands is never written over.",
        example=f"phigate days save {PERIOD_EXAMPLE} saved-digests",
        flags=_save_flags,
        run=on_store(_save),
    ),
)
