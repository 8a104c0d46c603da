"""Digests against what they close: the items of their days, one another, and copies saved earlier.

Law: the chain shows that a day was changed after it was closed. That it was then signed anew, with
every day after it, only a copy shows which somebody else kept.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from phigate.core.receipts.days import DAY_S, begins_at_s
from phigate.core.types import Json
from phigate.verify.consistency import Violation
from phigate.verify.day import DayDigest, Leaf, name_of, read_digest, tally
from phigate.verify.errors import VerificationError
from phigate.verify.roots import Roots

LATE_TRIED_MAX = 16  # late receipts of one day that are tried one by one


@dataclass(frozen=True, slots=True)
class Closed:
    """A day's digest as it stands in the table. `digest` is None where it cannot be read, and
    `fault` says why it is not to be believed."""

    day: str
    jws: str
    digest: DayDigest | None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Items:
    """What stands in a day. `tombstones` are the leaves that late receipts had before they came."""

    leaves: Sequence[Leaf]
    tombstones: Mapping[str, Leaf]


def read_closed(day: str, jws: str, roots: Roots) -> Closed:
    """A stored digest. Never raises: what is wrong with it is its `fault`."""
    try:
        return Closed(day, jws, read_digest(jws, roots))
    except VerificationError as exc:
        fault = str(exc)
    try:
        return Closed(day, jws, read_digest(jws, None), fault)
    except VerificationError:
        return Closed(day, jws, None, fault)


def digest_faults(closed: Closed, account: str, items: Items) -> Iterator[Violation]:
    """What a day's digest says that is not so."""
    if closed.fault is not None:
        yield "digest", closed.fault
    digest = closed.digest
    if digest is None:
        return
    if (digest.account, digest.day) != (account, closed.day):
        yield "digest", f"it closes {digest.day} of account {digest.account}"
    if digest.closed_at_s < begins_at_s(digest.day) + DAY_S:
        yield "digest", "it was signed before its day had ended"
    others = {leaf.stack for leaf in items.leaves} - {None, digest.stack}
    if others:
        yield "digest", f"it is of stack {digest.stack}, its receipts of {_named(others)}"
    yield from _tally_faults(digest, items)


def chain_faults(closed: Sequence[Closed], first: str, last: str) -> Iterator[tuple[str, str]]:
    """Where a digest does not name the one before it: the later day and the sentence.

    Looked at are the links of the days from `first` to `last`, and the one that leads out of them.
    """
    for place, here in enumerate(closed):
        before = closed[place - 1] if place else None
        touches = first <= here.day <= last
        if before is not None:
            touches = touches or first <= before.day <= last
        if here.digest is None or not touches:
            continue
        named = here.digest.previous
        if before is None:
            if named is not None:
                yield here.day, "it names a digest before it, and there is none"
        elif named is None:
            yield here.day, f"it names no digest before it, and that of {before.day} stands"
        elif named != name_of(before.jws):
            yield here.day, f"it names another digest before it than that of {before.day}"


def saved_faults(
    saved: Iterable[tuple[str, str]], closed: Mapping[str, Closed], account: str, roots: Roots
) -> Iterator[tuple[str, str]]:
    """Copies that the table does not agree with: where each was kept, and the sentence."""
    for place, text in saved:
        try:
            digest = read_digest(text, roots)
        except VerificationError as exc:
            yield place, str(exc)
            continue
        stands = closed.get(digest.day)
        if digest.account != account:
            yield place, f"it closes a day of account {digest.account}"
        elif stands is None:
            yield place, f"the digest of {digest.day} was saved and is not in the table"
        elif stands.jws != text:
            yield (
                place,
                f"{digest.day} was signed anew after this was saved; {_what(digest, stands)}",
            )


def _what(saved: DayDigest, stands: Closed) -> str:
    if stands.digest is None:
        return "what stands there cannot be read"
    changed = [name for name, value in saved.tally.items() if stands.digest.tally[name] != value]
    if saved.previous != stands.digest.previous:
        changed.append("previous")
    return f"other now: {', '.join(changed)}" if changed else "it says the same as before"


def _tally_faults(digest: DayDigest, items: Items) -> Iterator[Violation]:
    found = tally(items.leaves)
    if found == digest.tally:
        return
    for late in _late_sets(items.tombstones):
        if tally(
            items.tombstones[leaf.id] if leaf.id in late else leaf for leaf in items.leaves
        ) == (digest.tally):
            yield (
                "late",
                f"the receipt of {_named(late)} came after the day was closed: the digest vouches "
                "for the tombstone in whose place it stands, the receipt for itself alone",
            )
            return
    told = "; ".join(_differing(digest.tally, found))
    told = told or "an item was changed or put in another's place"
    yield "digest", f"the day is not as it was closed: {told}"


def _differing(closed: Json, found: Json) -> Iterator[str]:
    """The counts that are not what they were, each with both."""
    for name, count in closed.items():
        if isinstance(count, dict):
            for key in sorted(count.keys() | found[name].keys()):
                before, now = count.get(key, 0), found[name].get(key, 0)
                if before != now:
                    yield f"{name} {key} {before}, in the table {now}"
        elif count != found[name] and name != "receipts_sha256":
            yield f"{name} {count}, in the table {found[name]}"


def _late_sets(tombstones: Mapping[str, Leaf]) -> Iterator[frozenset[str]]:
    """Which late receipts may have come after the closing: all, or one."""
    ids = sorted(tombstones)
    if ids:
        yield frozenset(ids)
    for receipt_id in ids[:LATE_TRIED_MAX]:
        yield frozenset({receipt_id})


def _named(names: Iterable[str | None]) -> str:
    return ", ".join(sorted(name for name in names if name is not None))
