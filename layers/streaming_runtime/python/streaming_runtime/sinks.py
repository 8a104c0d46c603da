"""Where an answer goes: streamed as it is made, or kept and posted whole."""

from typing import Protocol

from streaming_runtime.errors import Report
from streaming_runtime.prelude import Head, buffered, prelude
from streaming_runtime.runtime_api import RuntimeApi, Upload

# https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming
_STREAMED = {
    b"Lambda-Runtime-Function-Response-Mode": b"streaming",
    b"Content-Type": b"application/vnd.awslambda.http-integration-response",
    b"Transfer-Encoding": b"chunked",
    b"Trailer": b"Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
}


class Sink(Protocol):
    """The way out of one invocation."""

    @property
    def has_begun(self) -> bool:
        """Whether bytes have left that cannot be taken back."""

    @property
    def has_ended(self) -> bool:
        """Whether the end has left too, also when the wait for its reader was cancelled."""

    async def open(self, head: Head, body: bytes, *, last: bool) -> None:
        """Head and first piece of the body. Raises AppBroke and sends nothing, or ResponseGone."""

    async def write(self, body: bytes, *, last: bool) -> None:
        """A further piece. Raises ResponseGone."""

    async def cut(self, body: bytes, report: Report) -> None:
        """End what has begun as failed, behind some last bytes. Raises ResponseGone."""

    async def acknowledged(self) -> None:
        """Wait until Lambda has taken the answer."""


class StreamSink:
    """Prelude, delimiter and body as chunks; an error behind the first byte goes into trailers."""

    def __init__(self, api: RuntimeApi, request_id: str) -> None:
        self._api = api
        self._request_id = request_id
        self._upload: Upload | None = None

    @property
    def has_begun(self) -> bool:
        """See Sink."""
        return self._upload is not None

    @property
    def has_ended(self) -> bool:
        """See Sink."""
        return self._upload is not None and self._upload.has_ended

    async def open(self, head: Head, body: bytes, *, last: bool) -> None:
        """See Sink. One write, so that the first byte waits for nothing."""
        first = prelude(head) + body
        self._upload = await self._api.respond(self._request_id, _STREAMED)
        await self._upload.write(first, last=last)

    async def write(self, body: bytes, *, last: bool) -> None:
        """See Sink."""
        if self._upload is not None:
            await self._upload.write(body, last=last)

    async def cut(self, body: bytes, report: Report) -> None:
        """See Sink."""
        if self._upload is not None:
            await self._upload.write(body)
            await self._upload.end(report.trailers())

    async def acknowledged(self) -> None:
        """See Sink."""
        if self._upload is not None:
            await self._api.acknowledged(self._upload, self._request_id)


class BufferSink:
    """Keeps the answer until its end, for integrations that do not stream."""

    def __init__(self, api: RuntimeApi, request_id: str) -> None:
        self._api = api
        self._request_id = request_id
        self._head: Head | None = None
        self._pieces: list[bytes] = []
        self.has_begun = False
        self.has_ended = False

    async def open(self, head: Head, body: bytes, *, last: bool) -> None:
        """See Sink. An answer that was begun before is forgotten."""
        self._head = head
        self._pieces.clear()
        await self.write(body, last=last)

    async def write(self, body: bytes, *, last: bool) -> None:
        """See Sink."""
        self._pieces.append(body)
        if last and self._head is not None:
            whole = buffered(self._head, b"".join(self._pieces))
            self.has_begun = self.has_ended = True
            await self._api.post(self._request_id, whole)

    async def cut(self, body: bytes, report: Report) -> None:
        """See Sink. Never needed: what is kept can be taken back."""

    async def acknowledged(self) -> None:
        """See Sink. Posted whole, acknowledged at once."""
