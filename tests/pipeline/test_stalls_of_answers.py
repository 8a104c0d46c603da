"""No answer within the limits keeps the loop: the worst of each limit, and the longest step that
serving it takes, in CPU time of the loop's own thread.

The least of several runs is taken: another process on the machine can only add to it.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from phigate.core.limits import (
    ANSWER_BYTES_MAX,
    ANSWER_COMMAS_MAX,
    ANSWER_CONTAINERS_MAX,
    EVENT_BYTES_MAX,
    UPSTREAM_BODY_BYTES_MAX,
)
from phigate.core.types import Json
from phigate.formats.chat import CHAT
from phigate.pipeline import serve as pipeline
from tests.builders import make_body, make_row
from tests.fakes import RecordingResponseWriter, Script
from tests.pipeline.gateway_harness import DONE, GatewayHarness, call, event

STEP_S_MAX = 0.05
RUNS = 5
LONG = 32_768
ROWS = [
    make_row("acme-one", tokens_out_max=LONG, tokens_out_default=8_192),
    make_row("bolt-two", tokens_out_max=LONG),
]
PLAIN: Json = make_body(model="acme-one", provider={"allow_fallbacks": False})
ASSEMBLED: Json = {**PLAIN, "max_tokens": LONG, "logprobs": True, "top_logprobs": 20}
STREAM: Json = {**PLAIN, "stream": True}
DEBUG: Json = {"debug": {"return_upstream_response": True}}
END = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}) + DONE


def filled(item: Callable[[int], bytes], size: int, most: int = ANSWER_COMMAS_MAX - 100) -> bytes:
    """As many items as `size` bytes hold, with commas between."""
    written, items = 0, []
    for i in range(most):
        each = item(i)
        written += len(each) + 1
        if written > size:
            break
        items.append(each)
    return b",".join(items)


def worst(size: int) -> dict[str, bytes]:
    """A JSON value of each kind that costs most to read, of about `size` bytes."""
    lists = (ANSWER_CONTAINERS_MAX - 100) // 59
    return {
        "empty lists": b"[" + filled(lambda i: b"[]", size, ANSWER_CONTAINERS_MAX - 100) + b"]",
        "empty objects": b"[" + filled(lambda i: b"{}", size, ANSWER_CONTAINERS_MAX - 100) + b"]",
        "deep lists": b"[" + filled(lambda i: b"[" * 58 + b"]" * 58, size, lists) + b"]",
        "numbers": b"[" + filled(lambda i: b"1", size) + b"]",
        "fractions": b"[" + filled(lambda i: b"1.5", size) + b"]",
        "texts": b"[" + filled(lambda i: b'"a"', size) + b"]",
        "names": b"{" + filled(lambda i: b'"%x":1' % i, size) + b"}",
        "forged names": b"{" + filled(lambda i: b'"phi%x":1' % i, size) + b"}",
        "one text": b'"' + b"a" * size + b'"',
        "one text of escapes": b'"' + b"\\u00e9" * (size // 6) + b'"',
        "brackets in a text": b'"' + b"[" * size + b'"',
    }


def whole(value: bytes, member: bytes = b"x") -> bytes:
    """An answer in one piece with the value in its message."""
    message = b'{"role":"assistant","phi":1,"%s":%s}' % (member, value)
    return b'{"choices":[{"index":0,"message":%s,"finish_reason":"stop"}]}' % message


def one_event(value: bytes, member: bytes = b"x") -> bytes:
    """A stream of one large event."""
    chunk = b'{"choices":[{"index":0,"delta":{"phi":1,"%s":%s},"finish_reason":"stop"}]}'
    return b"data: " + chunk % (member, value) + b"\n\n" + DONE


def pieces(body: bytes, size: int = 512 * 1024) -> list[bytes]:
    """As a socket that was full gives them."""
    return [body[at : at + size] for at in range(0, len(body), size)]


def logprobs(tokens: int) -> bytes:
    """One chunk with so many tokens' 20 alternatives."""
    entry = {"token": "phi", "logprob": -0.12345678, "bytes": [112, 104, 105]}
    listed = [{**entry, "top_logprobs": [entry] * 20}] * tokens
    choice = {"index": 0, "delta": {"content": "phi" * tokens}, "logprobs": {"content": listed}}
    return event({"choices": [choice]})


