"""Lines and metrics as Powertools writes them: one JSON object a line, which CloudWatch reads.

Law 1: an alarm looks at {stack}, a widget of rows at {stack, row}; `service` is never a dimension.
Law 2: a metric is written whatever the log's level is, or an alarm would be deaf.
Law 3: no key is appended to the logger, and none of its decorators or hooks is used: they write
whole events, and texts of exceptions.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import orjson
from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
    AmazonCloudWatchEMFProvider,
)

from phigate.effects.aws.lambda_event_log import Metrics

NAMESPACE = "phigate"


class PowertoolsWriter:
    """Implements effects.aws.lambda_event_log.LineWriter."""

    def __init__(self, stream: TextIO, *, service: str, stack: str) -> None:
        self._stream = stream
        self._logger = _logger(stream, service)
        self._log: Mapping[int, Callable[..., None]] = {
            logging.INFO: self._logger.info,
            logging.WARNING: self._logger.warning,
            logging.ERROR: self._logger.error,
        }
        # Dimensions are given with each line; a service of theirs would add itself to their own.
        self._of_stack = AmazonCloudWatchEMFProvider(namespace=NAMESPACE, service="")
        self._of_row = AmazonCloudWatchEMFProvider(namespace=NAMESPACE, service="")
        if stack:  # an alarm looks at a stack; it cannot add rows up
            self._of_row.add_dimensions(stack=stack)

    def write(self, level: int, line: Mapping[str, Any], metrics: Metrics, now_ms: int) -> None:
        """See LineWriter."""
        members = self._embedded(line, metrics, now_ms) if metrics else {}
        if self._logger.log_level <= level:
            self._log[level](None, extra={"line": {**line, **members}})
        elif members:
            self._stream.write(orjson.dumps(members).decode() + "\n")
            self._stream.flush()

    def _embedded(self, line: Mapping[str, Any], metrics: Metrics, now_ms: int) -> dict[str, Any]:
        """The members that make metrics of a line."""
        dimensions = {"stack": line["stack"], **({"row": row} if (row := line.get("row")) else {})}
        provider = self._of_row if row else self._of_stack
        wanted = {name: {"Unit": unit, "Value": value} for name, (unit, value) in metrics.items()}
        members: dict[str, Any] = dict(provider.serialize_metric_set(wanted, dimensions, {}))
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


# What Powertools' formatter adds to a line by itself.
STANDARD = ("level", "service", "xray_trace_id")
