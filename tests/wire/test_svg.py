import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phigate.core.errors import SvgRefused
from phigate.wire.svg.policy import ATTRIBUTES, ELEMENTS, HREF_ELEMENTS, PROPERTIES
from phigate.wire.svg.sanitize import sanitize
from tests.wire.svg_refused import REFUSED
from tests.wire.svg_vectors import LEFT

NS = "{http://www.w3.org/2000/svg}"
XLINK = "{http://www.w3.org/1999/xlink}href"
ROOT = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
CHARTS = sorted((Path(__file__).parent / "svg").glob("*.svg"))
PREFIX = re.compile(r"f[0-9a-f]{10}-")


def inside(svg: str) -> str:
    """What is left within the root, on one line, with a short prefix."""
    whole = PREFIX.sub("F-", sanitize(svg)).replace("\n", "")
    return re.sub(r"^<svg[^>]*>|^<svg[^>]*/>$|</svg>$", "", whole)


@pytest.mark.parametrize(("written", "left"), LEFT.values(), ids=LEFT)
def test_hostile_content_is_dropped_and_the_rest_stays(written: str, left: str) -> None:
    assert inside(f"<svg {ROOT}>{written}</svg>") == left


@pytest.mark.parametrize(("written", "left"), LEFT.values(), ids=LEFT)
def test_what_is_left_is_clean_to_another_parser_and_stays_as_it_is(
    written: str, left: str
) -> None:
    clean = sanitize(f"<svg {ROOT}>{written}</svg>")
    assert_clean(clean)
    assert sanitize(clean) == clean


@pytest.mark.parametrize(("written", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_document_without_sense_is_refused_with_a_reason(written: str, reason: str) -> None:
    with pytest.raises(SvgRefused) as refused:
        sanitize(written)
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("name", "root", "left"),
    [
        ("a handler", 'onload="alert(1)" width="9"', 'width="9"'),
        ("a place on the page", 'style="position:fixed;top:0" height="2pt"', 'height="2pt"'),
        ("a view box", 'viewBox="0 0 1 1" preserveAspectRatio="xMidYMid meet"', None),
        ("scripts' types", 'contentScriptType="text/vbscript" zoomAndPan="magnify"', ""),
        ("a class of the page", 'class="modal"', ""),
        ("a base", 'xml:base="javascript:"', ""),
    ],
)
def test_the_root_keeps_its_size_alone(name: str, root: str, left: str | None) -> None:
    expected = root if left is None else left
    assert sanitize(f"<svg {ROOT} {root}/>") == f"<svg {ROOT} {expected}".rstrip() + "/>"


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("text", "<svg><rect/></svg>"),
        ("bytes", b"<svg><rect/></svg>"),
        ("a byte order mark", b"\xef\xbb\xbf<svg><rect/></svg>"),
        ("space round it", "\n\n <svg><rect/></svg>\n"),
        ("a declaration", '<?xml version="1.0" encoding="UTF-8"?><svg><rect/></svg>'),
        ("a declaration that lies", '<?xml version="1.0" encoding="UTF-7"?><svg><rect/></svg>'),
        (
            "a type without declarations",
            '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "https://x.test/svg11.dtd">'
            "<svg><rect/></svg>",
        ),
        ("a style sheet of XML", '<?xml-stylesheet href="x.css"?><svg><rect/></svg>'),
        ("the namespace", '<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>'),
        ("a prefix", '<s:svg xmlns:s="http://www.w3.org/2000/svg"><s:rect/></s:svg>'),
    ],
)
def test_one_drawing_comes_out_the_same_however_it_is_written(
    name: str, document: str | bytes
) -> None:
    assert sanitize(document) == f"<svg {ROOT}>\n<rect/>\n</svg>"


def test_bytes_of_another_encoding_are_refused() -> None:
    with pytest.raises(SvgRefused, match="not UTF-8"):
        sanitize("<svg/>".encode("utf-16"))


def test_a_figure_at_the_bounds_passes() -> None:
    assert sanitize("<svg>" + "<g>" * 63 + "</g>" * 63 + "</svg>").count("<g") == 63
    assert sanitize("<svg>" + "<g/>" * 49_999 + "</svg>").count("<g/>") == 49_999


def test_sheets_at_the_bound_pass() -> None:
    def sheet(size: int) -> str:
        return f"<style>{'g{fill:red}'.rjust(size)}</style>"

    clean = sanitize(f"<svg>{sheet(60_000)}<g/>{sheet(5_536)}</svg>")
    assert clean.count("fill: red") == 2
    grown = f"<svg><style>{'.a' * 4_368}{{fill:red}}</style><g class='a'/></svg>"
    clean = sanitize(grown)
    (written,) = re.findall(r"<style[^>]*>(.*)</style>", clean)
    assert 65_520 < len(written) <= 65_536
    assert sanitize(clean) == clean


