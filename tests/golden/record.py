"""`python -m tests.golden.record [FILE]`: what this version answers to every request."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from phigate.core.types import Json
from tests.golden.harness import answer_of
from tests.golden.requests import CASES

ANSWERS = Path(__file__).parent / "answers.jsonl"


def lines() -> Iterator[str]:
    """One line a request."""
    for name, case in CASES.items():
        yield line_of(name, answer_of(case))


def line_of(name: str, answer: Json) -> str:
    """A request's line."""
    return json.dumps({"name": name, **answer}, sort_keys=True, ensure_ascii=True)


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ANSWERS
    path.write_text("".join(f"{line}\n" for line in lines()))
