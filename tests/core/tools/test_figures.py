import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from phigate.core.errors import SvgRefused
from phigate.core.tools.figures import clean_text, embed_figures
from phigate.core.tools.programs import figure_label
from phigate.wire.svg.sanitize import sanitize


def marked(svg: str) -> str:
    """A sanitiser that can be told from none: it takes what holds a shape, and says so."""
    if "shape" not in svg:
        raise SvgRefused("no shape")
    return "<svg>shape</svg>"


CLEAN: dict[str, tuple[str, str]] = {
    "prose": ("a < b, $x<y$ and <b>bold</b>", "a < b, $x<y$ and <b>bold</b>"),
    "every line end": ("a\r\nb\rc\n", "a\nb\nc\n"),
    "an svg fence": ("```svg\nshape\n```\nb", "```svg\n<svg>shape</svg>\n```\nb"),
    "an svg fence of nothing": ("```svg\nx\n```", "```text\nx\n```"),
    "an empty svg fence": ("```svg\n```", "```text\n```"),
    "a label in capitals": ("``` SVG \nshape\n```", "```svg\n<svg>shape</svg>\n```"),
    "a label with more words": ("```svg xml {a=1}\nshape\n```", "```svg\n<svg>shape</svg>\n```"),
    "a label in braces": ("```{.svg}\nshape\n```", "```svg\n<svg>shape</svg>\n```"),
    "a label in braces with spaces": (
        "``` { .svg }\nshape\n```\n~~~ {#a .b .svg}\nx\n~~~",
        "```svg\n<svg>shape</svg>\n```\n~~~ text\nx\n~~~",
    ),
    "a class behind a language": (
        "```xml {.mermaid}\nclick A\n```\n```r { class='a svg' }\nx\n```",
        "```text\nclick A\n```\n```text\nx\n```",
    ),
    "other things in braces": (
        '```{r, fig.ext="svg"}\nx\n```\n```a {b="c.svg"}\n```',
        '```{r, fig.ext="svg"}\nx\n```\n```a {b="c.svg"}\n```',
    ),
    "a fence of colons": (
        "::: mermaid\nclick A\n:::\n> - :::: {.svg}\n:::note\n::svg a ::: svg",
        "::: text\nclick A\n:::\n> - :::: text\n:::note\n::svg a ::: svg",
    ),
    "a fence of colons in a fence": ("```\n:::mermaid\n```", "```\n:::text\n```"),
    "a media type for a label": ("```image/svg+xml\nshape\n```", "```svg\n<svg>shape</svg>\n```"),
    "a label in references": ("```s&#118;&#x67;\nshape\n```", "```svg\n<svg>shape</svg>\n```"),
    "a label that only begins so": ("```svgo\nshape\n```", "```svgo\nshape\n```"),
    "another language": ("```xml svg\n<svg/>\n```", "```xml svg\n< svg/>\n```"),
    "no label": ("```\nshape\n```", "```\nshape\n```"),
    "tildes": ("~~~svg\nshape\n~~~", "```svg\n<svg>shape</svg>\n```"),
    "backticks after tildes": ("~~~svg `a`\nshape\n~~~", "```svg\n<svg>shape</svg>\n```"),
    "backticks after backticks are no fence": ("```svg `a`\nx\n", "```svg `a`\nx\n"),
    "a fence after backticks that are none": (
        "```text `\n```svg\nshape\n```",
        "```text `\n```svg\n<svg>shape</svg>\n```",
    ),
    "three spaces": ("   ```svg\n   shape\n  ```\nb", "```svg\n<svg>shape</svg>\n```\nb"),
    "four spaces are no fence": ("    ```svg\nx", "    ```text\nx"),
    "a tab is no fence": ("\t```svg\nx", "\t```text\nx"),
    "two backticks are no fence": ("``svg\nshape\n``", "``svg\nshape\n``"),
    "an unclosed fence": ("a\n```svg\nshape\n", "a\n```svg\n<svg>shape</svg>\n```"),
    "an unclosed fence of nothing": ("```svg\nx", "```text\nx"),
    "a closing fence that is longer": (
        "```svg\nshape\n`````\nb",
        "```svg\n<svg>shape</svg>\n```\nb",
    ),
    "a closing fence that is shorter": (
        "````svg\nshape\n```\n<script>\n````",
        "```svg\n<svg>shape</svg>\n```",
    ),
    "a closing fence of the other kind": (
        "```svg\nshape\n~~~\n```",
        "```svg\n<svg>shape</svg>\n```",
    ),
    "a closing fence with a word": ("```svg\nshape\n```svg\n```", "```svg\n<svg>shape</svg>\n```"),
    "a closing fence too far in": ("```svg\nshape\n    ```\n```", "```svg\n<svg>shape</svg>\n```"),
    "a fence shown in a longer one": (
        "````markdown\n```svg\nx\n```\n````",
        "````markdown\n```text\nx\n```\n````",
    ),
    "a fence in a diagram": (
        "  ```mermaid\n  graph TD\n   ```svg\n  ```",
        "````mermaid\ngraph TD\n ```text\n````",
    ),
    "a fence shown in tildes": ("~~~\n```svg\nshape\n~~~", "~~~\n```text\nshape\n~~~"),
    "in a quote": ("> ```svg\n> shape\n> ```\nb", "> ```svg\n> <svg>shape</svg>\n> ```\nb"),
    "in a quote without space": (">```svg\n>shape\n>```", ">```svg\n> <svg>shape</svg>\n> ```"),
    "in a quote that ends": ("> ```svg\n> shape\nb", "> ```svg\n> <svg>shape</svg>\n> ```\nb"),
    "in a quote that ends with a fence": (
        "> ```svg\n> shape\n```\nc\n```",
        "> ```svg\n> <svg>shape</svg>\n> ```\n```\nc\n```",
    ),
    "in a list": (
        "- ```svg\n  shape\n  ```\n- b",
        "- ```svg\n  <svg>shape</svg>\n  ```\n- b",
    ),
    "in a list that ends": ("- ```svg\n  shape\nb", "- ```svg\n  <svg>shape</svg>\n  ```\nb"),
    "in a numbered list": (
        "10. a\n\n    ```svg\n    shape\n    ```",
        "10. a\n\n    ```svg\n    <svg>shape</svg>\n    ```",
    ),
    "in a list behind a tab": (
        "-\ta\n\n\t```svg\n\tshape\n\t```",
        "-\ta\n\n    ```svg\n    <svg>shape</svg>\n    ```",
    ),
    "in a quote in a list in a quote": (
        "> 1. > ```svg\n>    > shape\n>    > ```",
        "> 1. > ```svg\n>    > <svg>shape</svg>\n>    > ```",
    ),
    "in forty quotes": (">" * 40 + "```svg\nshape", ">" * 40 + "```text\nshape"),
    "two after each other": (
        "```svg\nshape\n```\n```svg\nx\n```",
        "```svg\n<svg>shape</svg>\n```\n```text\nx\n```",
    ),
    "a fence that ends a paragraph": ("a\n```svg\nshape\n```", "a\n```svg\n<svg>shape</svg>\n```"),
    "raw svg": ("see <svg onload=x> </svg >", "see < svg onload=x> < /svg >"),
    "raw svg in other forms": ("a <SvG/onload=x> <svg\nx>", "a < SvG/onload=x> < svg\nx>"),
    "raw svg in indented code": ("    <svg>", "    < svg>"),
    "another word": ("a <svgx> <sv g>", "a <svgx> <sv g>"),
    "a block of HTML": ("<div>\n```svg\nshape\n```", "< div>\n```svg\n<svg>shape</svg>\n```"),
    "a comment": ("<!--\n\n```svg\nshape", "< !--\n\n```svg\n<svg>shape</svg>\n```"),
    "an element that holds anything": ("- <pre>\n  a", "- < pre>\n  a"),
    "a declaration, an instruction and CDATA": (
        "<!A\n<?a\n<![CDATA[",
        "< !A\n< ?a\n< ![CDATA[",
    ),
    "a lone tag of any name": ('<x a=">">\n<x/>\ny', '< x a=">">\n< x/>\ny'),
    "a lone address": ("<https://example.org/a>", "<https://example.org/a>"),
    "HTML inside a fence": ("```html\n<div>\n<svg>\n```", "```html\n<div>\n<svg>\n```"),
}


