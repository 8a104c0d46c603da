"""The few kernel calls that Python's standard library lacks, through ctypes.

Law: a call that fails raises OSError; nothing goes on with a protection missing.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterable

_libc = ctypes.CDLL(None, use_errno=True)

# linux/prctl.h, linux/seccomp.h
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2

# sys/mount.h, linux/sched.h
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT = 1, 2, 4, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
CLONE_NEWNS = 0x00020000

# linux/landlock.h; the three numbers are the same on every processor.
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH = 1
FS_EXECUTE, FS_WRITE_FILE, FS_READ_FILE, FS_READ_DIR = 1, 2, 4, 8
# The rights that each version of Landlock knows, as the number of low bits, and TRUNCATE's bit.
FS_BITS_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}
FS_BITS_NEWEST = 16
FS_TRUNCATE = 1 << 14
# Version 4 can deny binding and connecting TCP, version 6 abstract sockets and signals outward.
NET_BITS = 3
SCOPE_BITS = 3


class _PathBeneath(ctypes.Structure):
    """struct landlock_path_beneath_attr."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _FilterProgram(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def prctl(option: int, *arguments: object) -> None:
    """prctl(2), with the unused arguments 0."""
    padded = [*arguments, *[ctypes.c_ulong(0)] * (4 - len(arguments))]
    _check(_libc.prctl(option, *padded))


def die_with_parent(parent_pid: int, number: int) -> None:
    """Receive a signal when the thread that started this process ends, also when it has already."""
    prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(number))
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), number)


def no_new_privileges() -> None:
    """No file can give this process or its children more rights again."""
    prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))


def install_seccomp(program: bytes) -> None:
    """Put this process and its children under a filter, for good."""
    head = _FilterProgram(len(program) // 8, program)
    prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(head))


def private_mounts() -> None:
    """Give this process its own mounts, of which nobody else learns."""
    _check(_libc.unshare(CLONE_NEWNS))
    mount(None, "/", None, MS_REC | MS_PRIVATE, None)


def mount(
    source: str | None, target: str, kind: str | None, flags: int, options: str | None
) -> None:
    """mount(2)."""
    names = [None if name is None else name.encode() for name in (source, target, kind)]
    data = None if options is None else options.encode()
    _check(_libc.mount(*names, ctypes.c_ulong(flags), data))


def landlock_version() -> int:
    """What this kernel knows of Landlock; 0 when nothing."""
    version = int(_libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION))
    return max(version, 0)


def landlock(
    version: int, *, listable: Iterable[str], readable: Iterable[str], writable: Iterable[str]
) -> None:
    """Leave this process the paths named: for the names in them, to read and execute, to write."""
    bits = (1 << FS_BITS_BY_VERSION.get(version, FS_BITS_NEWEST)) - 1
    attributes = (ctypes.c_uint64 * 3)(bits, NET_BITS, SCOPE_BITS)
    # An older kernel refuses a structure longer than the one it knows.
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _check(_libc.syscall(LANDLOCK_CREATE_RULESET, attributes, size, 0))
    for path in listable:
        _add_rule(ruleset, path, FS_READ_DIR)
    for path in readable:
        _add_rule(ruleset, path, FS_EXECUTE | FS_READ_FILE | FS_READ_DIR)
    for path in writable:
        _add_rule(ruleset, path, bits)
    _check(_libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _add_rule(ruleset: int, path: str, rights: int) -> None:
    """One path; one that does not exist cannot be read either."""
    with contextlib.suppress(FileNotFoundError):
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        if not os.path.isdir(path):
            rights &= FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE
        rule = _PathBeneath(rights, parent)
        _check(
            _libc.syscall(
                LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH, ctypes.byref(rule), 0
            )
        )
        os.close(parent)


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)
