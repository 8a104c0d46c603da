"""A double of the ECS client: scripted outcomes and task states; RUNNING may end at a real server.

Calls come from threads, as boto3's do.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from phigate.effects.sandbox.ecs_tasks import HASH_VARIABLE
from tests.effects.sandbox.sandboxes import ROOT, real_launch

Outcome = str | Exception
URL = "https://ecs.eu-central-2.amazonaws.com"
NORMAL = ("PROVISIONING", "PENDING", "RUNNING")


def refused(code: str, operation: str = "RunTask") -> ClientError:
    """What boto3 raises for an error of the service."""
    return ClientError({"Error": {"Code": code, "Message": "x"}}, operation)


UNREACHABLE = EndpointConnectionError(endpoint_url=URL)
NO_ANSWER = ReadTimeoutError(endpoint_url=URL)


@dataclass
class FakeTask:
    """One task: the states of its next looks, the last one for ever."""

    arn: str
    call: dict[str, Any]
    states: list[str]
    address: str
    created_s: float
    server: subprocess.Popen[bytes] | None = None
    stops: int = 0

    def look(self) -> str:
        """The state now; each look is one step on."""
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


@dataclass
class FakeEcs:
    """`runs` are what RunTask meets in turn: "" for success, a failure's reason, an exception, and
    "lost" for a task that starts although no answer comes. `states` are those of each task in turn,
    the last for all that follow. `serves`: a task that runs has a real server behind it."""

    runs: list[Outcome] = field(default_factory=list)
    states: list[Sequence[str]] = field(default_factory=lambda: [NORMAL])
    describes: list[Outcome] = field(default_factory=list)
    stops: list[Outcome] = field(default_factory=list)
    serves: bool = False
    port: int = 9
    now_s: Callable[[], float] = lambda: 1_790_000_000.0
    tasks: dict[str, FakeTask] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    running: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.hold.set()
        self._lock = threading.Lock()

    @property
    def living(self) -> list[FakeTask]:
        """The tasks that nobody has stopped."""
        return [task for task in self.tasks.values() if task.states != ["STOPPED"]]

    def run_task(self, **call: Any) -> Mapping[str, Any]:
        """As boto3's."""
        self.running.set()
        self.hold.wait(20.0)
        with self._lock:
            self.calls.append(("RunTask", call))
            outcome = self.runs.pop(0) if self.runs else ""
            if isinstance(outcome, Exception):
                raise outcome
            if outcome not in ("", "lost"):
                return {"tasks": [], "failures": [{"reason": outcome}]}
            arn = self._started(call)
            if outcome == "lost":
                raise NO_ANSWER
            return {"tasks": [{"taskArn": arn, "lastStatus": "PROVISIONING"}], "failures": []}

    def describe_tasks(self, **call: Any) -> Mapping[str, Any]:
        """As boto3's."""
        with self._lock:
            self.calls.append(("DescribeTasks", call))
            outcome = self.describes.pop(0) if self.describes else ""
            if isinstance(outcome, Exception):
                raise outcome
            if outcome:
                return {"tasks": [], "failures": [{"reason": outcome}]}
            found = [self.tasks[arn] for arn in call["tasks"] if arn in self.tasks]
            return {"tasks": [self._described(task) for task in found], "failures": []}

    def stop_task(self, **call: Any) -> Mapping[str, Any]:
        """As boto3's."""
        with self._lock:
            self.calls.append(("StopTask", call))
            outcome = self.stops.pop(0) if self.stops else ""
            if isinstance(outcome, Exception):
                raise outcome
            task = self.tasks[call["task"]]
            task.stops += 1
            task.states = ["STOPPED"]
            self._end(task)
            return {"task": {}}

    def list_tasks(self, **call: Any) -> Mapping[str, Any]:
        """As boto3's, one task a page."""
        with self._lock:
            self.calls.append(("ListTasks", call))
            wanted = call.get("startedBy")
            arns = [t.arn for t in self.living if wanted in (None, t.call["startedBy"])]
            at = int(call.get("nextToken", "0"))
            more = {"nextToken": str(at + 1)} if at + 1 < len(arns) else {}
            return {"taskArns": arns[at : at + 1], **more}

    def close(self) -> None:
        """End what is left of the servers."""
        for task in self.tasks.values():
            self._end(task)

    def count(self, operation: str) -> int:
        """How many calls of an operation came."""
        return sum(name == operation for name, _ in self.calls)

    def _started(self, call: dict[str, Any]) -> str:
        """The client token's task: a second call with one token is the same task."""
        for task in self.tasks.values():
            if task.call["clientToken"] == call["clientToken"]:
                return task.arn
        number = len(self.tasks)
        states = list(self.states[min(number, len(self.states) - 1)])
        task = FakeTask(f"arn/{number}", call, states, f"127.0.1.{number + 1}", self.now_s())
        self.tasks[task.arn] = task
        if self.serves and states != ["SILENT"]:
            task.server = self._serve(task)
        return task.arn

    def _serve(self, task: FakeTask) -> subprocess.Popen[bytes]:
        (override,) = task.call["overrides"]["containerOverrides"]
        (variable,) = override["environment"]
        return subprocess.Popen(
            [*real_launch().command, "--listen", f"{task.address}:{self.port}"],
            cwd=ROOT,
            env={HASH_VARIABLE: variable["value"], "PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _described(self, task: FakeTask) -> dict[str, Any]:
        state = task.look()
        status = "RUNNING" if state == "SILENT" else state
        detail = {"name": "privateIPv4Address", "value": task.address}
        return {
            "taskArn": task.arn,
            "lastStatus": status,
            "desiredStatus": "STOPPED" if status == "STOPPED" else "RUNNING",
            "startedBy": task.call["startedBy"],
            "createdAt": datetime.fromtimestamp(task.created_s, UTC),
            "tags": task.call["tags"],
            "attachments": [{"details": [detail]}] if status == "RUNNING" else [],
            "containers": [{"imageDigest": "sha256:0123"}],
        }

    def _end(self, task: FakeTask) -> None:
        if task.server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(task.server.pid, signal.SIGTERM)
            task.server.wait(20)
            task.server = None
