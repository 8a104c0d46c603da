"""Every dialect against the one table of conformance.py."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from phigate.adapters import ADAPTERS
from phigate.adapters.adapter import WirePlan
from phigate.core.types import Json
from phigate.wire.openai.chat_body import read_chat
from tests.adapters.conformance import (
    ANSWERS,
    REFUSALS,
    REQUESTS,
    SPEAKERS,
    STREAMS,
    said_in_answer,
    said_in_chunks,
)
from tests.builders import make_body, make_place, make_row

dialects = pytest.mark.parametrize("dialect", ADAPTERS)


def by_fives(stream: bytes) -> Iterator[bytes]:
    return (stream[at : at + 5] for at in range(0, len(stream), 5))


def byte_by_byte(stream: bytes) -> Iterator[bytes]:
    return (stream[at : at + 1] for at in range(len(stream)))


def whole(stream: bytes) -> Iterator[bytes]:
    return iter((stream,))


def with_a_tail(stream: bytes) -> Iterator[bytes]:
    return iter((stream + b": tail",))


FEEDS = {feed.__name__: feed for feed in (whole, by_fives, byte_by_byte, with_a_tail)}


@dialects
def test_a_dialect_speaks_every_case(dialect: str) -> None:
    speaker = SPEAKERS[dialect]
    assert speaker.streams.keys() == STREAMS.keys()
    assert speaker.answers.keys() == ANSWERS.keys()
    assert speaker.requests.keys() == REQUESTS.keys()
    assert speaker.refusals.keys() == REFUSALS.keys()


@dialects
@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_comes_to(dialect: str, feed: str, case: str) -> None:
    decoder = ADAPTERS[dialect].decoder()
    chunks: list[Json] = []
    for piece in FEEDS[feed](SPEAKERS[dialect].streams[case]):
        chunks += decoder.feed(piece)
    said = replace(said_in_chunks(chunks), ended=decoder.ended, failed=decoder.failed)
    assert said == STREAMS[case]


@dialects
@pytest.mark.parametrize("case", STREAMS)
def test_chunks_come_with_the_bytes_that_complete_them(dialect: str, case: str) -> None:
    stream = SPEAKERS[dialect].streams[case]
    slowly, at_once = ADAPTERS[dialect].decoder(), ADAPTERS[dialect].decoder()
    came = [chunk for piece in byte_by_byte(stream) for chunk in slowly.feed(piece)]
    assert came == at_once.feed(stream)


@dialects
@pytest.mark.parametrize("case", ANSWERS)
def test_a_whole_answer_comes_to(dialect: str, case: str) -> None:
    answer = ADAPTERS[dialect].answer(SPEAKERS[dialect].answers[case])
    expected = ANSWERS[case]
    if expected is None:
        assert answer is None
    else:
        assert answer is not None
        assert said_in_answer(answer) == expected


@dialects
@pytest.mark.parametrize("case", REQUESTS)
def test_a_request_goes_upstream_as(dialect: str, case: str) -> None:
    body = make_body(**REQUESTS[case])
    read_chat(body)
    wire = ADAPTERS[dialect].request(body, make_row(), make_place(), WirePlan(False, 500, {}))
    model = {"model": "upstream/acme-one", "max_tokens": 500}
    assert wire.body == {**SPEAKERS[dialect].requests[case], **model}
    assert wire.dropped == ()


@dialects
@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_read_in_the_providers_words(dialect: str, case: str) -> None:
    words = ADAPTERS[dialect].refusal(SPEAKERS[dialect].refusals[case])
    assert words == (REFUSALS[case], None)
