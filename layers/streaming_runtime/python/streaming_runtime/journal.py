"""The runtime's own lines: one JSON object each, on standard error, which Lambda logs.

Their keys are those that Powertools for AWS Lambda gives an application's lines, so that one query
finds both. They are not written by it: a line also says why the function's libraries cannot be
imported.
"""

import json
import sys
from collections.abc import Mapping, MutableMapping

_TRACE = "_X_AMZN_TRACE_ID"
_INITIALIZATION = "AWS_LAMBDA_INITIALIZATION_TYPE"


class StderrJournal:
    """Writes lines, each with what the environment says and with whether it is of the first
    invocation or before it."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._environment = environment
        self._invocations = 0

    def begin(self, trace_id: str) -> None:
        """An invocation begins; libraries find its trace where Lambda's own runtime puts it."""
        self._invocations += 1
        self._environment[_TRACE] = trace_id

    def note(self, event: str, **fields: object) -> None:
        """See types.Journal."""
        line = {"level": LEVELS.get(event, "ERROR"), "streaming_runtime": event, **fields}
        is_provisioned = self._environment.get(_INITIALIZATION) == "provisioned-concurrency"
        line["cold_start"] = self._invocations <= 1 and not is_provisioned
        for name, variable in _VARIABLES.items():
            line[name] = self._environment.get(variable)
        if "request_id" in fields:
            line["function_request_id"] = line["correlation_id"] = fields["request_id"]
            trace = self._environment.get(_TRACE, "")
            line["xray_trace_id"] = trace.partition(";")[0].removeprefix("Root=") or None
        told = {name: value for name, value in line.items() if value is not None}
        sys.stderr.write(json.dumps(told) + "\n")
        sys.stderr.flush()


LEVELS: Mapping[str, str] = {
    "stopped": "INFO",
    "no_lifespan": "INFO",
    **dict.fromkeys(("deadline", "shutdown", "response_lost", "response_refused"), "WARNING"),
}
_VARIABLES: Mapping[str, str] = {
    "service": "POWERTOOLS_SERVICE_NAME",
    "function_version": "AWS_LAMBDA_FUNCTION_VERSION",
}
