"""The runtime's own lines, and that they name an invocation as the application's lines do."""

import json
import re
from pathlib import Path

import pytest

from streaming_runtime import journal
from streaming_runtime.journal import LEVELS, StderrJournal
from streaming_runtime.types import Failure

SOURCE = Path(journal.__file__).parent
ENVIRONMENT = {
    "AWS_LAMBDA_FUNCTION_VERSION": "7",
    "POWERTOOLS_SERVICE_NAME": "phigate",
    "_X_AMZN_TRACE_ID": "Root=1-5759e988;Parent=53995c3f;Sampled=1",
}


PROVISIONED = "provisioned-concurrency"


def noted(
    capsys: pytest.CaptureFixture[str], environment: dict[str, str], event: str, **fields: object
) -> dict[str, object]:
    StderrJournal(environment).note(event, **fields)
    line = json.loads(capsys.readouterr().err)
    assert isinstance(line, dict)
    return line


def test_a_line_of_an_invocation_names_it_as_powertools_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert noted(capsys, ENVIRONMENT, "app_failed", request_id="r-1", error="KeyError") == {
        "level": "ERROR",
        "streaming_runtime": "app_failed",
        "request_id": "r-1",
        "error": "KeyError",
        "cold_start": True,
        "service": "phigate",
        "function_version": "7",
        "function_request_id": "r-1",
        "correlation_id": "r-1",
        "xray_trace_id": "1-5759e988",
    }


def test_a_line_outside_of_one_names_none(capsys: pytest.CaptureFixture[str]) -> None:
    """The trace of the last one may still stand in the environment."""
    assert noted(capsys, ENVIRONMENT, "stopped") == {
        "level": "INFO",
        "streaming_runtime": "stopped",
        "cold_start": True,
        "service": "phigate",
        "function_version": "7",
    }


def test_what_the_environment_does_not_say_is_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert noted(capsys, {}, "response_lost", request_id="r-1") == {
        "level": "WARNING",
        "streaming_runtime": "response_lost",
        "request_id": "r-1",
        "cold_start": True,
        "function_request_id": "r-1",
        "correlation_id": "r-1",
    }


@pytest.mark.parametrize(("kind", "colds"), [("on-demand", [1, 1, 0]), (PROVISIONED, [0, 0, 0])])
def test_the_first_invocation_alone_is_cold(
    kind: str, colds: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {"AWS_LAMBDA_INITIALIZATION_TYPE": kind}
    written = StderrJournal(environment)
    written.note("no_lifespan")
    for number in range(2):
        written.begin(f"Root=trace-{number}")
        written.note("app_failed", request_id=f"r-{number}")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["cold_start"] for line in lines] == colds
    assert [line.get("xray_trace_id") for line in lines] == [None, "trace-0", "trace-1"]
    assert environment["_X_AMZN_TRACE_ID"] == "Root=trace-1"


def test_every_level_is_of_an_event_that_is_written() -> None:
    texts = "".join(path.read_text() for path in SOURCE.glob("*.py") if path.stem != "journal")
    written = set(re.findall(r'\.note\(\s*"(\w+)"', texts)) | {each.value for each in Failure}
    assert set(LEVELS) <= written
