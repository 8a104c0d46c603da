"""A stack for each module, with its catalog loaded by the function that loads it on AWS."""

from collections.abc import Iterator

import pytest

from phigate.aws.catalog_sync import CatalogSync
from tests.functions.world import CONTEXT, World, sync_event, world_in


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A stack whose catalog was not loaded yet. At its end no role has refused anything, not even
    where nobody would have noticed."""
    with world_in(tmp_path_factory.mktemp("stack")) as world:
        yield world
        assert world.aws.refused == []


@pytest.fixture(scope="module")
def world(bare: World) -> World:
    """The same, loaded."""
    CatalogSync(bare.outside("catalog_sync"))(sync_event("Create", bare.aws.url), CONTEXT)
    assert bare.aws.told[-1]["Status"] == "SUCCESS", bare.aws.told[-1]["Reason"]
    return bare
