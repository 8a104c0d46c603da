"""Nothing of a request stays: a word goes in wherever a caller can put one, through success,
refusal and every failure, and is then looked for in all that the stack wrote."""

import base64
import contextlib
import http.client
import json
import stat
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from phigate.core.attributes import inflate
from phigate.core.ledger.keys import make_key
from phigate.core.ledger.receipt_item import RECORD_WORDS
from phigate.core.types import Json
from phigate.effects.signing.key_files import FILES
from tests.http.calls import CHAT, PIXEL
from tests.http.echoing_upstream import ANSWERS, echoing
from tests.local.running import HOST, RunningStack, started

CANARY = "kanarienvogel7f3a9c51"
# A pixel, and behind it the word: images are not decoded by anybody here.
IMAGE = base64.b64encode(base64.b64decode(PIXEL) + CANARY.encode()).decode()
FAILURES = (
    "simulate:status=503",
    "simulate:status=401",
    "simulate:refuse=400",
    "simulate:redirect",
    "simulate:cut",
    "simulate:no_done",
    "simulate:garbage",
    "simulate:error_first",
    "simulate:error_mid",
    "simulate:no_usage",
    "simulate:absurd_usage",
    "simulate:negative_usage",
    "simulate:unicode simulate:crlf",
    "simulate:forge",
    "simulate:nonsense",
)


def body(words: str, *, stream: bool = False, image: bool = False) -> Json:
    """A request with the word in every member that takes text."""
    content: Any = f"{CANARY} {words}"
    if image:
        content = [
            {"type": "text", "text": content},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}},
        ]
    parameters = {"type": "object", "properties": {CANARY: {"type": "string"}}}
    function = {"name": CANARY, "description": CANARY, "parameters": parameters}
    return {
        "model": "auto",
        "messages": [
            {"role": "system", "content": CANARY, "name": CANARY},
            {"role": "user", "content": content},
        ],
        "tools": [{"type": "function", "function": function}],
        "stop": [CANARY],
        "user": CANARY,
        "metadata": {CANARY: CANARY},
        "prompt_cache_key": CANARY,
        "safety_identifier": CANARY,
        "stream": stream,
    }


def needles(key: str) -> list[bytes]:
    """The word and the key as they are, and as base64 shows them at each of its three places."""
    plain = [CANARY.encode(), key.encode(), key.rpartition("_")[2].encode()]
    return [*plain, *(shown for word in plain for shown in _base64_of(word))]


