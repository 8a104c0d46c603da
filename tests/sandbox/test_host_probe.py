"""What of the machine's own folders a jail is shown besides the policy's paths."""

from pathlib import Path

from sandbox_fargate.host_probe import HostProbe, find_place, interpreter, own_binds

VERSION = "python3.12"


def installed(root: Path, prefix: Path) -> HostProbe:
    """The parts behind a venv whose interpreter has this prefix, with others' things beside it."""
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / VERSION).touch()
    for name in (VERSION, "python3.9", "node_modules", "R"):
        (prefix / "lib" / name).mkdir(parents=True)
    for name in ("libpython3.12.so", "libpython3.12.so.1.0", "libpython3.9.so.1.0", "libsecret.so"):
        (prefix / "lib" / name).touch()
    venv = root / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(prefix / "bin" / VERSION)
    (venv / "lib" / VERSION / "site-packages").mkdir(parents=True)
    return find_place(venv)


def test_an_interpreter_of_its_own_is_shown_whole(tmp_path: Path) -> None:
    place = installed(tmp_path, tmp_path / "own")
    assert interpreter(place) == [str(tmp_path / "own")]
    assert own_binds(place)[-1].target == "/sandbox/python"


def test_of_one_beside_others_things_its_parts_alone_are_shown(tmp_path: Path) -> None:
    prefix = tmp_path / "usr" / "local"
    place = installed(tmp_path, prefix)
    parts = [
        f"bin/{VERSION}",
        f"lib/{VERSION}",
        "lib/libpython3.12.so",
        "lib/libpython3.12.so.1.0",
    ]
    assert interpreter(place, [str(prefix)]) == [str(prefix / part) for part in parts]


def test_the_systems_own_is_not_shown_with_all_of_usr() -> None:
    place = HostProbe("/usr", "/usr/bin/python3.11", "/v/lib/python3.11/site-packages", "/r", "/f")
    shown = [bind.target for bind in own_binds(place)]
    assert "/usr/bin/python3.11" in shown
    assert not {"/usr", "/usr/local", "/usr/lib"} & set(shown)
