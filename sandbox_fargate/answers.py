"""What comes out of a jail, checked: sizes, types, counts; and the results that the server makes.

Law: whatever does not fit is garbage and counts as a jail that broke; nothing of it is passed on.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

from sandbox_fargate.policy import Caps
from sandbox_fargate.runner.child import REPORTABLE
from sandbox_fargate.runner.figures import problem_of
from sandbox_fargate.runner.wire import GarbageError

# Notes that the runner adds to a stream that it cut, in characters.
NOTES_MAX = 1024

LIMITS = REPORTABLE | {"wall", "unavailable"}

RAISED = 1
KILLED = 137


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one program. `jail_gone` is true when the sandbox has to be made anew."""

    exit_code: int
    stdout: str = ""
    stderr: str = ""
    value: str | None = None
    figures: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    jail_gone: bool = False

    def with_limit(self, limit: str) -> "Answer":
        """The same with one more limit named."""
        return self if limit in self.limits else replace(self, limits=(*self.limits, limit))


def read_answer(payload: bytes, caps: Caps) -> Answer:
    """A result frame as an answer."""
    try:
        table = json.loads(payload)
        return _checked(table, caps)
    except (ValueError, TypeError, LookupError, RecursionError) as exc:
        raise GarbageError("no result") from exc


def refused(limit: str, reason: str) -> Answer:
    """The result of a program that was not started."""
    limits = (limit,) if limit else ()
    return Answer(exit_code=RAISED, stderr=f"{reason}\n", limits=limits)


def broken(limit: str, reason: str) -> Answer:
    """The result of a program that took its jail with it."""
    note = f"[the sandbox was ended: {reason}; variables and files are gone]\n"
    limits = (limit,) if limit else ()
    return Answer(exit_code=KILLED, stderr=note, limits=limits, jail_gone=True)


def _checked(table: dict[str, Any], caps: Caps) -> Answer:
    exit_code, value = table["exit_code"], table["value"]
    if type(exit_code) is not int or not 0 <= exit_code <= 255:
        raise ValueError("exit code")
    figures, limits = table["figures"], table["limits"]
    if not isinstance(figures, list) or len(figures) > caps.figures:
        raise ValueError("figures")
    if not isinstance(limits, list) or not set(limits) <= LIMITS:
        raise ValueError("limits")
    return Answer(
        exit_code=exit_code,
        stdout=_text(table["stdout"], caps),
        stderr=_text(table["stderr"], caps),
        value=None if value is None else _text(value, caps),
        figures=tuple(_figure(svg, caps) for svg in figures),
        limits=tuple(limits),
    )


def _text(value: object, caps: Caps) -> str:
    if not isinstance(value, str) or len(value) > caps.output_bytes + NOTES_MAX:
        raise ValueError("text")
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _figure(svg: object, caps: Caps) -> str:
    if not isinstance(svg, str):
        raise TypeError("figure")
    if problem_of(svg.encode("utf-8"), caps.figure_bytes, "") is not None:
        raise ValueError("figure")
    return svg
