"""A second opinion on what a page would do with a text: an HTML parser over what a Markdown
renderer makes of it, as permissive as one can be set (raw HTML passes, every link is taken)."""

import functools
import html
import re
from html.parser import HTMLParser

from markdown_it import MarkdownIt

# Elements that act, load or change how what follows is read, whatever their attributes.
_ACTING = frozenset(
    """
    applet audio base bgsound body button details embed fencedframe form frame frameset head html
    iframe image img input isindex link marquee math meta noembed noframes noscript object option
    param picture plaintext portal script select source template textarea title track video xmp
    """.split()  # noqa: SIM905 - a list of them would take a page
)
_MOVING = frozenset({"animate", "animatemotion", "animatetransform", "set"})
_ADDRESSES = frozenset(
    """
    action background cite classid codebase data dynsrc formaction href icon longdesc lowsrc
    manifest ping poster profile src srcdoc srcset xlink:href xml:base
    """.split()  # noqa: SIM905 - a list of them would take a page
)
_IGNORED = re.compile(r"[\x00-\x20\x7f-\xa0]+")
_ACTIVE_ADDRESS = re.compile(r"(?:javascript|vbscript|livescript|data|file|blob):", re.IGNORECASE)
_LOADS = re.compile(r"@import|url\(\s*[\"']?(?!#)|expression\s*\(|image-set|-moz-binding", re.I)
_DIRECTIVE = re.compile(r"%%\{|@\{|^\s*(?:click|href|links?|callback|call)\b", re.MULTILINE)
_FENCE_LANGUAGE = re.compile(r"svg|mermaid")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._svg = 0
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._svg += tag == "svg"
        self._in_style = tag == "style"
        if self._svg and tag in _MOVING:
            self.found.append(f"<{tag}>")
        if tag.rpartition(":")[2] in _ACTING and not (self._svg and tag == "title"):
            self.found.append(f"<{tag}>")
        if tag == "style" and not self._svg:
            self.found.append("<style>")
        for name, value in attrs:
            self._attribute(tag, name, value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._svg -= tag == "svg"

    def handle_endtag(self, tag: str) -> None:
        self._svg -= tag == "svg" and self._svg > 0
        self._in_style = False

    def handle_comment(self, data: str) -> None:
        # Readers differ on where one ends.
        self.found.append("<!--")

    def handle_decl(self, decl: str) -> None:
        self.found.append("<!")

    def unknown_decl(self, data: str) -> None:
        self.found.append("<![")

    def handle_pi(self, data: str) -> None:
        self.found.append("<?")

    def handle_data(self, data: str) -> None:
        if self._in_style and _LOADS.search(data):
            self.found.append("a style that loads")

    def _attribute(self, tag: str, name: str, value: str) -> None:
        address = _IGNORED.sub("", value)
        if name.startswith("on"):
            self.found.append(f"{tag} {name}=")
        elif name == "style" and not self._svg:
            self.found.append(f"{tag} style=")
        elif tag == "a" and name == "href":
            if _ACTIVE_ADDRESS.match(address):
                self.found.append(f"a link to {address}")
        elif (name in _ADDRESSES and address[:1] != "#") or _LOADS.search(html.unescape(value)):
            self.found.append(f"{tag} {name}={value}")


def in_html(text: str) -> list[str]:
    """What would act where the text stands in a page as it is, another tag's end behind it."""
    reader = _Reader()
    reader.feed(text + "\n</p>")
    reader.close()
    return reader.found


@functools.cache
def renderer(*, html: bool = True) -> MarkdownIt:
    """The most permissive that Markdown readers come; without HTML they read what it would hide."""
    markdown = MarkdownIt("commonmark", {"html": html}).enable(["table", "strikethrough"])
    markdown.validateLink = lambda url: True  # type: ignore[method-assign]
    return markdown


def in_markdown(text: str) -> list[str]:
    """What would act where the text is rendered, its drawings drawn."""
    markdown = renderer()
    found = in_html(markdown.render(text)) + in_html(renderer(html=False).render(text))
    for token in markdown.parse(text):
        if token.type == "fence" and _FENCE_LANGUAGE.search(html.unescape(token.info).lower()):
            drawn = token.content
            is_svg = "svg" in token.info
            found += in_html(drawn) if is_svg else in_diagram(drawn)
    return found


def in_diagram(text: str) -> list[str]:
    """What of a diagram configures its renderer, links or loads."""
    front_matter = ["front matter"] if text.lstrip().startswith("---") else []
    return front_matter + [f"a diagram's {found!r}" for found in _DIRECTIVE.findall(text)]
