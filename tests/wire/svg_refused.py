"""Documents of which nothing is left, and the reason that is given."""

REFUSED: dict[str, tuple[str, str]] = {
    "nothing": ("", "not well-formed XML"),
    "prose": ("hello", "not well-formed XML"),
    "HTML": ("<html><svg/></html>", "no svg element at the root"),
    "an svg element of HTML": (
        '<svg xmlns="http://www.w3.org/1999/xhtml"/>',
        "no svg element at the root",
    ),
    "a root in capitals": ("<SVG/>", "no svg element at the root"),
    "HTML's syntax": ("<svg><rect x=1></svg>", "not well-formed XML"),
    "an unclosed element": ("<svg><g>", "not well-formed XML"),
    "two roots": ("<svg/><svg/>", "not well-formed XML"),
    "an unbound prefix": ('<svg><use xlink:href="#a"/></svg>', "not well-formed XML"),
    "an attribute twice": ('<svg x="1" x="2"/>', "not well-formed XML"),
    "a null character": ("<svg>\0</svg>", "not well-formed XML"),
    "a reference to null": ("<svg><text>&#0;</text></svg>", "not well-formed XML"),
    "a lone surrogate": ("<svg><text>\ud800</text></svg>", "not UTF-8"),
    "an entity of HTML": ("<svg><text>&nbsp;</text></svg>", "not well-formed XML"),
    "an entity": (
        '<!DOCTYPE svg [<!ENTITY a "b">]><svg><text>&a;</text></svg>',
        "entities or declarations in the document type",
    ),
    "a laugh of entities": (
        '<!DOCTYPE svg [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><svg><text>&b;</text></svg>',
        "entities or declarations in the document type",
    ),
    "an entity of a file": (
        '<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg><text>&a;</text></svg>',
        "entities or declarations in the document type",
    ),
    "a parameter entity": (
        '<!DOCTYPE svg [<!ENTITY % a SYSTEM "https://x.test">%a;]><svg/>',
        "entities or declarations in the document type",
    ),
    "defaults for attributes": (
        '<!DOCTYPE svg [<!ATTLIST svg onload CDATA "alert(1)">]><svg/>',
        "entities or declarations in the document type",
    ),
    "an entity that the outer DTD would hold": (
        '<!DOCTYPE svg SYSTEM "https://x.test/a.dtd"><svg><text>&a;</text></svg>',
        "not well-formed XML",
    ),
    "65 levels": ("<svg>" + "<g>" * 64 + "</g>" * 64 + "</svg>", "nested deeper than 64 levels"),
    "65 levels of what is dropped": (
        "<svg>" + "<x>" * 64 + "</x>" * 64 + "</svg>",
        "nested deeper than 64 levels",
    ),
    "50,001 elements": ("<svg>" + "<g/>" * 50_000 + "</svg>", "more than 50000 elements"),
    "2,000,001 bytes": ("<svg>" + " " * 1_999_990 + "</svg>", "over 2000000 bytes"),
    "2,000,001 bytes after escaping": (
        "<svg><text>" + ">" * 600_000 + "</text></svg>",
        "over 2000000 bytes",
    ),
    "a use of itself": (
        '<svg><g id="a"><use href="#a"/></g></svg>',
        "an element that draws itself",
    ),
    "two that use each other": (
        '<svg><g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g></svg>',
        "an element that draws itself",
    ),
    "a pattern filled with itself": (
        '<svg><pattern id="a"><rect fill="url(#a)"/></pattern></svg>',
        "an element that draws itself",
    ),
    "a clip clipped by itself": (
        '<svg><clipPath id="a" style="clip-path: url(#a)"/></svg>',
        "an element that draws itself",
    ),
    "gradients in a ring": (
        '<svg><linearGradient id="a" href="#b"/><linearGradient id="b" href="#a"/></svg>',
        "an element that draws itself",
    ),
}


def _doubling(element: str, uses: str) -> str:
    """Thirty steps, each of which draws the one before it ten times."""
    steps = "".join(
        f'<{element} id="s{n}">{uses.format(n - 1) * 10}</{element}>' for n in range(1, 30)
    )
    return f'<svg><{element} id="s0"><rect/></{element}>{steps}</svg>'


SHEETS = "more than 65536 bytes of style sheets"
REFUSED |= {
    "a sheet of a million selectors": (
        f"<svg><style>{'g,' * 900_000}g{{fill:red}}</style></svg>",
        SHEETS,
    ),
    "a sheet of nothing": (f"<svg><style>{'&gt;' * 65_537}</style></svg>", SHEETS),
    "sheets that are too large together": (
        "<svg>" + "<style>g{fill:red}</style>" * 6_554 + "</svg>",
        SHEETS,
    ),
    "a sheet that grows by its names": (
        f"<svg><style>{'.a' * 20_000}{{fill:red}}</style><g class='a'/></svg>",
        SHEETS,
    ),
}

UNFOLDED = "unfolds to more than 400000 elements"
REFUSED |= {
    "a bomb of uses": (_doubling("g", '<use href="#s{}"/>'), UNFOLDED),
    "a bomb of patterns": (_doubling("pattern", '<rect fill="url(#s{})"/>'), UNFOLDED),
    "a bomb of strokes by style": (
        _doubling("pattern", '<path style="stroke: url(#s{})"/>'),
        UNFOLDED,
    ),
    "a bomb of masks": (_doubling("mask", '<rect mask="url(#s{})"/>'), UNFOLDED),
    "a bomb of clips": (_doubling("clipPath", '<rect clip-path="url(#s{})"/>'), UNFOLDED),
    "a bomb of markers": (_doubling("marker", '<path marker-end="url(#s{})"/>'), UNFOLDED),
    "a heavy path used often": (
        f'<svg><path id="a" d="M{"1 " * 100_000}"/>' + '<use href="#a"/>' * 1_000 + "</svg>",
        UNFOLDED,
    ),
    "a pattern that a group hands down": (
        '<svg><pattern id="a">'
        + "<rect/>" * 1_000
        + '</pattern><g fill="url(#a)">'
        + "<rect/>" * 1_000
        + "</g></svg>",
        UNFOLDED,
    ),
    "a chain of 70 uses": (
        '<svg><g id="s0"/>'
        + "".join(f'<g id="s{n}"><use href="#s{n - 1}"/></g>' for n in range(1, 70))
        + "</svg>",
        "unfolds deeper than 64 levels",
    ),
    "a chain of 70 uses, the last first": (
        "<svg>"
        + "".join(f'<g id="s{n}"><use href="#s{n - 1}"/></g>' for n in range(70, 0, -1))
        + '<g id="s0"/></svg>',
        "unfolds deeper than 64 levels",
    ),
}
