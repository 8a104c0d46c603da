"""Reads CSS of a figure by a strict grammar: declarations, and rules with simple selectors.

Law: nothing of the source is written again but values that their property's grammar holds and
selectors of elements, classes and ids. At-rules, escapes, comments inside a value, pseudo-classes
and combinators other than the descendant's are not understood, and what is not understood is gone.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from phigate.wire.svg.policy import ELEMENTS, PROPERTIES, URL_WRITTEN

Declarations = tuple[tuple[str, str], ...]

_COMPOUND = re.compile(r"(\*|[A-Za-z][A-Za-z0-9]*)?((?:[.#][A-Za-z_-][\w-]*)*)", re.ASCII)
_PART = re.compile(r"[.#][\w-]+", re.ASCII)
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_COMPOUNDS_MAX = 8  # ggplot2's have two


class Compound(NamedTuple):
    """One step of a selector: an element's name, `*` or nothing, then classes and ids."""

    element: str
    parts: tuple[str, ...]


Selector = tuple[Compound, ...]


class Rule(NamedTuple):
    selectors: tuple[Selector, ...]
    declarations: Declarations


def value_of(name: str, written: str, grammars: Mapping[str, re.Pattern[str]]) -> str | None:
    """The value in the one form that is written, or None where its grammar does not hold it."""
    grammar = grammars.get(name)
    if grammar is None:
        return None
    value = written.strip()
    if "(" in value:
        value = URL_WRITTEN.sub(r"url(#\2)", value)
    return value if grammar.fullmatch(value) else None


def declarations(text: str) -> Declarations:
    """The declarations that may stay, in order; of one property the last that may."""
    kept: dict[str, str] = {}
    for declaration in text.split(";"):
        name, _, written = declaration.partition(":")
        name = name.strip().lower()
        # Scoped rules and style attributes keep their order without it.
        written = written.strip().removesuffix("!important")
        value = value_of(name, written, PROPERTIES)
        if value:
            kept[name] = value
    return tuple(kept.items())


def rules(text: str) -> Iterator[Rule]:
    """The rules of a style sheet that may stay. None refers to anything: see svg_cost."""
    text = _COMMENT.sub(" ", text)
    at = 0
    while (opening := text.find("{", at)) >= 0:
        head = text[at:opening].rpartition(";")[2]  # past an at-rule without a block
        at = _end_of_block(text, opening)
        kept = tuple(
            (name, value)
            for name, value in declarations(text[opening + 1 : at - 1])
            if "url(" not in value
        )
        selectors = tuple(filter(None, map(_selector, head.split(","))))
        if kept and selectors:
            yield Rule(selectors, kept)


def _end_of_block(text: str, opening: int) -> int:
    depth = 0
    for brace in _BRACE.finditer(text, opening):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end()
    return len(text) + 1  # a browser closes it at the end of the sheet


def _selector(text: str) -> Selector | None:
    compounds = []
    for step in text.split():
        found = _COMPOUND.fullmatch(step)
        if found is None or (found[1] and found[1] != "*" and found[1] not in ELEMENTS):
            return None
        compounds.append(Compound(found[1] or "", tuple(_PART.findall(found[2]))))
    return tuple(compounds) if 0 < len(compounds) <= _COMPOUNDS_MAX else None


_BRACE = re.compile(r"[{}]")
