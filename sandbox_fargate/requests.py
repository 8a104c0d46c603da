"""Reads the body of `POST /run` and writes its result: the HTTP contract of README.md as code.

Law: a member that is unknown, missing or out of range is refused with its name, never changed.
"""

import json
from typing import Any

from sandbox_fargate.answers import Answer
from sandbox_fargate.policy import Caps
from sandbox_fargate.session import Program

LANGUAGES = ("python", "r")
MEMBERS = {"language", "code", "timeout_s"}


class MalformedError(Exception):
    """A request that does not follow the contract; the text says where."""


def read_program(body: bytes, caps: Caps) -> Program:
    """The program that a body asks to run."""
    try:
        table = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise MalformedError("the body is not JSON") from exc
    if not isinstance(table, dict):
        raise MalformedError("the body is not an object")
    unknown = sorted(set(table) - MEMBERS)
    if unknown:
        raise MalformedError("unknown members; known are language, code, timeout_s")
    if table.get("language") not in LANGUAGES:
        raise MalformedError("language must be one of: python, r")
    if not isinstance(table.get("code"), str):
        raise MalformedError("code must be a string")
    return Program(table["language"], table["code"], _timeout_s(table, caps.wall_s))


def _timeout_s(table: dict[str, Any], most: float) -> float:
    value = table.get("timeout_s", most)
    if type(value) not in (int, float) or not 0 < value <= most:
        raise MalformedError(f"timeout_s must be a number above 0 and at most {most:g}")
    return float(value)


def result_body(answer: Answer, language: str, wall_ms: int) -> dict[str, Any]:
    """An answer on the wire."""
    return {
        "language": language,
        "exit_code": answer.exit_code,
        "stdout": answer.stdout,
        "stderr": answer.stderr,
        "value": answer.value,
        "figures": list(answer.figures),
        "limits": list(answer.limits),
        "wall_ms": wall_ms,
    }
