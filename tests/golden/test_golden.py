"""Every request of the table is answered as before: status, headers, body, and what was sent, run,
charged, signed and logged. Where a change is meant, `python -m tests.golden.record` writes the
new answers, and their difference is read in review."""

import ast
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.golden.harness import (
    ERROR_CODES,
    FALLBACKS,
    MEMBERS,
    PRODUCT,
    RECORD_MEMBERS,
    REJECTIONS,
    Json,
    answer_of,
)
from tests.golden.record import ANSWERS, line_of
from tests.golden.requests import CASES

BEFORE: dict[str, Json] = {
    line["name"]: line for line in map(json.loads, ANSWERS.read_text().splitlines())
}
ERRORS: list[Json] = [
    line["body"]["error"]
    for line in BEFORE.values()
    if isinstance(line["body"], dict) and "error" in line["body"]
]
RECORDS: list[Json] = [record for line in BEFORE.values() for record in line.get("records", ())]

# What no request of the table can cause: whose doing it is, and where it is caused instead.
EVENTS_ELSEWHERE: Mapping[str, str] = {
    "abandoned_hold": "a request that is cancelled: tests/pipeline/test_interruption.py",
    "breaker_heard": "another process: tests/pipeline/test_shared_breaker.py",
    "cost_above_hold": "a price that rises under a hold: tests/pipeline/test_answers.py",
}
# What a request passes through; the other folders serve commands and processes.
ROOMS = ("core", "formats", "http", "pipeline", "wire", "adapters")


@pytest.mark.parametrize("name", CASES)
def test_a_request_is_answered_as_before(name: str) -> None:
    assert json.loads(line_of(name, answer_of(CASES[name]))) == BEFORE[name]


def test_the_table_has_every_request_and_no_other() -> None:
    assert list(BEFORE) == list(CASES)
    assert len(CASES) >= 300


def test_every_error_is_in_the_table() -> None:
    assert {error["code"] for error in ERRORS} == ERROR_CODES


def test_every_param_that_is_written_down_is_in_the_table() -> None:
    written = {param for call in _calls() for param in _named(call, "param")}
    assert "X-PHI" in written
    assert written - {error["param"] for error in ERRORS} == set()


def test_every_member_of_a_request_is_refused_for_something() -> None:
    params = [error["param"] or "" for error in ERRORS]
    never = [name for name in MEMBERS if not any(f"{p}.".startswith(f"{name}.") for p in params)]
    assert never == []


def test_every_rule_of_the_gate_rejects_a_row() -> None:
    rules = {rule for record in RECORDS for rule in record["rejected"]}
    assert rules - {"model"} == REJECTIONS  # `model`: the caller's own `allow_fallbacks`


def test_every_reason_of_a_fallback_is_told() -> None:
    told = {line["headers"].get("x-phi-fallback") for line in BEFORE.values()}
    assert told == {None, *FALLBACKS}


def test_every_member_of_a_receipt_stands_in_one() -> None:
    assert {name for record in RECORDS for name in record} == RECORD_MEMBERS


def test_every_event_of_the_log_is_logged() -> None:
    logged = {event for line in BEFORE.values() for event, _ in line.get("log", ())}
    written = {event for call in _calls() for event in _recorded(call)}
    assert "attempt_failed" in written
    assert written - logged == set(EVENTS_ELSEWHERE)


def _calls() -> Iterator[ast.Call]:
    for room in ROOMS:
        for path in sorted((PRODUCT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield node


def _named(call: ast.Call, name: str) -> Iterator[Any]:
    """The argument of this name, where it is a text."""
    for keyword in call.keywords:
        if keyword.arg == name and isinstance(keyword.value, ast.Constant):
            yield keyword.value.value


def _recorded(call: ast.Call) -> Iterator[Any]:
    """The event that an event log is told, where it is a text."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "record":
        yield from (arg.value for arg in call.args[:1] if isinstance(arg, ast.Constant))