def streamed(one: bytes, size: int) -> bytes:
    return one * (size // len(one)) + END


ANSWER_ROOM = ANSWER_BYTES_MAX - 300
EVENT_ROOM = EVENT_BYTES_MAX - 300
STREAM_ROOM = UPSTREAM_BODY_BYTES_MAX - 4_096
CASES: dict[str, tuple[Json, bool, Callable[[], bytes]]] = {
    **{
        f"{kind} of {name}": (body, body is not PLAIN, partial(make, value))
        for kind, body, make, room in (
            ("an answer", PLAIN, whole, ANSWER_ROOM),
            ("an assembled event", ASSEMBLED, one_event, EVENT_ROOM),
            ("an event", STREAM, one_event, EVENT_ROOM),
        )
        for name, value in worst(room).items()
    },
    "an answer whose content is a list": (
        PLAIN,
        False,
        lambda: whole(worst(ANSWER_ROOM)["numbers"], b"content"),
    ),
    "an answer that is shown again": (
        {**PLAIN, **DEBUG},
        False,
        lambda: whole(worst(ANSWER_ROOM // 2)["names"]),
    ),
    "log probabilities of 32 MB": (ASSEMBLED, True, lambda: streamed(logprobs(10), STREAM_ROOM)),
    "log probabilities in events of 1 MB": (
        ASSEMBLED,
        True,
        lambda: streamed(logprobs(600), STREAM_ROOM // 2),
    ),
    "log probabilities that are shown again": (
        {**ASSEMBLED, **DEBUG},
        True,
        lambda: streamed(logprobs(10), STREAM_ROOM // 4),
    ),
    "the least events, assembled": (
        ASSEMBLED,
        True,
        lambda: streamed(event({"choices": []}), 2_000_000),
    ),
    "the least events, streamed": (
        STREAM,
        True,
        lambda: streamed(event({"choices": []}), 2_000_000),
    ),
    "a call in every event": (
        ASSEMBLED,
        True,
        lambda: (
            b"".join(
                event({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": i}]}}]})
                for i in range(4_900)
            )
            + END
        ),
    ),
    "a choice in every event": (
        ASSEMBLED,
        True,
        lambda: (
            b"".join(event({"choices": [{"index": i, "delta": {}}]}) for i in range(4_900)) + END
        ),
    ),
}


async def longest_step_s(harness: GatewayHarness, body: Json) -> float:
    """The most CPU time between two turns of whoever else is on the loop."""
    out = harness.out = RecordingResponseWriter(harness.clock)
    serving = asyncio.ensure_future(serve(harness, body, out))
    longest = 0.0
    before_s = time.thread_time()
    while not serving.done():
        await asyncio.sleep(0)
        now_s = time.thread_time()
        longest, before_s = max(longest, now_s - before_s), now_s
    await serving
    return longest


async def serve(harness: GatewayHarness, body: Json, out: RecordingResponseWriter) -> None:
    await pipeline.serve(harness.gateway, CHAT, call(body), out)


def script(answer: bytes, *, is_stream: bool) -> Script:
    kind = "text/event-stream" if is_stream else "application/json"
    return Script(pieces(answer), content_type=kind)


@pytest.mark.parametrize(("body", "is_stream", "make"), CASES.values(), ids=CASES)
def test_no_answer_keeps_the_loop(body: Json, is_stream: bool, make: Callable[[], bytes]) -> None:
    answer = make()
    gc.collect()
    gc.freeze()  # what the tests themselves keep is no part of a step
    least = 1.0
    for _ in range(RUNS):
        played: Sequence[Script] = [script(answer, is_stream=is_stream)] * 2
        harness = GatewayHarness(*played, rows=ROWS, credit_micros=100_000_000)
        least = min(least, asyncio.run(longest_step_s(harness, body)))
        if least <= STEP_S_MAX:
            break
    assert harness.out.starts
    assert least <= STEP_S_MAX, f"{least * 1000:.0f} ms"
