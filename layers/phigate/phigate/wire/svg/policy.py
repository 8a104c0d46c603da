"""What an SVG may hold: the elements, and per attribute and CSS property the grammar of its value.

Law 1: what is in no table here is dropped; there is no list of what is bad.
Law 2: no grammar lets a `:`, a backslash or a function other than the colour functions and
`url(#id)` pass, so no value can name a place outside its own document.
"""

import re
from collections.abc import Mapping

SVG_NAMESPACE = "http://www.w3.org/2000/svg"
XLINK_NAMESPACE = "http://www.w3.org/1999/xlink"
XLINK_HREF = f"{{{XLINK_NAMESPACE}}}href"
XML_SPACE = "{http://www.w3.org/XML/1998/namespace}space"

# Between quotes or parentheses an id may hold whatever ends neither: svglite's are base64 with `=`.
# They are looked up and renamed, never written.
_ID = r"""[^\s"'()\\<>;{}#]{1,256}"""
ID = re.compile(_ID)
FRAGMENT = re.compile(rf"\s*#({_ID})\s*", re.ASCII)
# https://www.w3.org/TR/css-values-4/#urls: quoted or not. Rewritten to the first form before use.
URL_WRITTEN = re.compile(rf"""url\(\s*(["']?)#({_ID})\1\s*\)""", re.ASCII | re.IGNORECASE)
URL = re.compile(rf"url\(#({_ID})\)")

# Text may stand in these, and in these alone.
TEXT_ELEMENTS = frozenset({"text", "tspan", "textPath", "title", "desc", "style"})
# They hold text and no element: a browser reads `title` and `desc` in SVG as HTML.
# https://html.spec.whatwg.org/multipage/parsing.html#html-integration-point
TEXT_ONLY_ELEMENTS = frozenset({"title", "desc", "style"})
# The two primitives that matplotlib writes for Gouraud shading.
FILTER_STEPS = frozenset({"feComposite", "feColorMatrix"})
HREF_ELEMENTS = frozenset({"use", "linearGradient", "radialGradient", "pattern", "textPath"})
ELEMENTS = (
    TEXT_ELEMENTS
    | FILTER_STEPS
    | HREF_ELEMENTS
    | frozenset(
        {
            *(
                "svg",
                "g",
                "defs",
                "symbol",
                "path",
                "rect",
                "circle",
                "ellipse",
                "line",
                "polyline",
            ),
            *("polygon", "clipPath", "mask", "marker", "stop"),
            "filter",
        }
    )
)


def _grammar(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.ASCII)


# Bounded digits: no renderer has to read a number of a megabyte.
_NUMBER = r"[+-]?(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,2})?"
_LENGTH = rf"{_NUMBER}(?:px|pt|pc|mm|cm|in|em|ex|rem|%)?"
_NUMBERS = r"[0-9eE+\-.,\s]*"
_KEYWORD = r"[A-Za-z][A-Za-z-]{0,31}"
_COLOUR = rf"(?:#[0-9A-Fa-f]{{3,8}}|(?:rgb|hsl)a?\([0-9.,%\s/+-]{{1,64}}\)|{_KEYWORD})"
_REFERENCE = rf"url\(#{_ID}\)"

