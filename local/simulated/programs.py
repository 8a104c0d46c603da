"""What a simulated provider computes when it is offered `python` and `r`: programs that are written
from the words of the question, one a turn. No model runs; what is read is arithmetic and no more.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from local.simulated.shapes import Ask

LANGUAGES = ("python", "r")
EXPRESSION_CHARS_MAX = 120

_EXPRESSION = r"[-0-9a-z+*/^(). ]{1,120}?"
_NUMBER = r"-?[0-9.]+|-?pi"
_INTEGRAL = re.compile(
    rf"integra(?:l|te)(?: of)? ({_EXPRESSION}) from ({_NUMBER}) to ({_NUMBER})\b", re.IGNORECASE
)
_PLOT = re.compile(
    rf"plot(?: of)? ({_EXPRESSION})(?: from ({_NUMBER}) to ({_NUMBER}))? (?:in|with) (python|r)\b",
    re.IGNORECASE,
)
_FENCE = re.compile(r"```(python|r)\n(.*?)\n```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Program:
    """One program, and what the answer says of its result."""

    language: str
    code: str
    sentence: str


def is_offered(ask: Ask) -> bool:
    """Whether programs can be run: both tools of a math agent are offered."""
    return {tool.name for tool in ask.offered} >= set(LANGUAGES)


def programs(text: str) -> list[Program]:
    """What the question asks to be computed, in its order: the same question, the same programs."""
    found = sorted([*_integrals(text), *_plots(text), *_fences(text)], key=lambda each: each[0])
    return [program for _, program in found]


def concluded(text: str, results: tuple[str, ...]) -> str:
    """The sentences of the answer, once every program has run."""
    return " ".join(
        program.sentence.format(**_facts(result))
        for program, result in zip(programs(text), results, strict=False)
    )


def _facts(result: str) -> dict[str, str]:
    told = json.loads(result)
    value = str(told.get("value") or told.get("stdout", "")).strip()
    figures = " and ".join(told.get("figures", ["no figure"]))
    return {"value": value or "nothing", "figures": figures, "exit": str(told.get("exit_code"))}


def _integrals(text: str) -> Iterator[tuple[int, Program]]:
    for found in _INTEGRAL.finditer(text):
        expression, low, high = found[1].strip().replace("^", "**"), found[2], found[3]
        code = (
            "import sympy\n"
            "x = sympy.Symbol('x')\n"
            f"sympy.integrate(sympy.sympify({expression!r}), "
            f"(x, sympy.sympify({low!r}), sympy.sympify({high!r})))"
        )
        sentence = f"The integral of {expression} from {low} to {high} is {{value}}."
        yield found.start(), Program("python", code, sentence)


def _plots(text: str) -> Iterator[tuple[int, Program]]:
    for found in _PLOT.finditer(text):
        expression, low, high = found[1].strip(), found[2] or "0", found[3] or "1"
        write = {"python": _python_plot, "r": _r_plot}[found[4].lower()]
        sentence = f"Here it is in {found[4]}: {{figures}}."
        yield found.start(), Program(found[4].lower(), write(expression, low, high), sentence)


def _python_plot(expression: str, low: str, high: str) -> str:
    return (
        "import matplotlib.pyplot as plt, numpy, sympy\n"
        f"f = sympy.lambdify('x', {expression.replace('^', '**')!r}, 'numpy')\n"
        f"x = numpy.linspace(float(sympy.sympify({low!r})), float(sympy.sympify({high!r})), 101)\n"
        "plt.plot(x, f(x) + 0 * x)\n"
        f"plt.title({expression!r})\n"
        "plt.show()"
    )


def _r_plot(expression: str, low: str, high: str) -> str:
    body = expression.replace("**", "^")
    return (
        "library(ggplot2)\n"
        f"ggplot(data.frame(x = c({low}, {high})), aes(x)) +\n"
        f"  stat_function(fun = function(x) {body} + 0 * x) + labs(title = {json.dumps(body)})"
    )


def _fences(text: str) -> Iterator[tuple[int, Program]]:
    """A program that the question holds is run as it stands."""
    for found in _FENCE.finditer(text):
        sentence = "The program ended with {exit} and said {value} ({figures})."
        yield found.start(), Program(found[1], found[2], sentence)