def test_ids_and_classes_of_two_figures_never_meet_and_of_one_are_always_the_same() -> None:
    def drawn(colour: str) -> str:
        return sanitize(
            f'<svg><style>.a{{fill:{colour}}}</style><g id="x" class="a"/><use href="#x"/></svg>'
        )

    red, blue = drawn("red"), drawn("blue")
    assert drawn("red") == red
    names = [set(re.findall(r"f[0-9a-f]{10}-\w+", svg)) for svg in (red, blue)]
    assert [len(some) for some in names] == [2, 2]
    assert not names[0] & names[1]


def test_of_too_many_selectors_the_first_200_stay() -> None:
    sheet = "".join(f"rect{{stroke-width:{n}}}" for n in range(300))
    clean = sanitize(f"<svg><style>{sheet}</style></svg>")
    assert clean.count("stroke-width") == 200
    assert sanitize(clean) == clean


# Real charts.


def drawing(svg: str) -> list[tuple[str, list[tuple[str, str]], str]]:
    """Each drawn element with everything that tells how, ids and classes aside."""
    drawn = []
    for element, name in walk(ET.fromstring(svg)):
        told = {}
        for key, value in element.attrib.items():
            if key not in ("id", "class", "type"):
                told[key] = normal(key, value)
        text = element.text or "" if name in ("text", "tspan", "title") else ""
        drawn.append((name, sorted(told.items()), " ".join(text.split())))
    return drawn


def walk(element: ET.Element) -> Iterator[tuple[ET.Element, str]]:
    name = element.tag.removeprefix(NS)
    if name != "metadata":
        yield element, name
        for child in element:
            yield from walk(child)


def normal(key: str, value: str) -> str:
    value = re.sub(r"^#.+" if key == XLINK else r"url\(#[^)]+\)", "an id", value)
    if key == "style":
        pairs = (part.split(":") for part in value.split(";") if part.strip())
        return ";".join(f"{name.strip()}:{said.strip()}" for name, said in pairs)
    return " ".join(value.split())


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.stem)
def test_a_real_chart_keeps_every_element_and_everything_that_draws_it(chart: Path) -> None:
    original = chart.read_text()
    clean = sanitize(original)
    assert drawing(clean) == drawing(original)
    assert_clean(clean)
    assert sanitize(clean) == clean


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.stem)
def test_every_reference_of_a_real_chart_still_finds_the_same_element(chart: Path) -> None:
    original = chart.read_text()
    assert targets(sanitize(original)) == targets(original)


def targets(svg: str) -> list[int]:
    """Per reference, in document order, the place of the element that it names."""
    elements = [element for element, _ in walk(ET.fromstring(svg))]
    places = {e.get("id"): place for place, e in reversed(list(enumerate(elements)))}
    named = [
        found
        for element in elements
        for key, value in sorted(element.attrib.items())
        for found in re.findall(r"url\(#(.+?)\)" if key != XLINK else r"#(.+)", value)
    ]
    return [places[name] for name in named]


def test_the_style_sheets_of_both_libraries_keep_their_rules() -> None:
    sheets = {
        chart.stem: PREFIX.sub("F-", "".join(ET.fromstring(sanitize(chart.read_text())).itertext()))
        for chart in CHARTS
    }
    matplotlib = ".F-c1 *,.F-c1{stroke-linejoin: round; stroke-linecap: butt}"
    assert matplotlib in sheets["matplotlib_line"]
    shapes = ",".join(
        f".F-c1 {name}" for name in ("line", "polyline", "polygon", "path", "rect", "circle")
    )
    assert (
        f"{shapes}{{fill: none; stroke: #000000; stroke-linecap: round; stroke-linejoin: round; "
        "stroke-miterlimit: 10.00}\n.F-c1 text{white-space: pre}"
    ) in sheets["svglite_points"]


def test_there_is_a_chart_of_every_kind() -> None:
    kinds = Counter(chart.stem.partition("_")[0] for chart in CHARTS)
    assert kinds == {"matplotlib": 9, "svglite": 6}


# Trees nobody thought of.


def assert_clean(svg: str) -> None:
    """Nothing outside the tables, no reference but to an id that is here, no scheme."""
    root = ET.fromstring(svg)
    ids = {element.get("id") for element in root.iter()} - {None}
    for element in root.iter():
        name = element.tag.removeprefix(NS)
        assert name in ELEMENTS
        for key, value in element.attrib.items():
            if key == XLINK:
                assert name in HREF_ELEMENTS
                assert value[:1] == "#" and value[1:] in ids
            elif key in ("id", "class"):
                assert all(PREFIX.match(part) for part in value.split())
            elif key == "style":
                pairs = [pair.partition(": ") for pair in value.split("; ")]
                assert {pair[0] for pair in pairs} <= set(PROPERTIES)
                assert not any(":" in pair[2] for pair in pairs)
            else:
                assert key in ATTRIBUTES or (name, key, value) == ("style", "type", "text/css")
                assert ":" not in value
            assert_refers_inside(value, ids)
        if name == "style":
            assert_scoped(element.text or "")


