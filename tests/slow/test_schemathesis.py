"""Requests made from the OpenAPI document, right and wrong, at a real local stack.

Run by `make schemathesis`, in about three minutes.
"""

import itertools
import json
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks

from phigate.core.types import KeyPolicy
from phigate.http.directory import directory
from phigate.http.openapi import openapi_document
from tests.local.running import HOST, RunningStack, free_port, started
from tests.pipeline.stage import Stage

EXAMPLES_MAX = 150  # an endpoint; the chat body's combinations of members come on top
KEYS = 40  # a key may be refused 60 times a minute before it is answered by 429 alone
load_all_checks()
# Tests are collected by endpoint before any stack runs.
DOCUMENT = openapi_document(directory(None))
api = schemathesis.openapi.from_dict(DOCUMENT)
PORT = free_port()
api.config.update(base_url=f"http://{HOST}:{PORT}")
# Rules between members are not in the document: a body of the right shape may still be refused.
NOT_OURS = [schemathesis.checks.CHECKS.get_one("positive_data_acceptance")]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack on a fresh state."""
    with started(tmp_path_factory.mktemp("schemathesis") / "state", port=PORT) as running:
        yield running


@pytest.fixture(scope="session")
def keys(stack: RunningStack) -> Iterator[str]:
    """Keys of many accounts, one after the other."""
    made = [stack.new_key(f"fuzz-{n}", KeyPolicy(rpm=100_000)) for n in range(KEYS)]
    return itertools.cycle(made)


def test_the_document_is_the_one_that_is_served(stack: RunningStack) -> None:
    assert stack.call("GET", "/openapi.json").json == json.loads(json.dumps(DOCUMENT))


@api.parametrize()
@settings(
    max_examples=EXAMPLES_MAX,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented(case: schemathesis.Case, keys: Iterator[str]) -> None:
    case.call_and_validate(
        headers={"Authorization": f"Bearer {next(keys)}"}, excluded_checks=NOT_OURS
    )
