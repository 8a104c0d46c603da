"""A hold's value: each step makes the next one, and what the table does not hold is named."""

from collections.abc import Callable

import pytest

from phigate.core.ledger.hold import STEPS, IllegalTransition, OpenHold, State, StoredHold

HELD = OpenHold("acme", StoredHold("AGqxO4AAAAAAAAAA", 7, 100, 1_790_000_100))
Step = Callable[[OpenHold], OpenHold]


def in_state(state: State) -> OpenHold:
    """The hold in a state."""
    return OpenHold(HELD.account, HELD.stored, state)


STEPS_TAKEN: dict[str, tuple[Step, State]] = {
    "an extension that notes nothing": (lambda hold: hold.noting(0), "held"),
    "an extension that notes usage": (lambda hold: hold.noting(5), "used"),
    "a receipt under way": (lambda hold: hold.writing(100), "writing"),
    "a receipt that stands": (lambda hold: hold.writing(100).after("done"), "done"),
    "a receipt that came late": (lambda hold: hold.writing(0).after("late"), "late"),
    "a settle": (lambda hold: hold.writing(0).after("done").after("settle"), "settled"),
}


@pytest.mark.parametrize(("step", "state"), STEPS_TAKEN.values(), ids=STEPS_TAKEN)
def test_a_step_changes_the_state_and_nothing_that_is_stored(step: Step, state: State) -> None:
    after = step(HELD)
    assert after.state == state
    assert after.stored == HELD.stored
    assert HELD.state == "held"


def test_a_receipt_under_way_says_what_it_costs() -> None:
    assert HELD.writing(48).cost_micros == 48
    assert HELD.writing(48).after("done").cost_micros == 48


@pytest.mark.parametrize("cost_micros", [-1, 101])
def test_no_receipt_costs_less_than_nothing_or_more_than_is_held(cost_micros: int) -> None:
    with pytest.raises(IllegalTransition, match="not above its hold"):
        HELD.writing(cost_micros)


@pytest.mark.parametrize("state", STEPS)
def test_only_what_the_table_holds_may_follow(state: State) -> None:
    steps: dict[str, Step] = {
        "extend": lambda hold: hold.noting(0),
        "use": lambda hold: hold.noting(1),
        "write": lambda hold: hold.writing(0),
        "settle": lambda hold: hold.after("settle"),
    }
    for event, step in steps.items():
        if event in STEPS[state]:
            assert step(in_state(state)).state == STEPS[state][event]  # type: ignore[index]
        else:
            with pytest.raises(IllegalTransition, match=f"{state} does not take {event}"):
                step(in_state(state))
