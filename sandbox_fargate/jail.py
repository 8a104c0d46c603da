"""One jail as the server holds it: started, spoken to, watched, and removed without a trace.

Laws: a jail is started by the main thread (the kernel ends it with the thread that started it); its
end kills all it was made of before its files and its cgroup are removed.
"""

import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from sandbox_fargate import lockdown
from sandbox_fargate.bwrap import Tool
from sandbox_fargate.cgroup import Cgroup, make_cgroup
from sandbox_fargate.enter import Entry, encode
from sandbox_fargate.host_probe import HostProbe, helper_path
from sandbox_fargate.policy import Policy
from sandbox_fargate.runner import wire

# Uids that no system hands out (systemd's table of uid ranges ends below, the kernel's above).
UID_FIRST, UID_COUNT = 1_900_000_000, 100_000_000

PIECE_BYTES = 1 << 18
COMPLAINT_BYTES = 300

# How long an ended jail may take to vanish; it took up to 60 ms.
END_TIMEOUT_S = 5.0

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Launch:
    """How jails are started here."""

    policy: Policy
    place: HostProbe
    # bwrap, or None for lockdown.
    tool: Tool | None


class Jail:
    """A running jail."""

    def __init__(self, launch: Launch) -> None:
        """Start it; the runner then loads libraries until the first frame comes."""
        policy = launch.policy
        self._launch = launch
        self.uid = UID_FIRST + secrets.randbelow(UID_COUNT) if os.geteuid() == 0 else None
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self.cgroup: Cgroup = make_cgroup(name, policy.total)
        self._buffer = wire.FrameBuffer({wire.WARM: 0, wire.RESULT: wire.FRAME_BYTES_MAX})
        self._room = (0, 0) if launch.tool else _free_room()
        entry = Entry(
            place=launch.place,
            uid=self.uid,
            parent_pid=os.getpid(),
            cgroups=list(self.cgroup.folders),
            tool=launch.tool,
        )
        self._process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-S", "-m", "sandbox_fargate.enter", encode(entry)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PYTHONPATH": helper_path(), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
        )
        setup = {"caps": asdict(policy.caps), "nproc": policy.rlimits["nproc"]}
        self.send(wire.SETUP, setup)

    @property
    def descriptor(self) -> int:
        """Readable when the jail has something to say, or has ended."""
        return _pipe(self._process.stdout).fileno()

    def send(self, kind: bytes, value: object) -> None:
        """One frame to the runner; a jail that has ended is noticed when reading."""
        with suppress(BrokenPipeError):
            wire.write(_pipe(self._process.stdin).fileno(), wire.pack_json(kind, value))

    def receive(self) -> list[tuple[bytes, bytes]] | None:
        """The frames that have arrived whole; None when the jail has ended."""
        piece = os.read(self.descriptor, PIECE_BYTES)
        return self._buffer.feed(piece) if piece else None

    def excess(self) -> str | None:
        """The limit that all of the jail together has passed, where the kernel keeps none."""
        policy = self._launch.policy
        if self._launch.tool is None:
            used = [before - now for before, now in zip(self._room, _free_room(), strict=True)]
            if used[0] > policy.scratch.tmp_bytes or used[1] > policy.scratch.files:
                return "disk"
        elif self.uid is None and self._files() > policy.scratch.files:
            return "disk"
        if not self.cgroup.folders:
            sizes = [_private_bytes(pid) for pid in self.members()]
            if len(sizes) > policy.total.processes:
                return "processes"
            if sum(sizes) > policy.total.memory:
                return "memory"
        return None

    def _files(self) -> int:
        """Files in /tmp of a jail whose own user mounted it; bwrap bounds its bytes alone."""
        used = 0
        for pid in _children(self._process.pid):
            with suppress(OSError):
                room = os.statvfs(f"/proc/{pid}/root/tmp")
                used += room.f_files - room.f_ffree
        return used

    def members(self) -> Iterator[int]:
        """The living processes of the jail, the launcher's own included."""
        if self.uid is not None:
            yield from lockdown.processes_of(self.uid)
            return
        inside = {_namespace(pid) for pid in _children(self._process.pid)}
        inside -= {None, _namespace(os.getpid())}
        for name in os.listdir("/proc"):
            if name.isdigit() and _namespace(int(name)) in inside:
                yield int(name)

    def complaint(self) -> str:
        """What the launcher said when it could not start; only of a jail that never became warm."""
        stream = _pipe(self._process.stderr)
        if not select.select([stream], [], [], 1.0)[0]:
            return ""
        return os.read(stream.fileno(), COMPLAINT_BYTES).decode("utf-8", "replace").strip()

    def end(self) -> bool:
        """Kill all of it and remove what it left; whether nothing is left."""
        members = [] if self.uid is not None else list(self.members())
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with suppress(BrokenPipeError):
                _pipe(stream).close()
        if self.uid is not None:
            lockdown.kill_uid(self.uid)
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        gone = _wait_until_gone(self)
        if self._launch.tool is None and self.uid is not None:
            lockdown.remove_files_of(self.uid)
        return self.cgroup.remove() and gone


def _wait_until_gone(jail: Jail) -> bool:
    deadline = time.monotonic() + END_TIMEOUT_S
    while jail.uid is not None and any(True for _ in jail.members()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("a jail is started with pipes")
    return stream


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(child) for child in listed.split()]
    return []


def _namespace(pid: int) -> str | None:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")
    return None


def _private_bytes(pid: int) -> int:
    """Resident memory that a process shares with no file or fork, roughly."""
    with suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
        return (int(fields[1]) - int(fields[2])) * PAGE_BYTES
    return 0


def _free_room() -> tuple[int, int]:
    """Bytes and files that /tmp and /dev/shm still take."""
    rooms = [os.statvfs(path) for path in lockdown.SCRATCH]
    return sum(room.f_bfree * room.f_frsize for room in rooms), sum(room.f_ffree for room in rooms)
