"""One R program: a fresh R, which draws into SVG files that are read when it has ended.

Law: R may be missing, which is a result that says so.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox_fargate.runner.capture import Kept
from sandbox_fargate.runner.child import Child, Outcome
from sandbox_fargate.runner.figures import problem_of

R_HOMES = ("/usr/lib/R", "/usr/local/lib/R", "/usr/lib64/R")
PROGRAM = Path(__file__).with_name("program.R")

# What a shell answers for a command that it does not find.
NOT_FOUND = 127
UNAVAILABLE = "R is not installed in this sandbox; write the program in Python instead.\n"

# What R's own start script would set, without the shell that it needs.
R_ENVIRONMENT = {
    "R_SHARE_DIR": "/usr/share/R/share",
    "R_INCLUDE_DIR": "/usr/share/R/include",
    "R_DOC_DIR": "/usr/share/R/doc",
    "R_LIBS_SITE": "/usr/local/lib/R/site-library:/usr/lib/R/site-library:/usr/lib/R/library",
    "R_DEFAULT_PACKAGES": "datasets,utils,grDevices,graphics,stats,methods",
}


def find_r() -> str | None:
    """R's home, if it is here."""
    return next((home for home in R_HOMES if Path(home, "bin/exec/R").exists()), None)


def run_r(
    code: str,
    timeout_s: float,
    caps: dict[str, Any],
    closed: tuple[int, ...],
    settle: Callable[[], object],
) -> Outcome:
    """Run a program; `settle` ends what it left running before its output is read."""
    home = find_r()
    if home is None:
        return unavailable(caps)
    folder = Path(tempfile.mkdtemp(prefix=".r-"))
    (folder / "code.R").write_text(code, encoding="utf-8")
    try:
        child = Child(lambda _inbound, _outbound: _become_r(home, folder), closed)
        outcome = child.run(b"", timeout_s, caps)
        settle()
        child.drain(outcome)
        child.close()
        _take_figures(folder, outcome, caps)
        _take_value(folder / "value.txt", outcome, caps)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    # R is new for every program: nothing was lost.
    outcome.ended = False
    return outcome


def unavailable(caps: dict[str, Any]) -> Outcome:
    """The result where there is no R."""
    size = caps["output_bytes"]
    outcome = Outcome(Kept(size, tail=False), Kept(size, tail=True), exit_code=NOT_FOUND)
    outcome.stderr.feed(UNAVAILABLE.encode("ascii"))
    outcome.hit("unavailable")
    return outcome


def _become_r(home: str, folder: Path) -> None:
    libraries = f"{home}/lib"
    environment = {
        name: os.environ[name] for name in ("HOME", "TMPDIR", "LANG", "TZ") if name in os.environ
    }
    environment |= {
        "TMPDIR": str(folder),
        "R_HOME": home,
        "LD_LIBRARY_PATH": libraries,
        **R_ENVIRONMENT,
    }
    words = ["R", "--vanilla", "--no-echo", f"--file={PROGRAM}", "--args", str(folder)]
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.execve(f"{home}/bin/exec/R", words, environment)


def _take_figures(folder: Path, outcome: Outcome, caps: dict[str, Any]) -> None:
    """The pages in the order in which they were begun."""
    # A page that was opened and never drawn on is an empty file.
    pages = [file for file in sorted(folder.glob("figure-*.svg")) if file.stat().st_size]
    for number, file in enumerate(pages):
        if number >= caps["figures"]:
            problem = ("figures", f"a program may show {caps['figures']} figures; combine them")
        else:
            with file.open("rb") as page:
                svg = page.read(caps["figure_bytes"] + 1)
            found = problem_of(svg, caps["figure_bytes"], "geom_tile or filled.contour")
            if found is None:
                outcome.figures.append(svg)
                continue
            problem = found
        outcome.hit(problem[0])
        outcome.exit_code = outcome.exit_code or 1
        outcome.stderr.feed(f"Figure refused: {problem[1]}.\n".encode())
        if problem[0] == "figures":
            break


def _take_value(file: Path, outcome: Outcome, caps: dict[str, Any]) -> None:
    if not file.is_file():
        return
    kept = Kept(caps["output_bytes"], tail=False)
    with file.open("rb") as text:
        kept.feed(text.read(caps["output_bytes"] + 1))
    outcome.value = kept.text().rstrip("\n") or None
    if kept.cut:
        outcome.hit("output")
