"""One table of a signed snapshot, read member by member: what is not of the type and within the
bounds that are asked for is refused, and what is not asked for is ignored."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from phigate.core.catalog.mistakes import CatalogInvalid, Mistake
from phigate.core.catalog.vocabulary import Table, Test

Word = TypeVar("Word", bound=str)
Value = TypeVar("Value")


def table_reader(value: Any, file: str, row: str = "", prefix: str = "") -> "TableReader":
    """The reader of a table; of anything else CatalogInvalid."""
    if not isinstance(value, dict):
        raise CatalogInvalid([Mistake(file, row, prefix.rstrip("."), "must be a table")])
    return TableReader(value, file, row, prefix)


@dataclass(frozen=True, slots=True)
class TableReader:
    """Each method raises CatalogInvalid. A default is what a member means that the table may lack;
    it is never weaker for PHI than any value. A member that is there is never defaulted."""

    members: Table
    file: str
    row: str
    prefix: str

    def text(self, name: str, test: Test, default: str | None = None) -> str:
        """Text that passes the test."""
        return self._read(name, lambda value: isinstance(value, str) and test(value), default)

    def count(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """An integer within the bounds; True is none."""
        return self._read(
            name, lambda value: type(value) is int and least <= value <= most, default
        )

    def flag(self, name: str, default: bool | None = None) -> bool:
        """True or false; 0 is neither."""
        return self._read(name, lambda value: isinstance(value, bool), default)

    def one_of(self, name: str, words: tuple[Word, ...], default: Word | None = None) -> Word:
        """One of these words."""
        return self._read(name, lambda value: isinstance(value, str) and value in words, default)

    def names(
        self, name: str, test: Test, default: tuple[str, ...] | None = None
    ) -> tuple[str, ...]:
        """Texts that pass the test: at least one, and none twice."""
        return tuple(self._read(name, lambda value: _are_names(value, test), default))

    def table(self, name: str, default: Table | None = None, *, least: int = 1) -> Table:
        """A table with at least so many members."""
        return self._read(
            name, lambda value: isinstance(value, dict) and len(value) >= least, default
        )

    def rows(self, name: str) -> list[Any]:
        """A list that is not empty."""
        return self._read(name, lambda value: isinstance(value, list) and value != [], None)

    def reader(self, name: str) -> "TableReader":
        """The reader of a table within this one."""
        return TableReader(self.table(name), self.file, self.row, f"{self.prefix}{name}.")

    def wrong(self, name: str, message: str) -> CatalogInvalid:
        """What is raised of a member."""
        return CatalogInvalid([Mistake(self.file, self.row, self.prefix + name, message)])

    def _read(self, name: str, right: Callable[[Any], bool], default: Value | None) -> Value:
        if name not in self.members:
            if default is None:
                raise self.wrong(name, "missing")
            return default
        value: Value = self.members[name]
        if not right(value):
            raise self.wrong(name, "is not what it may be")
        return value


def _are_names(value: Any, test: Test) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(test(item) for item in value)
        and len(set(value)) == len(value)
    )
