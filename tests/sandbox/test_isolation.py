"""No sandbox reaches another, nor the one before it, nor leaves anything on the machine."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.sandbox.harness import VENV, jail_of, orphans, serving, why_not

bwrap_only = pytest.mark.skipif(bool(why_not("bwrap")), reason=why_not("bwrap") or "-")
lockdown_only = pytest.mark.skipif(bool(why_not("lockdown")), reason=why_not("lockdown") or "-")

LEAVE = "import os\nfor root in ('/tmp', '/dev/shm'): open(f'{root}/secret', 'w').write('x')"
LOOK = (
    "import os\n"
    "[path for root in ('/tmp', '/dev/shm') for path, _, names in os.walk(root)"
    " if 'secret' in names]"
)


def cgroups() -> set[str]:
    """Cgroups of sandboxes whose server is gone."""
    found = Path("/sys/fs/cgroup").glob("**/phigate-sandbox-*")
    return {str(path) for path in found if not Path("/proc", path.name.split("-")[2]).exists()}


def mounts() -> set[str]:
    """What is mounted for this process."""
    return set(Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines())


@bwrap_only
def test_two_sandboxes_see_nothing_of_each_other() -> None:
    with serving("bwrap") as first, serving("bwrap") as second:
        first.run(LEAVE)
        assert second.run(LOOK)["value"] == "[]"
        code = "import os; [pid for pid in os.listdir('/proc') if pid.isdigit()]"
        assert len(ast.literal_eval(second.run(code)["value"])) <= 2
        reach = f"import socket; socket.create_connection(('127.0.0.1', {first.port}))"
        assert "Operation not permitted" in second.run(reach)["stderr"]


@bwrap_only
def test_nothing_is_left_of_a_session() -> None:
    groups = cgroups()
    mounted = mounts()
    scratch = set(os.listdir("/tmp")) | set(os.listdir("/dev/shm"))
    with serving("bwrap") as server:
        server.run(LEAVE)
        assert server.end() == 0
    assert orphans() == set()
    assert cgroups() <= groups
    assert mounts() <= mounted
    left = (set(os.listdir("/tmp")) | set(os.listdir("/dev/shm"))) - scratch
    assert not any("run-" in name or "secret" in name for name in left)


@lockdown_only
def test_sandbox_after_a_broken_one_finds_nothing_of_it() -> None:
    with serving("lockdown") as server:
        server.run(LEAVE)
        deep = "for _ in range(3000): os.mkdir('d'); os.chdir('d')"
        server.run(f"{LEAVE}\nos.mkdir('/tmp/shut', 0)\n{deep}")
        first = server.run("import os; os.getuid()")["value"]
        daemon = "if os.fork() == 0:\n    os.setsid(); time.sleep(99)\n"
        broken = server.run(f"import os, time\n{daemon}os.kill(os.getppid(), 9); time.sleep(9)")
        assert broken["exit_code"] == 137
        assert server.run(LOOK)["value"] == "[]"
        code = "import os; os.listdir('/tmp') == [f'run-{os.getuid()}'], os.getuid()"
        assert server.run(code)["value"].startswith("(True, ")
        assert first not in server.run(code)["value"]
        assert len(set(jail_of(server).values())) == 1
        assert server.end() == 0
        assert server.process.stderr is not None
        assert "end clean=yes" in server.process.stderr.read()


@bwrap_only
def test_ordinary_user_has_the_same_sandbox() -> None:
    system = Path(f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}")
    if os.geteuid() != 0 or not system.exists():
        pytest.skip("needs root to stop being it, and the system's Python in this version")
    reachable = subprocess.run(
        ["/usr/bin/test", "-r", str(VENV / "bin")], check=False, user=65534, group=65534
    )
    if reachable.returncode != 0:
        pytest.skip("an ordinary user cannot read this project's folder")
    # pytest's own folders are closed to other users.
    with TemporaryDirectory() as folder:
        venv = Path(folder)
        venv.chmod(0o755)
        (venv / "bin").mkdir()
        (venv / "bin" / "python").symlink_to(system)
        (venv / "lib").symlink_to(VENV / "lib")
        (venv / "fonts").symlink_to(VENV / "fonts")
        with serving("bwrap", "--venv", str(venv), user=65534, python=str(system)) as server:
            assert server.run("import os, numpy; os.getuid()")["value"] == "65534"
            refused = server.run("import socket; socket.socket()")
            assert "Operation not permitted" in refused["stderr"]
            bomb = "for number in range(10**7): open(f'/tmp/i{number}', 'w').close()"
            assert server.run(bomb)["limits"] == ["disk"]
            assert server.run("1 + 1")["value"] == "2"
            assert server.end() == 0
