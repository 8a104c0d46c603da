"""A hold: what stands of it in its account, what its process knows of it, and its table of states.

Law 1: before a write is sent whose outcome may stay unknown, the value says so: who is interrupted
then holds a value in a state from which nothing wrong can follow.
Law 2: a step that the table does not hold is a bug, and is named.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from phigate.core.errors import InternalError

State = Literal["absent", "held", "used", "writing", "done", "expired", "late", "settled"]
Event = Literal["hold", "extend", "use", "write", "done", "late", "settle", "void", "sweep"]


class IllegalTransition(InternalError):
    """The ledger was asked for something that its table of steps does not hold: a bug."""


@dataclass(frozen=True, slots=True)
class StoredHold:
    """A hold as it stands in its account. `day`: its entry in `d`, for keys with a daily limit."""

    id: str
    seq: int
    micros: int
    expires_at_s: int
    used_micros: int = 0
    day: str | None = None
    spend_limit_micros: int | None = None


@dataclass(frozen=True, slots=True)
class OpenHold:
    """A hold as the process that made it knows it. What follows is done with the newest value.

    `cost_micros` is what its receipt says, once one is written. `calls_this_minute` counts this
    key's calls; `expired` are ids of other holds past their time.
    """

    account: str
    stored: StoredHold
    state: State = "held"
    cost_micros: int = 0
    calls_this_minute: int = 0
    available_micros: int = 0
    expired: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id of its request."""
        return self.stored.id

    @property
    def seq(self) -> int:
        """Its number: the account's calls are counted without gaps."""
        return self.stored.seq

    @property
    def micros(self) -> int:
        """What is held."""
        return self.stored.micros

    def after(self, event: Event) -> "OpenHold":
        """The hold after an event. Raises IllegalTransition."""
        return replace(self, state=transition(self.state, event))

    def noting(self, used_micros: int) -> "OpenHold":
        """Before it is extended: usage may be noted although no answer says so."""
        return self.after("use" if used_micros else "extend")

    def writing(self, cost_micros: int) -> "OpenHold":
        """Before its receipt is sent: until the outcome is known, nothing else may follow."""
        if not 0 <= cost_micros <= self.micros:
            raise IllegalTransition("a cost is not negative and not above its hold")
        return replace(self, state=transition(self.state, "write"), cost_micros=cost_micros)


def transition(state: State, event: Event) -> State:
    """The state after an event. Raises IllegalTransition."""
    after = STEPS[state].get(event)
    if after is None:
        raise IllegalTransition(f"a hold that is {state} does not take {event}")
    return after


# absent: no hold, no receipt. used: the hold notes usage, so it cannot be voided without a receipt.
# writing: the receipt was sent, its outcome is not known; only it, sent again, or the sweeper says.
# done: the receipt stands, its cost is owed. expired: the sweeper's tombstone stands. late: the
# call came after it and paid the difference itself. settled: charged as the receipt says.
STEPS: Mapping[State, Mapping[Event, State]] = {
    "absent": {"hold": "held", "void": "absent"},
    "held": {
        "extend": "held",
        "use": "used",
        "write": "writing",
        "void": "absent",
        "sweep": "expired",
    },
    "used": {"extend": "used", "use": "used", "write": "writing", "sweep": "expired"},
    "writing": {"write": "writing", "done": "done", "late": "late"},
    "done": {"write": "writing", "settle": "settled", "sweep": "settled"},
    "expired": {
        "extend": "expired",
        "use": "expired",
        "write": "writing",
        "void": "expired",
        "sweep": "expired",
    },
    "late": {"write": "writing", "sweep": "late"},
    "settled": {"write": "writing", "settle": "settled", "sweep": "settled"},
}
