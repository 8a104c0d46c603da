"""What is wrong with a catalog, told by file, row and field."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake. `row` is the row, region, alias or agreement; empty where there is none."""

    file: str
    row: str
    field: str
    message: str

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.row, self.field) if part)
        return f"{place}: {self.message}" if place else self.message


class CatalogInvalid(Exception):
    """The operator's catalog has mistakes. It ends a command or a push, never a request."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = tuple(mistakes)