@pytest.mark.parametrize(("written", "clean"), CLEAN.values(), ids=CLEAN)
def test_every_drawing_of_the_models_own_is_cleaned_or_shown_as_text(
    written: str, clean: str
) -> None:
    assert clean_text(written, marked) == clean


def test_a_fence_is_longer_than_any_run_of_backticks_in_it() -> None:
    def ticks(svg: str) -> str:
        return "<svg>````</svg>"

    assert clean_text("```svg\na\n```", ticks) == "`````svg\n<svg>````</svg>\n`````"


def test_the_sanitiser_gets_what_stands_in_the_fence_and_no_more() -> None:
    seen: list[str] = []

    def note(svg: str) -> str:
        seen.append(svg)
        return "<svg/>"

    clean_text("> - ~~~svg\n>   <svg>\n>     a\n>   </svg>\n>   ~~~\n\n  ```svg\n  b\n", note)
    assert seen == ["<svg>\n  a\n</svg>", "b\n"]


def test_an_answer_with_a_figure_that_is_cleaned_again_stays_as_it_is() -> None:
    figure = sanitize('<svg><g id="a"/><use href="#a"/><text>```</text></svg>')
    written = "[Figure 1]\n\n- ```svg\n  <svg onload='x'><rect/></svg>\n  ```\n"
    answer, count = embed_figures(clean_text(written, sanitize), [figure])
    assert count == 1
    assert f"````svg\n{figure}\n````" in answer
    assert "onload" not in answer
    assert clean_text(answer, sanitize) == answer


