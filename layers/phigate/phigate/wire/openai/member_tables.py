"""The tables of members, made from the shapes: which an object may have, and where objects are.

No list repeats a shape's fields, and every shape that a shape holds has its table, so that a new
one cannot be forgotten. Left out is what never goes upstream.
"""

import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from phigate.core.request.fields import MEMBERS
from phigate.wire.openai.chat_body import ChatBody
from phigate.wire.openai.shape import Echo, MayHold, NotUnderPhi, Shape, fields_of, mark_of

Steps = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The members of one kind of object, as its shape declares them.

    `spelled` has each as spellings are compared. `inner` are the fields that may hold objects: the
    attribute, its name on the wire, and the table of those objects where no shape is theirs.
    """

    names: frozenset[str]
    spelled: Mapping[str, str]
    sends_nulls: bool = True
    inner: tuple[tuple[str, str, "Table | None"], ...] = ()


Tables = Mapping[type[Any], Table]
Level = tuple[Steps, Mapping[str, Any], Table]


def plain(name: str) -> str:
    """A member's name without what spellings differ in: case, `_`, `-` and dots."""
    return name.casefold().replace("_", "").replace("-", "").replace(".", "")


@functools.cache
def tables_of(shape: type[Shape]) -> Tables:
    """The table of a shape, and those of all shapes that it holds."""
    tables = {shape: _table_of(shape)}
    for attribute, _, _ in tables[shape].inner:
        for held in _shapes(shape.model_fields[attribute].annotation):
            tables |= tables_of(held)
    return tables


def levels(shape: Shape, tables: Tables, steps: Steps = ()) -> Iterator[Level]:
    """Every object of a shape that goes upstream, the shape first: its way, its members that no
    shape names, and the table of the others. What is one object comes before lists of them."""
    table = tables[type(shape)]
    yield steps, shape.__pydantic_extra__ or {}, table
    lists: list[tuple[str, list[Any], Table | None]] = []
    for attribute, name, free in table.inner:
        value = getattr(shape, attribute)
        if type(value) is list:
            lists.append((name, value, free))
        elif type(value) in tables:
            yield from levels(value, tables, (*steps, name))
    for name, items, free in lists:
        for i, item in enumerate(items):
            if free is not None:
                yield (*steps, name, i), _outside(item, free), free
            elif type(item) in tables:
                yield from levels(item, tables, (*steps, name, i))


def has_unknown(shape: Shape, tables: Tables) -> bool:
    """Whether `levels` has any member that no shape names; quicker, since it keeps no ways."""
    if shape.__pydantic_extra__:
        return True
    for attribute, _, free in tables[type(shape)].inner:
        value = getattr(shape, attribute)
        # The type itself: isinstance takes ten times as long with pydantic's classes.
        kind = type(value)
        if kind in tables:
            if has_unknown(value, tables):
                return True
        elif kind is list and _any_has_unknown(value, tables, free):
            return True
    return False


@functools.cache
def not_under_phi(shape: type[BaseModel]) -> tuple[tuple[str, str, str], ...]:
    """The fields that are refused under PHI: attribute, name and reason, by name."""
    found = [
        (attribute, name, mark.why)
        for attribute, name, field in fields_of(shape)
        if (mark := mark_of(field, NotUnderPhi)) is not None
    ]
    return tuple(sorted(found, key=lambda each: plain(each[1])))


def _any_has_unknown(items: Sequence[Any], tables: Tables, free: Table | None) -> bool:
    if free is not None:
        return any(_outside(item, free) for item in items)
    return any(type(item) in tables and has_unknown(item, tables) for item in items)


def _outside(item: Mapping[str, Any], table: Table) -> Mapping[str, Any]:
    return {name: item[name] for name in item if name not in table.names}


def _table_of(shape: type[Shape]) -> Table:
    names = [name for _, name, _ in fields_of(shape)]
    inner = [
        (attribute, name, _free(field))
        for attribute, name, field in fields_of(shape)
        if _is_looked_into(shape, name, field)
    ]
    return _table(names, shape.SENDS_NULLS, tuple(inner))


def _table(
    names: Collection[str],
    sends_nulls: bool = True,
    inner: tuple[tuple[str, str, Table | None], ...] = (),
) -> Table:
    # Of two names that are spelled alike the first one is the right one.
    spelled = {plain(name): name for name in reversed(tuple(names))}
    return Table(frozenset(names), spelled, sends_nulls, inner)


def _is_looked_into(shape: type[Shape], name: str, field: FieldInfo) -> bool:
    if mark_of(field, MayHold) is not None:
        return True
    if mark_of(field, Echo) is not None:
        return False
    if issubclass(shape, ChatBody) and MEMBERS[name].openai == "own":
        return False
    return any(_shapes(field.annotation))


def _shapes(annotation: Any) -> Iterator[type[Shape]]:
    """The shapes that a value of this type may be, or hold in a list."""
    if isinstance(annotation, type) and issubclass(annotation, Shape):
        yield annotation
    for each in get_args(annotation):
        yield from _shapes(each)


def _free(field: FieldInfo) -> Table | None:
    may_hold = mark_of(field, MayHold)
    return None if may_hold is None else _table(may_hold.names)
