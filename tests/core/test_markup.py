"""Nothing that a page could run, load or follow unasked leaves a text, and mathematics does."""

import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phigate.core.tools.clean_answer import clean_members, clean_value
from phigate.core.tools.figures import clean_text
from phigate.core.types import Json
from phigate.wire.svg.sanitize import sanitize
from tests.active_markup import in_diagram, in_html, in_markdown
from tests.hostile_text import ALL, BARE, BARE_DIAGRAMS, HARMLESS, HTML, LATENT, LINKS, TEXTS

STRINGS: dict[str, str] = {**BARE, **HTML, **LINKS}
BYTES = 1_000_000
# Ten times what the slowest of the inputs takes here, and a hundredth of what quadratic work would.
CPU_S = 12.0


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - LATENT))
def test_the_oracle_sees_what_is_hostile_before_it_is_cleaned(name: str) -> None:
    assert in_markdown(TEXTS[name]) + in_html(TEXTS[name])


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_nothing_that_acts_leaves_a_text(text: str) -> None:
    clean = clean_text(text, sanitize)
    assert in_markdown(clean) == []
    assert clean_text(clean, sanitize) == clean


@pytest.mark.parametrize("text", HTML.values(), ids=HTML)
def test_not_even_a_page_that_takes_text_for_html_runs_it(text: str) -> None:
    # Code at the margin is code to every reader of Markdown, and to no other.
    if "```" not in text:
        assert in_html(clean_text(text, sanitize)) == []


@pytest.mark.parametrize("text", STRINGS.values(), ids=STRINGS)
def test_a_string_that_may_be_anything_acts_nowhere(text: str) -> None:
    clean = clean_value(text, sanitize)
    assert in_markdown(clean) == []
    if "```" not in text:
        assert in_html(clean) == []
    assert in_html(f'<a href="{clean.replace(chr(34), "&quot;")}">a</a>') == []
    assert clean_value(clean, sanitize) == clean


@pytest.mark.parametrize("text", BARE_DIAGRAMS.values(), ids=BARE_DIAGRAMS)
def test_a_diagram_without_a_fence_neither_links_nor_configures(text: str) -> None:
    clean = clean_value(text, sanitize)
    assert in_diagram(clean) == []
    assert in_markdown(clean) + in_html(clean) == []
    assert clean_value(clean, sanitize) == clean


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS)
def test_mathematics_code_and_links_stay_as_they_were_written(text: str) -> None:
    assert clean_text(text, sanitize) == text
    assert clean_value(text, sanitize) == text
    assert clean_value(text.replace("\n", "\r\n"), sanitize) == text.replace("\n", "\r\n")


@pytest.mark.parametrize("text", [*ALL.values(), *HARMLESS.values()])
@pytest.mark.parametrize("is_ascii", [True, False], ids=["escaped", "as it is"])
def test_json_stays_json_that_says_the_same(text: str, is_ascii: bool) -> None:
    value = {"a": [text, 1, 2.50, 12345678901234567890], text: {"b": None}}
    written = json.dumps(value, ensure_ascii=is_ascii, indent=1).replace("</", "<\\/")
    if is_ascii:
        written = written.replace("<", "\\u003c")
    clean = clean_value(written, sanitize)
    read = json.loads(clean)
    assert read["a"] == [clean_value(text, sanitize), 1, 2.50, 12345678901234567890]
    assert list(read)[1:] == [clean_value(text, sanitize)]
    if text in HARMLESS.values():
        assert clean == written


PARTED: dict[str, tuple[str, str]] = {
    "code that is never closed": ("```html\n<div>", "```html\n<div>\n```"),
    "code that is closed by more": ("```html\n<div>\n`````\n", "```html\n<div>\n```\n"),
    "code in a list": ("- ```html\n  <div>\n  ```", "- ```html\n  < div>\n  ```"),
    "code in a quote": ("> ```html\n> <div>\n> ```", "> ```html\n> < div>\n> ```"),
    "code that some would end": ("```\na ```\n<div>\n```", "```\na ```\n< div>\n```"),
    "a reference": ("&lt;div> &#60;div> &#x3C;div>", "&lt; div> &#60; div> &#x3C; div>"),
    "an escape": ("\\u003cdiv> \\\\x3cdiv>", "\\u003c div> \\\\x3c div>"),
    # Showdown takes spaces before the bracket, and after it one.
    "a link to no address of the web": ("[a](data:x)", "[a] (  data:x)"),
    "a link that has its space": ("[a] (data:x)", "[a] (  data:x)"),
    "a link of angles that has its space": ("[a]\t( <data:x y>)", "[a]\t(   < data:x y>)"),
    "a link that goes on": ("[a](java\n\nscript:b)", "[a] (  java\n\nscript:b)"),
    # Showdown knows one word behind a fence, Pandoc gives this one to the page, GitHub to MathJax.
    "code of two words": ("```js a=b\n<div>\n```", "```js a=b\n< div>\n```"),
    "code of the page's own": ("```{=html}\n<div>\n```", "```{=html}\n< div>\n```"),
    "code that is mathematics": (
        "```math\n\\href{javascript:a}{b}\n```",
        "```math\n\\ href{javascript:a}{b}\n```",
    ),
    # https://docs.mathjax.org/en/latest/input/tex/extensions/html.html
    "a link of TeX": ("$\\href{javascript:a}{b}$", "$\\ href{javascript:a}{b}$"),
    "a link of TeX by another name": (
        "\\let\\b\\href \\def\\c#1{\\href{#1}{d}}",
        "\\let\\b\\ href \\def\\c#1{\\ href{#1}{d}}",
    ),
    "a link of TeX in references": (
        "&#92;href{a} &bsol;href{b} \\hr&#101;f{https://c} &#x5C;&#104;ref&#123;",
        "&#92; href{a} &bsol; href{b} \\ hr&#101;f{https://c} &#x5C; &#104;ref&#123;",
    ),
    "styles of TeX": (
        "\\style{a:url(b)}{c} \\bbox[background:url(a)]{b} \\unicode[a;b:url(c)]{65}",
        "\\ style{a:url(b)}{c} \\ bbox[background:url(a)]{b} \\ unicode[a;b:url(c)]{65}",
    ),
    "what else TeX loads": (
        "\\includegraphics{a} \\mmlToken{mi}[href=b]{c} \\htmlData{a}{b} \\htmlStyle{a}{b}\\url{a}",
        "\\ includegraphics{a} \\ mmlToken{mi}[href=b]{c} \\ htmlData{a}{b} \\ htmlStyle{a}{b}"
        "\\ url{a}",
    ),
    "an escaped slash": ("<\\/script>", "< \\/script>"),
    "an escaped name": ("<\\u0073cript> <&#115;cript>", "< \\u0073cript> < &#115;cript>"),
}


