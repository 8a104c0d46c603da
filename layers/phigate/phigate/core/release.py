"""Which release this is, and how releases compare.

A release is `major.minor.patch`, three integers. A snapshot of the catalog names the oldest release
that may read it (`core.catalog.snapshot`), so a stack must know what it is itself.
"""

import re

RELEASE = "0.2.0"  # as pyproject.toml has it; a test holds the two together

_RELEASE = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})")


def parse_release(text: object) -> tuple[int, int, int] | None:
    """A release as three integers that compare; None for anything else."""
    match = _RELEASE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    major, minor, patch = map(int, match.groups())
    return major, minor, patch
