"""What Linux counts about a process, read from its clocks and from /proc.

Law: CPU is that of one process and its threads, never of its children, so that an engine or a
simulated provider that the gateway started is counted under its own name.
"""

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_LISTENING = "0A"
# Written to clear_refs, it sets VmHWM back to VmRSS (man 5 proc_pid_clear_refs).
_RESET_PEAK = "5"


@dataclass(frozen=True, slots=True)
class MachineTicks:
    """CPU time of the whole machine since boot, in clock ticks of all cores together."""

    busy: int
    steal: int
    total: int


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, ended threads included, children not.

    The clock of a foreign process has the number ~pid << 3 | 2 (clock_getcpuclockid(3));
    it counts nanoseconds, where /proc/PID/stat counts ticks of 10 ms.
    """
    return time.clock_gettime((~pid << 3) | 2)


def rss_bytes(pid: int) -> int:
    """Memory that the process holds now."""
    return _status_bytes(pid, "VmRSS")


def rss_peak_bytes(pid: int) -> int:
    """The most it held since its start or since `reset_peak`."""
    return _status_bytes(pid, "VmHWM")


def pss_bytes(pid: int) -> int:
    """Its memory, what it shares counted by its part; 0 when it has gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024


def reset_peak(pid: int) -> None:
    """Start the peak again from what the process holds now."""
    (_PROC / str(pid) / "clear_refs").write_text(_RESET_PEAK)


def command_of(pid: int) -> str:
    """The process as one short name for a table: its program and first arguments."""
    words = (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    names = [Path(word).name if "/" in word else word for word in words[:4]]
    return " ".join(" ".join(names).split())


def descendants(pid: int) -> list[int]:
    """Every living process below `pid`, without itself."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.glob("[0-9]*/stat"):
        parent = _parent_of(entry)
        if parent is not None:
            children.setdefault(parent, []).append(int(entry.parent.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def listener_pid(port: int, pids: list[int]) -> int | None:
    """Which of `pids` listens on a TCP port; the lowest one when a socket is shared."""
    inodes = listening_inodes((_PROC / "net" / "tcp").read_text(), port)
    for pid in sorted(pids):
        if inodes & _socket_inodes(pid):
            return pid
    return None


def listening_inodes(table: str, port: int) -> set[str]:
    """The socket inodes that listen on `port`, from the text of /proc/net/tcp."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return {
        row[9]
        for row in rows
        if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port
    }


def machine_ticks() -> MachineTicks:
    """CPU time of the machine; idle and waiting for a disk are not busy."""
    return parse_machine_ticks((_PROC / "stat").read_text())


def parse_machine_ticks(text: str) -> MachineTicks:
    """The first line of /proc/stat: user nice system idle iowait irq softirq steal."""
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, text.split()[1:9])
    busy = user + nice + system + irq + softirq
    return MachineTicks(busy=busy, steal=steal, total=busy + idle + iowait + steal)


def ticks_to_s(ticks: int) -> float:
    """Clock ticks as seconds."""
    return ticks / _TICKS_PER_S


def _status_bytes(pid: int, name: str) -> int:
    text = (_PROC / str(pid) / "status").read_text()
    match = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    if match is None:
        raise ProcessLookupError(f"process {pid} has no {name}: it has ended")
    return int(match[1]) * 1024


def _parent_of(stat: Path) -> int | None:
    try:
        # The name in brackets may hold blanks and brackets: the last one ends it.
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def _socket_inodes(pid: int) -> set[str]:
    found: set[str] = set()
    try:
        descriptors = os.listdir(_PROC / str(pid) / "fd")
    except (FileNotFoundError, ProcessLookupError):
        return found
    for descriptor in descriptors:
        # A descriptor may be closed meanwhile; of our own process the listing's always is.
        with suppress(FileNotFoundError, ProcessLookupError):
            name = os.readlink(_PROC / str(pid) / "fd" / descriptor)
            if name.startswith("socket:["):
                found.add(name[8:-1])
    return found
