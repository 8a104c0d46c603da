"""The state directory: one stack at a time, and what it leaves for the commands to find.

Law: what stands in it is its owner's alone, whatever the umask: directories 0700, the rest 0600.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from phigate.core.types import Override

TABLE = "phigate"
_LOCK = "lock"
_ENGINE = "engine.json"
_ENV = "local.env"
_OVERRIDES = "overrides.json"
_WRITABLE = 0o022  # by others: who may put another file in a secret's place need not read it


class StartRefused(Exception):
    """Why the stack does not start, in one line for a person."""


@contextlib.contextmanager
def locked(state: Path) -> Iterator[None]:
    """Hold the directory for this process; made if missing. Raises StartRefused.

    The kernel drops the lock with the process, also when it is killed.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if state.stat().st_mode & _WRITABLE:
            raise StartRefused(
                f"others may write in the state directory {state}; run chmod 700 {state}"
            )
        if (anothers := _anothers(state)) is not None:
            raise StartRefused(
                f"{anothers} is of another user; remove it, or choose another state with --state"
            )
        lock_file = private_file(state / _LOCK)
    except OSError as exc:
        raise StartRefused(f"the state directory {state} cannot be used: {exc.strerror}") from exc
    with lock_file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise StartRefused(f"another gateway is running on the state in {state}") from exc
        yield


def _anothers(state: Path) -> Path | None:
    """What another user owns of the directory: the directory, or the first such thing in it.

    Its owner can put another in its place, and a link leads to what this process overwrites.
    """
    if state.stat().st_uid != os.geteuid():
        return state
    for path in state.iterdir():
        with contextlib.suppress(FileNotFoundError):  # a stack that ends removes some
            if path.lstat().st_uid != os.geteuid():
                return path
    return None


@contextlib.contextmanager
def engine_named(state: Path, url: str, *, durable: bool) -> Iterator[None]:
    """Tell the commands where the engine is, while it runs."""
    path = state / _ENGINE
    with private_file(path) as file:
        json.dump({"url": url, "table": TABLE, "pid": os.getpid(), "durable": durable}, file)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def overrides_named(state: Path, overrides: Mapping[str, Override]) -> Iterator[None]:
    """Tell the commands which providers this start reaches elsewhere, while it runs."""
    path = state / _OVERRIDES
    with private_file(path) as file:
        json.dump({name: asdict(each) for name, each in overrides.items()}, file)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def read_env(state: Path) -> dict[str, str]:
    """The lines of `local.env` that an earlier start wrote."""
    path = state / _ENV
    if not path.exists():
        return {}
    lines = (line.partition("=") for line in path.read_text().splitlines())
    return {name: value for name, separator, value in lines if separator}


def write_env(state: Path, values: dict[str, str]) -> Path:
    """Write `local.env`, readable by its owner alone: it holds a key."""
    path = state / _ENV
    aside = path.with_suffix(".new")
    with private_file(aside) as file:
        file.writelines(f"{name}={value}\n" for name, value in values.items())
    aside.replace(path)
    return path


def private_file(path: Path) -> TextIO:
    """The file, empty, to be written; also one that stood there is its owner's alone from now."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "w")
