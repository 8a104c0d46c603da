"""Every request of the table is answered as before: status, headers, body, and what was sent, run,
charged, signed and logged. Where a change is meant, `python -m tests.golden.record` writes the
new answers, and their difference is read in review."""

import json

import pytest

from phigate.core.errors import PhigateError
from phigate.core.types import Json
from tests.golden.harness import answer_of
from tests.golden.record import ANSWERS, line_of
from tests.golden.requests import CASES

BEFORE: dict[str, Json] = {
    line["name"]: line for line in map(json.loads, ANSWERS.read_text().splitlines())
}

# What no request of the table can cause, and where it is caused instead.
ELSEWHERE = {
    "request_timeout": "the body must come slowly: tests/http/test_errors.py",
    "overloaded": "an effect must fail: tests/pipeline/test_ledger_trouble.py",
    "internal_error": "a bug: tests/pipeline/test_refusals.py",
    "server_tool_error": "a tool of ours must fail: tests/pipeline/test_server_tool.py",
}


@pytest.mark.parametrize("name", CASES)
def test_a_request_is_answered_as_before(name: str) -> None:
    assert json.loads(line_of(name, answer_of(CASES[name]))) == BEFORE[name]


def test_the_table_has_every_request_and_no_other() -> None:
    assert list(BEFORE) == list(CASES)


def test_every_error_that_a_request_can_cause_is_in_the_table() -> None:
    bodies = [line["body"] for line in BEFORE.values()]
    errors = [body["error"] for body in bodies if isinstance(body, dict) and "error" in body]
    seen = {error["code"] for error in errors}
    assert seen | set(ELSEWHERE) == _codes(PhigateError)
    assert seen & set(ELSEWHERE) <= {"internal_error"}


def _codes(error: type[PhigateError]) -> set[str]:
    below = [_codes(kind) for kind in error.__subclasses__()]
    return {error.code}.union(*below)
