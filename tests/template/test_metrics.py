"""Each metric line that the product can write, beside each alarm and widget that looks at one.

Both ways: what is looked at is written, under exactly those dimensions, and what is written is
looked at, or it is said here why not.
"""

import ast
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from aws_lambda_powertools.metrics import MetricUnit

from phigate.effects.aws.lambda_event_log import LEVELS, METRICS, LambdaEventLog
from phigate.effects.aws.powertools_writer import NAMESPACE, STANDARD, PowertoolsWriter
from tests.fakes import FakeClock
from tests.template.cloudformation import ROOT, of_type, read

TEMPLATE = read()
SOURCES = sorted((ROOT / "layers" / "phigate" / "phigate").rglob("*.py"))
STACK = {"Ref": "AWS::StackName"}
OF_STACK, OF_ROW = frozenset({"stack"}), frozenset({"stack", "row"})
# Namespace, name, and the names of the dimensions: what CloudWatch knows a metric by.
Metric = tuple[str, str, frozenset[str]]

# What no alarm and no widget looks at, and why it is written all the same.
UNWATCHED: dict[tuple[str, frozenset[str]], str] = {
    ("AgreementDaysLeft", OF_ROW): "which agreement the alarm is about",
    ("Attempts", OF_STACK): "the widget shows them by row",
    ("BreakerOpened", OF_ROW): "which row the widget's line is about",
    ("CostAboveHold", OF_ROW): "which row the alarm is about",
    ("CostMicros", OF_ROW): "what a row earns, for an operator's own report",
    ("Failures", OF_STACK): "the widget shows them by row",
    ("HoldsSettled", OF_STACK): "what the sweeper does beside what it expires",
    ("Ms", OF_ROW): "a row's latency, looked at when callers complain",
    ("Ms", OF_STACK): "API Gateway's own Latency has the alarm",
    ("OperatorRefusals", OF_ROW): "which row the alarm is about",
    ("Refusals", OF_ROW): "refusals are callers' doing; looked at when one complains",
    ("Refusals", OF_STACK): "API Gateway's own 4XXError stands on the dashboard",
    ("SandboxesStopped", OF_STACK): "how many outlived their call; the sweeper ends them",
    ("TokensIn", OF_ROW): "what a row is used for, for an operator's own report",
    ("TokensOut", OF_ROW): "what a row is used for, for an operator's own report",
    ("TtftMs", OF_STACK): "the widget shows it by row",
}


def calls() -> Iterator[tuple[str, frozenset[str]]]:
    """Where the product records an event: its name, and the fields that its line is given.

    `log_end` writes the end of a call, with the row that the call had; its fields come from the
    writers' `log_line`.
    """
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="record") | ast.Name(id="log_end"),
                    args=arguments,
                    keywords=keywords,
                ):
                    given = frozenset(each.arg or "" for each in keywords)
                    ends = frozenset({"routed"} if isinstance(node.func, ast.Name) else ())
                    for event in arguments[:2]:
                        if isinstance(event, ast.Constant) and isinstance(event.value, str):
                            yield event.value, given | ends
                case ast.FunctionDef(
                    name="log_line",
                    body=[
                        *_,
                        ast.Return(
                            value=ast.Tuple(
                                elts=[ast.Constant(value=str(event)), ast.Dict(keys=names)]
                            )
                        ),
                    ],
                ):
                    fields = {key.value for key in names if isinstance(key, ast.Constant)}
                    yield event, frozenset({"routed", *map(str, fields)})


CALLS = list(calls())
RECORDED = {event for event, _ in CALLS}
WITH_ROW = {event for event, fields in CALLS if {"row", "routed"} & fields}


def rendered(event: str) -> dict[str, Any]:
    """The line of an event with everything that it can count, of a row where it can be of one."""
    fields: dict[str, Any] = {field: 1 for _, _, field in METRICS[event] if field is not None}
    stream = io.StringIO()
    writer = PowertoolsWriter(stream, service="phigate", stack="stack-ch")
    event_log = LambdaEventLog(lambda: writer, FakeClock(), function="chat", stack="stack-ch")
    with event_log.invocation("r-1"):
        event_log.record(event, **fields, **({"row": "acme-one"} if event in WITH_ROW else {}))
    line: dict[str, Any] = json.loads(stream.getvalue())
    return line


