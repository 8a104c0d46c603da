"""What a function writes: one line a note, with metrics where something is counted."""

import asyncio
import io
import json
import logging
from typing import Any

import pytest

from phigate.effects.aws.lambda_event_log import LEVELS, METRICS, TEXT_CHARS_MAX, LambdaEventLog
from phigate.effects.aws.powertools_writer import PowertoolsWriter
from tests.fakes import FakeClock
from tests.template.cloudformation import ROOT


def event_log_to(stream: io.StringIO, **more: Any) -> LambdaEventLog:
    return LambdaEventLog(
        lambda: PowertoolsWriter(stream, service="phigate", stack="stack-ch"),
        FakeClock(),
        function="chat",
        stack="stack-ch",
        **more,
    )


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def noted(event: str, **fields: Any) -> dict[str, Any]:
    stream = io.StringIO()
    event_log_to(stream).record(event, **fields)
    (line,) = lines_of(stream)
    return line


def test_a_line_has_todays_keys_and_those_of_powertools() -> None:
    stream = io.StringIO()
    event_log = event_log_to(stream, version="7")
    with event_log.invocation("request-1", "Root=1-5759e988;Parent=53995c3f;Sampled=1"):
        event_log.record("program", id="r", exit=0, ms=5)
    assert lines_of(stream) == [
        {
            "level": "INFO",
            "service": "phigate",
            "time": "2026-09-21T14:13:20.000+00:00",
            "event": "program",
            "function": "chat",
            "stack": "stack-ch",
            "function_version": "7",
            "cold_start": True,
            "function_request_id": "request-1",
            "correlation_id": "request-1",
            "xray_trace_id": "1-5759e988",
            "id": "r",
            "exit": 0,
            "ms": 5,
        }
    ]


def test_a_line_outside_of_an_invocation_names_none() -> None:
    line = noted("start_failed", kind="SettingsRefused", reason="")
    assert line["cold_start"] is True
    assert not {"function_request_id", "correlation_id", "xray_trace_id"} & set(line)


@pytest.mark.parametrize("is_cold", [True, False], ids=["on demand", "provisioned"])
def test_the_first_invocation_alone_is_cold(is_cold: bool) -> None:
    stream = io.StringIO()
    event_log = event_log_to(stream, is_cold=is_cold)
    for name in ("r-1", "r-2", "r-3"):
        with event_log.invocation(name):
            event_log.record("program")
            event_log.record("program")
    assert [line["cold_start"] for line in lines_of(stream)] == [is_cold] * 2 + [False] * 4


def test_two_logs_of_one_process_share_nothing() -> None:
    streams = io.StringIO(), io.StringIO()
    logs = [event_log_to(stream) for stream in streams]
    for event_log, name in zip(logs, ("r-1", "r-2"), strict=True):
        with event_log.invocation(name):
            event_log.record("program")
    ids = [[line["correlation_id"] for line in lines_of(stream)] for stream in streams]
    assert ids == [["r-1"], ["r-2"]]


@pytest.mark.anyio
async def test_fifty_calls_at_once_keep_their_ids_apart() -> None:
    """Each with a task that outlives it, and lines in turn with all others."""
    stream, calls = io.StringIO(), 50
    event_log = event_log_to(stream)
    arrived = asyncio.Barrier(calls)

    async def left_behind(name: str) -> None:
        await arrived.wait()
        event_log.record("program", id=name)

    async def call(name: str) -> asyncio.Task[None]:
        with event_log.invocation(f"request-{name}", f"Root=trace-{name}"):
            task = asyncio.ensure_future(left_behind(name))
            for _ in range(3):
                await asyncio.sleep(0)  # the others' turn
                event_log.record("answered", id=name, routed="acme-one/CH/phi", ms=1)
        return task

    tasks = await asyncio.gather(*(call(str(number)) for number in range(calls)))
    await asyncio.gather(*tasks)
    lines = lines_of(stream)
    assert len(lines) == 4 * calls
    for line in lines:
        ids = [line[name] for name in ("function_request_id", "correlation_id", "xray_trace_id")]
        assert ids == [f"request-{line['id']}", f"request-{line['id']}", f"trace-{line['id']}"]
    assert sum(line["cold_start"] for line in lines) == 4
    event_log.record("program")
    assert "correlation_id" not in lines_of(stream)[-1]


