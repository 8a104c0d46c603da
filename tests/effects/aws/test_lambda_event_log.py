"""What a function writes: one line a note, with metrics where something is counted."""

import io
import json
from typing import Any

import pytest

from phigate.effects.aws.lambda_event_log import LEVELS, METRICS, TEXT_CHARS_MAX, LambdaEventLog
from tests.fakes import FakeClock


def noted(event: str, correlation_id: str = "", **fields: Any) -> dict[str, Any]:
    stream = io.StringIO()
    event_log = LambdaEventLog(stream, FakeClock(), function="chat", stack="stack-ch")
    event_log.correlation_id = correlation_id
    event_log.record(event, **fields)
    (line,) = stream.getvalue().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_note_is_one_line_of_json() -> None:
    assert noted("program", "request-1", id="r", exit=0, ms=5) == {
        "level": "INFO",
        "time": "2026-09-21T14:13:20.000+00:00",
        "event": "program",
        "function": "chat",
        "stack": "stack-ch",
        "correlation_id": "request-1",
        "id": "r",
        "exit": 0,
        "ms": 5,
    }


def test_an_answer_names_row_region_and_tier_and_counts_by_row() -> None:
    line = noted(
        "streamed",
        routed="acme-one/CH/phi",
        tokens_in=3,
        tokens_out=4,
        cost_micros=5,
        ms=60,
        ttft_ms=7,
    )
    assert (line["row"], line["region"], line["tier"]) == ("acme-one", "CH", "phi")
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "phigate"
    # An alarm looks at a stack, and cannot add rows up.
    assert directive["Dimensions"] == [["stack", "row"], ["stack"]]
    values = {metric["Name"]: line[metric["Name"]] for metric in directive["Metrics"]}
    assert values == {
        "Attempts": 1,
        "TokensIn": 3,
        "TokensOut": 4,
        "CostMicros": 5,
        "Ms": 60,
        "TtftMs": 7,
    }
    assert line["_aws"]["Timestamp"] == 1_790_000_000_000


def test_what_was_not_told_is_not_counted() -> None:
    line = noted("answered", routed="acme-one/CH/general", ms=1)
    names = [metric["Name"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
    assert names == ["Attempts", "Ms"]


@pytest.mark.parametrize("event", METRICS)
def test_every_metric_has_a_directive_that_cloudwatch_takes(event: str) -> None:
    fields: dict[str, Any] = {field: 1 for _, _, field in METRICS[event] if field is not None}
    line = noted(event, **fields)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert ["stack"] in directive["Dimensions"]
    for dimension in directive["Dimensions"][0]:
        assert isinstance(line[dimension], str)
    for metric in directive["Metrics"]:
        assert isinstance(line[metric["Name"]], int)
    assert len(directive["Metrics"]) <= 100


def test_a_failure_is_a_warning_and_a_bug_an_error() -> None:
    assert noted("attempt_failed", row="acme-one", outcome="timeout")["level"] == "WARNING"
    assert noted("bug", kind="KeyError")["level"] == LEVELS["bug"] == "ERROR"


def test_a_text_is_cut() -> None:
    assert len(noted("sandbox_lost", reason="x" * 10_000)["reason"]) == TEXT_CHARS_MAX
