"""Reads Markdown just far enough to know which lines stand in fenced code and which open it.

Law 1: containers, paragraphs and fences are read as CommonMark 0.31 does (the numbers are its
sections), but for HTML blocks (4.6), in which nothing is a fence: `core.tools.markup` prevents
them.
Law 2: other readers may disagree, so a line that any of them could take for the start of an `svg`
or `mermaid` fence, and that is none here, loses that label. A fence of colons is none here.
"""

import html
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

_CONTAINERS_MAX = 32  # deeper quotes and lists are read as text; nobody reads them otherwise

# 4.5: at least three backticks or tildes; after backticks the info string holds no backtick.
_FENCE = re.compile(r"(?P<mark>`{3,})(?P<info>[^`]*)$|(?P<tildes>~{3,})(?P<rest>.*)$")
# 5.2: a bullet or up to nine digits, then a space or the end of the line.
_LIST_MARKER = re.compile(r"(?:[-+*]|[0-9]{1,9}[.)])(?= |$)")
_THEMATIC_BREAK = re.compile(r"(?:\* *){3,}$|(?:- *){3,}$|(?:_ *){3,}$")  # 4.1
_INTERRUPTING = ("-", "+", "*", "1.", "1)")
_QUOTE = re.compile(">")  # 5.1
_HEADING = re.compile(r"#{1,6}(?: |$)")  # 4.2
_SETEXT = re.compile(r" {0,3}(?:=+|-+) *$")  # 4.3
_LINE_END = re.compile(r"\r\n|\n|\r")  # 2.1
_ANY_FENCE = re.compile(
    r"([\s>*+\-.)0-9]*(?:`{3,}(?=[^`]*$)|~{3,}|:{3,})[ \t]*)([^ \t]*)(.*)$", re.DOTALL
)
_LABEL = re.compile(r"(?<![a-z0-9])(svg|mermaid)(?![a-z0-9])")


class _Container(NamedTuple):
    """A block quote (width 0), or a list item and the columns that its content is moved by."""

    width: int

    def prefix(self) -> str:
        return " " * self.width or "> "


