"""The OpenAI SDK, unmodified but for its base URL, on a stack whose one confidential provider is at
503: a confidential model is answered by an enclave or by nobody, every other name as before."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from phigate.core.types import Json, KeyPolicy
from tests.local.running import RunningStack, started

PHALA = "phala/qwen3.5-27b"
WORLD = {"X-Region": "WORLD"}
HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Summarise this note."}]
LIFTED: Json = {"provider": {"confidential": False}}


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack of its own: the breakers of its confidential rows are open afterwards."""
    state: Path = tmp_path_factory.mktemp("failing") / "state"
    with started(state) as stack:
        (line,) = (state / "simulated.log").read_text().splitlines()[:1]
        simulated = line.removeprefix("simulated providers: ")
        order = {"provider": "phala", "fail": "status", "status": 503, "times": None}
        httpx.post(f"{simulated}/__control", json=order).raise_for_status()
        yield stack


@pytest.fixture
def client(failing: RunningStack) -> Iterator[OpenAI]:
    """The SDK with the key that the start has printed."""
    with OpenAI(base_url=failing.base_url, api_key=failing.key, max_retries=0) as made:
        yield made


def receipt(stack: RunningStack, key: str, receipt_id: str) -> Json:
    """The record of a call."""
    record: Json = stack.call("GET", f"/v1/receipts/{receipt_id}", key=key).json["record"]
    return record


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("model", [PHALA, "phala-qwen3.5-27b"])
def test_a_confidential_model_is_answered_by_no_other_provider(
    client: OpenAI, failing: RunningStack, model: str, stream: bool
) -> None:
    with pytest.raises(openai.InternalServerError) as failed:
        client.chat.completions.create(
            model=model, messages=HELLO, stream=stream, extra_headers=WORLD
        )
    assert (failed.value.status_code, failed.value.code) == (502, "upstream_error")
    record = receipt(failing, failing.key, failed.value.response.headers["x-phi-receipt"])
    assert record["confidential"] == "name"
    assert {row.partition("-")[0] for row, *_ in record["attempts"]} == {"phala"}
    assert {outcome for _, _, outcome, *_ in record["attempts"]} == {"http_503"}
    assert "google-gemini-2-5-flash" in record["rejected"]["capability_confidential"]


def test_the_caller_may_lift_it_and_the_receipt_says_so(
    client: OpenAI, failing: RunningStack
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=PHALA, messages=HELLO, extra_body=LIFTED, extra_headers=WORLD
    )
    assert raw.headers["x-phi-fallback"] == "upstream_failed"
    assert not raw.headers["x-phi-routed"].startswith("phala-")
    assert raw.parse().choices[0].message.content
    record = receipt(failing, failing.key, raw.headers["x-phi-receipt"])
    assert record["confidential"] == "lifted"


def test_every_other_name_falls_back_as_before(client: OpenAI, failing: RunningStack) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="gemma-4", messages=HELLO, extra_headers={"X-Region": "US"}
    )
    assert raw.headers["x-phi-fallback"] == "model_not_in_region"
    assert "confidential" not in receipt(failing, failing.key, raw.headers["x-phi-receipt"])


def test_where_no_enclave_is_there_is_no_route(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(
            model=PHALA, messages=HELLO, extra_headers={"X-Region": "CH", "X-PHI": "true"}
        )
    assert refused.value.code == "no_route"
    assert "confidential" in refused.value.message


def test_phi_is_blocked_where_no_agreement_covers_the_enclave(client: OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.chat.completions.create(
            model=PHALA, messages=HELLO, extra_headers={**WORLD, "X-PHI": "true"}
        )
    assert refused.value.code == "phi_blocked"


def test_a_key_that_requires_it_says_so_and_is_not_lifted(failing: RunningStack) -> None:
    key = failing.new_key("enclaves", KeyPolicy(confidential="required"))
    policy = failing.call("GET", "/v1/account", key=key).json["key"]["policy"]
    assert policy["confidential"] == "required"
    other = failing.call("GET", "/v1/account", key=failing.key).json["key"]["policy"]
    assert other["confidential"] is None
    with OpenAI(base_url=failing.base_url, api_key=key, max_retries=0) as client:
        with pytest.raises(openai.PermissionDeniedError) as refused:
            client.chat.completions.create(
                model="gemma-4", messages=HELLO, extra_body=LIFTED, extra_headers=WORLD
            )
        assert (refused.value.code, refused.value.param) == (
            "key_policy",
            "provider.confidential",
        )
        with pytest.raises(openai.InternalServerError) as failed:
            client.chat.completions.create(model="auto", messages=HELLO, extra_headers=WORLD)
    record = receipt(failing, key, failed.value.response.headers["x-phi-receipt"])
    assert record["confidential"] == "policy"
    assert {row.partition("-")[0] for row, *_ in record["attempts"]} == {"phala"}
