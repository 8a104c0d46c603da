"""Where the parts of a sandbox lie on this machine, and where a program sees them.

Law: outside the system's own folders, a program sees an interpreter, its libraries, the runner and
a font cache, and nothing else.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RUNNER = Path(__file__).resolve().parent / "runner"

# An interpreter below these is used where it lies, and is shown in its parts: others' things stand
# beside them.
SYSTEM_PREFIXES = ("/usr", "/usr/local")

# Where `make setup-sandbox` and the Dockerfile put the font cache inside the venv.
FONTS = "fonts"


class PlaceError(Exception):
    """No sandbox can be had here; the text is one line that says why."""


@dataclass(frozen=True, slots=True)
class HostProbe:
    """Paths on this machine."""

    prefix: str
    python: str
    libraries: str
    runner: str
    fonts: str


@dataclass(frozen=True, slots=True)
class Bind:
    """A path of this machine that a program sees, perhaps under another name."""

    source: str
    target: str


def find_place(venv: Path) -> HostProbe:
    """The parts behind a venv that was made for the sandbox."""
    python = (venv / "bin" / "python").resolve()
    libraries = sorted(venv.glob("lib/python3*/site-packages"))
    if not python.is_file() or not libraries:
        raise PlaceError(f"no sandbox venv at {venv.name}: make setup-sandbox")
    return HostProbe(
        prefix=str(python.parent.parent),
        python=str(python),
        libraries=str(libraries[0].resolve()),
        runner=str(RUNNER),
        fonts=str((venv / FONTS).resolve()),
    )


def own_binds(place: HostProbe) -> list[Bind]:
    """What a jail with a view of its own shows besides the system's folders."""
    binds = [
        Bind(place.libraries, "/sandbox/libraries"),
        Bind(place.runner, "/sandbox/code/sandbox_fargate/runner"),
        Bind(place.fonts, "/sandbox/fonts"),
    ]
    if place.prefix in SYSTEM_PREFIXES:
        return [*binds, *(Bind(part, part) for part in interpreter(place))]
    return [*binds, Bind(place.prefix, "/sandbox/python")]


def interpreter(place: HostProbe, shared_prefixes: Sequence[str] = SYSTEM_PREFIXES) -> list[str]:
    """The interpreter's own files: all that lies under its prefix, where that is its alone; of one
    that the system shares its binary, its library folder and what it is linked against."""
    if place.prefix not in shared_prefixes:
        return [place.prefix]
    # The folder in the venv is named after the version: lib/python3.11/site-packages.
    folder = Path(place.prefix, "lib", Path(place.libraries).parent.name)
    shared = sorted(folder.parent.glob(f"lib{folder.name}*.so*"))
    return [place.python, *(str(part) for part in (folder, *shared) if part.exists())]


def seen(place: HostProbe) -> HostProbe:
    """The same parts as a program sees them in a jail with a view of its own."""
    prefix = place.prefix if place.prefix in SYSTEM_PREFIXES else "/sandbox/python"
    return HostProbe(
        prefix=prefix,
        python=f"{prefix}/bin/{Path(place.python).name}",
        libraries="/sandbox/libraries",
        runner="/sandbox/code/sandbox_fargate/runner",
        fonts="/sandbox/fonts",
    )


def command(place: HostProbe) -> list[str]:
    """How the runner is started, in the paths of its view."""
    # -s: no libraries of a home; -P: nothing from the working directory, which programs write to.
    return [place.python, "-s", "-P", "-m", "sandbox_fargate.runner"]


def environment(place: HostProbe, home: str) -> dict[str, str]:
    """The whole environment of a jail."""
    code = str(Path(place.runner).parent.parent)
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": home,
        "TMPDIR": home,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONPATH": f"{code}:{place.libraries}",
        "PYTHONDONTWRITEBYTECODE": "1",
        # The same program gives the same bytes, also where it iterates over a set of names.
        "PYTHONHASHSEED": "0",
        # An interpreter that was built shared looks for its library where it was built.
        "LD_LIBRARY_PATH": f"{place.prefix}/lib",
        "MPLBACKEND": "svg",
        "MPLCONFIGDIR": f"{home}/.matplotlib",
        "SANDBOX_FONTS": place.fonts,
        # One thread: sandboxes share few processors, and each thread reserves memory.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def helper_path() -> str:
    """What the launchers' helper process needs to find this package."""
    return str(Path(sys.modules[__package__ or ""].__path__[0]).parent)