@dataclass(frozen=True, slots=True)
class _Open:
    """The fence that is open."""

    mark: str
    indent: int
    depth: int


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what it is, and what it says past its containers (and its fence's indentation)."""

    kind: Literal["text", "opens", "inside", "closes"]
    text: str
    content: str
    start: int = 0  # where the content begins in the text with tabs expanded
    prefix: str = ""  # what further lines of the same containers begin with
    label: str | None = None  # `svg` or `mermaid`, of a line that opens
    mark: str = ""  # the fence, of a line that opens


def read(text: str) -> list[Line]:
    """The lines of the text, which may end in an open fence. Line ends become LF."""
    reader = _Reader()
    return [reader.line(line) for line in _LINE_END.split(text)]


def label_of(info: str) -> str | None:
    """`svg` or `mermaid` where a renderer could take the info string for it, else None.

    4.5: the first word names the language; 2.5: character references in it are resolved. Tools also
    read `{.svg}`, `{ #id .svg }`, `image/svg+xml` and the like.
    """
    said = html.unescape(info).strip().lower()
    word = re.split(r"[ \t]", said, maxsplit=1)[0]
    found = _LABEL.search(word) or _LABEL.search(_classes(said))
    return found[1] if found else None


def relabelled(line: str) -> str:
    """The line, its label replaced by `text` if any reader could take it for a drawing's fence."""
    found = _ANY_FENCE.match(line)
    if found is None or label_of(found[2] + found[3]) is None:
        return line
    in_braces = _LABEL.search(_classes(html.unescape(found[2] + found[3]).lower()))
    rest = "" if in_braces else found[3]
    return f"{found[1]}text{rest}"


def fenced(content: str, label: str) -> list[str]:
    """The lines of a block whose fence is longer than any run of backticks inside (4.5)."""
    longest = max(map(len, re.findall("`+", content)), default=0)
    mark = "`" * max(3, longest + 1)
    return [mark + label, *content.split("\n"), mark]


class _Reader:
    """Knows the open containers, fence and paragraph; takes one line after the other."""

    def __init__(self) -> None:
        self._containers: list[_Container] = []
        self._fence: _Open | None = None
        self._in_paragraph = False

    def line(self, text: str) -> Line:
        columns = text.expandtabs(4)  # 2.2
        at, matched = self._continued(columns)
        if self._fence is not None and matched >= self._fence.depth:
            return self._in_fence(text, columns[at:], self._fence)
        self._fence = None
        if matched < len(self._containers):
            # 5.1: a line of prose goes on with a paragraph without repeating its containers.
            if self._in_paragraph and _is_prose(columns[at:]):
                return Line("text", text, columns[at:])
            self._in_paragraph = False
            del self._containers[matched:]
        at = self._entered(columns, at)
        content = columns[at:]
        indent = _indent(content)
        found = _FENCE.match(content.lstrip(" ")) if indent <= 3 else None
        if found is None or len(self._containers) > _CONTAINERS_MAX:
            self._in_paragraph = self._goes_on(content)
            return Line("text", text, content)
        self._in_paragraph = False
        mark = found["mark"] or found["tildes"]
        self._fence = _Open(mark, indent, len(self._containers))
        return Line(
            "opens",
            text,
            content,
            start=at,
            prefix="".join(container.prefix() for container in self._containers),
            label=label_of(found["info"] or found["rest"] or ""),
            mark=mark,
        )

    def _goes_on(self, content: str) -> bool:
        """Whether a paragraph is open after this line; indented code is none (4.4, 4.3)."""
        if self._in_paragraph:
            return bool(content.strip()) and _is_prose(content) and not _SETEXT.match(content)
        return bool(content.strip()) and _indent(content) <= 3 and _is_prose(content)

    def _continued(self, columns: str) -> tuple[int, int]:
        """Where the line's content begins in the containers that it continues, and how many."""
        at = 0
        for matched, container in enumerate(self._containers):
            rest = columns[at:]
            indent = _indent(rest)
            if container.width:
                if indent < container.width and rest.strip(" "):
                    return at, matched
                at += min(container.width, indent)
            elif indent <= 3 and rest[indent : indent + 1] == ">":
                at += indent + 1
                at += columns[at : at + 1] == " "
            else:
                return at, matched
        return at, len(self._containers)

    def _entered(self, columns: str, at: int) -> int:
        """Opens the containers that begin in this line; where the content of the last begins."""
        while len(self._containers) <= _CONTAINERS_MAX:
            rest = columns[at:]
            indent = _indent(rest)
            inner = rest[indent:]
            if indent > 3:
                break
            if inner.startswith(">"):
                self._containers.append(_Container(0))
                self._in_paragraph = False
                at += indent + 1
                at += columns[at : at + 1] == " "
                continue
            marker = _LIST_MARKER.match(inner)
            if marker is None or _THEMATIC_BREAK.match(inner):
                break
            # 5.2: what a list has to begin with to end a paragraph.
            if self._in_paragraph and (
                not inner[marker.end() :].strip() or marker[0] not in _INTERRUPTING
            ):
                break
            self._in_paragraph = False
            gap = _indent(inner[marker.end() :])
            # 5.2: code that begins the item, or nothing, stands one column after the marker.
            width = (
                indent
                + marker.end()
                + (gap if 1 <= gap <= 4 and inner[marker.end() :].strip() else 1)
            )
            self._containers.append(_Container(width))
            at += width
        return at

    def _in_fence(self, text: str, rest: str, fence: _Open) -> Line:
        indent = _indent(rest)
        closing = rest.strip(" ")
        # 4.5: at most three spaces, the same character, at least as many, nothing after.
        if (
            indent <= 3
            and len(closing) >= len(fence.mark)
            and closing == fence.mark[0] * len(closing)
        ):
            self._fence = None
            return Line("closes", text, rest)
        return Line("inside", text, rest[min(indent, fence.indent) :])


def _classes(said: str) -> str:
    """What an info string in lower case says in braces of classes. Pandoc gives a block all of
    them, and scripts draw by class: https://pandoc.org/MANUAL.html#extension-fenced_code_attributes
    """
    inside = said.partition("{")[2]
    if "class" in inside:
        return inside
    return " ".join(word for word in re.split(r"[\s{}]+", inside) if word[:1] in (".", "#", ":"))


def _is_prose(content: str) -> bool:
    """Whether the line could only go on with a paragraph, as no block begins in it."""
    inner = content.lstrip(" ")
    if len(content) - len(inner) > 3:
        return True
    begins = (_QUOTE, _LIST_MARKER, _FENCE, _HEADING, _THEMATIC_BREAK)
    return bool(inner) and not any(block.match(inner) for block in begins)


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip(" "))
