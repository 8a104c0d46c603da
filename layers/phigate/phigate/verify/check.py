"""What was looked at, and what came of it."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["holds", "fails", "open"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `open`: what it would take was not given."""

    name: str
    outcome: Outcome
    message: str
