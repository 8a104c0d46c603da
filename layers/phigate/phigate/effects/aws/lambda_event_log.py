"""A function's log and metrics, written by Powertools: one JSON object a line on standard output.

Law 1: an alarm looks at {stack}, a widget of rows at {stack, row}; `service` is never a dimension.
Law 2: a metric is written whatever the log's level is, or an alarm would be deaf.
Law 3: what belongs to a call is given with its line, and nothing is kept by the logger between two.
Law 4: no exception is handed over, so its text cannot be written. A line holds names, ids, numbers.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
    AmazonCloudWatchEMFProvider,
)

from phigate.core.clock import Clock

NAMESPACE = "phigate"
SERVICE = "phigate"  # where POWERTOOLS_SERVICE_NAME says nothing
TEXT_CHARS_MAX = 300  # a reason is a sentence

Value = str | int | float | bool

# The keys of the invocation that is served. A task begins with those of the task that began it, so
# calls that are served at once keep theirs apart.
_INVOCATION: ContextVar[Mapping[str, Value] | None] = ContextVar("invocation", default=None)


class LambdaEventLog:
    """See core.event_log.EventLog. One for all invocations of an execution environment."""

    def __init__(
        self,
        stream: TextIO,
        clock: Clock,
        *,
        function: str,
        stack: str,
        service: str = SERVICE,
        version: str = "",
        is_cold: bool = True,
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._is_cold = is_cold
        self._about = {"function": function, "stack": stack}
        if version:
            self._about["function_version"] = version
        self._logger = _logger(stream, service)
        self._write: Mapping[int, Callable[..., None]] = {
            logging.INFO: self._logger.info,
            logging.WARNING: self._logger.warning,
            logging.ERROR: self._logger.error,
        }
        # Each without a service of its own: else {stack} would become {stack, service}.
        self._of_stack = AmazonCloudWatchEMFProvider(namespace=NAMESPACE, service="")
        self._of_row = AmazonCloudWatchEMFProvider(namespace=NAMESPACE, service="")
        # An alarm looks at a stack; it cannot add rows up.
        self._of_row.dimension_sets.append({"stack": stack})

    @contextmanager
    def invocation(self, request_id: str, trace_id: str = "") -> Iterator[None]:
        """Lines that are written inside, also by tasks begun inside, name this invocation."""
        keys: dict[str, Value] = {
            "cold_start": self._is_cold,
            "function_request_id": request_id,
            "correlation_id": request_id,
        }
        if trace_id:  # else Powertools takes it from the environment
            keys["xray_trace_id"] = trace_id.partition(";")[0].removeprefix("Root=")
        self._is_cold = False
        token = _INVOCATION.set(keys)
        try:
            yield
        finally:
            _INVOCATION.reset(token)

    def record(self, event: str, **fields: Value) -> None:
        """One line."""
        now_s = self._clock.now_s()
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(now_s, UTC).isoformat(timespec="milliseconds"),
            "event": event,
            **self._about,
            **(_INVOCATION.get() or {"cold_start": self._is_cold}),
            **{name: _short(value) for name, value in fields.items()},
        }
        if isinstance(routed := line.pop("routed", None), str):
            line["row"], line["region"], line["tier"] = (*routed.split("/"), "", "")[:3]
        metrics = self._metrics(event, line, round(now_s * 1000))
        level = LEVELS.get(event, logging.INFO)
        if self._logger.log_level <= level:
            self._write[level](None, extra={"line": line | metrics})
        elif metrics:
            self._stream.write(orjson.dumps(metrics).decode() + "\n")
            self._stream.flush()

    def _metrics(self, event: str, line: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
        """The members that make metrics of a line; nothing where the event has none."""
        metrics: dict[str, Any] = {}
        for metric, unit, field in METRICS.get(event, ()):
            value = 1 if field is None else line.get(field)
            if isinstance(value, int | float):
                metrics[metric] = {"Unit": unit, "Value": value}
        if not metrics:
            return {}
        dimensions = {"stack": line["stack"], **({"row": row} if (row := line.get("row")) else {})}
        provider = self._of_row if row else self._of_stack
        members: dict[str, Any] = dict(provider.serialize_metric_set(metrics, dimensions, {}))
        members["_aws"]["Timestamp"] = now_ms
        return members


class _OwnLogger(Logger):
    """Powertools' Logger outside of the process' tree of loggers. In it a second Logger of the same
    service would write to the first one's stream, TRACE would mean the root's level, and a handler
    of the root could write each line once more."""

    def _get_logger(self) -> logging.Logger:
        return logging.Logger(self.service)


class _LineFormatter(LambdaPowertoolsFormatter):
    """A record's `line`, with what Powertools adds to it by itself."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Not asked for: a line has its time from the clock that its metrics have theirs from."""
        return ""

    def serialize(self, log: Any) -> str:
        """See LambdaPowertoolsFormatter."""
        standard = {name: log[name] for name in STANDARD if name in log}
        return orjson.dumps({**standard, **log["line"]}).decode()


def _logger(stream: TextIO, service: str) -> Logger:
    options: dict[str, Any] = {
        "service": service,
        "stream": stream,
        "logger_formatter": _LineFormatter(),
        "sampling_rate": 0.0,  # nothing is written at DEBUG, so nothing is left to chance
    }
    try:
        return _OwnLogger(**options)
    except ValueError:  # POWERTOOLS_LOG_LEVEL holds no level's name: nothing is left out
        return _OwnLogger(**options, level="INFO")


def quiet_libraries() -> None:
    """Libraries write warnings alone. With AWS_LAMBDA_LOG_LEVEL at DEBUG the managed runtime lets
    all of them speak, and botocore writes each answer, a secret's too."""
    logging.getLogger().setLevel(logging.WARNING)


def _short(value: Value) -> Value:
    return value[:TEXT_CHARS_MAX] if isinstance(value, str) else value


# What Powertools' formatter adds to a line by itself.
STANDARD = ("level", "service", "xray_trace_id")
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
LEVELS: Mapping[str, int] = {
    "bug": logging.ERROR,
    "part_failed": logging.ERROR,
    "start_failed": logging.ERROR,
    "catalog_not_served": logging.ERROR,
    "provider_refuses_operator": logging.ERROR,
    "cost_above_hold": logging.ERROR,
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
        logging.WARNING,
    ),
}
