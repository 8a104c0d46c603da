"""A cgroup around a jail where one can be made, below the caller's own so that outer bounds hold.

Law: without a writable hierarchy there is none, which is a normal result; the server then looks
itself (see jail.py).
"""

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox_fargate.policy import Total

ROOT = Path("/sys/fs/cgroup")
PREFIX = "phigate-sandbox-"

# The kernel lets a group go when its last process was reaped, which took up to 30 ms.
REMOVE_TIMEOUT_S = 5.0
REMOVE_STEP_S = 0.01

# Version 1: controller -> file -> value; version 2 has all in one folder.
V1_FILES = {"memory": ("memory.limit_in_bytes", "memory"), "pids": ("pids.max", "processes")}
V2_FILES = {"memory.max": "memory", "pids.max": "processes"}


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The folders of one jail: one a controller in version 1, one in version 2, or none."""

    folders: tuple[str, ...]

    def oom_kills(self) -> int:
        """How many processes the kernel ended here for want of memory."""
        for folder in self.folders:
            for name in ("memory.oom_control", "memory.events"):
                with contextlib.suppress(OSError):
                    for line in Path(folder, name).read_text(encoding="ascii").splitlines():
                        if line.startswith("oom_kill "):
                            return int(line.split()[1])
        return 0

    def kill(self) -> None:
        """End what is in it; only needed when a jail left something behind."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                for pid in Path(folder, "cgroup.procs").read_text(encoding="ascii").split():
                    os.kill(int(pid), 9)

    def remove(self) -> bool:
        """Remove the folders; whether they are gone."""
        deadline = time.monotonic() + REMOVE_TIMEOUT_S
        left = list(self.folders)
        while left and time.monotonic() < deadline:
            left = [folder for folder in left if not _removed(folder)]
            if left:
                self.kill()
                time.sleep(REMOVE_STEP_S)
        return not left


def make_cgroup(name: str, total: Total) -> Cgroup:
    """A group for one jail; of no folders when this machine grants none."""
    folders = []
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        for folder, files in _wanted(controllers, path, name):
            if _made(folder, {file: getattr(total, field) for file, field in files.items()}):
                folders.append(str(folder))
    return Cgroup(tuple(folders))


def sweep() -> None:
    """Remove the empty groups of servers that were killed before they could."""
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        for folder, _ in _wanted(controllers, path, ""):
            for stale in folder.parent.glob(f"{PREFIX}*"):
                pid = stale.name.removeprefix(PREFIX).split("-")[0]
                if not Path("/proc", pid).exists():
                    _removed(str(stale))


def _wanted(controllers: str, path: str, name: str) -> list[tuple[Path, dict[str, str]]]:
    if controllers in V1_FILES:
        file, field = V1_FILES[controllers]
        return [(ROOT / controllers / path.lstrip("/") / f"{PREFIX}{name}", {file: field})]
    if controllers == "" and (ROOT / "cgroup.controllers").exists():
        return [(ROOT / path.lstrip("/") / f"{PREFIX}{name}", V2_FILES)]
    return []


def _made(folder: Path, limits: dict[str, int]) -> bool:
    try:
        folder.mkdir()
    except OSError:
        return False
    try:
        for file, value in limits.items():
            if not (folder / file).exists():
                raise FileNotFoundError(file)
            (folder / file).write_text(str(value), encoding="ascii")
    except OSError:
        _removed(str(folder))
        return False
    return True


def _removed(folder: str) -> bool:
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
