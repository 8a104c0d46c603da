"""One local stack serves all tests of the surface; every test is a caller of its own."""

import itertools
from collections.abc import Iterator

import pytest

from tests.local.running import RunningStack, started


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack on a fresh state."""
    with started(tmp_path_factory.mktemp("stack") / "state") as running:
        yield running


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def account(_numbers: Iterator[int]) -> str:
    """The name of an account that no other test has."""
    return f"caller-{next(_numbers)}"


@pytest.fixture
def key(stack: RunningStack, account: str) -> str:
    """The key of a fresh account with one dollar of credit."""
    return stack.new_key(account)