def test_an_exception_that_is_under_way_is_no_part_of_a_line() -> None:
    stream = io.StringIO()
    event_log = event_log_to(stream)
    try:
        raise ValueError("the patient's left knee")
    except ValueError as exc:
        event_log.record("bug", kind=type(exc).__name__)
    (line,) = lines_of(stream)
    assert line["kind"] == "ValueError"
    assert not {"exception", "exception_name", "stack_trace", "message"} & set(line)
    assert "knee" not in stream.getvalue()


# What the log's level lets through; the lines' events are INFO, WARNING and ERROR.
HEARD = {
    ("POWERTOOLS_LOG_LEVEL", "DEBUG"): ["program", "breaker_heard", "bug"],
    ("POWERTOOLS_LOG_LEVEL", "INFO"): ["program", "breaker_heard", "bug"],
    ("POWERTOOLS_LOG_LEVEL", "warning"): ["breaker_heard", "bug"],
    ("POWERTOOLS_LOG_LEVEL", "ERROR"): ["bug"],
    ("POWERTOOLS_LOG_LEVEL", "CRITICAL"): [],
    ("POWERTOOLS_LOG_LEVEL", "loud"): ["program", "breaker_heard", "bug"],
    ("LOG_LEVEL", "ERROR"): ["bug"],
    ("AWS_LAMBDA_LOG_LEVEL", "TRACE"): ["program", "breaker_heard", "bug"],
    ("AWS_LAMBDA_LOG_LEVEL", "WARN"): ["breaker_heard", "bug"],
}


@pytest.mark.parametrize(("variable", "level"), HEARD)
def test_the_level_is_honoured(variable: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, level)
    stream = io.StringIO()
    event_log = event_log_to(stream)
    for event in ("program", "breaker_heard", "bug"):
        event_log.record(event)
    heard = [line["event"] for line in lines_of(stream) if "event" in line]
    assert heard == HEARD[variable, level]


@pytest.mark.parametrize("event", METRICS)
def test_a_metric_is_written_whatever_the_level_is(
    event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alarm on a metric that is never written stays green."""
    fields: dict[str, Any] = {field: 1 for _, _, field in METRICS[event] if field is not None}
    whole = noted(event, row="acme-one", **fields)
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "CRITICAL")
    left = noted(event, row="acme-one", **fields)
    named = {metric for metric, _, _ in METRICS[event]}
    assert left == {name: whole[name] for name in {"_aws", "stack", "row"} | named}


# Each would send the metrics elsewhere, or nowhere, through Powertools' own Metrics.
DEAF = {
    "POWERTOOLS_SERVICE_NAME": "payment",
    "POWERTOOLS_METRICS_NAMESPACE": "elsewhere",
    "POWERTOOLS_METRICS_DISABLED": "true",
}


@pytest.mark.parametrize(("variable", "value"), DEAF.items())
def test_no_variable_makes_an_alarm_deaf(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = noted("bug", kind="KeyError")
    monkeypatch.setenv(variable, value)
    assert noted("bug", kind="KeyError") == before


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
    assert noted("bug", kind="KeyError")["level"] == "ERROR"
    assert set(LEVELS.values()) == {logging.WARNING, logging.ERROR}


def test_a_text_is_cut() -> None:
    assert len(noted("sandbox_lost", reason="x" * 10_000)["reason"]) == TEXT_CHARS_MAX


# Each writes more than it was given, or keeps it for the next call's lines.
UNUSED = (
    "inject_lambda_context",
    "log_metrics",
    "log_uncaught_exceptions",
    "excepthook",
    "append_keys",
    "append_context_keys",
    "set_correlation_id",
    "exc_info",
)


@pytest.mark.parametrize("name", UNUSED)
def test_nothing_of_powertools_is_used_that_keeps_or_adds(name: str) -> None:
    sources = [*(ROOT / "layers").rglob("*.py"), *(ROOT / "functions").rglob("*.py")]
    assert len(sources) > 200
    assert [path for path in sources if name in path.read_text()] == []
