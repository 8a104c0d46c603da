"""Every hostile program, on both launchers: it gets what its row says, and the next one works."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.attacks import FAST, FOLLOWING, SWARMS, Attack, program
from tests.sandbox.harness import (
    ROOT,
    Sandbox,
    jail_of,
    launchers,
    orphans,
    outer_cgroup,
    serving,
    why_not,
)

# Rows a session: well under the 300 s after which a session ends by itself.
ROWS = [pytest.param(row, id=row.name) for row in (*FAST, *SWARMS)]


@pytest.fixture(scope="module")
def outer() -> Iterator[tuple[str, ...]]:
    """The bounds round everything hostile."""
    with outer_cgroup() as folders:
        yield folders


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """A server on this machine that a program would love to reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.fixture(scope="module")
def planted() -> Iterator[str]:
    """A folder of somebody else's beside the machine's own libraries, with a file in it."""
    folder = Path(f"/usr/local/lib/phigate-tests-{os.getpid()}")
    if os.geteuid() == 0:
        folder.mkdir()
        (folder / "secret").write_text("x\n", encoding="ascii")
    yield folder.name
    if os.geteuid() == 0:
        (folder / "secret").unlink()
        folder.rmdir()


@pytest.fixture(scope="module", params=launchers())
def sandbox(request: pytest.FixtureRequest, outer: tuple[str, ...]) -> Iterator[Sandbox]:
    """One session for all rows of a launcher; at its end nothing is left of it."""
    if reason := why_not(request.param):
        pytest.skip(reason)
    with serving(request.param, outer=outer) as server:
        server.wait_until_ready()
        yield server
        assert server.end() == 0
        assert server.process.stderr is not None
        log = server.process.stderr.read()
    assert "end clean=yes" in log
    assert "Traceback" not in log
    assert orphans() == set()


@pytest.mark.parametrize("attack", ROWS)
def test_hostile_program_gets_its_result_and_the_next_one_works(
    attack: Attack,
    sandbox: Sandbox,
    outer: tuple[str, ...],
    listener: socket.socket,
    planted: str,
) -> None:
    if attack.is_swarm and not outer and sandbox.launcher != "docker":
        pytest.skip("no cgroup can be made here to bound a program that could take the machine")
    words = {
        "LISTENER": str(listener.getsockname()[1]),
        "PROJECT": str(ROOT),
        "MARKER": sandbox.token,
        "PLANTED": planted,
    }
    result = sandbox.run(program(attack, words), attack.language, attack.timeout_s)
    if attack.language == "r" and result["limits"] == ["unavailable"]:
        pytest.skip("R is not installed")
    if attack.outcomes:
        assert result["stdout"].strip() in attack.outcomes, result
    assert result["exit_code"] in attack.exit_codes, result
    assert set(attack.limits) <= set(result["limits"]), result
    assert attack.says in result["stderr"], result
    with pytest.raises(BlockingIOError):
        listener.accept()
    following = sandbox.run(FOLLOWING)
    assert (following["stdout"], following["value"]) == ("still\n", "2"), following
    # bwrap, the supervisor and the interpreter; in a container of its own there is no bwrap.
    assert len(jail_of(sandbox)) <= (3 if sandbox.launcher == "bwrap" else 2)
