"""Reads a figure's XML into a tree that holds allowed elements and attributes only.

Law 1: a document type with declarations in it, an entity, over SVG_NODES_MAX elements,
SVG_DEPTH_MAX levels or SVG_STYLE_BYTES_MAX of style sheets refuse the figure; everything else that
is not allowed is dropped with all that is in it, except a link, whose drawing stays. Law 2: every
element is of one namespace, the root's: SVG's, or none, as models write it. Comments and processing
instructions are never read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from defusedxml.common import DefusedXmlException, DTDForbidden
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from phigate.core.errors import SvgRefused
from phigate.core.limits import (
    SVG_DEPTH_MAX,
    SVG_NODES_MAX,
    SVG_SELECTORS_MAX,
    SVG_STYLE_BYTES_MAX,
)
from phigate.wire.svg import policy
from phigate.wire.svg.style import Declarations, Rule, declarations, rules, value_of

_SPACES = str.maketrans("\t\n\r", "   ")


@dataclass(slots=True)
class Node:
    """One element; ids, classes and references still as they were written."""

    name: str
    attributes: dict[str, str]
    style: Declarations = ()
    id: str | None = None
    href: str | None = None
    classes: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    whole: bool = True  # nothing in it was dropped
    children: "list[Node | str]" = field(default_factory=list)

    def elements(self) -> "Iterator[Node]":
        return (child for child in self.children if isinstance(child, Node))

    def walk(self) -> "Iterator[Node]":
        """This element and all in it, in document order."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend([child for child in node.children[::-1] if isinstance(child, Node)])


def read(svg: str) -> Node:
    """The root of the cleaned tree. Raises SvgRefused."""
    builder = _Builder()
    parser = _Parser(target=builder)
    try:
        parser.feed(svg)
        parser.close()
    except (ParseError, UnicodeEncodeError):
        raise SvgRefused("not well-formed XML") from None
    except DefusedXmlException:
        raise SvgRefused("entities or declarations in the document type") from None
    if builder.root is None:
        raise SvgRefused("no svg element at the root")
    return builder.root


def checked_sheets(size: int) -> int:
    """The bytes of a figure's style sheets. Raises SvgRefused."""
    if size > SVG_STYLE_BYTES_MAX:
        raise SvgRefused(f"more than {SVG_STYLE_BYTES_MAX} bytes of style sheets")
    return size


class _Parser(DefusedXMLParser):
    """matplotlib names SVG 1.1's DTD, which nobody loads; declarations of its own are refused."""

    def __init__(self, *, target: "_Builder") -> None:
        super().__init__(target=target, forbid_dtd=True)

    def defused_start_doctype_decl(
        self, name: str, sysid: str | None, pubid: str | None, has_internal_subset: int
    ) -> None:
        if has_internal_subset:
            raise DTDForbidden(name, sysid, pubid)


class _Builder:
    """The parser's target."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[Node] = []
        self._dropped = 0  # how deep inside something dropped
        self._count = 0
        self._sheet_bytes = 0
        self._namespace = ""
        self._styles: dict[str, Declarations] = {}

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > SVG_NODES_MAX:
            raise SvgRefused(f"more than {SVG_NODES_MAX} elements")
        if len(self._open) + self._dropped >= SVG_DEPTH_MAX:
            raise SvgRefused(f"nested deeper than {SVG_DEPTH_MAX} levels")
        name = None if self._dropped else self._allowed(tag, attributes)
        if name is None:
            if self._open and not self._dropped and not _says_only(tag):
                self._open[-1].whole = False
            self._dropped += 1
            return
        node = self._node(name, attributes)
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)

    def end(self, tag: str) -> None:
        if self._dropped:
            self._dropped -= 1
            return
        node = self._open.pop()
        if node.name == "style":
            sheet = "".join(map(str, node.children))
            node.rules = tuple(islice(rules(sheet), SVG_SELECTORS_MAX))
            # Nothing else about a sheet is drawn, or can be referred to.
            self._open[-1].children[-1] = node = Node("style", {}, rules=node.rules)
        # A filter without all of its primitives may paint nothing at all, so what it stands on is
        # shown without it.
        unusable = node.name == "filter" and not (node.whole and node.children)
        if unusable or (node.name == "style" and not node.rules):
            self._open[-1].children.pop()

    def data(self, text: str) -> None:
        if not self._dropped and self._open and self._open[-1].name in policy.TEXT_ELEMENTS:
            if self._open[-1].name == "style":
                self._sheet_bytes = checked_sheets(self._sheet_bytes + len(text.encode()))
            # SVG shows a line end as a space, so no line of a figure can look like a fence.
            self._open[-1].children.append(text.translate(_SPACES))

    def close(self) -> None:
        pass

    def _allowed(self, tag: str, attributes: dict[str, str]) -> str | None:
        """The name under which an element is kept, or None where it is not."""
        namespace, closing, name = tag.rpartition("}")
        namespace += closing
        if not self._open:
            if name != "svg" or namespace not in ("", f"{{{policy.SVG_NAMESPACE}}}"):
                raise SvgRefused("no svg element at the root")
            self._namespace = namespace
            return name
        parent = self._open[-1].name
        if namespace != self._namespace or parent in policy.TEXT_ONLY_ELEMENTS:
            return None
        # Whether a filter stays must not depend on a sheet in it, which may yet turn out empty.
        if parent == "filter" and name not in policy.FILTER_STEPS:
            return None
        if name == "a":  # matplotlib's set_url makes them; what they hold is drawing
            return "tspan" if parent in policy.TEXT_ELEMENTS else "g"
        if name == "style" and attributes.get("type", "text/css").strip().lower() != "text/css":
            return None
        return name if name in policy.ELEMENTS else None

    def _node(self, name: str, attributes: dict[str, str]) -> Node:
        node = Node(name, {}, href=_href(name, attributes))
        for key, as_written in attributes.items():
            written = as_written.translate(_SPACES)
            if key == "style":
                style = self._styles.get(written)
                if style is None:
                    style = self._styles[written] = declarations(written)
                node.style = style
            elif key == "id":
                node.id = written if policy.ID.fullmatch(written) else None
            elif key == "class":
                node.classes = tuple(dict.fromkeys(written.split()))
            else:
                value = value_of(key, written, policy.ATTRIBUTES)
                if value is not None:
                    node.attributes[key] = value
        return node


def _says_only(tag: str) -> bool:
    """Whether the element is no drawing, nor a step of one."""
    return tag.rpartition("}")[2] in policy.TEXT_ONLY_ELEMENTS


def _href(name: str, attributes: dict[str, str]) -> str | None:
    """The id that the element is a copy of, goes on from, or follows."""
    if name not in policy.HREF_ELEMENTS:
        return None
    # https://www.w3.org/TR/SVG2/linking.html#XLinkRefAttrs: `href` wins
    written = attributes.get("href", attributes.get(policy.XLINK_HREF))
    found = written and policy.FRAGMENT.fullmatch(written)
    return found[1] if found else None