def block(number: int) -> str:
    return f"```svg\n<svg>{number}</svg>\n```"


STITCHED: dict[str, tuple[str, int, str]] = {
    "no figure": ("a [Figure 1]", 0, "a [Figure 1]"),
    "an answer without text": ("", 1, f"[Figure 1]\n\n{block(1)}"),
    "named in the last line": ("a [Figure 1].", 1, f"a [Figure 1].\n\n{block(1)}"),
    "named in a passage": (
        "a [Figure 1]\nb\n\nc",
        1,
        f"a [Figure 1]\nb\n\n{block(1)}\n\nc",
    ),
    "named twice": (
        "[Figure 1]\n\nb [Figure 1]\n\nc",
        1,
        f"[Figure 1]\n\n{block(1)}\n\nb [Figure 1]\n\nc",
    ),
    "never named": ("a\n", 1, f"a\n\n[Figure 1]\n\n{block(1)}"),
    "named in the other order": (
        "[Figure 2]\n\n[Figure 1]\n\nc",
        2,
        f"[Figure 2]\n\n{block(2)}\n\n[Figure 1]\n\n{block(1)}\n\nc",
    ),
    "two named in one passage": (
        "[Figure 2] and [Figure 1]\n\nc",
        2,
        f"[Figure 2] and [Figure 1]\n\n{block(2)}\n\n{block(1)}\n\nc",
    ),
    "one named and one not": (
        "[Figure 2]\n\nc",
        2,
        f"[Figure 2]\n\n{block(2)}\n\nc\n\n[Figure 1]\n\n{block(1)}",
    ),
    "other case, emphasis and space": (
        "**[figure  1]** [ **FIGURE 2** ]",
        2,
        f"**[figure  1]** [ **FIGURE 2** ]\n\n{block(1)}\n\n{block(2)}",
    ),
    "words without brackets": (
        "Figure 1 of\n\nb",
        1,
        f"Figure 1 of\n\nb\n\n[Figure 1]\n\n{block(1)}",
    ),
    "a number that no figure has": (
        "[Figure 0] [Figure 7] [Figure 11]\n\nb",
        1,
        f"[Figure 0] [Figure 7] [Figure 11]\n\nb\n\n[Figure 1]\n\n{block(1)}",
    ),
    "an image of a file that is not there": (
        "![Figure 1: sine](sandbox:/a.png) ![Figure 9](b)\n\nc",
        1,
        f"[Figure 1] ![Figure 9](b)\n\n{block(1)}\n\nc",
    ),
    "named in code alone": (
        "```python\n# [Figure 1]\n\nx\n```\n\nb",
        1,
        f"```python\n# [Figure 1]\n\nx\n```\n\nb\n\n[Figure 1]\n\n{block(1)}",
    ),
    "before code": (
        "[Figure 1]:\n```python\nx\n```",
        1,
        f"[Figure 1]:\n\n{block(1)}\n\n```python\nx\n```",
    ),
    "before a heading": ("[Figure 1]\n## b", 1, f"[Figure 1]\n\n{block(1)}\n\n## b"),
    "after the whole item of a list": (
        "1. [Figure 1]\n\n   b\n\n       c\n\n2. d",
        1,
        f"1. [Figure 1]\n\n   b\n\n       c\n\n{block(1)}\n\n2. d",
    ),
    "after a table": (
        "| [Figure 1] |\n|---|\n| b |\n\nc",
        1,
        f"| [Figure 1] |\n|---|\n| b |\n\n{block(1)}\n\nc",
    ),
    "after a quote": ("> [Figure 1]\n> b\n\nc", 1, f"> [Figure 1]\n> b\n\n{block(1)}\n\nc"),
    "after code that is never closed": (
        "[Figure 1]\n```py\n\nx",
        2,
        f"[Figure 1]\n\n{block(1)}\n\n```py\n\nx\n```\n\n[Figure 2]\n\n{block(2)}",
    ),
    "after code of a list's item that goes on lazily": (
        "- a\nb\n  ```py\n  x",
        1,
        f"- a\nb\n  ```py\n  x\n\n[Figure 1]\n\n{block(1)}",
    ),
    "after a quote's code that is never closed": (
        "> ~~~\n> x",
        1,
        f"> ~~~\n> x\n\n[Figure 1]\n\n{block(1)}",
    ),
}