def _base64_of(word: bytes) -> Iterator[bytes]:
    for before in range(3):
        shown = base64.b64encode(b"\0" * before + word)
        # The first and the last characters depend on the neighbours.
        yield shown[(before * 8 + 5) // 6 : (before + len(word)) * 8 // 6]


def found(texts: Iterable[bytes], wanted: list[bytes]) -> list[bytes]:
    """The needles that stand in a text or in what it holds packed."""
    return [
        needle
        for text in texts
        for shape in (text, *_unpacked(text))
        for needle in wanted
        if needle in shape
    ]


def _unpacked(text: bytes) -> Iterator[bytes]:
    """A text as base64, and what deflate packed in it."""
    shapes = [text]
    with contextlib.suppress(ValueError):
        shapes.append(base64.b64decode(text, validate=True))
    for shape in shapes:
        yield shape
        for wbits in (-zlib.MAX_WBITS, zlib.MAX_WBITS | 32):
            with contextlib.suppress(zlib.error):
                yield zlib.decompressobj(wbits).decompress(shape)


def texts_of(value: Any) -> Iterator[bytes]:
    """Every name and every value of an item, as bytes."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name.encode()
            yield from texts_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_of(inner)
    else:
        yield str(value).encode()


def _deflated(text: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(text) + packer.flush()


PLANTED = {
    "as it is": CANARY.encode(),
    "inside a text": f"22:10:00 answered prompt={CANARY} ms=3".encode(),
    "base64": base64.b64encode(CANARY.encode()),
    "base64, one on": base64.b64encode(b"1" + CANARY.encode() + b"."),
    "base64, two on": base64.b64encode(b"12" + CANARY.encode()),
    "base64 in JSON": json.dumps(
        {"z": base64.b64encode(b"123" + CANARY.encode()).decode()}
    ).encode(),
    "deflated": base64.b64encode(_deflated(CANARY.encode() * 3, -zlib.MAX_WBITS)),
    "zlib": base64.b64encode(_deflated(CANARY.encode() * 3, zlib.MAX_WBITS)),
    "gzip": base64.b64encode(_deflated(CANARY.encode() * 3, zlib.MAX_WBITS | 16)),
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_search_finds_a_planted_word(name: str) -> None:
    item = {"pk": {"S": "a"}, "h": {"M": {"x": {"L": [{"B": PLANTED[name].decode()}]}}}}
    assert found(texts_of(item), needles(make_key("test", bytes(32))))
    assert not found([b"22:10:00 answered", b"a" * 100], needles(make_key("test", bytes(32))))


@dataclass(frozen=True)
class Left:
    """What a stack left behind: its output, its files as they were at its death, its items."""

    key: str
    output: bytes
    files: dict[Path, bytes]
    items: list[Json]
    modes: dict[str, int]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """One stack's whole life: calls of every kind, a hang-up, kill -9, another start."""
    state = tmp_path_factory.mktemp("canary") / "state"
    with echoing() as upstream:
        echoed = ("PHIGATE_INFOMANIAK_BASE_URL", "PHIGATE_PHALA_BASE_URL")
        variables = dict.fromkeys(echoed, upstream.base_url)
        variables["PHIGATE_INFOMANIAK_PHI"] = "trusted"
        with started(state, variables=variables) as stack:
            key = stack.new_key("acme")
            for words in ("answer:signed", "answer:named"):
                _no_enclave(stack, key, words)
            assert upstream.gets == [], "an override is asked for no report and no signature"
            _answered(stack, key)
            _refused(stack, key)
            assert all(CANARY.encode() in request for request in upstream.requests)
            assert not any(key.encode() in request for request in upstream.requests)
            assert len(upstream.requests) >= 2 * len(ANSWERS)
            _hung_up(stack, key)
            with _open_stream(stack, key, "simulate:silence=30"):
                stack.process.kill()
                stack.ended()
        output = stack.output
        files = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
        with started(state) as again:
            assert again.account(key)["held_micro"] > 0
            _confidential(again, key, "")
            items = again.items()
        output += again.output
    files |= {
        path.with_suffix(".later"): path.read_bytes()
        for path in state.rglob("*")
        if path.is_file() and path.name != "local.env"
    }
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [state, *state.rglob("*")]}
    return Left(key, output, files, items, modes)


def _answered(stack: RunningStack, key: str) -> None:
    """Every way of an upstream to answer, buffered and streamed, PHI and general."""
    for stream in (False, True):
        statuses = {
            stack.chat(body(words, stream=stream, image=True), key, x_region="EU", x_phi=phi).status
            for words in ("", *FAILURES)
            for phi in ("true", "false")
        }
        # Nothing of it is refused for its metadata or its tools.
        assert {200, 400, 502} <= statuses, statuses
        for name in ANSWERS:
            told = stack.chat(
                body(f"answer:{name}", stream=stream) | {"provider": {"only": ["infomaniak"]}},
                key,
                x_region="CH",
                x_phi="true",
            )
            assert told.status in (200, 400, 502), (name, told)


def _confidential(stack: RunningStack, key: str, words: str) -> None:
    """A confidential answer, and all that can be asked about it once its signature came or not."""
    not_kept = b"upstream_signature_not_kept"
    before = stack.output.count(not_kept)
    asked = body(words) | {"model": "phala/qwen3.5-27b", "provider": {"allow_fallbacks": False}}
    told = stack.chat(asked, key, x_region="WORLD")
    assert told.status == 200, told
    call_id = told.headers["x-phi-receipt"]
    for algo in ("ecdsa", "ed25519", CANARY):
        stack.call("GET", f"/v1/signature/{call_id}?signing_algo={algo}&model={CANARY}", key=key)
        stack.call("GET", f"/v1/signature/{call_id}?signing_algo={algo}", key=key)
    for nonce in ("0f", CANARY):
        query = f"model=phala/qwen3.5-27b&nonce={nonce}"
        stack.call(
            "GET", f"/v1/attestation/report?{query}", key=key, headers=[("x-region", "WORLD")]
        )
    while stack.output.count(not_kept) == before:
        kept = stack.call("GET", f"/v1/receipts/{call_id}", key=key).json
        if "upstream_signature" in kept:
            return


def _no_enclave(stack: RunningStack, key: str, words: str) -> None:
    """What a confidential model's provider answers, and gives to be asked, at another address."""
    asked = body(words) | {"model": "phala/qwen3.5-27b"}
    lifted = {"provider": {"confidential": False, "allow_fallbacks": False}}
    told = stack.chat(asked | lifted, key, x_region="WORLD")
    assert told.status == 200, told
    call_id = told.headers["x-phi-receipt"]
    for query in (f"signature/{call_id}?model={CANARY}", f"attestation/report?nonce={CANARY}"):
        stack.call("GET", f"/v1/{query}&signing_algo={CANARY}", key=key)


