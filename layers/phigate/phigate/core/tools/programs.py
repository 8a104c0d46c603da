"""The programs that a model writes: the two tools that it is offered, what a call asks to be run,
and what its result tells the model. Nothing here runs anything.
"""

import json
from collections.abc import Collection, Mapping, Sequence

from phigate.core.limits import PROGRAM_OUTPUT_BYTES_MAX
from phigate.core.sandbox.port import RunResult
from phigate.core.sandbox.runs import Language
from phigate.core.types import Json

# The names that the model calls the languages by.
LANGUAGES: Mapping[str, Language] = {"python": "python", "r": "r"}


def figure_label(number: int) -> str:
    """How an answer refers to a figure; they are counted from 1 over a request."""
    return f"[Figure {number}]"


def functions(names: Collection[str]) -> list[Json]:
    """The tools of these names as a model is offered them."""
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": _DESCRIPTIONS[name],
                "parameters": {
                    "type": "object",
                    "properties": {"code": {"type": "string", "description": "The program."}},
                    "required": ["code"],
                    "additionalProperties": False,
                },
            },
        }
        for name in LANGUAGES
        if name in names
    ]


def code_of(call: Json) -> str | None:
    """The program of a tool call; None where its arguments are not what the tool takes."""
    try:
        arguments = json.loads(call["function"].get("arguments") or "")
    except (ValueError, RecursionError):
        return None
    code = arguments.get("code") if isinstance(arguments, dict) else None
    return code if isinstance(code, str) else None


def format_result(ran: RunResult, figures: Sequence[str], refused: Sequence[str]) -> str:
    """What the model is told of a program: `figures` are the names of those that were kept,
    `refused` says of the others what to change."""
    result: Json = {"exit_code": ran.exit_code}
    for name, text in (("value", ran.value), ("stdout", ran.stdout), ("stderr", ran.stderr)):
        if text:
            result[name] = _bounded(text)
    if figures:
        result["figures"] = list(figures)
    if refused:
        result["figures_refused"] = list(refused)
    if ran.limits:
        result["limits"] = list(ran.limits)
    return json.dumps(result, ensure_ascii=False)


def not_run(reason: str) -> str:
    """What the model is told where nothing was run."""
    return json.dumps({"error": reason})


def _bounded(text: str) -> str:
    """The end of a text that is too long: the last lines say how a program ended."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= PROGRAM_OUTPUT_BYTES_MAX:
        return raw.decode()
    return "[cut] " + raw[-PROGRAM_OUTPUT_BYTES_MAX:].decode("utf-8", "ignore")


_FIGURES = (
    "Every figure comes back by name, as [Figure 1]; write that name in the answer where the "
    "figure belongs. Figures are SVG: no raster images. There is no network."
)
_DESCRIPTIONS = {
    "python": "Runs a Python 3 program in a sandbox with numpy, pandas, matplotlib, sympy and "
    "scipy. Variables are kept from one call to the next. The last expression's value, what is "
    "printed and every matplotlib figure come back. Use pcolormesh instead of imshow. " + _FIGURES,
    "r": "Runs an R program in a sandbox with ggplot2; each call is a fresh process. What R prints "
    "and every plot come back. " + _FIGURES,
}
