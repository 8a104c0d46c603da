"""The helper process of both launchers: joins the cgroup, takes limits, then becomes the jail.

Laws: it is started with a clean environment, and the last thing it does is execve; when a
protection cannot be put up it ends with one line on stderr instead.
"""

import dataclasses
import json
import os
import platform
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sandbox_fargate import bwrap, linux, lockdown
from sandbox_fargate.bwrap import Tool
from sandbox_fargate.host_probe import HostProbe
from sandbox_fargate.policy import load_policy, load_syscalls
from sandbox_fargate.seccomp import assemble

# Set by the runner inside instead: outside, bwrap's own processes would count.
INSIDE_ONLY = ("nproc",)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the helper is told; JSON in its one argument. Without bwrap the launcher is lockdown."""

    place: HostProbe
    uid: int | None
    parent_pid: int
    cgroups: list[str]
    tool: Tool | None


def encode(entry: Entry) -> str:
    """An entry as the helper's argument."""
    return json.dumps(dataclasses.asdict(entry))


def main(arguments: list[str]) -> int:
    """Become the jail, or say in one line why not."""
    table = json.loads(arguments[0])
    tool = table["tool"] and Tool(table["tool"]["path"], tuple(table["tool"]["options"]))
    entry = Entry(**{**table, "place": HostProbe(**table["place"]), "tool": tool})
    try:
        become(entry)
    except OSError as exc:
        print(f"the jail could not be entered: {exc.strerror}: {exc.filename}", file=sys.stderr)
    return 1


def become(entry: Entry) -> NoReturn:
    """Join, limit, drop, execve."""
    policy = load_policy()
    program = assemble(load_syscalls(), platform.machine())
    for folder in entry.cgroups:
        Path(folder, "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    os.setsid()
    for name, value in policy.rlimits.items():
        if name not in INSIDE_ONLY:
            _limit(getattr(resource, f"RLIMIT_{name.upper()}", None), value)
    if entry.tool is None:
        if entry.uid is None:
            raise PermissionError(1, "lockdown has to start as root, to leave it", "uid")
        lockdown.enter(policy, entry.place, entry.uid, entry.parent_pid, program)
    linux.no_new_privileges()
    bwrap.enter(entry.tool, policy, entry.place, entry.uid, program)


def _limit(kind: int | None, value: int) -> None:
    """One limit, never above what this process was left with."""
    if kind is None:
        return
    _, hard = resource.getrlimit(kind)
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (least, least))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
