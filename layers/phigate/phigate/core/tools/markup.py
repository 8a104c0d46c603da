"""Parts, in a text that any page may show, what the page could run, load or follow unasked.

Law 1: only spaces are put in, so formulas, code and JSON stay what they are: a `<` that could begin
an element that acts is parted from its name, an image from its mark, a link from a target that is
no address of the web, a directive from its braces, a command of TeX that links or loads from its
backslash.
Law 2: what HTML defines as an element stays only from a list; a name that HTML does not define, as
in `x<y>z` or `List<int>`, begins nothing that acts, unless a handler or a style follows in its tag.
Law 3: a second time changes nothing, and every step is linear in the text.
"""

import html
import re
from bisect import bisect_left
from collections.abc import Sequence

# Also as HTML and as JSON or JavaScript write it, for a reader that resolves them first.
_LESS = r"(?:<|&lt;?|&\#(?:0*+60|x0*+3c);?|(?<!\\)\\++(?:u003c|x3c))"
_OPENS = re.compile(rf"({_LESS})(?=[a-z/!?]|\\++(?:/|u00|x[0-9a-f]{{2}})|&(?:\#|[a-z]))", re.I)
_NAME = re.compile(r"([a-z][a-z0-9]{0,31}+)(.?)", re.I | re.DOTALL)
# Elements without attributes, exactly so: they change a word's looks and nothing else.
_HARMLESS = re.compile(
    r"/?(?:b|code|del|em|i|ins|kbd|mark|q|s|small|strong|sub|sup|u|var)>|br *+/?>", re.I
)
# https://html.spec.whatwg.org/multipage/indices.html#elements-3, the obsolete ones (16.2), and what
# browsers know besides.
_ELEMENTS = frozenset(
    """
    a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big
    blink blockquote body br button canvas caption center cite code col colgroup command content
    data datalist dd del details dfn dialog dir div dl dt element em embed fencedframe fieldset
    figcaption figure font footer form frame frameset geolocation h1 h2 h3 h4 h5 h6 head header
    hgroup hr html i iframe image img input ins isindex kbd keygen label legend li link listing main
    map mark marquee math menu menuitem meta meter model multicol nav nextid nobr noembed noframes
    noscript object ol optgroup option output p param permission picture plaintext portal pre
    progress q rb rbc rp rt rtc ruby s samp script search section select selectedcontent selectmenu
    shadow slot small source spacer span strike strong style sub summary sup svg table tbody td
    template textarea tfoot th thead time title tr track tt u ul var video wbr xml xmp
    """.split()  # noqa: SIM905 - a list of them would take a page
)
_ADDRESSES = frozenset({"http", "https", "mailto"})
# In a tag: its end, a plain attribute, or one that acts on whatever element. A quote may hide the
# end, and what a line's end cuts off may go on in the next.
_MARKS = re.compile(
    r"""(?P<end>>)
    |(?P<acts>(?<![\w-])(?:on[\w-]*+|style|is)\s*+(?:=|$)|=\s*+\\*+(?:["'`]|&|$))
    |=""",
    re.IGNORECASE | re.VERBOSE,
)
_MARK = re.compile(r"[=>]|(?:on[\w-]*|style|is)\s*$", re.IGNORECASE)
_PLAIN, _ACTS = 1, 3

_SPECIAL = re.compile(r"[<&\\\]!%]")

_IMAGE = re.compile(r"!(?=\[)")
_TARGETS = re.compile(r"\][ \t]*+[(\[:]")
# Some readers take spaces before the bracket too, but then no spaces inside (showdown's do).
_LINK = re.compile(r"\](?:(?=[(:])|[ \t]++(?=\([ \t]?(?:<|[^\s<]\S*[ \t]*(?:[\"')]|$))))")
# What a link may name: the web, a mailbox, a place in the same page, or a path without a scheme.
_WEB = r"\s*+(?:<?(?:https?://|mailto:|\#)|[^:&\\<>)\n]{0,256}+(?="
_TARGET = re.compile(rf"{_WEB}\)))", re.IGNORECASE)
_DEFINED = re.compile(rf"{_WEB}\)|$))", re.IGNORECASE)
_CONTAINERS = re.compile(r"[\s>*+\-.)0-9]*+")
_DIRECTIVE = re.compile(r"%%(?=\{)")
# What MathJax obeys as it comes, and KaTeX where it trusts: links, styles, images, attributes. The
# name may be written in references, which a page resolves before they read it.
_BACKSLASH = r"(?:\\|&\#(?:0*+92|[xX]0*+5[cC]);?|&bsol;)"
_COMMAND = re.compile(rf"({_BACKSLASH})((?:[A-Za-z]|&\#\w{{1,9}};?)++)")
_OPTION = r"\s*+(?:\{|\[[\w\s.,-]*(?:border:[\w\s.-]*+)?\])"
_WEB_LINK = r"\s*+\{\s*+(?:https?://|mailto:)"
# By command, what may follow for it to stay.
_COMMANDS = {
    name: None if stays is None else re.compile(stays, re.IGNORECASE)
    for name, stays in (
        ("href", _WEB_LINK),
        ("url", _WEB_LINK),
        ("bbox", _OPTION),
        ("unicode", _OPTION),
        ("style", None),
        ("htmlStyle", None),
        ("htmlData", None),
        ("mmlToken", None),
        ("includegraphics", None),
    )
}
# 4.6 of CommonMark: of its seven starts of an HTML block the last, a lone tag of any name, a little
# wider than there.
_HTML_BLOCK = re.compile(r"<(?=/?[a-z][^>]*+>\s*+$)(?![a-z][a-z0-9+.-]{1,31}+:)", re.IGNORECASE)

