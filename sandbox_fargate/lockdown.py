"""The lockdown launcher: for a container that grants no namespaces, as on Fargate.

Laws: each jail has a uid of its own, no privileges, a seccomp filter and, where the kernel has it,
Landlock. At the end every process of the uid is killed and every file that it owned removed.
"""

import os
import shutil
import signal
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from sandbox_fargate import linux
from sandbox_fargate.place import Place, command, environment
from sandbox_fargate.policy import Policy

# Where any uid can write; the image leaves no other such folder.
SCRATCH = ("/tmp", "/dev/shm")

# Each pass kills all that a pass finds; a fork bomb at 64 processes was gone after one.
KILL_PASSES = 50


def home_of(uid: int) -> str:
    """The working directory of a jail."""
    return f"/tmp/run-{uid}"


def enter(policy: Policy, place: Place, uid: int, parent_pid: int, program: bytes) -> NoReturn:
    """Become the jail; runs in the helper process and does not return."""
    home = home_of(uid)
    os.mkdir(home, 0o700)
    os.chown(home, uid, uid)
    os.chdir(home)
    os.umask(0o077)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # After the change of uid, which takes the wish back.
    linux.die_with_parent(parent_pid, signal.SIGKILL)
    linux.no_new_privileges()
    version = linux.landlock_version()
    if version:
        package = str(Path(place.runner).with_name("__init__.py"))
        own = (place.prefix, place.libraries, place.runner, package, place.fonts)
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


def _kill_as(uid: int) -> None:
    """kill(-1) as the uid reaches all its processes in one step, also those being forked."""
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(uid, uid, uid)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def remove_files_of(uid: int) -> None:
    """Remove what a uid left in the folders that it could write to."""
    for root in SCRATCH:
        with os.scandir(root) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    found = entry.stat(follow_symlinks=False)
                    if found.st_uid != uid:
                        continue
                    if stat.S_ISDIR(found.st_mode):
                        shutil.rmtree(entry.path, ignore_errors=True)
                    else:
                        os.unlink(entry.path)
