"""With every variable of Powertools at its loudest, no content, no key and no secret is written."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import aws_lambda_powertools
import pytest

from phigate.aws.environment import TRUTHS, LambdaEnvironment
from phigate.aws.settings import FUNCTIONS, SettingsRefused
from tests.functions.loud_functions import CANARIES

PACKAGE = Path(aws_lambda_powertools.__file__).parent
LOUDEST = {
    "POWERTOOLS_CIRCUIT_BREAKER_DISABLED": "false",
    "POWERTOOLS_DEBUG": "true",
    "POWERTOOLS_DEV": "true",
    "POWERTOOLS_IDEMPOTENCY_DISABLED": "false",
    "POWERTOOLS_LOGGER_LOG_EVENT": "true",
    "POWERTOOLS_LOGGER_SAMPLE_RATE": "1",
    "POWERTOOLS_LOG_DEDUPLICATION_DISABLED": "true",
    "POWERTOOLS_LOG_LEVEL": "DEBUG",
    "POWERTOOLS_METRICS_DISABLED": "false",
    "POWERTOOLS_METRICS_FUNCTION_NAME": "elsewhere",
    "POWERTOOLS_METRICS_NAMESPACE": "elsewhere",
    "POWERTOOLS_PARAMETERS_MAX_AGE": "86400",
    "POWERTOOLS_PARAMETERS_SSM_DECRYPT": "true",
    "POWERTOOLS_SERVICE_NAME": "botocore",  # whose own lines hold bodies
    "POWERTOOLS_TRACER_CAPTURE_ERROR": "true",
    "POWERTOOLS_TRACER_CAPTURE_RESPONSE": "true",
    "POWERTOOLS_TRACE_DISABLED": "false",
    "POWERTOOLS_TRACE_MIDDLEWARES": "true",
}
LEVELS = {"AWS_LAMBDA_LOG_LEVEL": "TRACE", "LOG_LEVEL": "DEBUG"}
# Names of constants in its source, which are no variables.
CONSTANTS = {
    "POWERTOOLS_DEBUG_ENV",
    "POWERTOOLS_DEV_ENV",
    "POWERTOOLS_HANDLER",
    "POWERTOOLS_LOG_LEVEL_ENV",
    "POWERTOOLS_LOG_LEVEL_LEGACY_ENV",
}


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """What all functions wrote, and what must not stand in it, by name."""
    folder = tmp_path_factory.mktemp("loud")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.functions.loud_functions", str(folder)],
        env={**os.environ, **LOUDEST, **LEVELS},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
    made: dict[str, str] = json.loads((folder / "canaries.json").read_text())
    return ran.stdout, CANARIES | made


def lines_of(written: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    return [line for line in lines if "function" in line]


def test_every_variable_of_the_package_is_set() -> None:
    texts = (path.read_text() for path in PACKAGE.rglob("*.py"))
    named = {name for text in texts for name in re.findall(r"POWERTOOLS_[A-Z_]+", text)}
    assert named == LOUDEST.keys() | CONSTANTS


def test_no_canary_is_written(loud: tuple[str, dict[str, str]]) -> None:
    written, canaries = loud
    answers = [text for name, text in canaries.items() if name.startswith("answer")]
    assert len(answers) == 6
    assert all(len(text) > 10 for text in canaries.values())
    assert [name for name, text in canaries.items() if text in written] == []
    # Nor a piece of what a model answered, as a stream brings it.
    pieces = {text[at : at + 24] for text in answers for at in range(0, len(text) - 24, 8)}
    assert [piece for piece in pieces if piece in written] == []


def test_it_was_loud_and_every_function_wrote(loud: tuple[str, dict[str, str]]) -> None:
    written, _ = loud
    assert "aws_lambda_powertools.logging.logger [DEBUG]" in written
    lines = lines_of(written)
    assert {line["function"] for line in lines} == set(FUNCTIONS)
    expected = {"answered", "streamed", "attempt_failed", "loop_failure", "swept", "part_failed"}
    assert expected <= {line["event"] for line in lines}
    assert {line["service"] for line in lines} == {"botocore"}


def test_every_line_is_one_object_with_the_keys_of_its_invocation(
    loud: tuple[str, dict[str, str]],
) -> None:
    """POWERTOOLS_DEV would lay a line out over many, which is no metric any more."""
    for line in lines_of(loud[0]):
        if line["event"] not in ("start_failed", "loop_failure"):  # of no invocation
            assert line["function_request_id"] == line["correlation_id"]
        if "_aws" in line:
            (directive,) = line["_aws"]["CloudWatchMetrics"]  # type: ignore[index]
            assert directive["Namespace"] == "phigate"
            assert directive["Dimensions"] in ([["stack"]], [["stack", "row"], ["stack"]])


@pytest.mark.parametrize("word", ["", "loud"])
@pytest.mark.parametrize("name", TRUTHS)
def test_a_word_that_powertools_would_raise_at_stops_the_start(name: str, word: str) -> None:
    """It would raise with the first line, which may be the one of a call that is charged."""
    lambda_environment = LambdaEnvironment(environ=lambda: {name: word})
    with pytest.raises(SettingsRefused, match=f"chat does not start: {name} is neither true nor"):
        lambda_environment.event_log("chat")


def test_no_other_variable_can_stop_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LOUDEST.keys() | LEVELS.keys():
        monkeypatch.setenv(name, "no" if name in TRUTHS else "loud")
    log = io.StringIO()
    LambdaEnvironment(environ=lambda: dict(os.environ), log=log).event_log("chat").record("bug")
    line = json.loads(log.getvalue())
    assert (line["event"], line["service"], line["Bugs"]) == ("bug", "loud", 1)
