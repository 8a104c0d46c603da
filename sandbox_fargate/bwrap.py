"""The bwrap launcher: namespaces, a file view of its own, and an ordinary user outside as inside.

Laws: root never becomes bwrap: the helper first takes a uid that nobody has, unique to the jail.
What only root could reach (a venv under /root) is bound in private mounts beforehand.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from sandbox_fargate import linux
from sandbox_fargate.host_probe import Bind, HostProbe, command, environment, own_binds, seen
from sandbox_fargate.policy import Policy

# What a program is inside, and an ordinary caller's own ids are mapped to.
NOBODY = "65534"

# Root's staging lies on a tmpfs over /tmp that only the jail's processes see.
STAGE = "/tmp"

# Since 0.8: no further namespaces inside, also where seccomp should have a gap.
NEWER_OPTIONS = ("--disable-userns",)

NAMESPACES = ("user", "pid", "net", "ipc", "uts", "cgroup")

# bwrap answers its own help in 3 ms.
HELP_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Tool:
    """bwrap on this machine, and the options that not every version has."""

    path: str
    options: tuple[str, ...]


def find_tool() -> Tool | None:
    """bwrap, if this machine has it."""
    path = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
    if path is None:
        return None
    return Tool(path, tuple(option for option in NEWER_OPTIONS if _knows(path, option)))


def arguments(
    policy: Policy,
    place: HostProbe,
    binds: Iterable[Bind],
    scratch: Mapping[str, str],
    filter_fd: int,
) -> list[str]:
    """bwrap's arguments; `scratch` names folders made for /tmp and /dev/shm, if there are any."""
    view = policy.view
    words = [f"--unshare-{name}" for name in NAMESPACES]
    words += ["--uid", NOBODY, "--gid", NOBODY, "--hostname", "sandbox"]
    words += ["--die-with-parent", "--new-session", "--as-pid-1", "--seccomp", str(filter_fd)]
    for path in view.readable:
        words += ["--ro-bind-try", path, path]
    for target, name in view.links:
        words += ["--symlink", target, name]
    for bind in binds:
        words += ["--ro-bind", bind.source, bind.target]
    words += ["--proc", "/proc", "--size", "65536", "--tmpfs", "/dev"]
    for path in view.devices:
        words += ["--dev-bind", path, path]
    words += ["--symlink", "/proc/self/fd", "/dev/fd"]
    room = {"/tmp": policy.scratch.tmp_bytes, "/dev/shm": policy.scratch.shm_bytes}
    for path, size in room.items():
        if path in scratch:
            words += ["--bind", scratch[path], path]
        else:
            words += ["--perms", "1777", "--size", str(size), "--tmpfs", path]
    words += ["--chdir", "/tmp", "--remount-ro", "/dev", "--remount-ro", "/"]
    return [*words, "--", *command(seen(place))]


def enter(
    tool: Tool, policy: Policy, place: HostProbe, uid: int | None, program: bytes
) -> NoReturn:
    """Become the jail; runs in the helper process and does not return.

    `uid` is what root becomes; an ordinary user stays who they are.
    """
    binds = own_binds(place)
    scratch: dict[str, str] = {}
    if uid is not None:
        binds, scratch = _stage(policy, binds, uid)
    reader = _readable_copy(program)
    words = arguments(policy, place, binds, scratch, reader)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    words = [tool.path, *tool.options, *words]
    os.execve(tool.path, words, environment(seen(place), "/tmp"))


def _stage(policy: Policy, binds: list[Bind], uid: int) -> tuple[list[Bind], dict[str, str]]:
    """Bind what lies in private folders where the uid can reach it, and make its scratch room."""
    linux.private_mounts()
    # Held open first: a project that lies below /tmp itself is about to be covered.
    sources = [os.open(bind.source, os.O_PATH) for bind in binds]
    flags = linux.MS_NOSUID | linux.MS_NODEV
    linux.mount("tmpfs", STAGE, "tmpfs", flags, "mode=755,size=1m")
    staged = []
    for source, bind in zip(sources, binds, strict=True):
        target = Path(STAGE, f"bind-{source}")
        if os.path.isdir(f"/proc/self/fd/{source}"):
            target.mkdir()
        else:
            target.touch()
        linux.mount(f"/proc/self/fd/{source}", str(target), None, linux.MS_BIND, None)
        os.close(source)
        staged.append(Bind(str(target), bind.target))
    scratch = {}
    sizes = {"/tmp": policy.scratch.tmp_bytes, "/dev/shm": policy.scratch.shm_bytes}
    for path, size in sizes.items():
        room = Path(STAGE, f"room-{Path(path).name}")
        room.mkdir()
        options = f"mode=700,uid={uid},gid={uid},size={size},nr_inodes={policy.scratch.files}"
        linux.mount("tmpfs", str(room), "tmpfs", flags, options)
        scratch[path] = str(room)
    return staged, scratch


def _readable_copy(program: bytes) -> int:
    """A descriptor from which bwrap reads the filter."""
    descriptor = os.memfd_create("filter", 0)
    os.write(descriptor, program)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _knows(bwrap: str, option: str) -> bool:
    """Whether this version of bwrap has an option."""
    command = [bwrap, "--help"]
    shown = subprocess.run(
        command, capture_output=True, check=False, timeout=HELP_TIMEOUT_S, env={}
    )
    return option.encode() in shown.stdout + shown.stderr
