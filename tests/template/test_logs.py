"""What a caller's programs send that holds a key or a name is taken out of every log."""

import re
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest

from tests.template.cloudformation import ROOT
from tests.template.logs import FIELDS_MAX, PLAIN, REDACTED

WORDS = ("the-key", "the-name")


def sent(ask: Callable[[httpx2.Client], Any]) -> httpx2.Headers:
    """The headers of what a real client sends."""
    requests: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(200, json={"id": "1", "choices": []})

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as client:
        ask(client)
    return requests[0].headers


def openais(client: httpx2.Client) -> Any:
    sdk = openai.OpenAI(
        api_key="the-key",
        organization="the-name",
        project="the-name",
        base_url="https://gateway.test/v1",
        http_client=client,
    )
    return sdk.chat.completions.create(model="m", messages=[])


def azures(client: httpx2.Client, *, key: str | None = None, token: str | None = None) -> Any:
    sdk = openai.AzureOpenAI(
        api_key=key,
        azure_ad_token=token,
        azure_endpoint="https://gateway.test",
        api_version="1",
        organization="the-name",
        http_client=client,
    )
    return sdk.chat.completions.create(model="m", messages=[])


CLIENTS: dict[str, Callable[[httpx2.Client], Any]] = {
    "OpenAI": openais,
    "Azure by key": lambda client: azures(client, key="the-key"),
    "Azure by token": lambda client: azures(client, token="the-key"),
    "a browser": lambda client: client.get(
        "https://the-name:the-key@gateway.test/v1/models",
        headers={"referer": "https://the-name.test/", "cookie": "session=the-key"},
    ),
}


@pytest.mark.parametrize("ask", CLIENTS.values(), ids=CLIENTS)
def test_a_header_that_holds_a_key_or_a_name_is_not_logged(
    ask: Callable[[httpx2.Client], Any],
) -> None:
    headers = sent(ask)
    telling = {name for name, value in headers.items() if any(word in value for word in WORDS)}
    telling |= {"authorization"} & set(headers)
    assert telling and telling <= REDACTED


def test_every_header_that_the_gateway_reads_is_sorted() -> None:
    """A new one is a name, a key, or a word of the protocol."""
    read = {
        name
        for path in (ROOT / "layers" / "phigate" / "phigate").rglob("*.py")
        for name in re.findall(r'headers(?:\.get\(|\[)\s*"([a-z0-9-]+)"', path.read_text())
    }
    ours = {name for name in read if not name.startswith(("x-phi-", "x-ratelimit-"))}
    assert {"authorization", "x-phi", "x-region"} <= ours <= PLAIN | REDACTED


def test_callers_names_of_the_contract_are_not_logged() -> None:
    assert {f"x-audit-{what}" for what in ("user", "subject", "case", "purpose")} <= REDACTED
    assert {"authorization", "x-api-key", "cookie"} <= REDACTED
    assert not REDACTED & PLAIN
    assert len(REDACTED) + 2 <= FIELDS_MAX
