"""Real exchanges, replayed through the adapters; and the recorder, on the simulated providers.

`make record PROVIDER=… CASE=…` makes the folders; there may be none.
"""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from local.simulated.app import build_app
from local.simulated.server import build_server, open_socket, port_of
from phigate.adapters import ADAPTERS
from phigate.adapters.adapter import Adapter
from tests.adapters.conformance import Said, said_in_answer, said_in_chunks
from tests.builders import repository_catalog
from tests.effects.raw_server import answer, raw_server
from tests.record import CASES, RECORDED, Recording, RecordRefused, recorded, without_names, write

KEY = "k9-canary-7f3a9-of-a-provider"
# One provider of each dialect, and one whose rows do not do everything.
PROVIDERS = ("anthropic", "openai", "together")


def replay(folder: Path) -> None:
    """The adapter of today reads what the provider sent then, and it is what the case is about."""
    meta = orjson.loads((folder / "meta.json").read_bytes())
    assert orjson.loads((folder / "request.json").read_bytes())["messages"]
    response = (folder / "response.bin").read_bytes()
    adapter = ADAPTERS[meta["dialect"]]
    case = CASES[folder.name]
    if case.is_refused:
        assert 400 <= meta["status"] < 500
        words, _ = adapter.refusal(response)
        assert words != "no reason given"
        return
    assert meta["status"] == 200
    said = said_in_stream(adapter, response) if case.stream else said_whole(adapter, response)
    assert said.usage is not None
    assert said.usage["prompt_tokens"] > 0
    assert said.usage["completion_tokens"] > 0
    if "tools" in case.members:
        assert said.finish == "tool_calls"
        assert all(set(orjson.loads(given)) == {"place"} for _, given in said.calls)
        assert said.calls
    else:
        assert said.finish == "stop"
        assert said.text
    if "response_format" in case.members:
        assert set(orjson.loads(said.text)) == {"town", "letters"}


def said_in_stream(adapter: Adapter, response: bytes) -> Said:
    """What the stream comes to, fed whole and byte by byte."""
    at_once, slowly = adapter.decoder(), adapter.decoder()
    chunks = at_once.feed(response)
    assert [chunk for byte in response for chunk in slowly.feed(bytes([byte]))] == chunks
    assert at_once.ended
    assert at_once.failed is None
    return said_in_chunks(chunks)


def said_whole(adapter: Adapter, response: bytes) -> Said:
    """What the answer comes to."""
    canonical = adapter.answer(response)
    assert canonical is not None
    return said_in_answer(canonical)


def test_every_recorded_exchange_is_read_by_its_adapter() -> None:
    for meta in sorted(RECORDED.glob("*/*/meta.json")):
        replay(meta.parent)


@pytest.fixture(scope="module")
def simulated_url() -> Iterator[str]:
    """The simulated providers on a real port."""
    listening = open_socket(0)
    server = build_server(build_app(PROVIDERS))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield f"http://127.0.0.1:{port_of(listening)}"
    server.should_exit = True
    thread.join()
    listening.close()


def variables(simulated_url: str, provider: str, key: str = KEY) -> dict[str, str]:
    """What a person sets who records."""
    prefix = f"PHIGATE_{provider.upper()}"
    return {f"{prefix}_API_KEY": key, f"{prefix}_BASE_URL": f"{simulated_url}/{provider}/v1"}


def record(provider: str, case: str, environ: dict[str, str]) -> Recording:
    """One exchange with a provider of the repository's catalog."""
    return asyncio.run(recorded(repository_catalog(), provider, case, environ))