@pytest.mark.parametrize(("text", "count", "answer"), STITCHED.values(), ids=STITCHED)
def test_each_figure_stands_once_where_it_is_named_first(
    text: str, count: int, answer: str
) -> None:
    figures = [f"<svg>{number}</svg>" for number in range(1, count + 1)]
    assert embed_figures(text, figures) == (answer, count)


def test_a_figures_label_is_what_the_text_is_searched_for() -> None:
    assert embed_figures(f"{figure_label(1)}\n\nb", ["<svg/>"])[0].startswith(
        "[Figure 1]\n\n```svg"
    )


# A second opinion.

SHAPES = ["shape", "<svg onload='x'>", "x", "click A href", ""]
PIECES = st.sampled_from(
    [
        *(
            "```svg",
            "~~~svg",
            "````svg",
            "```",
            "~~~",
            "`````",
            "```text",
            "~~~~ SVG x",
            "``` svg `",
        ),
        *(
            "```{.svg}",
            "``` { .svg }",
            "```a {.b .mermaid}",
            "::: mermaid",
            "```s&#118;g",
            "```mermaid",
        ),
        *("graph TD", "%%{init: {}}%%", "[Figure 1]"),
        *("<div>", "<!--", "<pre>", "text", "***", "# a", "---", "[Figure 2] and"),
        *SHAPES,
    ]
)
MOVED = st.sampled_from(
    [
        "",
        " ",
        "  ",
        "   ",
        "    ",
        "\t",
        "> ",
        ">",
        "- ",
        "-",
        "1. ",
        "12) ",
        "+   ",
        "*     ",
        "> > ",
    ]
)
LINES = st.tuples(st.lists(MOVED, max_size=3).map("".join), PIECES).map("".join)
TEXTS = st.lists(LINES, max_size=14).map("\n".join)
COMMONMARK = MarkdownIt("commonmark")


def drawn(text: str) -> list[tuple[str, str]]:
    """The fenced blocks that a renderer of CommonMark would draw, and what is in them."""
    blocks = []
    for token in COMMONMARK.parse(text):
        word = html.unescape(token.info).strip().lower()
        if token.type == "fence" and re.search(r"\b(?:svg|mermaid)\b", word):
            blocks.append((word, token.content.rstrip()))
    return blocks


@given(TEXTS)
def test_a_renderer_draws_only_what_was_cleaned(text: str) -> None:
    clean = clean_text(text, marked)
    for word, content in drawn(clean):
        assert word in ("svg", "mermaid")
        if word == "svg":
            assert content == "<svg>shape</svg>"
        else:
            assert content.startswith("graph TD")
            assert not re.search(r"^\s*click|%%\{", content, re.MULTILINE)
    assert not [token for token in COMMONMARK.parse(clean) if token.type == "html_block"]
    assert clean_text(clean, marked) == clean


@given(TEXTS)
def test_a_renderer_draws_each_figure_once_and_reads_the_rest_as_before(text: str) -> None:
    clean = clean_text(text, marked)
    figures = ["<svg>1</svg>", "<svg>``` 2</svg>"]
    answer, count = embed_figures(clean, figures)
    ours = [content for _, content in drawn(answer) if content in figures]
    assert count == 2
    assert sorted(ours) == sorted(figures)
    assert [each for each in drawn(answer) if each[1] not in figures] == drawn(clean)
    assert rest(answer, figures) == rest(clean, figures)


def rest(text: str, figures: list[str]) -> list[tuple[str, str]]:
    """What a reader sees besides the figures and their labels, in order."""
    seen = [
        (token.type, token.content.rstrip())
        for token in COMMONMARK.parse(text)
        if token.type in ("inline", "fence", "code_block")
    ]
    return [
        (kind, content)
        for kind, content in seen
        if content not in figures and content not in ("[Figure 1]", "[Figure 2]")
    ]
