"""Whether an answer is right, and when its first content chunk came.

Laws: a JSON answer has its text whole to the end and its usage; a stream has every content chunk
in order and once, the usage that was asked for, and its end marker last. Anything else is wrong.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from bench.answers import STAMP_DIGITS, TEXT_END

_OK = 200


@dataclass(frozen=True, slots=True)
class Wording:
    """How a dialect writes what is looked for; `done` ends a stream."""

    stamp: re.Pattern[bytes]
    usage: re.Pattern[bytes]
    done: bytes


OPENAI = Wording(
    stamp=re.compile(rb'"content":\s?"T(\d{%d}) "' % STAMP_DIGITS),
    usage=re.compile(rb'"completion_tokens":\s?400\b'),
    done=b"data: [DONE]",
)
ANTHROPIC = Wording(
    stamp=re.compile(rb'"text":\s?"T(\d{%d}) "' % STAMP_DIGITS),
    usage=re.compile(rb'"output_tokens":\s?400\b'),
    done=b'data: {"type":"message_stop"}',
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `parts` as (arrival in monotonic ns, bytes)."""

    status: int
    sent_ns: int
    done_ns: int
    parts: list[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`wrong` says what is missing, by number and never by text; None when all is there."""

    wrong: str | None
    first_chunk_ms: float | None = None


Check = Callable[[Answer], CheckResult]


def check_json(answer: Answer, wording: Wording = OPENAI) -> CheckResult:
    """A whole JSON answer."""
    body = b"".join([part for _, part in answer.parts])
    if answer.status != _OK:
        return CheckResult(f"status {answer.status}{_code_of(body)}")
    if TEXT_END.encode() not in body:
        return CheckResult("the text is not whole")
    return CheckResult(None if wording.usage.search(body) else "no usage")


def check_burst(chunks: int, wording: Wording = OPENAI) -> Check:
    """A stream whose stamps are the numbers 0 to `chunks` - 1."""
    expected = [b"%0*d" % (STAMP_DIGITS, number) for number in range(chunks)]
    return lambda answer: _check_stream(answer, wording, lambda stamps: stamps == expected)


def check_paced(chunks: int, wording: Wording = OPENAI) -> Check:
    """A stream whose stamps are `chunks` send times, each later than the one before."""
    return lambda answer: _check_stream(
        answer, wording, lambda stamps: len(set(stamps)) == chunks and stamps == sorted(stamps)
    )


def _check_stream(
    answer: Answer, wording: Wording, are_right: Callable[[list[bytes]], bool]
) -> CheckResult:
    body = b"".join([part for _, part in answer.parts])
    if answer.status != _OK:
        return CheckResult(f"status {answer.status}{_code_of(body)}")
    stamps = wording.stamp.findall(body)
    if not are_right(stamps):
        return CheckResult(f"chunks missing or out of order: {len(stamps)} came")
    if not wording.usage.search(body):
        return CheckResult("no usage")
    if not body.rstrip().endswith(wording.done):
        return CheckResult("no end marker")
    return CheckResult(None, first_chunk_ms=first_chunk_ms(answer, body, wording))


def first_chunk_ms(answer: Answer, body: bytes, wording: Wording = OPENAI) -> float | None:
    """From the request's send to the arrival of the last byte of the first stamp."""
    first = wording.stamp.search(body)
    if first is None:
        return None
    left = first.end()
    for arrival_ns, part in answer.parts:
        left -= len(part)
        if left <= 0:
            return (arrival_ns - answer.sent_ns) / 1e6
    return None


def _code_of(body: bytes) -> str:
    """The error code of an OpenAI error envelope, else nothing: no body reaches the report."""
    match = re.search(rb'"code":\s?"([a-z_]{1,40})"', body)
    return f" {match[1].decode()}" if match else ""