_SUSPECT = re.compile(
    r"<|!\[|\]\s*[(:]|%%\{|&(?:\#|lt|bsol)|\\[uxhbsmi]|```|~~~|:::", re.IGNORECASE
)


def is_plain(text: str) -> bool:
    """Whether nothing in the text needs a closer look."""
    return _SUSPECT.search(text) is None


def ahead(text: str, after: int = 0) -> tuple[list[int], list[int]]:
    """Where the marks of tags stand in a text, and per mark what a tag that is open there would
    come to hold: nothing, an attribute, or one that acts. `after` is that of the text behind."""
    places: list[int] = []
    states: list[int] = []
    found = list(_MARKS.finditer(text))
    state = after
    for mark in reversed(found):
        state = 0 if mark["end"] else state | (_ACTS if mark["acts"] else _PLAIN)
        places.append(mark.start())
        states.append(state)
    places.reverse()
    states.reverse()
    return places, states


class Prose:
    """The lines of one text, each of which may be asked for with what acts in it parted."""

    def __init__(self, lines: Sequence[str], after: int = 0) -> None:
        self._lines = lines
        self._has_targets = any("]" in line and _TARGETS.search(line) for line in lines)
        # Per line what follows after it.
        self._after = [after] * (len(lines) + 1)
        if any("<" in line for line in lines):
            for at in range(len(lines) - 1, -1, -1):
                line = lines[at]
                states = ahead(line, self._after[at + 1])[1] if _MARK.search(line) else ()
                self._after[at] = states[0] if states else self._after[at + 1]

    def line(self, at: int) -> str:
        """A line, parted."""
        line = self._lines[at]
        if _SPECIAL.search(line) is None:
            return line
        return self._marks(_part_tags(_part_block(line), self._after[at + 1]), at)

    def marks(self, at: int) -> str:
        """A line of a drawing, whose tags are clean: its text may be taken for Markdown."""
        return self._marks(self._lines[at], at)

    def _marks(self, line: str, at: int) -> str:
        if self._has_targets:
            line = _IMAGE.sub("! ", line)
            following = self._lines[at + 1] if at + 1 < len(self._lines) else ""
            line = _part_links(line, following)
        return _DIRECTIVE.sub("%% ", _COMMAND.sub(_part_command, line))


def _part_block(line: str) -> str:
    """The line, where it would begin a block of HTML that swallows the lines after it."""
    # Whatever containers a reader sees before it: they differ on what goes on lazily.
    start = _CONTAINERS.match(line)
    at = 0 if start is None else start.end()
    return f"{line[:at]}< {line[at + 1 :]}" if _HTML_BLOCK.match(line, at) else line


def _part_tags(line: str, after: int) -> str:
    if _OPENS.search(line) is None:
        return line
    places, states = ahead(line, after)

    def parted(found: re.Match[str]) -> str:
        at = bisect_left(places, found.end())
        state = states[at] if at < len(states) else after
        return (
            found[0] if found[0] == "<" and _may_stay(line, found.end(), state) else f"{found[0]} "
        )

    return _OPENS.sub(parted, line)


def _may_stay(line: str, at: int, state: int) -> bool:
    """Whether what stands behind a `<` begins nothing that acts."""
    if _HARMLESS.match(line, at):
        return True
    found = _NAME.match(line, at)
    if found is None or state == _ACTS:
        return False
    name, then = found[1].lower(), found[2]
    if then == ":":
        return name in _ADDRESSES
    if then == "-":
        # An element of the page's own making has a letter there; `x<y-1` has not.
        return not line[found.end() : found.end() + 1].isalpha()
    if len(name) == 1:
        return state == 0
    return name not in _ELEMENTS


def _part_links(line: str, following: str) -> str:
    out: list[str] = []
    done = 0
    for found in _LINK.finditer(line):
        at = found.end()
        if line[at] == ":" and not _may_define(line, done, found.start()):
            continue
        rest = (line, at + 1)
        if not line[at + 1 : at + 33].strip() and not line[at + 1 :].strip():
            start = _CONTAINERS.match(following)
            rest = (following, 0 if start is None else start.end())
        defines = line[at] == ":"
        if not (_DEFINED if defines else _TARGET).match(*rest):
            space = " " if line[at - 1] == "]" else ""
            # Two spaces inside the bracket, for who takes one there and any before it.
            out.append(line[done:at] + space + ("" if defines else "(  "))
            done = at if defines else at + 1
    return "".join([*out, line[done:]])


def _part_command(found: re.Match[str]) -> str:
    name = html.unescape(found[2])
    command = re.match("[A-Za-z]*", name)
    known = "" if command is None else command[0]
    if known not in _COMMANDS:
        return found[0]
    stays = _COMMANDS[known]
    may_stay = stays is not None and name == found[2] and stays.match(found.string, found.end())
    return found[0] if may_stay else f"{found[1]} {found[2]}"


def _may_define(line: str, since: int, at: int) -> bool:
    """Whether a `]:` may end a link's label: that one begins its line, or an earlier line (4.7)."""
    begins = line.rfind("[", max(since, at - 1_000), at)
    if begins < 0:
        return True
    start = _CONTAINERS.match(line)
    return start is not None and begins <= start.end()