KEYWORD = _grammar(_KEYWORD)
KEYWORDS = _grammar(rf"{_KEYWORD}(?:\s+{_KEYWORD}){{0,3}}")
NUMBER = _grammar(_NUMBER)
NUMBERS = _grammar(_NUMBERS)
LENGTH = _grammar(rf"{_LENGTH}|{_KEYWORD}")
# Possessive: a value of a megabyte is read once, whatever stands at its end.
LENGTHS = _grammar(rf"{_LENGTH}(?:(?:\s+|\s*,\s*){_LENGTH})*+|{_KEYWORD}")
COLOUR = _grammar(_COLOUR)
PAINT = _grammar(rf"{_REFERENCE}(?:\s+{_COLOUR})?|{_COLOUR}")
REFERENCE = _grammar(rf"{_REFERENCE}|none")
PATH = _grammar(r"\s*(?:[Mm][MmZzLlHhVvCcSsQqTtAaEe0-9+\-.,\s]*)?")
TRANSFORM = _grammar(
    rf"\s*(?:(?:matrix|translate|scale|rotate|skewX|skewY)\s*\({_NUMBERS}\)[\s,]*)*"
)
FONT = _grammar(r"""[\w\s.,%/'"+-]+""")
ASPECT = _grammar(rf"{_KEYWORD}(?:\s+{_KEYWORD})?")
NAME = _grammar(r"[A-Za-z][\w-]{0,31}")

PAINTS = frozenset({"fill", "stroke"})
# Whatever is drawn below inherits these, so what they name is drawn once for each of it.
INHERITED_REFERENCES = PAINTS | {"marker-start", "marker-end"}

# https://www.w3.org/TR/SVG2/propidx.html, without what moves, loads or leaves the figure's frame
# (`overflow`, `position`, `cursor`, `marker` and `marker-mid`, which draw once a vertex).
PROPERTIES: Mapping[str, re.Pattern[str]] = {
    **dict.fromkeys(("fill", "stroke"), PAINT),
    **dict.fromkeys(("color", "stop-color", "flood-color"), COLOUR),
    **dict.fromkeys(("clip-path", "mask", "filter", "marker-start", "marker-end"), REFERENCE),
    **dict.fromkeys(
        (
            *("opacity", "fill-opacity", "stroke-opacity", "stop-opacity", "stroke-width"),
            *("stroke-miterlimit", "stroke-dashoffset", "font-size", "font-weight"),
            *("font-stretch", "letter-spacing", "word-spacing", "baseline-shift"),
        ),
        LENGTH,
    ),
    "stroke-dasharray": LENGTHS,
    **dict.fromkeys(
        (
            *("stroke-linecap", "stroke-linejoin", "fill-rule", "clip-rule", "font-style"),
            *("font-variant", "text-anchor", "dominant-baseline", "alignment-baseline"),
            *("white-space", "writing-mode", "direction", "visibility", "display", "vector-effect"),
            *("shape-rendering", "text-rendering", "color-interpolation", "mask-type"),
            *("color-interpolation-filters", "mix-blend-mode", "isolation"),
        ),
        KEYWORD,
    ),
    **dict.fromkeys(("text-decoration", "paint-order"), KEYWORDS),
    **dict.fromkeys(("font", "font-family"), FONT),
}

ATTRIBUTES: Mapping[str, re.Pattern[str]] = {
    **PROPERTIES,
    **dict.fromkeys(("d",), PATH),
    **dict.fromkeys(("points", "viewBox", "values"), NUMBERS),
    **dict.fromkeys(("transform", "gradientTransform", "patternTransform"), TRANSFORM),
    **dict.fromkeys(("x", "y", "dx", "dy", "rotate"), LENGTHS),
    **dict.fromkeys(
        (
            *("width", "height", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "fx", "fy"),
            *("fr", "offset", "refX", "refY", "markerWidth", "markerHeight", "orient"),
            *("textLength", "startOffset"),
        ),
        LENGTH,
    ),
    **dict.fromkeys(("k1", "k2", "k3", "k4", "version", "pathLength"), NUMBER),
    **dict.fromkeys(
        (
            *("gradientUnits", "spreadMethod", "patternUnits", "patternContentUnits"),
            *("clipPathUnits", "maskUnits", "maskContentUnits", "markerUnits", "filterUnits"),
            *("primitiveUnits", "lengthAdjust", "method", "spacing", "type", "operator"),
            XML_SPACE,
        ),
        KEYWORD,
    ),
    **dict.fromkeys(("in", "in2", "result"), NAME),
    "preserveAspectRatio": ASPECT,
}
