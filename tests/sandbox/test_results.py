"""What an honest program gets: values, figures, streams, kept variables, limits in words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.sandbox.harness import Sandbox, launchers, serving, why_not


@pytest.fixture(scope="module", params=launchers())
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """One session for all of a launcher."""
    if reason := why_not(request.param):
        pytest.skip(reason)
    with serving(request.param) as server:
        server.wait_until_ready()
        yield server


@dataclass(frozen=True, slots=True)
class Shown:
    """A program and what it shows."""

    name: str
    code: str
    value: str | None = None
    stdout: str = ""
    figures: int = 0
    language: str = "python"


VALUES = (
    Shown("a sum", "1 + 1", "2"),
    Shown("nothing after an assignment", "x = 1"),
    Shown("nothing for None", "None"),
    Shown("a text by its repr", "'a'", "'a'"),
    Shown("what is printed, apart from the value", "print('a'); 2", "2", "a\n"),
    Shown("an empty program", ""),
    Shown("a comment", "# nothing"),
    Shown(
        "a table",
        "import pandas as pd; pd.DataFrame({'a': [1, 2], 'b': [3.5, 4]})",
        "   a    b\n0  1  3.5\n1  2  4.0",
    ),
    Shown(
        "a formula",
        "import sympy as s; t = s.symbols('t'); s.integrate(s.sin(t)**2, t)",
        "t/2 - sin(t)*cos(t)/2",
    ),
    Shown("a matrix", "import sympy as s; s.Matrix([[1, 2]])", "Matrix([[1, 2]])"),
    Shown("an array", "import numpy as np; np.arange(3)", "array([0, 1, 2])"),
    Shown(
        "an integral by scipy", "import scipy.integrate as i; i.quad(lambda x: x, 0, 2)[0]", "2.0"
    ),
    Shown(
        "processes of its own",
        "import multiprocessing as m\n"
        "def square(x): return x * x\n"
        "with m.get_context('fork').Pool(2) as pool: squares = pool.map(square, [1, 2])\n"
        "squares",
        "[1, 4]",
    ),
    Shown("R's last value", "x <- 1:3\nmean(x)", "[1] 2", language="r"),
    Shown("R's other values", "1:3\n'a'\n2", "[1] 2", '[1] 1 2 3\n[1] "a"\n', language="r"),
    Shown("nothing invisible in R", "invisible(1)", language="r"),
    Shown("an R function's output", "cat('hello\\n')", None, "hello\n", language="r"),
    Shown(
        "an R table",
        "data.frame(a = 1:2, b = c('x', 'y'))",
        "  a b\n1 1 x\n2 2 y",
        language="r",
    ),
)

PLOT = "import matplotlib.pyplot as plt\n"
FIGURES = (
    Shown("shown", PLOT + "plt.plot([1, 2]); plt.show()", figures=1),
    Shown("left open", PLOT + "plt.plot([1, 2]); None", figures=1),
    Shown("two left open", PLOT + "for n in (1, 2): plt.figure(); plt.plot([n])", figures=2),
    Shown("saved as PNG", PLOT + "plt.plot([1, 2]); plt.savefig('a.png')", figures=1),
    Shown("saved as PDF by its figure", PLOT + "plt.figure().savefig('a.pdf')", figures=1),
    Shown(
        "saved into memory",
        PLOT + "import io; plt.plot([1]); file = io.BytesIO(); plt.savefig(file)\nfile.tell() > 99",
        "True",
        figures=1,
    ),
    Shown(
        "saved twice and shown, once",
        PLOT + "plt.plot([1, 2]); plt.savefig('a.png', bbox_inches='tight')\n"
        "plt.savefig('a.pdf'); plt.show()",
        figures=1,
    ),
    Shown(
        "changed between two savings, twice",
        PLOT + "for n in (1, 2):\n    plt.plot([n, 3]); plt.savefig('a.png')",
        figures=2,
    ),
    Shown(
        "of another backend",
        "import matplotlib; matplotlib.use('Agg')\n" + PLOT + "plt.plot([1, 2]); plt.show()",
        figures=1,
    ),
    Shown(
        "made without pyplot",
        "from matplotlib.figure import Figure\nf = Figure(); f.subplots().plot([1]); "
        "f.savefig('a.png')",
        figures=1,
    ),
    Shown("drawn by pandas", "import pandas as pd; pd.Series([1, 2]).plot(); None", figures=1),
    Shown("of many colours", PLOT + "plt.pcolormesh([[1, 2], [3, 4]]); plt.show()", figures=1),
    Shown("R's own", "plot(1:10)", figures=1, language="r"),
    Shown(
        "R's, on two pages", "plot(1:10); hist(c(1, 2, 2))\ninvisible()", figures=2, language="r"
    ),
    Shown(
        "ggplot2's by printing",
        "library(ggplot2)\nggplot(mtcars, aes(wt, mpg)) + geom_point()",
        figures=1,
        language="r",
    ),
    Shown(
        "R's, saved as PNG",
        "png('a.png', width = 800, height = 600); plot(1:3); invisible(dev.off())",
        figures=1,
        language="r",
    ),
    Shown(
        "ggplot2's by ggsave",
        "library(ggplot2)\np <- ggplot(mtcars, aes(wt, mpg)) + geom_point()\nggsave('a.png', p)",
        figures=1,
        language="r",
    ),
)


def run(sandbox: Sandbox, row: Shown) -> dict[str, object]:
    """A row's result; a machine without R says so."""
    result = sandbox.run(row.code, row.language)
    if result["limits"] == ["unavailable"]:
        pytest.skip("R is not installed")
    return result


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in VALUES])
def test_program_shows(row: Shown, sandbox: Sandbox) -> None:
    result = run(sandbox, row)
    assert (result["exit_code"], result["stderr"]) == (0, "")
    assert (result["value"], result["stdout"]) == (row.value, row.stdout)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in FIGURES])
