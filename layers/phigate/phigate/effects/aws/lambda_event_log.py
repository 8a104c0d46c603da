"""A function's log and metrics: one JSON object a line on standard output, which CloudWatch reads.

A note that counts something carries its metrics in the same line, in the embedded metric format, so
a metric costs no call and no second line. Never content: a note holds names, ids and numbers.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from phigate.core.clock import Clock

NAMESPACE = "phigate"
TEXT_CHARS_MAX = 300  # a reason is a sentence

Value = str | int | float | bool


class LambdaEventLog:
    """See core.event_log.EventLog. `correlation_id` is set for each invocation by who is called."""

    def __init__(self, stream: TextIO, clock: Clock, *, function: str, stack: str) -> None:
        self.correlation_id = ""
        self._stream = stream
        self._clock = clock
        self._about = {"function": function, "stack": stack}

    def record(self, event: str, **fields: Value) -> None:
        """One line."""
        now_s = self._clock.now_s()
        line: dict[str, Any] = {
            "level": LEVELS.get(event, "INFO"),
            "time": datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds"),
            "event": event,
            **self._about,
            **({"correlation_id": self.correlation_id} if self.correlation_id else {}),
            **{name: _short(value) for name, value in fields.items()},
        }
        if isinstance(routed := line.pop("routed", None), str):
            line["row"], line["region"], line["tier"] = (*routed.split("/"), "", "")[:3]
        line |= _metrics(event, line, round(now_s * 1000))
        self._stream.write(orjson.dumps(line).decode() + "\n")
        self._stream.flush()


def _short(value: Value) -> Value:
    return value[:TEXT_CHARS_MAX] if isinstance(value, str) else value


def _metrics(event: str, line: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """The members that make metrics of a line; nothing where the event has none."""
    values: dict[str, Any] = {}
    units: list[dict[str, str]] = []
    for metric, unit, field in METRICS.get(event, ()):
        value = 1 if field is None else line.get(field)
        if isinstance(value, int | float):
            values[metric] = value
            units.append({"Name": metric, "Unit": unit})
    if not units:
        return {}
    # An alarm looks at a stack; it cannot add rows up.
    dimensions = [["stack", "row"], ["stack"]] if line.get("row") else [["stack"]]
    directive = {"Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": units}
    return {"_aws": {"Timestamp": now_ms, "CloudWatchMetrics": [directive]}, **values}


# Metric, unit, and the field that holds it; None counts the event itself.
Metric = tuple[str, str, str | None]
_ATTEMPT: Metric = ("Attempts", "Count", None)
_FAILURE: Metric = ("Failures", "Count", None)
_CHARGED: tuple[Metric, ...] = (
    ("TokensIn", "Count", "tokens_in"),
    ("TokensOut", "Count", "tokens_out"),
    ("CostMicros", "Count", "cost_micros"),
    ("Ms", "Milliseconds", "ms"),
)
METRICS: Mapping[str, tuple[Metric, ...]] = {
    "answered": (_ATTEMPT, *_CHARGED),
    "streamed": (_ATTEMPT, *_CHARGED, ("TtftMs", "Milliseconds", "ttft_ms")),
    "abandoned": (_ATTEMPT, *_CHARGED),
    "attempt_failed": (_ATTEMPT, _FAILURE),
    "stream_failed": (_FAILURE,),
    "breaker_opened": (("BreakerOpened", "Count", None),),
    "provider_refuses_operator": (("OperatorRefusals", "Count", None),),
    "refused": (("Refusals", "Count", None),),
    "bug": (("Bugs", "Count", None),),
    "start_failed": (("StartFailures", "Count", None),),
    "cost_above_hold": (("CostAboveHold", "Count", None),),
    "key_times_out": (("KeyTimeouts", "Count", None),),
    "settle_not_confirmed": (("SettlesNotConfirmed", "Count", None),),
    "certification_failed": (("CertificationFailures", "Count", None),),
    "catalog_refresh_failed": (
        ("CatalogFailures", "Count", None),
        ("CatalogAgeS", "Seconds", "age_s"),
    ),
    "catalog_not_served": (("CatalogFailures", "Count", None),),
    "sandbox_lost": (("SandboxFailures", "Count", None),),
    "sandbox_start_failed": (("SandboxFailures", "Count", None),),
    "sandbox_stop_failed": (("SandboxFailures", "Count", None),),
    "swept": (
        ("HoldsExpired", "Count", "expired"),
        ("HoldsSettled", "Count", "settled"),
    ),
    "ledger_checked": (
        ("LedgerBroken", "Count", "broken"),
        ("HoldAgeS", "Seconds", "hold_age_s"),
    ),
    "agreements_checked": (
        ("AgreementDaysLeft", "Count", "days_left"),
        ("AgreementsEnded", "Count", "ended"),
    ),
    "agreement_ends": (("AgreementDaysLeft", "Count", "days_left"),),
    "sandboxes_swept": (("SandboxesStopped", "Count", "stopped"),),
    "days_left_open": (("DaysLeftOpen", "Count", "accounts"),),
    "part_failed": (("SweepFailures", "Count", None),),
}
LEVELS: Mapping[str, str] = {
    "bug": "ERROR",
    "part_failed": "ERROR",
    "start_failed": "ERROR",
    "catalog_not_served": "ERROR",
    "provider_refuses_operator": "ERROR",
    "cost_above_hold": "ERROR",
    **dict.fromkeys(
        (
            "agreement_ends",
            "attempt_failed",
            "key_times_out",
            "stream_failed",
            "breaker_opened",
            "breaker_heard",
            "breaker_not_shared",
            "settle_not_confirmed",
            "certification_failed",
            "catalog_refresh_failed",
            "credentials_not_renewed",
            "secret_unread",
            "secret_unusable",
            "sandbox_lost",
            "sandbox_start_failed",
            "sandbox_stop_failed",
            "days_left_open",
        ),
        "WARNING",
    ),
}