@pytest.mark.parametrize(("text", "parted"), PARTED.values(), ids=PARTED)
def test_what_some_reader_could_take_for_an_element_is_parted(text: str, parted: str) -> None:
    assert clean_text(text, sanitize) == parted
    assert clean_text(parted, sanitize) == parted
    assert clean_value(text, sanitize) == parted


def test_a_handler_in_another_string_does_not_complete_a_tag() -> None:
    clean = clean_value('{"a": "x<y", "b": " onclick=alert(1) ", "c": ">"}', sanitize)
    assert in_html(clean) == []
    assert json.loads(clean) == {"a": "x< y", "b": " onclick=alert(1) ", "c": ">"}


PIECES = st.sampled_from(
    [
        *("<", ">", "/", "=", '"', "'", "`", "```", "~~~", "\n", " ", "\t", "\\", "&", ";", "&lt;"),
        *(
            "script",
            "img",
            "svg",
            "y",
            "a",
            "b",
            "x-y",
            "on",
            "onerror=alert(1)",
            " src=x",
            "style",
        ),
        *("[", "]", "(", ")", "!", ":", "javascript:", "https://", "data:", "#", "-", "> ", "- "),
        *(
            "|",
            "$",
            "1. ",
            "%%{",
            "mermaid",
            "graph TD",
            "click A",
            "<!--",
            "-->",
            "\\u003c",
            "<b>",
        ),
    ]
)


@given(st.lists(PIECES, max_size=24).map("".join))
def test_whatever_is_put_together_acts_nowhere_once_it_is_clean(text: str) -> None:
    clean = clean_text(text, sanitize)
    assert in_markdown(clean) == []
    assert clean_text(clean, sanitize) == clean


@given(st.lists(PIECES, max_size=16).map("".join), st.lists(PIECES, max_size=16).map("".join))
def test_whatever_json_holds_acts_nowhere_once_it_is_clean(one: str, two: str) -> None:
    clean = clean_value(json.dumps({one: two}), sanitize)
    ((name, value),) = json.loads(clean).items()
    assert in_markdown(name) + in_markdown(value) == []
    assert clean_value(clean, sanitize) == clean


VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), st.sampled_from(list(ALL.values()))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", *HTML.values()]), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(VALUES)
def test_every_string_and_name_of_an_answer_is_clean_at_any_depth(value: object) -> None:
    body: Json = {"x": value}
    clean_members(body, sanitize)
    for text in strings(body):
        assert clean_value(text, sanitize) == text


def strings(value: object) -> list[str]:
    """Every string and every member's name below."""
    if isinstance(value, dict):
        return [*value, *(text for member in value.values() for text in strings(member))]
    if isinstance(value, list):
        return [text for member in value for text in strings(member)]
    return [value] if isinstance(value, str) else []


def test_depth_is_no_obstacle() -> None:
    body: Json = {"x": "<script>"}
    for _ in range(5_000):
        body = {"x": [body]}
    clean_members(body, sanitize)
    for _ in range(5_000):
        (body,) = body["x"]
    assert body == {"x": "< script>"}


LARGE = (
    "<",
    "<y",
    "<y=",
    "<y on",
    "a[b]:\n",
    "](",
    "![",
    "<a ",
    "<y\n",
    "\n```x",
    "=\\",
    "\\u003c",
    "] (",
    "] (a",
    "]\t",
    "\\hr&#101;",
    "\\bbox[",
)
LARGE_STRINGS = ('{"', "graph;\n", "&lt;", " ", ":&Tab;")


@pytest.mark.parametrize("piece", LARGE)
def test_a_megabyte_of_text_is_cleaned_in_linear_time(piece: str) -> None:
    assert cpu_s(clean_text, piece) < CPU_S


@pytest.mark.parametrize("piece", LARGE_STRINGS)
def test_a_string_of_a_megabyte_is_cleaned_in_linear_time(piece: str) -> None:
    assert cpu_s(clean_value, piece) < CPU_S


def cpu_s(clean: Callable[[str, Callable[[str], str]], str], piece: str) -> float:
    text = piece * (BYTES // len(piece))
    started_s = time.process_time()
    clean(text, sanitize)
    return time.process_time() - started_s
