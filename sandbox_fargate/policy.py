"""The policy as values: what policy.toml and syscalls.toml say, read once and checked for shape.

Law: no number of the sandbox stands in code; a name that is missing in the file is an error.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Caps:
    """What one program may use."""

    wall_s: float
    code_bytes: int
    output_bytes: int
    figure_bytes: int
    figures: int


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """How long a sandbox lives, from its first program and unused."""

    seconds: float
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class Scratch:
    """The room that a program can write to."""

    tmp_bytes: int
    shm_bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class Total:
    """What all processes of a sandbox may use together."""

    memory: int
    processes: int


@dataclass(frozen=True, slots=True)
class View:
    """What a program can read besides interpreter, libraries and runner."""

    readable: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """One condition on one argument of a system call."""

    argument: int
    equals: tuple[int, ...]
    mask: int = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Syscalls:
    """System calls by number, each a pair for x86_64 and aarch64."""

    allowed: dict[str, tuple[int, int]]
    checked: tuple[tuple[str, tuple[int, int], tuple[Check, ...]], ...]
    missing: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that the two launchers, the server and the runner go by."""

    caps: Caps
    session: SessionTimes
    rlimits: dict[str, int]
    scratch: Scratch
    total: Total
    view: View


def load_policy(path: Path = HERE / "policy.toml") -> Policy:
    """The policy in a file."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    view = table["view"]
    return Policy(
        caps=Caps(**table["caps"]),
        session=SessionTimes(**table["session"]),
        rlimits=table["rlimits"],
        scratch=Scratch(**table["scratch"]),
        total=Total(**table["total"]),
        view=View(
            readable=tuple(view["readable"]),
            links=tuple((target, name) for target, name in view["links"]),
            devices=tuple(view["devices"]),
        ),
    )


def load_syscalls(path: Path = HERE / "syscalls.toml") -> Syscalls:
    """The system calls in a file."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return Syscalls(
        allowed={name: _pair(numbers) for name, numbers in table["allowed"].items()},
        checked=tuple(
            (row["name"], _pair(row["numbers"]), tuple(_check(check) for check in row["checks"]))
            for row in table["checked"]
        ),
        missing={name: _pair(numbers) for name, numbers in table["missing"].items()},
    )


def _pair(numbers: list[int]) -> tuple[int, int]:
    x86_64, aarch64 = numbers
    return x86_64, aarch64


def _check(row: dict[str, object]) -> Check:
    argument, equals, mask = row["argument"], row["equals"], row.get("mask", 0xFFFFFFFF)
    if not (isinstance(argument, int) and isinstance(equals, list) and isinstance(mask, int)):
        raise TypeError("a check needs an argument, a mask and a list of values")
    return Check(argument=argument, equals=tuple(equals), mask=mask)