def metrics_of(line: dict[str, Any]) -> set[Metric]:
    """Under what CloudWatch keeps the numbers of a line."""
    return {
        (directive["Namespace"], metric["Name"], frozenset(dimensions))
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
        for dimensions in directive["Dimensions"]
    }


def alarms() -> dict[str, Metric]:
    """What each alarm on a metric of ours looks at."""
    found = {}
    for name, alarm in of_type(TEMPLATE, "AWS::CloudWatch::Alarm").items():
        if alarm.get("Namespace") == NAMESPACE:
            names = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
            assert names.get("stack") == STACK, name
            found[name] = (NAMESPACE, alarm["MetricName"], frozenset(names))
    return found


def widgets() -> set[Metric]:
    """What the dashboard's widgets look at, also by a search."""
    (board,) = of_type(TEMPLATE, "AWS::CloudWatch::Dashboard").values()
    found: set[Metric] = set()
    for widget in json.loads(board["DashboardBody"]["Fn::Sub"])["widgets"]:
        for line in widget["properties"]["metrics"]:
            if isinstance(line[0], dict):
                found |= searched(line[0]["expression"])
            elif line[0] == NAMESPACE:
                texts = [each for each in line[2:] if isinstance(each, str)]
                assert texts[1::2] == ["${AWS::StackName}"] * len(texts[::2])
                found.add((NAMESPACE, line[1], frozenset(texts[::2])))
    return found


def searched(expression: str) -> set[Metric]:
    scope = re.search(r"\{(\w+),([\w,]+)\}", expression)
    names = re.search(r"MetricName=(\([^)]*\)|\"\w+\")", expression)
    assert scope and names, expression
    dimensions = frozenset(scope[2].split(","))
    return {(scope[1], name, dimensions) for name in re.findall(r'"(\w+)"', names[1])}


WRITTEN = {metric for event in METRICS for metric in metrics_of(rendered(event))}
WATCHED = set(alarms().values()) | widgets()


def test_every_event_that_counts_is_recorded() -> None:
    assert set(METRICS) <= RECORDED
    assert set(LEVELS) <= RECORDED


@pytest.mark.parametrize("alarm", alarms())
def test_an_alarm_looks_at_what_is_written(alarm: str) -> None:
    assert alarms()[alarm] in WRITTEN


def test_alarms_of_ours_were_found() -> None:
    assert len(alarms()) == 15


def test_a_widget_looks_at_what_is_written() -> None:
    assert widgets() <= WRITTEN


def test_what_is_written_is_looked_at_or_said_why_not() -> None:
    unwatched = {(NAMESPACE, *each) for each in UNWATCHED}
    assert unwatched == WRITTEN - WATCHED


@pytest.mark.parametrize("event", METRICS)
def test_dimensions_are_the_stack_and_the_row_alone(event: str) -> None:
    """Powertools' Metrics adds its service by itself, and every alarm would be deaf."""
    line = rendered(event)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    expected = [["stack", "row"], ["stack"]] if event in WITH_ROW else [["stack"]]
    assert directive["Dimensions"] == expected
    assert line["stack"] == "stack-ch"
    assert all(isinstance(line[name], str) and line[name] for name in expected[0])
    for metric in directive["Metrics"]:
        assert isinstance(line[metric["Name"]], int)
        assert metric["Unit"] in [unit.value for unit in MetricUnit]


def test_the_stack_of_a_line_is_the_one_that_alarms_name() -> None:
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["PHIGATE_STACK"] == STACK


def test_no_event_has_a_field_of_a_standard_key() -> None:
    """It would stand in a line in the key's place."""
    standard = {
        *STANDARD,
        *("time", "event", "function", "stack", "function_version", "cold_start"),
        *("function_request_id", "correlation_id", "_aws"),
        *(metric for metrics in METRICS.values() for metric, _, _ in metrics),
    }
    for event, fields in CALLS:
        assert not standard & fields, event
