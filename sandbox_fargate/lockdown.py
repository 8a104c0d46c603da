"""The lockdown launcher: for a container that grants no namespaces, as on Fargate.

Laws: each jail has a uid of its own, no privileges, a seccomp filter and, where the kernel has it,
Landlock. At the end every process of the uid is killed and every file that it owned removed.
"""

import functools
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from sandbox_fargate import linux
from sandbox_fargate.host_probe import HostProbe, command, environment, interpreter
from sandbox_fargate.policy import Policy

# Where any uid can write; the image leaves no other such folder.
SCRATCH = ("/tmp", "/dev/shm")

# Each pass kills all that a pass finds; a fork bomb at 64 processes was gone after one.
KILL_PASSES = 50


def home_of(uid: int) -> str:
    """The working directory of a jail."""
    return f"/tmp/run-{uid}"


def enter(policy: Policy, place: HostProbe, uid: int, parent_pid: int, program: bytes) -> NoReturn:
    """Become the jail; runs in the helper process and does not return."""
    home = home_of(uid)
    os.umask(0o077)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.mkdir(home, 0o700)
    os.chdir(home)
    # After the change of uid, which takes the wish back.
    linux.die_with_parent(parent_pid, signal.SIGKILL)
    linux.no_new_privileges()
    version = linux.landlock_version()
    if version:
        package = str(Path(place.runner).with_name("__init__.py"))
        own = (*interpreter(place), place.libraries, place.runner, package, place.fonts)
        linux.landlock(
            version,
            # The import system lists the folders that a package lies in.
            listable=[str(Path(place.runner).parent.parent)],
            readable=[*policy.view.readable, *own, "/proc"],
            writable=[*SCRATCH, *policy.view.devices],
        )
    linux.install_seccomp(program)
    os.execve(place.python, command(place), environment(place, home))


def kill_uid(uid: int) -> None:
    """End every process of a uid."""
    for _ in range(KILL_PASSES):
        pids = list(processes_of(uid))
        if not pids:
            return
        _kill_as(uid)
        # Again as root: a process of the same uid could have been quicker than the one above.
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def processes_of(uid: int) -> Iterator[int]:
    """The living processes of a uid."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            status = Path(entry.path, "status").read_bytes()
            fields = dict(line.split(b":", 1) for line in status.splitlines() if b":" in line)
            if int(fields[b"Uid"].split()[0]) == uid and b"Z" not in fields[b"State"][:3]:
                yield int(entry.name)


def remove_files_of(uid: int) -> None:
    """Remove what a uid left in the folders that it could write to, as that uid."""
    for root in SCRATCH:
        _as_uid(uid, functools.partial(_remove_owned, root, uid))


def _kill_as(uid: int) -> None:
    """kill(-1) as the uid reaches all its processes in one step, also those being forked."""
    _as_uid(uid, lambda: os.kill(-1, signal.SIGKILL))


def _as_uid(uid: int, step: Callable[[], object]) -> None:
    """Do a step in a child with the uid's rights; root's own need no more than changing uids."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            step()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _remove_owned(root: str, uid: int) -> None:
    os.chdir(root)
    for name in os.listdir("."):
        if os.lstat(name).st_uid == uid:
            _remove_tree(name)


def _remove_tree(name: str) -> None:
    """Remove a name of the working directory, however deep: step by step down and up again."""
    inside: list[str] = []
    pending = [[name]]
    while pending:
        if not pending[-1]:
            pending.pop()
            if not pending:
                return
            os.chdir("..")
            os.rmdir(inside.pop())
        elif not _removed(current := pending[-1].pop()):
            os.chmod(current, 0o700)
            os.chdir(current)
            inside.append(current)
            pending.append(os.listdir("."))


def _removed(name: str) -> bool:
    """Whether a name is gone after the one call that fits it; a full folder is not."""
    if not stat.S_ISDIR(os.lstat(name).st_mode):
        os.unlink(name)
        return True
    with suppress(OSError):
        os.rmdir(name)
        return True
    return False
