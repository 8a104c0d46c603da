"""A run: one program executed, as the receipt and `meta` tell of it."""

from dataclasses import dataclass
from typing import Literal

Language = Literal["python", "r"]


@dataclass(frozen=True, slots=True)
class Run:
    """Its language, exit code and wall time; never the program."""

    language: Language
    exit_code: int
    wall_ms: int