def assert_scoped(sheet: str) -> None:
    """Every selector begins with a class or an id of the figure; no value calls a function."""
    assert re.fullmatch(r"(?:[^{}@\\<&>]+\{[^{}@\\<&>()]+\}(?:\n|$))+", sheet)
    for rule in sheet.splitlines():
        for selector in rule.partition("{")[0].split(","):
            assert re.match(rf"[A-Za-z*]*[.#]{PREFIX.pattern}", selector)


def assert_refers_inside(value: str, ids: set[str | None]) -> None:
    named = re.findall(r"url\(#([^)]*)\)", value)
    assert value.lower().count("url(") == len(named)
    assert set(named) <= ids
    assert "\\" not in value


NAMES = st.sampled_from(
    [*sorted(ELEMENTS), "a", "script", "foreignObject", "image", "x", "animate"]
)
IDS = st.sampled_from(["a", "b", "c=|", "f0123456789-1", "é"])
VALUES = st.one_of(
    st.sampled_from(
        [
            *("red", "none", "url(#a) red", "url( '#b' )", "url(#missing)", "url(//x#a)", "1px"),
            *("javascript:1", "M 0 0", "translate(1)", "a b", "", "x\ny", "1,2 3", "'a', \"b\""),
        ]
    ),
    IDS.map("url(#{})".format),
    st.text(max_size=8),
)
DECLARED = st.lists(st.tuples(st.sampled_from([*PROPERTIES, "x", "--y"]), VALUES), max_size=3)
STYLES = DECLARED.map(lambda pairs: "; ".join(f"{name}:{value}" for name, value in pairs))
SELECTORS = st.lists(
    st.sampled_from(
        ["*", "svg", "rect", ".a", "g.b", "#a", ".f0123456789-c1 g", "a:b", "x", "> g"]
    ),
    min_size=1,
    max_size=3,
).map(",".join)
SHEETS = st.lists(st.tuples(SELECTORS, STYLES), max_size=3).map(
    lambda some: "".join(f"{selector}{{{style}}}" for selector, style in some)
)
KEYS = st.sampled_from([*sorted(ATTRIBUTES), "onload", "href", XLINK, "x-y"])


@st.composite
def trees(draw: st.DrawFn, depth: int = 0) -> ET.Element:
    element = ET.Element(NS + ("svg" if depth == 0 else draw(NAMES)))
    for key, value in draw(st.lists(st.tuples(KEYS, VALUES), max_size=3)):
        element.set(key, value)
    for key, strategy in (("id", IDS), ("href", IDS.map("#{}".format)), ("style", STYLES)):
        if draw(st.booleans()):
            element.set(key, draw(strategy))
    if draw(st.booleans()):
        element.set("class", draw(st.sampled_from(["a", "b a", "f0123456789-c1", "c"])))
    element.text = draw(SHEETS if element.tag == NS + "style" else VALUES)
    if depth < 3:
        element.extend(draw(st.lists(trees(depth=depth + 1), max_size=3)))
    return element


@given(trees())
def test_any_tree_is_refused_or_comes_out_clean_and_the_second_time_unchanged(
    tree: ET.Element,
) -> None:
    try:
        clean = sanitize(ET.tostring(tree, encoding="unicode"))
    except SvgRefused:
        return
    assert_clean(clean)
    assert sanitize(clean) == clean


# Elements that are kept or not by what else is: filters, sheets, and what they name.
NAMED = st.sampled_from(["", ' id="a"', ' id="b"', ' class="c"', ' class="d"', ' filter="url(#a)"'])
DEPENDING = st.recursive(
    st.sampled_from(
        [
            *("<feComposite/>", "<title>x</title>", "<a/>", "<script/>", '<use href="#a"/>', "x"),
            *("<style>.c{fill:red}</style>", "<style>#a .d,#b{fill:red}</style>", "<style/>"),
            *("<style>*{fill:red}</style>", "<style>x</style>", '<style type="x">*{}</style>'),
        ]
    ),
    lambda inner: st.tuples(
        st.sampled_from(["filter", "filter", "g", "feComposite", "text"]),
        NAMED,
        st.lists(inner, max_size=3).map("".join),
    ).map(lambda made: f"<{made[0]}{made[1]}>{made[2]}</{made[0]}>"),
    max_leaves=12,
)


@given(st.lists(DEPENDING, max_size=3).map("".join))
def test_what_depends_on_what_was_dropped_is_dropped_the_first_time(drawing: str) -> None:
    try:
        clean = sanitize(f"<svg {ROOT}>{drawing}</svg>")
    except SvgRefused:
        return
    assert_clean(clean)
    assert sanitize(clean) == clean


@given(st.text(alphabet="<>/=\"' svgrectuse#:;&{}", max_size=60) | st.binary(max_size=40))
def test_any_characters_are_refused_or_come_out_clean(written: str | bytes) -> None:
    try:
        assert_clean(sanitize(written))
    except SvgRefused:
        return
