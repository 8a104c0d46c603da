"""DynamoDB's expressions, as far as the gateway writes them, evaluated on an item in memory.

Stricter than a real engine where that finds mistakes: unused placeholders, overlapping paths and
updates below a missing map are refused, as AWS refuses them.
"""

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

Item = dict[str, Any]

_TOKEN = re.compile(r"\s*(<=|>=|<>|[<>=(),.+-]|[:#]?[A-Za-z_][A-Za-z0-9_]*)")
_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class BadExpression(Exception):
    """AWS would answer with a ValidationException."""


class Expression:
    """One parsed-as-it-runs expression; `used` collects the placeholders that were met."""

    def __init__(self, text: str, names: dict[str, str], values: Item, item: Item) -> None:
        self._tokens = _tokens(text)
        self._at = 0
        self._names = names
        self._values = values
        self._item = item
        self.used: set[str] = set()

    def condition(self) -> bool:
        """Evaluate a whole condition."""
        result = self._either()
        self._end()
        return result

    def update(self) -> Item:
        """Evaluate a whole update against the item as it was; the item as it will be."""
        sets: list[tuple[tuple[str, ...], Item]] = []
        removes: list[tuple[str, ...]] = []
        while self._at < len(self._tokens):
            clause = self._next()
            while True:
                path = self._path()
                if clause == "SET":
                    self._expect("=")
                    sets.append((path, self._sum()))
                elif clause == "REMOVE":
                    removes.append(path)
                else:
                    raise BadExpression(f"unknown clause {clause}")
                if not self._take(","):
                    break
        return _applied(self._item, sets, removes)

    def _either(self) -> bool:
        result = self._both()
        while self._take("OR"):
            right = self._both()
            result = result or right
        return result

    def _both(self) -> bool:
        result = self._one()
        while self._take("AND"):
            right = self._one()
            result = result and right
        return result

    def _one(self) -> bool:
        if self._take("("):
            result = self._either()
            self._expect(")")
            return result
        for function, wanted in (("attribute_exists", True), ("attribute_not_exists", False)):
            if self._take(function):
                return (_at(self._item, self._argument()) is not None) is wanted
        left = self._operand()
        sign = self._next()
        right = self._operand()
        if left is None or right is None:
            return False
        if sign == "=":
            return left == right
        return _COMPARISONS[sign](_int(left), _int(right))

    def _operand(self) -> Item | None:
        if self._take("size"):
            found = _at(self._item, self._argument())
            return None if found is None else {"N": str(len(next(iter(found.values()))))}
        if self._peek().startswith(":"):
            return self._value()
        return _at(self._item, self._path())

    def _sum(self) -> Item:
        total = self._term()
        while self._peek() in ("+", "-"):
            sign = 1 if self._next() == "+" else -1
            total = {"N": str(_int(total) + sign * _int(self._term()))}
        return total

    def _term(self) -> Item:
        if self._peek().startswith(":"):
            return self._value()
        default: Item | None = None
        if self._take("if_not_exists"):
            self._expect("(")
            path = self._path()
            self._expect(",")
            default = self._value()
            self._expect(")")
        else:
            path = self._path()
        found = _at(self._item, path) or default
        if found is None:
            raise BadExpression(f"{'.'.join(path)} does not exist in the item")
        return found

    def _argument(self) -> tuple[str, ...]:
        self._expect("(")
        path = self._path()
        self._expect(")")
        return path

    def _path(self) -> tuple[str, ...]:
        parts = [self._name()]
        while self._take("."):
            parts.append(self._name())
        return tuple(parts)

    def _name(self) -> str:
        token = self._next()
        if not token.startswith("#"):
            return token
        self.used.add(token)
        return self._names[token]

    def _value(self) -> Item:
        token = self._next()
        self.used.add(token)
        value: Item = self._values[token]
        return value

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _take(self, token: str) -> bool:
        if self._peek() == token:
            self._at += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise BadExpression(f"{token} expected, {self._peek()} found")

    def _end(self) -> None:
        if self._peek():
            raise BadExpression(f"{self._peek()} is left over")


@functools.cache
def _tokens(text: str) -> list[str]:
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s", "", text):
        raise BadExpression("a character of no meaning")
    return tokens


def _int(value: Item) -> int:
    if "N" not in value:
        raise BadExpression("a number is needed")
    return int(value["N"])


def _at(item: Item, path: tuple[str, ...]) -> Item | None:
    found: Item | None = item.get(path[0])
    for part in path[1:]:
        if found is None or "M" not in found:
            return None
        found = found["M"].get(part)
    return found


def _applied(
    item: Item, sets: list[tuple[tuple[str, ...], Item]], removes: list[tuple[str, ...]]
) -> Item:
    paths = [path for path, _ in sets] + removes
    for path, other in _pairs(paths):
        if path[: len(other)] == other[: len(path)]:
            raise BadExpression("two paths overlap")
    for path, value in sets:
        _parent(item, path)[path[-1]] = value
    for path in removes:
        _parent(item, path).pop(path[-1], None)
    return item


def _parent(item: Item, path: tuple[str, ...]) -> Item:
    parent = item
    for part in path[:-1]:
        if "M" not in parent.get(part, {}):
            raise BadExpression("the path is not valid for update")
        parent = parent[part]["M"]
    return parent


def _pairs(paths: list[tuple[str, ...]]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    for i, path in enumerate(paths):
        for other in paths[i + 1 :]:
            yield path, other
