"""Puts a request's figures into the final answer, and makes the rest of its drawing code safe.

Law 1: the model's own text is cleaned before a figure enters it, so nothing of the model's is ever
taken for a figure. Law 2: each figure stands in the answer exactly once: after the passage that
first names it as `[Figure 1]`, else at the end, under that name. Law 3: it goes only where it does
not change how the lines around it are read. Law 4: what is still labelled `svg` or `mermaid` was
cleaned; everything else is shown as text.
"""

import re
from collections.abc import Callable, Sequence

from phigate.core.errors import SvgRefused
from phigate.core.tools.markdown import Line, fenced, read, relabelled
from phigate.core.tools.markup import Prose
from phigate.core.tools.mermaid import clean_diagram
from phigate.core.tools.programs import figure_label

# In any case, with emphasis and space inside. A bare "Figure 1" is prose: it may be one of a paper
# that the caller asked about.
_REFERENCE = re.compile(r"\[[\s*_]*figure[\s*_]+([0-9]{1,3})[\s*_]*\]", re.IGNORECASE)
# Models also write figures as images of files that exist nowhere.
_IMAGE = re.compile(
    r"!(\[[\s*_]*figure[\s*_]+([0-9]{1,3})\b[^\]\n]{0,200}\])\([^()\n]{0,200}\)", re.IGNORECASE
)
_LANGUAGE = re.compile(r" *+(?!(?:math|katex)\b)[\w+#.-]*+", re.IGNORECASE)
_HEADING = re.compile(r"#{1,6}(?: |$)")


def clean_text(text: str, sanitize: Callable[[str], str], after: int = 0) -> str:
    """The model's final text, every drawing in it cleaned, or shown as text, and what else a page
    would run, load or follow parted (core.markup).

    `sanitise` gives an SVG back clean or raises SvgRefused; `after` says what follows the text.
    """
    lines = read(text)
    plain = [relabelled(line.text) for line in lines]
    prose = Prose(plain, after)
    cleaned: list[str] = []
    at = 0
    while at < len(lines):
        if lines[at].kind == "text":
            cleaned.append(prose.line(at))
            at += 1
            continue
        end = _block_end(lines, at)
        parted = [prose.line(number) for number in range(at, end)]
        cleaned.extend(
            _block(lines[at:end], sanitize) or _code(lines[at:end], plain[at:end], parted)
        )
        at = end
    return "\n".join(cleaned)


def name_images(text: str, count: int) -> str:
    """The text with a figure's name where the model wrote an image of it."""
    return _IMAGE.sub(lambda found: _plain(found, count), text)


def embed_figures(text: str, figures: Sequence[str]) -> tuple[str, int]:
    """The cleaned text with the cleaned figures in it, and how many they are."""
    plain = name_images(text, len(figures))
    lines = read(plain) if plain.strip() else []
    places: dict[int, list[list[str]]] = {}
    named = _first_named(lines)
    unnamed = [number for number in range(1, len(figures) + 1) if number not in named]
    for number, at in named.items():
        if 1 <= number <= len(figures):
            places.setdefault(_place(lines, at), []).append(fenced(figures[number - 1], "svg"))
    out: list[str] = []
    for at, line in enumerate(lines):
        for block in places.get(at, []):
            _append(out, block)
            out.append("")
        out.append(line.text)
    if places.get(len(lines)) or unnamed:
        out.extend(_closing(lines))
    for block in places.get(len(lines), []):
        _append(out, block)
    for number in unnamed:
        _append(out, [figure_label(number), "", *fenced(figures[number - 1], "svg")])
    return "\n".join(out), len(figures)


def _block_end(lines: list[Line], at: int) -> int:
    """Where the block that opens here ends; it may lack the line that closes it."""
    for end in range(at + 1, len(lines)):
        if lines[end].kind == "closes":
            return end + 1
        if lines[end].kind != "inside":
            return end
    return len(lines)


def _block(lines: list[Line], sanitize: Callable[[str], str]) -> list[str] | None:
    """A fenced drawing, clean; None where it is none."""
    opening = lines[0]
    if opening.label is None:
        return None
    source = "\n".join(line.content for line in lines if line.kind == "inside")
    clean = _cleaned(opening.label, source, sanitize)
    if clean is None:
        return None
    first, *rest = fenced(clean, opening.label)
    # The opening line may begin the containers that the others continue: `- ` and two spaces.
    before = opening.text.expandtabs(4)[: opening.start]
    return [before + first, *(opening.prefix + relabelled(line) for line in rest)]


def _code(lines: list[Line], plain: list[str], parted: list[str]) -> list[str]:
    """A fenced block that is shown as text.

    It stays as it is where every reader takes it for code: at the margin, its language one word,
    closed by the very fence that opens it, which stands nowhere inside. Elsewhere readers differ,
    and it is read as prose; as mathematics, or as the page's own HTML, it is meant to be no code.
    """
    opening = lines[0]
    inside = plain[1:-1] if lines[-1].kind == "closes" else plain[1:]
    is_code = (
        opening.text.startswith(opening.mark)
        and _LANGUAGE.fullmatch(plain[0], len(opening.mark)) is not None
        and not any(opening.mark in line for line in inside)
    )
    return [parted[0], *inside, opening.mark] if is_code and parted != plain else parted


def _cleaned(label: str, source: str, sanitize: Callable[[str], str]) -> str | None:
    if label == "mermaid":
        return clean_diagram(source)
    try:
        return sanitize(source)
    except SvgRefused:
        return None


def _plain(found: re.Match[str], count: int) -> str:
    number = int(found[2])
    return figure_label(number) if 1 <= number <= count else found[0]


def _first_named(lines: list[Line]) -> dict[int, int]:
    """Per figure the line that names it first, in the order of the text; code does not name."""
    named: dict[int, int] = {}
    for at, line in enumerate(lines):
        if line.kind == "text":
            for found in _REFERENCE.finditer(line.text):
                named.setdefault(int(found[1]), at)
    return named


def _place(lines: list[Line], named_at: int) -> int:
    """The first line after the passage before which a block at the margin is only that.

    A line at the margin after a blank one, or one that begins a heading or a fence there, ends
    every quote and list item before it anyway (CommonMark 0.31: 4.2, 4.5, 5.1, 5.2).
    """
    for at in range(named_at + 1, len(lines)):
        line = lines[at]
        if line.kind in ("text", "opens") and line.text[:1].strip():
            after_blank = lines[at - 1].kind == "text" and not lines[at - 1].text.strip()
            at_margin = line.kind == "opens" and line.text.startswith(line.mark)
            if after_blank or at_margin or _HEADING.match(line.text):
                return at
    return len(lines)


def _closing(lines: list[Line]) -> list[str]:
    """What ends a fence that the text leaves open; one in a quote or a list ends with it."""
    opening = next((line for line in reversed(lines) if line.kind in ("opens", "closes")), None)
    is_open = opening is not None and opening.kind == "opens" and lines[-1].kind != "text"
    return [opening.mark] if opening is not None and is_open and not opening.prefix else []


def _append(out: list[str], block: list[str]) -> None:
    if out and out[-1].strip():
        out.append("")
    out.extend(block)
