"""What a caller reads when the runtime had to end an answer: our envelope, in every case."""

import json

import pytest

from phigate.aws.buffered import Enveloped
from phigate.aws.error_responses import FAILURES
from phigate.http.chat import Message, Receive, Scope, Send
from streaming_runtime.types import Failure

CODES = {
    Failure.FAILED: (500, "internal_error"),
    Failure.INCOMPLETE: (500, "internal_error"),
    Failure.DEADLINE: (504, "upstream_timeout"),
    Failure.SHUTDOWN: (503, "overloaded"),
}


def test_every_failure_has_a_row() -> None:
    assert set(CODES) == set(Failure)


@pytest.mark.parametrize("failure", Failure)
def test_before_the_first_byte_it_is_an_envelope(failure: Failure) -> None:
    status, headers, body = FAILURES.answer(failure)
    error = json.loads(body)["error"]
    assert (status, error["code"]) == CODES[failure]
    assert set(error) >= {"message", "type", "code", "param"}
    assert (b"content-type", b"application/json") in list(headers)


@pytest.mark.parametrize("failure", Failure)
@pytest.mark.parametrize("tail", [b"data: {}\n\n", b'data: {"half'], ids=["whole", "cut"])
def test_in_a_stream_it_is_the_last_event(failure: Failure, tail: bytes) -> None:
    in_band = FAILURES.in_band(failure, "text/event-stream; charset=utf-8", tail)
    *_, event, done, nothing = (tail + in_band).split(b"\n\n")
    assert (done, nothing) == (b"data: [DONE]", b"")
    assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == CODES[failure][1]


def test_nothing_is_added_to_an_answer_that_is_no_stream() -> None:
    assert FAILURES.in_band(Failure.DEADLINE, "application/json", b"{") == b""


@pytest.mark.anyio
@pytest.mark.parametrize("starts", [False, True])
async def test_mangum_never_sees_an_exception(starts: bool) -> None:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if starts:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("it quotes the request")

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    await Enveloped(app)({"type": "http"}, receive, send)
    assert [message.get("status") for message in sent] == ([200] if starts else [500, None])
    assert "quotes" not in str(sent)
