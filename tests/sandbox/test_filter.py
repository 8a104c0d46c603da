"""The seccomp filter, run by a small interpreter of its bytecode, for both processors."""

import errno
import platform
import struct

import pytest

from sandbox_fargate import seccomp
from sandbox_fargate.policy import load_syscalls

ALLOW = seccomp.ALLOW
REFUSE = seccomp.ERRNO | errno.EPERM
MISSING = seccomp.ERRNO | errno.ENOSYS
KILL = seccomp.KILL_PROCESS

MACHINES = sorted(seccomp.MACHINES)


def decide(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """What the kernel would do with a call (struct seccomp_data and classic BPF)."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    facts = struct.pack("<IIQ6Q", number, audit, 0, *padded)
    operations = list(struct.iter_unpack("=HBBI", program))
    place, held = 0, 0
    while True:
        code, if_true, if_false, constant = operations[place]
        place += 1
        if code == seccomp.LOAD:
            (held,) = struct.unpack_from("<I", facts, constant)
        elif code == seccomp.AND:
            held &= constant
        elif code == seccomp.JUMP_EQUAL:
            place += if_true if held == constant else if_false
        elif code == seccomp.JUMP_AT_LEAST:
            place += if_true if held >= constant else if_false
        else:
            return int(constant)


# name, numbers on x86_64 and aarch64, arguments, decision
CALLS = (
    ("read", (0, 63), (), ALLOW),
    ("execve", (59, 221), (), ALLOW),
    ("socket", (41, 198), (2, 1), REFUSE),
    ("connect", (42, 203), (), REFUSE),
    ("bind", (49, 200), (), REFUSE),
    ("socketpair of a unix stream", (53, 199), (1, 1), ALLOW),
    ("socketpair with flags", (53, 199), (1, 1 | 0o2000000), ALLOW),
    ("socketpair of a unix datagram", (53, 199), (1, 2), REFUSE),
    ("socketpair of another family", (53, 199), (2, 1), REFUSE),
    ("clone as fork does", (56, 220), (0x01200011,), ALLOW),
    ("clone as threads do", (56, 220), (0x3D0F00,), ALLOW),
    ("clone into a user namespace", (56, 220), (0x10000011,), REFUSE),
    ("clone into a network namespace", (56, 220), (0x40000011,), REFUSE),
    ("clone into a mount namespace", (56, 220), (0x00020011,), REFUSE),
    ("clone3", (435, 435), (), MISSING),
    ("ptrace", (101, 117), (), REFUSE),
    ("mount", (165, 40), (), REFUSE),
    ("unshare", (272, 97), (), REFUSE),
    ("setns", (308, 268), (), REFUSE),
    ("bpf", (321, 280), (), REFUSE),
    ("io_uring_setup", (425, 425), (), REFUSE),
    ("userfaultfd", (323, 282), (), REFUSE),
    ("keyctl", (250, 219), (), REFUSE),
    ("process_vm_readv", (310, 270), (), REFUSE),
    ("setuid", (105, 146), (), REFUSE),
    ("mknodat", (259, 33), (), REFUSE),
    ("seccomp", (317, 277), (), REFUSE),
    ("ioctl for the window's size", (16, 29), (0, 0x5413), ALLOW),
    ("ioctl that types", (16, 29), (0, 0x5412), REFUSE),
    ("ioctl that types, with high bits", (16, 29), (0, 0x1_0000_5412), REFUSE),
    ("prctl for a name", (157, 167), (15,), ALLOW),
    ("prctl for seccomp", (157, 167), (22,), REFUSE),
    ("a call that no kernel has", (9_999, 9_999), (), REFUSE),
)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("name", "numbers", "arguments", "decision"), CALLS)
def test_filter_decides(
    name: str, numbers: tuple[int, int], arguments: tuple[int, ...], decision: int, machine: str
) -> None:
    audit, column = seccomp.MACHINES[machine]
    program = seccomp.assemble(load_syscalls(), machine)
    assert decide(program, audit, numbers[column], *arguments) == decision


@pytest.mark.parametrize("machine", MACHINES)
def test_call_of_another_architecture_ends_the_process(machine: str) -> None:
    program = seccomp.assemble(load_syscalls(), machine)
    # i386 and 32-bit ARM, which a 64-bit kernel may serve as well.
    for audit in (0x40000003, 0x40000028):
        assert decide(program, audit, 0) == KILL


def test_second_table_of_x86_64_is_missing() -> None:
    program = seccomp.assemble(load_syscalls(), "x86_64")
    audit, _ = seccomp.MACHINES["x86_64"]
    assert decide(program, audit, 0x40000000) == MISSING


@pytest.mark.parametrize("machine", MACHINES)
def test_filter_fits_the_kernel(machine: str) -> None:
    program = seccomp.assemble(load_syscalls(), machine)
    assert len(program) % 8 == 0
    # BPF_MAXINSNS in linux/bpf_common.h.
    assert len(program) // 8 <= 4096


def test_this_machine_is_one_of_them() -> None:
    if platform.machine() not in seccomp.MACHINES:
        pytest.skip(f"no table for {platform.machine()}")


def test_no_number_stands_twice() -> None:
    syscalls = load_syscalls()
    pairs = [*syscalls.allowed.values(), *syscalls.missing.values()]
    pairs += [numbers for _, numbers, _ in syscalls.checked]
    for column in (0, 1):
        numbers = [pair[column] for pair in pairs if pair[column] >= 0]
        assert len(numbers) == len(set(numbers))