def _refused(stack: RunningStack, key: str) -> None:
    """Every way of the gateway to refuse."""
    good = body("")
    bad: list[Json | bytes] = [
        good | {"temperature": CANARY},
        good | {CANARY: CANARY},
        good | {"model": CANARY},
        good | {"response_format": {"type": CANARY}},
        good | {"messages": [{"role": CANARY, "content": CANARY}]},
        good | {"tool_choice": {"type": "function", "function": {"name": CANARY}}, "tools": None},
        f'{{"{CANARY}": '.encode(),
        CANARY.encode(),
        f'{{"{CANARY}": 1, "{CANARY}": 2}}'.encode(),
        json.dumps(good).encode().ljust(5_000_001),
    ]
    for wrong in bad:
        for path in (CHAT, "/v1/route"):
            stack.call("POST", path, key=key, body=wrong, headers=[("x-phi", "true")])
    for region in ("US", CANARY):
        for name in ("x-region", "x-phi", "x-model-tier", "content-encoding", CANARY):
            stack.call("POST", CHAT, key=key, body=good, headers=[(name, region)])
    for path in (f"/v1/models/{CANARY}", f"/v1/pricing?card={CANARY}", f"/{CANARY}", f"/?{CANARY}"):
        stack.call("GET", path, key=key)
    for almost in (f"{key}0", key[:-1], f"{key[:-1]}?", f"{key} {CANARY}"):
        stack.call("POST", CHAT, key=almost, body=good)
    stack.call("POST", CHAT, body=good, headers=[("authorization", f"Basic {key}")])
    stack.call(CANARY.upper(), CHAT, key=key, body=good)


@contextlib.contextmanager
def _open_stream(stack: RunningStack, key: str, words: str) -> Iterator[None]:
    """A stream of which the first event has come; the caller is gone at the end."""
    connection = http.client.HTTPConnection(HOST, stack.port, timeout=30)
    with contextlib.closing(connection):
        headers = {"authorization": f"Bearer {key}", "x-region": "EU", "x-phi": "true"}
        connection.request("POST", CHAT, json.dumps(body(words, stream=True)), headers)
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.readline().startswith(b"data: ")
        yield
        answer.close()


def _hung_up(stack: RunningStack, key: str) -> None:
    with _open_stream(stack, key, "simulate:chunks=30 simulate:pace_ms=10"):
        pass
    # The line is written just after the settle.
    while stack.account(key)["held_micro"] or b"ended=hang_up" not in stack.output:
        pass


def test_nothing_stands_in_the_output(left: Left) -> None:
    assert b" answered " in left.output
    assert found([left.output], needles(left.key)) == []


def test_nothing_stands_in_a_file(left: Left) -> None:
    names = {path.name for path in left.files}
    assert {"dynamodb.sqlite", "dynamodb.sqlite-wal", "simulated.log", "local.env"} <= names
    assert [
        path
        for path, content in left.files.items()
        if any(needle in content for needle in needles(left.key))
    ] == []


def test_nothing_stands_in_an_item(left: Left) -> None:
    stored = [item for item in left.items if item["pk"]["S"].startswith("R#acme#")]
    receipts = [item for item in stored if "st" in item]
    beside = [item for item in stored if item not in receipts]
    kinds = [item["sk"]["S"][-2:] for item in beside]
    assert set(kinds) == {".e", ".u"}, "what was asked to be signed"
    assert kinds.count(".u") == 1, "the simulated provider's alone"
    assert len(receipts) > 2 * (len(FAILURES) + len(ANSWERS))
    inflated = [
        inflate(base64.b64decode(item["z"]["B"]), RECORD_WORDS)
        for item in receipts
        if item.get("z", {}).get("B")
    ]
    assert len(inflated) == len(receipts)
    assert all(json.loads(record)["request_sha256"] for record in inflated)
    assert found((text for item in left.items for text in texts_of(item)), needles(left.key)) == []
    # Records are packed behind a dictionary, which `found` does not know.
    assert found(inflated, needles(left.key)) == []


def test_what_holds_a_key_is_its_owners_alone(left: Left) -> None:
    assert left.modes["local.env"] == 0o600
    assert {left.modes[name] for name, _ in FILES.values()} == {0o600}
    assert left.modes["state"] == 0o700