def test_figure_is_caught(row: Shown, sandbox: Sandbox) -> None:
    result = run(sandbox, row)
    figures = result["figures"]
    assert isinstance(figures, list)
    assert (result["exit_code"], len(figures)) == (0, row.figures), result["stderr"]
    for svg in figures:
        assert re.search(r"<svg[ >]", svg)
        assert svg.rstrip().endswith("</svg>")
    if row.value:
        assert result["value"] == row.value


TEXT_PLOT = (
    PLOT + "f, a = plt.subplots(); a.plot([1, 2], label='$x^2$'); a.fill_between([0, 1], [1, 2],"
    " hatch='/'); a.set_title('Size & <weight>'); a.legend(); plt.show()"
)
R_PLOT = "library(ggplot2)\nggplot(mtcars, aes(wt, mpg)) + geom_point() + facet_wrap(~cyl)"


@pytest.mark.parametrize(("language", "code"), [("python", TEXT_PLOT), ("r", R_PLOT)])
def test_same_program_draws_the_same_bytes_in_every_session(
    language: str, code: str, sandbox: Sandbox
) -> None:
    first = run(sandbox, Shown("", code, language=language))
    sandbox.run("import os; os._exit(0)")
    with serving(sandbox.launcher) as other:
        second = other.run(code, language)
    assert first["figures"]
    assert first["figures"] == second["figures"]


def test_text_of_a_figure_stays_text(sandbox: Sandbox) -> None:
    (svg,) = sandbox.run(TEXT_PLOT)["figures"]
    assert "Size &amp; &lt;weight&gt;" in svg
    assert "<dc:date>" not in svg


# What would hide an image in a chart of vectors if it were left alone.
COLOUR_BARS = {
    "matplotlib": (
        "python",
        PLOT + "plt.scatter([1, 2], [3, 4], c=[5, 6]); plt.colorbar(); plt.show()",
    ),
    "a mesh": (
        "python",
        PLOT + "import numpy as np; plt.pcolormesh(np.eye(3)); plt.colorbar(); plt.show()",
    ),
    "ggplot2": ("r", "library(ggplot2)\nggplot(mtcars, aes(wt, mpg, colour = hp)) + geom_point()"),
    "ggplot2, named": (
        "r",
        "library(ggplot2)\nggplot(faithfuld, aes(waiting, eruptions, fill = density)) + "
        "geom_tile() + guides(fill = guide_colourbar(title = 'd'))",
    ),
}


@pytest.mark.parametrize(("language", "code"), COLOUR_BARS.values(), ids=COLOUR_BARS)
def test_a_colour_bar_is_drawn_in_vectors(language: str, code: str, sandbox: Sandbox) -> None:
    result = run(sandbox, Shown("", code, language=language))
    assert (result["exit_code"], result["limits"]) == (0, []), result["stderr"]
    figures = result["figures"]
    assert isinstance(figures, list)
    assert len(figures) == 1
    assert "<image" not in figures[0]


REFUSED = (
    ("imshow", "import numpy as np; plt.imshow(np.eye(3)); plt.show()", "raster", "pcolormesh"),
    ("rasterized", "plt.plot([1, 2], rasterized=True); plt.show()", "raster", "pcolormesh"),
    ("too many points", "plt.scatter(range(30000), range(30000))", "figure_bytes", "fewer points"),
    ("too many", "for n in range(11): plt.figure()", "figures", "plt.subplots"),
)


