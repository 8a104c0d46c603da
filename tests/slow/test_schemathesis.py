"""Requests made from the OpenAPI document, right and wrong, at a real local stack.

Run by `make schemathesis`, in about two minutes.
"""

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import CheckFunction
from schemathesis.specs.openapi.checks import positive_data_acceptance

from phigate.core.limits import NAME_BYTES_MAX
from phigate.core.types import KeyPolicy
from phigate.http.app import ENDPOINTS
from phigate.http.openapi import openapi_document
from tests.local.running import HOST, RunningStack, free_port, started

EXAMPLES_MAX = 400  # an endpoint; the chat body's combinations of members come on top
KEYS = 40  # a key may be refused 60 times a minute before it is answered by 429 alone
# Tests are collected by endpoint before any stack runs.
DOCUMENT = openapi_document(ENDPOINTS)
api = schemathesis.openapi.from_dict(DOCUMENT)
PORT = free_port()
api.config.update(base_url=f"http://{HOST}:{PORT}")
# Rules between members are not in the document: a body of the right shape may still be refused.
NOT_OURS: list[CheckFunction] = [positive_data_acceptance]


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


@pytest.fixture(scope="session")
def answered() -> Counter[str]:
    """How often each path has answered with each status."""
    return Counter()


@api.parametrize()
@settings(
    max_examples=EXAMPLES_MAX,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented(
    case: schemathesis.Case[Any], keys: Iterator[str], answered: Counter[str]
) -> None:
    complete(case.body)
    response = case.call_and_validate(
        headers={"Authorization": f"Bearer {next(keys)}"}, excluded_checks=NOT_OURS
    )
    answered[f"{case.path} {response.status_code}"] += 1


def complete(body: object) -> None:
    """Put right what the document cannot say: which model names there are, and what a message of
    a role needs. A body that is wrong elsewhere stays wrong."""
    if not isinstance(body, dict):
        return
    model = body.get("model")
    if isinstance(model, str) and 0 < len(model) <= NAME_BYTES_MAX:
        body["model"] = "gemma-4"
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            if message.get("content") is None:
                message["content"] = "Hello"
            if message.get("role") == "tool":
                message["role"] = "user"  # no call stands before it that it could answer


def test_the_calls_reach_what_is_behind_the_surface(answered: Counter[str]) -> None:
    for path in ("/v1/chat/completions", "/v1/route"):
        assert answered[f"{path} 200"] > 100, answered
        assert answered[f"{path} 400"] > 100, answered
