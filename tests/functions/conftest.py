"""A stack for each module, with its catalog loaded by the function that loads it on AWS."""

from collections.abc import Iterator

import pytest

from phigate.aws.catalog_sync import CatalogSync
from tests.functions.aws_stack import CONTEXT, AwsStack, aws_stack_in, sync_event


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsStack]:
    """A stack whose catalog was not loaded yet. At its end no role has refused anything, not even
    where nobody would have noticed."""
    with aws_stack_in(tmp_path_factory.mktemp("stack")) as aws_stack:
        yield aws_stack
        assert aws_stack.aws.refused == []


@pytest.fixture(scope="module")
def aws_stack(bare: AwsStack) -> AwsStack:
    """The same, loaded."""
    CatalogSync(bare.lambda_environment("catalog_sync"))(
        sync_event("Create", bare.aws.url), CONTEXT
    )
    assert bare.aws.told[-1]["Status"] == "SUCCESS", bare.aws.told[-1]["Reason"]
    return bare
