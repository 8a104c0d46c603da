"""The one place that every text of a math answer leaves by: whatever an upstream wrote, in whatever
member, with whatever name, nothing in it runs, loads or configures a renderer.

Law 1: the answer's content is Markdown, or JSON where JSON was asked for; JSON stays JSON that says
the same, but for what would act in its strings. Law 2: every other string is whatever it may be
taken for: JSON, an SVG, a diagram, an address or Markdown. Law 3: figures enter after the cleaning.
"""

import html
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from phigate.core.errors import SvgRefused
from phigate.core.tools.figures import clean_text, embed_figures, name_images
from phigate.core.tools.markup import Prose, ahead, is_plain
from phigate.core.tools.mermaid import bare_diagram
from phigate.core.types import Json

Sanitise = Callable[[str], str]

# JSON in a string of JSON in a string: each level doubles its backslashes, so nobody writes more.
_LEVELS_MAX = 3
_LITERAL = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_LINE_END = re.compile(r"\r\n?")
_JSON_START = re.compile(r'\s*+[\[{"]')
_SVG_START = re.compile(r"\s*+<(?:\?xml|!doctype\s++svg|svg)[\s>/]", re.IGNORECASE)
# A browser takes these out of an address: https://url.spec.whatwg.org/#concept-basic-url-parser
_IGNORED = re.compile(r"[\x00-\x20\x7f-\xa0\u200b-\u200f\u2028\u2029\ufeff]+")
_ADDRESS_CHARS = 512  # a scheme is known by then, however it is written
_ACTIVE_ADDRESS = re.compile(
    r"(?:view-source:)?(?:(?:java|vb|live)script:|data:[^,]*?(?:html|xml|svg|script))", re.I
)


def clean_answer(body: Json, figures: Sequence[str] | None, sanitize: Sanitise) -> None:
    """Clean a math answer in place, and put its figures where its text names them; None: JSON was
    asked for, which figures would end."""
    message: Json = body["choices"][0]["message"]
    content = _text(message.get("content"))
    message["content"] = None
    clean_members(body, sanitize)
    if figures is None:
        message["content"] = content and clean_value(content, sanitize)
        return
    named = name_images(content or "", len(figures))
    if _is_json(named):
        # Whoever reads it as such shows its strings; whoever does not shows it as it stands.
        named = _clean_json(named, sanitize, 0, 0)
    text, _ = embed_figures(named if is_plain(named) else clean_text(named, sanitize), figures)
    message["content"] = text if text or content is not None else None


def clean_members(root: Json, sanitize: Sanitise) -> None:
    """Clean every string below, and every member's name, in place."""
    pending: list[Any] = [root]
    while pending:
        container = pending.pop()
        if isinstance(container, dict):
            cleaned = {
                clean_value(n, sanitize): _cleaned(v, sanitize) for n, v in container.items()
            }
            container.clear()
            container.update(cleaned)
            pending.extend(v for v in container.values() if isinstance(v, dict | list))
        else:
            container[:] = [_cleaned(value, sanitize) for value in container]
            pending.extend(value for value in container if isinstance(value, dict | list))


def clean_value(text: str, sanitize: Sanitise, after: int = 0, level: int = 0) -> str:
    """A string that may be taken for anything; `after` says what follows it in a text around it."""
    diagram = bare_diagram(text)
    if diagram is not None:
        # Whoever takes it for none reads Markdown.
        return clean_text(diagram, sanitize, after)
    if level < _LEVELS_MAX and _is_json(text):
        return _clean_json(text, sanitize, after, level)
    is_address = _ACTIVE_ADDRESS.match(_as_address(text)) is not None
    if not is_address and is_plain(text):
        return text
    if _SVG_START.match(text):
        try:
            return _part_marks(sanitize(text))
        except SvgRefused:
            pass
    if is_address:
        # As Angular's sanitiser writes it: no browser knows the scheme.
        text = f"unsafe:{text}"
    clean = clean_text(text, sanitize, after)
    # Its line ends are its own, unless something in it was changed.
    return text if clean == _LINE_END.sub("\n", text) else clean


def refuse_drawing(svg: str) -> str:
    """A sanitiser for texts in which nothing is drawn."""
    raise SvgRefused("nothing is drawn here")


def _cleaned(value: Any, sanitize: Sanitise) -> Any:
    return clean_value(value, sanitize) if isinstance(value, str) else value


def _text(content: Any) -> str | None:
    """The content as one text, also of a provider that answers in parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in parts if isinstance(text, str))
    return content if isinstance(content, str) else None


def _clean_json(text: str, sanitize: Sanitise, after: int, level: int) -> str:
    """JSON whose strings are clean; numbers, order and space stay as they were written."""
    places, states = ahead(text, after)

    def literal(found: re.Match[str]) -> str:
        at = bisect_left(places, found.end())
        value = json.loads(found[0])
        behind = states[at] if at < len(states) else after
        clean = clean_value(value, sanitize, behind, level + 1)
        return found[0] if clean == value else json.dumps(clean)

    return _LITERAL.sub(literal, text)


def _is_json(text: str) -> bool:
    if _JSON_START.match(text) is None:
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _as_address(text: str) -> str:
    if ":" not in text and "&" not in text:
        return ""
    # What is ignored may be of any length, and before any letter.
    return _IGNORED.sub("", html.unescape(text))[:_ADDRESS_CHARS]


def _part_marks(svg: str) -> str:
    lines = svg.split("\n")
    prose = Prose(lines)
    return "\n".join(prose.marks(at) for at in range(len(lines)))
