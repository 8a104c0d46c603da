"""Open holds as an excuse: a call that is under way has its number, and no receipt yet.

Whoever can write the table can write a hold too. So a hold excuses a number only where it looks in
everything like that of a call that may be under way now.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from phigate.core.limits import HOLD_GRACE_S, STREAM_TIMEOUT_S
from phigate.core.receipts.days import day_at, next_day
from phigate.core.receipts.ids import MalformedId, day_of, seconds_of


@dataclass(frozen=True, slots=True)
class StandingHold:
    """A hold as it stands in the account."""

    id: str
    seq: int
    expires_at_s: int


def why_implausible(
    hold: StandingHold, *, from_s: float, now_s: float, lasts: Mapping[str, int]
) -> str | None:
    """Why this is no hold of a call under way that began since `from_s`; None where it may be one.

    `lasts` are the greatest numbers of days: one that was given out days before the hold is less.
    """
    try:
        began_s, began_on = seconds_of(hold.id), day_of(hold.id)
    except MalformedId:
        return "has an id that is none"
    # Around midnight the numbers of two days interleave; those of a day before that do not.
    overtaken = [
        day for day, last in lasts.items() if day < next_day(began_on, -1) and last >= hold.seq
    ]
    doubts = (
        (began_s > now_s, "is of a call that has not begun yet"),
        (began_s < from_s, f"is of {began_on}, before {day_at(from_s)}"),
        (hold.expires_at_s + HOLD_GRACE_S < now_s, "is past its time and was not swept"),
        (
            hold.expires_at_s > now_s + STREAM_TIMEOUT_S + HOLD_GRACE_S,
            "ends later than any call does",
        ),
        (
            bool(overtaken),
            f"is of {began_on}, and a greater number is of {min(overtaken, default='')}",
        ),
    )
    return next((why for is_so, why in doubts if is_so), None)