@pytest.mark.parametrize("case", [name for name in CASES if name != "image"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_exchange_is_recorded_and_replayed(
    simulated_url: str, tmp_path: Path, provider: str, case: str
) -> None:
    folder = tmp_path / provider / case
    write(record(provider, case, variables(simulated_url, provider)), folder)
    replay(folder)
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(written) == {"request.json", "response.bin", "meta.json"}
    assert not [name for name, content in written.items() if KEY.encode() in content]
    assert b"simulated_anthropic_" not in written["response.bin"]
    assert b"chatcmpl-simulated" not in written["response.bin"]


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_an_exchange_about_an_image_is_recorded_and_replayed(
    simulated_url: str, tmp_path: Path, provider: str
) -> None:
    folder = tmp_path / "image"
    write(record(provider, "image", variables(simulated_url, provider)), folder)
    replay(folder)
    assert b"64 x 64 pixels" in (folder / "response.bin").read_bytes()


REFUSED: dict[str, tuple[str, str, dict[str, str], str]] = {
    "a provider that there is not": ("nobody", "text", {}, "no such provider; it has anthropic"),
    "a provider without a key": ("anthropic", "text", {}, "set PHIGATE_ANTHROPIC_API_KEY"),
    "an endpoint without a key": (
        "anthropic",
        "text",
        {"PHIGATE_ANTHROPIC_BASE_URL": "http://127.0.0.1:1"},
        "set PHIGATE_ANTHROPIC_API_KEY",
    ),
    "an endpoint with a hole": (
        "infomaniak",
        "text",
        {"PHIGATE_INFOMANIAK_API_KEY": KEY},
        "PHIGATE_INFOMANIAK_",
    ),
    "a case that its rows cannot do": (
        "together",
        "image",
        {"PHIGATE_TOGETHER_API_KEY": KEY},
        "no row of together can do this",
    ),
    "a provider that is not there": (
        "openai",
        "text",
        {"PHIGATE_OPENAI_API_KEY": KEY, "PHIGATE_OPENAI_BASE_URL": "http://127.0.0.1:1"},
        "did not answer: connect",
    ),
}


@pytest.mark.parametrize(("provider", "case", "environ", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_recorded_is_said_in_a_line(
    provider: str, case: str, environ: dict[str, str], words: str
) -> None:
    with pytest.raises(RecordRefused) as refused:
        record(provider, case, environ)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert KEY not in str(refused.value)


# The simulated text begins with `[simulated openai] No model ran`.
QUOTED_KEYS = {
    "the whole key": "No model ran: this",
    "a piece from its middle": "sk-secret-No model ran: this-secret",
    "a short key": "simulated o",
}


@pytest.mark.parametrize("key", QUOTED_KEYS.values(), ids=QUOTED_KEYS)
def test_an_answer_that_quotes_the_key_is_not_kept(simulated_url: str, key: str) -> None:
    with pytest.raises(RecordRefused, match="holds a piece of the key"):
        record("openai", "text", variables(simulated_url, "openai", key))


def test_a_service_accounts_secrets_are_sought_and_its_addresses_are_not(
    simulated_url: str,
) -> None:
    quoted = {"private_key_id": "No model ran: this"}
    public = {"private_key": KEY, "token_uri": "No model ran: this"}
    with pytest.raises(RecordRefused, match="holds a piece of the key"):
        record("openai", "text", variables(simulated_url, "openai", orjson.dumps(quoted).decode()))
    key = orjson.dumps(public).decode()
    assert record("openai", "text", variables(simulated_url, "openai", key)).meta["status"] == 200


STATUSES: dict[str, tuple[str, int, str]] = {
    "a wrong key": ("error", 401, "refused the key with 401"),
    "a key without a right": ("text", 403, "refused the key with 403"),
    "no credit": ("text", 402, "answered with 402"),
    "a busy provider, for a case about errors": ("error", 529, "answered with 529"),
}


@pytest.mark.parametrize(("case", "status", "words"), STATUSES.values(), ids=STATUSES)
def test_an_answer_that_the_case_is_not_about_is_not_kept(
    case: str, status: int, words: str
) -> None:
    async def asked() -> Recording:
        async with raw_server([answer(f"{status} No", b"{}")]) as server:
            environ = variables(f"http://127.0.0.1:{server.port}", "openai")
            return await recorded(repository_catalog(), "openai", case, environ)

    with pytest.raises(RecordRefused) as refused:
        asyncio.run(asked())
    assert words in str(refused.value)


NAMES = {
    "the same name twice is one word": (
        b'{"id":"msg_01ABCDEF"}\n{"id" : "msg_01ABCDEF"}',
        b'{"id":"recorded-1"}\n{"id" : "recorded-1"}',
    ),
    "two calls stay two": (
        b'[{"id": "call_1"}, {"id": "call_2"}]',
        b'[{"id": "recorded-1"}, {"id": "recorded-2"}]',
    ),
    "an account in an error text": (
        b'{"message":"Limit of org-Ab12Cd34Ef for you"}',
        b'{"message":"Limit of recorded-1 for you"}',
    ),
    "a named account that a text repeats": (
        b'{"organization":"hospital-seven","message":"hospital-seven is over"}',
        b'{"organization":"recorded-1","message":"recorded-1 is over"}',
    ),
    "a name that is null": (b'{"id":null}', b'{"id":null}'),
    "a word that is short enough to be one": (
        b'{"id":"a","text":"a cat"}',
        b'{"id":"recorded-1","text":"a cat"}',
    ),
    "JSON in a text": (rb'{"text":"{\"id\": \"7\"}"}', rb'{"text":"{\"id\": \"7\"}"}'),
}


@pytest.mark.parametrize(("said", "kept"), NAMES.values(), ids=NAMES)
def test_names_of_accounts_and_requests_are_replaced(said: bytes, kept: bytes) -> None:
    assert without_names(said) == kept


def test_the_variables_of_an_endpoint_are_replaced() -> None:
    said = b'{"path":"/products/1004/x","created":11004,"id":"product-1004-a"}'
    assert without_names(said, ["1004"]) == (
        b'{"path":"/products/recorded-variable/x","created":11004,"id":"recorded-1"}'
    )
