"""OpenAI's chat completions, which is what the pipeline works on: read and written as they are.

https://platform.openai.com/docs/api-reference/chat
"""

from dataclasses import replace
from functools import partial

import orjson

from phigate.core.errors import PhigateError
from phigate.core.types import Json
from phigate.formats.caller_format import CallerFormat, StreamFormat
from phigate.wire import sse
from phigate.wire.json import parse_object
from phigate.wire.openai import answer as openai
from phigate.wire.openai.chat_body import ChatBody, ChatRequest, RouteBody, read_chat


def _read(shape: type[ChatBody], body: bytes, marks: bytes | None) -> ChatRequest:
    return read_chat(parse_object(body, marks), shape)


def _stream(with_usage: bool) -> StreamFormat:
    return StreamFormat(
        chunk=partial(openai.chunk_event, with_usage=with_usage),
        error=_error_event,
        end=_end,
        end_without_receipt=sse.DONE,
        ping=sse.PING,
    )


def _error_event(envelope: Json) -> bytes:
    return sse.data_event(orjson.dumps(envelope))


def _end(facts: Json) -> bytes:
    return sse.comment("phi", orjson.dumps(facts)) + sse.DONE


CHAT = CallerFormat(
    read=partial(_read, ChatBody),
    answer=openai.completion,
    assembled=openai.assembled,
    stream=_stream,
    envelope=PhigateError.envelope,
    id_prefix="chatcmpl-",
)
# POST /v1/route takes a chat body whose messages may be left out.
ROUTE = replace(CHAT, read=partial(_read, RouteBody))
