"""Bounds what a renderer has to draw: every `use`, pattern, mask, clip and marker unfolded.

Law: a figure that names itself, unfolds to more than SVG_DRAWN_MAX elements or nests deeper than
SVG_DEPTH_MAX when unfolded is refused. The count is never under the true one: what is inherited is
counted for everything below the element that names it. Rules of a style sheet, which may apply to
any number of elements, hold no references at all.
"""

from collections.abc import Iterator, Mapping

from phigate.core.errors import SvgRefused
from phigate.core.limits import SVG_DEPTH_MAX, SVG_DRAWN_MAX
from phigate.wire.svg.policy import INHERITED_REFERENCES, URL
from phigate.wire.svg.tree import Node

_BYTES_AN_ELEMENT = 256  # path data of this length takes about as long to draw as one more element


def references(node: Node) -> Iterator[tuple[str, str]]:
    """Each property or `href` of the element that names an id, with the id."""
    if node.href is not None:
        yield "href", node.href
    for name, value in (*node.attributes.items(), *node.style):
        if value.startswith("url("):
            found = URL.match(value)
            if found is not None:
                yield name, found[1]


def check(root: Node, by_id: Mapping[str, Node]) -> None:
    """Refuse what draws too much. Raises SvgRefused."""
    _Drawn(by_id).of(root, 0)


class _Drawn:
    """Counts each element once and remembers its (elements drawn, levels)."""

    def __init__(self, by_id: Mapping[str, Node]) -> None:
        self._by_id = by_id
        self._known: dict[int, tuple[int, int]] = {}
        self._open: set[int] = set()

    def of(self, node: Node, depth: int) -> tuple[int, int]:
        known = self._known.get(id(node))
        if known is None:
            if id(node) in self._open:
                raise SvgRefused("an element that draws itself")
            # Also the bound of this function's own recursion.
            if depth >= SVG_DEPTH_MAX:
                raise SvgRefused(f"unfolds deeper than {SVG_DEPTH_MAX} levels")
            self._open.add(id(node))
            known = self._known[id(node)] = self._count(node, depth + 1)
            self._open.remove(id(node))
        if known[0] > SVG_DRAWN_MAX:
            raise SvgRefused(f"unfolds to more than {SVG_DRAWN_MAX} elements")
        if depth + known[1] > SVG_DEPTH_MAX:
            raise SvgRefused(f"unfolds deeper than {SVG_DEPTH_MAX} levels")
        return known

    def _count(self, node: Node, depth: int) -> tuple[int, int]:
        drawn, levels, times = 1, 0, 1
        for data in ("d", "points"):
            drawn += len(node.attributes.get(data, "")) // _BYTES_AN_ELEMENT
        for child in node.children:
            if isinstance(child, str):
                drawn += len(child) // _BYTES_AN_ELEMENT
            else:
                below, deep = self.of(child, depth)
                drawn += below
                levels = max(levels, deep)
        for name, named in references(node):
            target = self._by_id.get(named)
            if target is not None:
                below, deep = self.of(target, depth)
                levels = max(levels, deep)
                if name in INHERITED_REFERENCES:
                    times += below
                else:
                    drawn += below
        return drawn * times, levels + 1
