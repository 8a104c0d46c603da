"""Cleans an SVG that a program or a model drew, so that any page may show it: by allow-lists alone.

Law 1: the output is well-formed, means the same to an XML and an HTML parser, runs nothing, loads
nothing and names nothing outside itself; cleaning it again gives the same bytes.
Law 2: ids and classes that are referred to are numbered in document order after a hash of the
figure itself, so figures of one page, also of different answers, never take each other's, and no
style of a figure reaches past it. The rest of them is dropped.
Law 3: where nothing sensible is left, SvgRefused says why; it never quotes the figure.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator

from phigate.core.errors import SvgRefused
from phigate.core.limits import SVG_BYTES_MAX, SVG_SELECTORS_MAX
from phigate.wire.svg.cost import check, references
from phigate.wire.svg.policy import (
    PAINTS,
    SVG_NAMESPACE,
    TEXT_ELEMENTS,
    URL,
    XLINK_NAMESPACE,
    XML_SPACE,
)
from phigate.wire.svg.style import Compound, Declarations, Rule, Selector
from phigate.wire.svg.tree import Node, checked_sheets, read

# Stands for the figure's prefix until the hash is known; XML cannot hold it.
_PREFIX = "\0"
_HASH_CHARS = 10
_PREFIX_CHARS = _HASH_CHARS + 2


def sanitize(svg: str | bytes) -> str:
    """The figure, clean. Raises SvgRefused."""
    try:
        # Only as UTF-8, whatever it declares: one more encoding is one more way to read it.
        encoded = svg if isinstance(svg, bytes) else svg.encode()
        if len(encoded) > SVG_BYTES_MAX:
            raise SvgRefused(_TOO_LARGE)
        text = encoded.decode("utf-8-sig")
    except UnicodeError:
        raise SvgRefused("not UTF-8") from None
    root = read(text.strip())
    clean = _Writer(root).write()
    prefix = "f" + hashlib.sha256(clean.encode()).hexdigest()[:_HASH_CHARS] + "-"
    clean = clean.replace(_PREFIX, prefix)
    if len(clean.encode()) > SVG_BYTES_MAX:
        raise SvgRefused(_TOO_LARGE)
    return clean


class _Writer:
    """Names what is referred to, checks what is drawn, and writes the tree."""

    def __init__(self, root: Node) -> None:
        self._root = root
        nodes = list(root.walk())
        by_id: dict[str, Node] = {}
        for node in nodes:
            if node.id is not None and by_id.setdefault(node.id, node) is not node:
                node.id = None
        check(root, by_id)
        self._rules = _matching(nodes, by_id)
        for node in nodes:
            node.children = [child for child in node.children if not self._is_empty_sheet(child)]
        used = {named for node in nodes for _, named in references(node)}
        parts = {part for rule in _all(self._rules.values()) for part in _parts(rule)}
        used.update(part[1:] for part in parts if part[0] == "#")
        self._ids = _numbered(_PREFIX, (name for name in by_id if name in used))
        classes = {part[1:] for part in parts if part[0] == "."}
        for node in nodes:
            node.classes = tuple(name for name in node.classes if name in classes)
        if not root.classes and any(
            _is_open(selector) for rule in _all(self._rules.values()) for selector in rule.selectors
        ):
            root.classes = (_PREFIX,)
        in_order = dict.fromkeys(name for node in nodes for name in node.classes)
        self._classes = _numbered(f"{_PREFIX}c", in_order)
        self._styles: dict[Declarations, str] = {}
        self._sheet_bytes = 0
        self._out: list[str] = []

    def write(self) -> str:
        self._element(self._root, in_text=False)
        return "".join(self._out).rstrip("\n")

    def _is_empty_sheet(self, child: Node | str) -> bool:
        return isinstance(child, Node) and child.name == "style" and not self._rules[id(child)]

    def _element(self, node: Node, *, in_text: bool) -> None:
        out = self._out
        out.append(f"<{node.name}{self._attributes(node)}")
        # Space between shapes means nothing, space in text does.
        end = "" if in_text else "\n"
        if node.name == "style":
            out.append(f' type="text/css">{self._sheet(node)}</style>{end}')
        elif not node.children:
            out.append(f"/>{end}")
        else:
            holds_text = node.name in TEXT_ELEMENTS
            out.append(">" if holds_text else ">\n")
            for child in node.children:
                if isinstance(child, str):
                    out.append(_escaped(child))
                else:
                    self._element(child, in_text=holds_text)
            out.append(f"</{node.name}>{end}")

    def _attributes(self, node: Node) -> str:
        written = self._names(node)
        for name, value in node.attributes.items():
            resolved = self._resolved(name, value)
            if resolved is not None:
                shown = "xml:space" if name == XML_SPACE else name
                written.append(f' {shown}="{_escaped(resolved)}"')
        if node.style:
            style = self._styles.get(node.style)
            if style is None:
                style = self._styles[node.style] = _escaped(self._declarations(node.style))
            if style:
                written.append(f' style="{style}"')
        return "".join(written)

    def _names(self, node: Node) -> list[str]:
        written = []
        if node is self._root:
            written.append(f' xmlns="{SVG_NAMESPACE}" xmlns:xlink="{XLINK_NAMESPACE}"')
        if node.id in self._ids:
            written.append(f' id="{self._ids[node.id]}"')
        if node.classes:
            written.append(f' class="{" ".join(self._classes[name] for name in node.classes)}"')
        if node.href in self._ids:
            # Every renderer knows this form; `href` alone is SVG 2's.
            written.append(f' xlink:href="#{self._ids[node.href]}"')
        return written

    def _resolved(self, name: str, value: str) -> str | None:
        """The value with its reference renamed; one to nothing paints nothing, or is left out."""
        found = URL.match(value)
        if found is None:
            return value
        fallback = value[found.end() :].strip()
        if found[1] in self._ids:
            return f"url(#{self._ids[found[1]]}) {fallback}".rstrip()
        return fallback or ("none" if name in PAINTS else None)

    def _declarations(self, style: Declarations) -> str:
        resolved = ((name, self._resolved(name, value)) for name, value in style)
        return "; ".join(f"{name}: {value}" for name, value in resolved if value is not None)

    def _sheet(self, node: Node) -> str:
        sheet = "\n".join(
            f"{','.join(written)}{{{self._declarations(rule.declarations)}}}"
            for rule in self._rules[id(node)]
            if (written := [text for each in rule.selectors for text in self._scoped(each)])
        )
        # Names grow, and what is written must be read again.
        size = len(sheet) + sheet.count(_PREFIX) * (_PREFIX_CHARS - 1)
        self._sheet_bytes = checked_sheets(self._sheet_bytes + size)
        return _escaped(sheet)

    def _scoped(self, selector: Selector) -> Iterator[str]:
        """The selector as it matches in this figure alone: by a class or an id of it."""
        steps = [self._compound(compound) for compound in selector]
        if not _is_open(selector):
            yield " ".join(steps)
            return
        own = f".{self._classes[self._root.classes[0]]}"
        yield " ".join((own, *steps))
        if steps[0] in ("*", "svg"):  # the figure's own root, too
            yield " ".join((own if steps[0] == "*" else f"svg{own}", *steps[1:]))

    def _compound(self, compound: Compound) -> str:
        names = {".": self._classes, "#": self._ids}
        return compound.element + "".join(f"{p[0]}{names[p[0]][p[1:]]}" for p in compound.parts)


def _matching(nodes: list[Node], by_id: dict[str, Node]) -> dict[int, list[Rule]]:
    """Per style element its rules: selectors that can match, SVG_SELECTORS_MAX of them in all."""
    classes = {name for node in nodes for name in node.classes}
    exists = {"." + name for name in classes} | {"#" + name for name in by_id}
    left = SVG_SELECTORS_MAX
    matching: dict[int, list[Rule]] = {}
    for node in nodes:
        if node.name != "style":
            continue
        kept = matching[id(node)] = []
        for rule in node.rules:
            selectors = []
            for selector in rule.selectors:
                if all(part in exists for compound in selector for part in compound.parts):
                    left -= 2 if _is_open(selector) and selector[0].element in ("*", "svg") else 1
                    if left >= 0:
                        selectors.append(selector)
            if selectors:
                kept.append(Rule(tuple(selectors), rule.declarations))
    return matching


def _is_open(selector: Selector) -> bool:
    """Whether it could match outside the figure: its first step names no class and no id of it."""
    return not selector[0].parts


def _all(rules: Iterable[list[Rule]]) -> Iterator[Rule]:
    for some in rules:
        yield from some


def _parts(rule: Rule) -> Iterator[str]:
    for selector in rule.selectors:
        for compound in selector:
            yield from compound.parts


def _numbered(start: str, names: Iterable[str]) -> dict[str | None, str]:
    return {name: f"{start}{number}" for number, name in enumerate(names, start=1)}


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES) if _SPECIAL.search(text) else text


_TOO_LARGE = f"over {SVG_BYTES_MAX} bytes"
_SPECIAL = re.compile(r"""[&<>"]""")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})
