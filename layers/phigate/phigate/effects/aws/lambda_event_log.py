"""What a function's log says: the line of an event, and what it counts.

Law 1: what belongs to an invocation is given with each of its lines; nothing keeps it between two.
Law 2: a line holds names, ids and numbers. No exception is handed on, so none of its text is.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Protocol

from phigate.core.clock import Clock

TEXT_CHARS_MAX = 300  # a reason is a sentence

Value = str | int | float | bool
Metrics = Mapping[str, tuple[str, float]]  # unit and value, by name

# The keys of the invocation that is served. A task begins with those of the task that began it, so
# calls that are served at once keep theirs apart.
_INVOCATION: ContextVar[Mapping[str, Value] | None] = ContextVar("invocation", default=None)


class LineWriter(Protocol):
    """Writes one line, with its metrics."""

    def write(self, level: int, line: Mapping[str, Any], metrics: Metrics, now_ms: int) -> None: ...


class LambdaEventLog:
    """See core.event_log.EventLog. One for all invocations of an execution environment; its writer
    is made for the first line."""

    def __init__(
        self,
        make_writer: Callable[[], LineWriter],
        clock: Clock,
        *,
        function: str,
        stack: str,
        version: str = "",
        is_cold: bool = True,
    ) -> None:
        self._make_writer = make_writer
        self._clock = clock
        self._is_cold = is_cold
        self._about = {"function": function, "stack": stack}
        if version:
            self._about["function_version"] = version

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
        level = LEVELS.get(event, logging.INFO)
        self._writer.write(level, line, _metrics(event, line), round(now_s * 1000))

    @cached_property
    def _writer(self) -> LineWriter:
        return self._make_writer()


def quiet_libraries() -> None:
    """Libraries write warnings alone. With AWS_LAMBDA_LOG_LEVEL at DEBUG the managed runtime lets
    all of them speak, and botocore writes each answer, a secret's too."""
    logging.getLogger().setLevel(logging.WARNING)


def _short(value: Value) -> Value:
    return value[:TEXT_CHARS_MAX] if isinstance(value, str) else value


def _metrics(event: str, line: Mapping[str, Any]) -> Metrics:
    """What a line counts; nothing where its event has no metric."""
    found: dict[str, tuple[str, float]] = {}
    for metric, unit, field in METRICS.get(event, ()):
        value = 1 if field is None else line.get(field)
        if isinstance(value, int | float):
            found[metric] = (unit, value)
    return found


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
            "loop_failure",
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
