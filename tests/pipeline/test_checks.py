"""Which of several mistakes is answered is the order of CHECKS: two neighbours exchanged answer a
request of the golden table with the other mistake."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from phigate.core.catalog.port import CatalogView
from phigate.core.errors import CallerError
from phigate.core.request.headers import read_headers
from phigate.core.types import REGIONS, Json, Task
from phigate.effects.zones import SystemZones
from phigate.formats.chat import CHAT
from phigate.pipeline.checks import CHECKS, Checks
from phigate.pipeline.gateway import Stack
from phigate.pipeline.inbound_request import InboundBody, InboundRequest
from phigate.pipeline.plan import plan_request
from tests.golden.harness import CATALOGS, MATH, NOW_S, Case
from tests.golden.precedence import CHECKED, PRECEDENCE_CASES, before
from tests.golden.record import ANSWERS

NAMES = [name for name, _ in CHECKS]
NEIGHBOURS = [*pairwise(NAMES)]
GOLDEN: dict[str, Json] = {
    line["name"]: line["body"] for line in map(json.loads, ANSWERS.read_text().splitlines())
}


def refusal(case: Case, checks: Checks) -> Json:
    """The error that the plan of a golden case ends with, as the caller reads it."""
    task: Task = "math" if case.path == MATH else "chat"
    body = InboundBody(json.dumps(case.body).encode())
    options: dict[str, Any] = {"regions": REGIONS, **case.options}
    with pytest.raises(CallerError) as refused:
        plan_request(
            InboundRequest(task, case.headers, body),
            read_headers(case.headers, case.policy, "CH"),
            case.policy,
            read=CHAT.read,
            view=CatalogView(CATALOGS[case.catalog](), NOW_S),
            stack=replace(Stack("stack-1", "CH"), regions=options["regions"]),
            zones=SystemZones(),
            now_s=NOW_S,
            checks=checks,
        )
    return refused.value.envelope()


def exchanged(first: str, second: str) -> Checks:
    """CHECKS with two neighbours in the other order."""
    checks = list(CHECKS)
    at = NAMES.index(first)
    assert checks[at + 1][0] == second
    checks[at : at + 2] = checks[at + 1], checks[at]
    return tuple(checks)


def test_every_check_has_a_request_that_it_refuses() -> None:
    assert list(CHECKED) == NAMES


@pytest.mark.parametrize(("first", "second"), NEIGHBOURS)
def test_the_first_of_two_neighbours_answers(first: str, second: str) -> None:
    row = before(first, second)
    assert refusal(PRECEDENCE_CASES[row], CHECKS) == GOLDEN[row]


@pytest.mark.parametrize(("first", "second"), NEIGHBOURS)
def test_neighbours_that_are_exchanged_answer_otherwise(first: str, second: str) -> None:
    row = before(first, second)
    assert refusal(PRECEDENCE_CASES[row], exchanged(first, second)) != GOLDEN[row]


@pytest.mark.parametrize("left_out", NAMES[:-1])
def test_a_check_that_is_left_out_is_missed(left_out: str) -> None:
    row = before(left_out, NAMES[NAMES.index(left_out) + 1])
    checks = tuple(check for check in CHECKS if check[0] != left_out)
    assert refusal(PRECEDENCE_CASES[row], checks) != GOLDEN[row]
