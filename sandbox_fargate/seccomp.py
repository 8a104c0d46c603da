"""Assembles the seccomp filter: an allow-list of system calls as a classic BPF program.

Laws: what is not named is refused with EPERM; a call of another architecture ends the process. The
layout of what the filter reads is struct seccomp_data, of what it is struct sock_filter
(https://www.kernel.org/doc/html/latest/userspace-api/seccomp_filter.html).
"""

import errno
import struct

from sandbox_fargate.policy import Check, Syscalls

# Processor -> its audit number (linux/audit.h) and the place of its numbers in syscalls.toml.
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

# linux/seccomp.h
ALLOW = 0x7FFF0000
ERRNO = 0x00050000
KILL_PROCESS = 0x80000000

# linux/bpf_common.h: load a word, compare with a constant, mask, return.
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, AND, RETURN = 0x20, 0x15, 0x35, 0x54, 0x06

# Offsets in struct seccomp_data; both processors are little-endian, the low half comes first.
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16

# x32, a second table of calls behind the same audit number, sets this bit.
X32_BIT = 0x40000000


def assemble(syscalls: Syscalls, machine: str) -> bytes:
    """The filter for a processor, ready for the kernel or for bwrap."""
    audit, column = MACHINES[machine]
    program = [
        _op(LOAD, ARCHITECTURE),
        _op(JUMP_EQUAL, audit, 1, 0),
        _op(RETURN, KILL_PROCESS),
        _op(LOAD, NUMBER),
        _op(JUMP_AT_LEAST, X32_BIT, 0, 1),
        _op(RETURN, ERRNO | errno.ENOSYS),
    ]
    for numbers in syscalls.allowed.values():
        program += _when(numbers[column], [_op(RETURN, ALLOW)])
    for numbers in syscalls.missing.values():
        program += _when(numbers[column], [_op(RETURN, ERRNO | errno.ENOSYS)])
    for _, numbers, checks in syscalls.checked:
        program += _when(numbers[column], _checked(checks))
    program.append(_op(RETURN, ERRNO | errno.EPERM))
    return b"".join(program)


def _op(code: int, constant: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, constant)


def _when(number: int, block: list[bytes]) -> list[bytes]:
    """The block, which returns, for one system call; nothing where a processor lacks it."""
    return [] if number < 0 else [_op(JUMP_EQUAL, number, 0, len(block)), *block]


def _checked(checks: tuple[Check, ...]) -> list[bytes]:
    """Allow when every check holds, else EPERM."""
    block: list[bytes] = []
    for check in checks:
        block += [_op(LOAD, ARGUMENTS + 8 * check.argument), _op(AND, check.mask)]
        for left, value in zip(range(len(check.equals), 0, -1), check.equals, strict=True):
            # A match jumps over the other comparisons and the refusal behind them.
            block.append(_op(JUMP_EQUAL, value, left, 0))
        block.append(_op(RETURN, ERRNO | errno.EPERM))
    return [*block, _op(RETURN, ALLOW)]
