"""Sets up what the sandbox needs on this machine, or says in a line what it has to do without.

Laws: Python's libraries are those of requirements.lock, checked by hash; a machine that cannot have
the sandbox is no failure; done once, it is not tried again before the lock changes or `--again`.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE / "requirements.lock"

# A command that shows whether they are there -> Debian's packages.
PACKAGES = {
    "bwrap": ("bubblewrap",),
    "R": ("r-base-core", "r-cran-ggplot2", "r-cran-svglite", "r-cran-jsonlite"),
}
MISSING = {"bwrap": "the sandbox is not available", "R": "the sandbox has no R"}

# R with its libraries took 28 s, the wheels 20 s; past these a machine counts as offline.
APT_TIMEOUT_S = 600
PIP_TIMEOUT_S = 600

# The folder in the venv that place.py names.
FONTS = "fonts"
BUILD_FONTS = "import matplotlib.font_manager"


class UnavailableError(Exception):
    """This machine cannot have it; the text is one line that says why."""


def main(arguments: list[str]) -> int:
    """Set up into a folder; 0 also when something may be missing."""
    parser = argparse.ArgumentParser(prog="sandbox_fargate.install", description=__doc__)
    parser.add_argument("target", type=Path, help="where the venv goes")
    parser.add_argument("--again", action="store_true", help="try again what was not to be had")
    options = parser.parse_args(arguments)
    if sys.platform != "linux":
        say("the sandbox needs Linux; programs are not run here")
        return 0
    is_complete = stamp(options.target).exists()
    for command, packages in PACKAGES.items():
        if options.again or not is_complete:
            attempt_apt(command, packages)
        if shutil.which(command) is None:
            say(f"{MISSING[command]}; on Debian: apt-get install {' '.join(packages)}")
    try:
        if not is_complete:
            make_venv(options.target)
    except UnavailableError as exc:
        say(f"the sandbox is not available: {exc}")
    return 0


def stamp(target: Path) -> Path:
    """The file that says the venv is complete for this lock and interpreter."""
    made_of = LOCK.read_bytes() + sys.version.encode()
    return target / f".done-{hashlib.sha256(made_of).hexdigest()[:16]}"


def make_venv(target: Path) -> None:
    """A venv with the libraries, their bytecode and the font cache."""
    say("installing the sandbox's libraries (about half a minute the first time)")
    base = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    run([str(base), "-m", "venv", "--clear", str(target)], PIP_TIMEOUT_S)
    python = str(target / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK)], PIP_TIMEOUT_S)
    (target / FONTS).mkdir(exist_ok=True)
    fonts = {"MPLCONFIGDIR": str(target / FONTS)}
    run([python, "-c", BUILD_FONTS], PIP_TIMEOUT_S, fonts)
    stamp(target).touch()


def attempt_apt(command: str, packages: tuple[str, ...]) -> None:
    """Install what brings a command where that can be done; what is missing then is said later."""
    if shutil.which(command) or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return
    say(f"installing {' '.join(packages)}")
    quiet = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    install = [*quiet, "install", "-y", "--no-install-recommends", *packages]
    try:
        run([*quiet, "update"], APT_TIMEOUT_S)
        run(install, APT_TIMEOUT_S, {"DEBIAN_FRONTEND": "noninteractive"})
    except UnavailableError as exc:
        say(str(exc))


def run(command: list[str], timeout_s: int, more: dict[str, str] | None = None) -> None:
    """Run a tool without its chatter."""
    try:
        subprocess.run(
            command,
            check=True,
            timeout=timeout_s,
            env={**os.environ, **(more or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise UnavailableError(f"{' '.join(command[:4])} … failed") from exc


def say(line: str) -> None:
    """One line for whoever called make."""
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