@pytest.mark.parametrize(("name", "code", "limit", "advice"), REFUSED)
def test_figure_is_refused_with_advice(
    name: str, code: str, limit: str, advice: str, sandbox: Sandbox
) -> None:
    result = sandbox.run(f"{PLOT}print('before')\n{code}")
    assert (result["exit_code"], result["limits"]) == (1, [limit])
    assert advice in result["stderr"]
    assert result["stdout"] == "before\n"
    assert len(result["figures"]) == (10 if name == "too many" else 0)


def test_r_raster_is_refused_with_advice(sandbox: Sandbox) -> None:
    code = "library(ggplot2)\nggplot(faithfuld, aes(waiting, eruptions)) + geom_raster()"
    result = run(sandbox, Shown("", code, language="r"))
    assert (result["exit_code"], result["limits"], result["figures"]) == (1, ["raster"], [])
    assert "geom_tile" in str(result["stderr"])


def test_variables_and_files_stay_from_program_to_program(sandbox: Sandbox) -> None:
    sandbox.run("kept = 41\ndef more(x):\n    return x + 1\nopen('/tmp/kept', 'w').write('text')")
    assert sandbox.run("more(kept), open('/tmp/kept').read()")["value"] == "(42, 'text')"
    result = sandbox.run("cat(readLines('/tmp/kept', warn = FALSE))", "r")
    assert result["stdout"] == "text" or result["limits"] == ["unavailable"]


def test_r_starts_afresh(sandbox: Sandbox) -> None:
    run(sandbox, Shown("", "kept <- 1", language="r"))
    assert sandbox.run("kept", "r")["exit_code"] != 0


def test_traceback_begins_in_the_program(sandbox: Sandbox) -> None:
    stderr = sandbox.run("def f(x):\n    return 1 / x\n\nf(0)")["stderr"]
    lines = stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert re.fullmatch(r'  File "<program \d+>", line 4, in <module>', lines[1])
    assert "    return 1 / x" in lines
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "sandbox_fargate" not in stderr


def test_syntax_error_shows_the_place(sandbox: Sandbox) -> None:
    result = sandbox.run("x = = 1")
    assert result["exit_code"] == 1
    assert "x = = 1" in result["stderr"]
    assert "ast.py" not in result["stderr"]


def test_r_error_is_told_without_the_runner(sandbox: Sandbox) -> None:
    result = run(sandbox, Shown("", "f <- function() stop('bad')\nf()", language="r"))
    assert (result["exit_code"], result["stderr"]) == (1, "Error in f() : bad\n")


def test_exit_code_of_sys_exit_keeps_variables(sandbox: Sandbox) -> None:
    assert sandbox.run("kept = 7\nimport sys; sys.exit(3)")["exit_code"] == 3
    assert sandbox.run("kept")["value"] == "7"


def test_lost_interpreter_says_that_variables_are_gone(sandbox: Sandbox) -> None:
    result = sandbox.run("kept = 1\nimport os; os._exit(5)")
    assert result["exit_code"] == 5
    assert "variables are gone" in result["stderr"]
    assert "NameError" in sandbox.run("kept")["stderr"]


def test_interpreter_that_ends_between_programs_is_said_to_be_gone(sandbox: Sandbox) -> None:
    code = "import os, threading\nr, w = os.pipe()\n"
    code += "threading.Thread(target=lambda: (os.read(r, 1), os._exit(3))).start()\n"
    sandbox.run(code)
    # The thread ends the interpreter while or after this program runs.
    first = sandbox.run("os.write(w, b'.'); None")
    second = sandbox.run("1 + 1")
    assert "variables" in first["stderr"] + second["stderr"]
    assert sandbox.run("1 + 1")["value"] == "2"


def test_long_output_keeps_head_of_stdout_and_tail_of_stderr(sandbox: Sandbox) -> None:
    code = "import sys\nprint('first'); print('x' * 200_000); print('last')\n"
    code += "print('first' + 'y' * 200_000, file=sys.stderr); 1 / 0"
    result = sandbox.run(code)
    assert result["limits"] == ["output"]
    assert result["stdout"].startswith("first\nxxx")
    assert "left out" in result["stdout"][-80:]
    assert result["stderr"].endswith("ZeroDivisionError: division by zero\n")
    assert "left out" in result["stderr"][:80]
    assert len(result["stdout"]) < 66_000
    assert len(result["stderr"]) < 66_000


def test_time_limit_of_the_request_is_kept(sandbox: Sandbox) -> None:
    result = sandbox.run("print('begun', flush=True)\nwhile True: pass", timeout_s=0.3)
    assert (result["exit_code"], result["limits"]) == (137, ["wall"])
    assert result["stdout"] == "begun\n"
    assert 300 <= result["wall_ms"] < 2_000
