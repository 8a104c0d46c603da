"""Keeps a Mermaid diagram's drawing; removes what configures its renderer, links or loads.

Law: one of five kinds of diagram, without directives, front matter, links, callbacks, metadata of
nodes, references and tags; anything else is no diagram here. What might be a link goes with the
rest of its line: the price is a node that is called `click`.
"""

import re

_KIND = re.compile(
    r"(?:flowchart(?:-elk)?|graph|sequenceDiagram|erDiagram|gantt|stateDiagram(?:-v2)?)(?![\w-])"
)
# Every kind that a renderer knows; https://mermaid.js.org/intro/
_ANY_KIND = re.compile(
    rf"(?:{_KIND.pattern}|classDiagram|journey|pie|quadrantChart|requirement|gitGraph|C4|mindmap"
    r"|timeline|zenuml|sankey|xychart|block|packet|kanban|architecture|radar|treemap|info|swimlane)"
)
_MAY_BE_BARE = re.compile(rf"[\s\ufeff]*+(?:%%|---|{_ANY_KIND.pattern}[^;\n]*[;\n])")
# The renderer takes an unclosed directive for one, so its end is optional here as well.
_DIRECTIVE = re.compile(r"%%\{.*?(?:\}\s*%%|\Z)", re.DOTALL)
_FRONT_MATTER = re.compile(r"\A---.*?(?:\n[ \t]*---[^\n]*|\Z)", re.DOTALL)
# `@{ img: … }` loads a picture, and YAML can spell a key in many ways.
_METADATA = re.compile(r"@\{[^}]*(?:\}|\Z)")
_LINKS = re.compile(r"[\s\ufeff]*(?:click|href|links?|callback|call)(?!\w)", re.I)
# Of an actor's menu in a sequence diagram; elsewhere they are good names of things.
_MENU = re.compile(r"[\s\ufeff]*(?:properties|details)(?!\w)", re.I)
_STYLING = re.compile(r"[\s\ufeff]*(?:style|classDef|linkStyle)(?!\w)", re.I)
# What a style may say: no quotes, escapes, braces or functions but colours'.
_STYLE = re.compile(r"(?:[\w\s,:#.%-]|(?:rgb|hsl)a?\([0-9.,%\s]*\))*", re.I)
_LOADS = re.compile(r"\b(?:url|src|image|image-set|expression)\s*\(|javascript\s*:|@import", re.I)
_BREAK = re.compile(r"<br\s*/?>", re.I)
# States are drawn by stereotypes: `state fork <<fork>>`.
_STEREOTYPE = re.compile(r"<<(?:choice|fork|join)>>", re.I)
_TAG = re.compile(r"<[A-Za-z/!?][^<>\n]*>")
_TAG_START = re.compile(r"<(?=[A-Za-z/!?])")
_BLANK = "\ufeff \t\n"
_KEPT = re.compile(rf"({_BREAK.pattern}|{_STEREOTYPE.pattern})", re.I)


def clean_diagram(source: str) -> str | None:
    """The diagram, clean, or None where it is none of the kinds that are drawn."""
    text = _without_configuration(source)
    kind = _KIND.match(_first_word(text))
    return None if kind is None else _without_links(text, in_sequence=kind[0].startswith("seq"))


def bare_diagram(text: str) -> str | None:
    """A text that is a diagram of whatever kind without a fence round it, clean; None where it is
    none. Nobody can be told that it is none of the five kinds, so the others are kept as well."""
    if _MAY_BE_BARE.match(text) is None:
        return None
    clean = _without_configuration(text)
    return _without_links(clean, in_sequence=True) if _ANY_KIND.match(_first_word(clean)) else None


def _without_configuration(source: str) -> str:
    # Each step leaves a space or a line end in its place, so none completes what another looks for.
    text = _DIRECTIVE.sub("\n", _without_tags(source)).strip(_BLANK)
    text = _FRONT_MATTER.sub("", text, count=1).strip(_BLANK)
    return _METADATA.sub(" ", text)


def _without_links(text: str, *, in_sequence: bool) -> str:
    cleaned = (_line(line, in_sequence=in_sequence) for line in text.split("\n"))
    return "\n".join(line for line in cleaned if line is not None).strip(_BLANK)


def _first_word(text: str) -> str:
    """The first line that is no comment, from its first word on."""
    lines = (line.lstrip() for line in text.split("\n"))
    return next((line for line in lines if line and not line.startswith("%%")), "")


def _line(line: str, *, in_sequence: bool) -> str | None:
    """The line without the statements that may not stay; None where it held nothing else."""
    kept = []
    for statement in line.split(";"):
        if _LINKS.match(statement) or (in_sequence and _MENU.match(statement)):
            break  # an address may hold a semicolon, too
        if _may_stay(statement):
            kept.append(statement)
    return ";".join(kept) if "".join(kept).strip() or not line.strip() else None


def _may_stay(statement: str) -> bool:
    if _LOADS.search(statement):
        return False
    return _STYLING.match(statement) is None or _STYLE.fullmatch(statement) is not None


def _without_tags(text: str) -> str:
    """Tags become spaces, and what could begin one over lines is parted from its name."""
    pieces = _KEPT.split(text)
    # Every second piece is one to keep.
    pieces[::2] = [_TAG_START.sub("< ", _TAG.sub(" ", piece)) for piece in pieces[::2]]
    return "".join(pieces)
