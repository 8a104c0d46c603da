"""Lambda's Runtime API over one kept HTTP/1.1 connection.

Laws: a GET is repeated on a new connection when the old one died in a freeze; a streamed answer is
never repeated. An answer of 500 or more ends the process, as Lambda asks for.
Specification: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import asyncio
import re
from collections.abc import Callable, Mapping

from streaming_runtime.errors import Report, ResponseGone, RuntimeApiGone
from streaming_runtime.http1 import (
    READ_BUFFER_BYTES,
    Answer,
    chunk,
    last_chunk,
    read_answer,
    request_head,
)
from streaming_runtime.types import Invocation, Journal

TRIES_MAX = 5  # a thaw takes one repeat; more means that Lambda itself is in trouble
PAUSE_S = 0.05  # between the tries behind the second, so that all take less than a second
VERSION = "/2018-06-01/runtime"

_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,128}")  # it goes into a path
_ERROR_TYPE = b"application/vnd.aws.lambda.error+json"

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class RuntimeApi:
    """The client of one environment."""

    def __init__(self, authority: str, journal: Journal) -> None:
        host, _, port = authority.rpartition(":")
        self._host = host or port
        self._port = int(port) if host else 80
        self._authority = authority
        self._journal = journal
        self._streams: _Streams | None = None

    async def next(self) -> Invocation:
        """Wait for an invocation."""
        answer = await self._get("/invocation/next")
        headers = answer.headers
        request_id = headers.get("lambda-runtime-aws-request-id", "")
        deadline_ms = headers.get("lambda-runtime-deadline-ms", "")
        if answer.status != 200 or not _REQUEST_ID.fullmatch(request_id):
            raise RuntimeApiGone("The Runtime API handed out nothing that can be answered.")
        return Invocation(
            request_id=request_id,
            # Without one Lambda's own limit is the only one.
            deadline_s=int(deadline_ms) / 1000 if deadline_ms.isdecimal() else float("inf"),
            event=answer.body,
            function_arn=headers.get("lambda-runtime-invoked-function-arn", ""),
            trace_id=headers.get("lambda-runtime-trace-id", ""),
        )

    async def restore_next(self) -> None:
        """Wait until this environment has been restored from a snapshot."""
        answer = await self._get("/restore/next")
        if answer.status != 200:
            raise RuntimeApiGone("The Runtime API does not restore this environment.")

    async def respond(self, request_id: str, headers: Mapping[bytes, bytes]) -> "Upload":
        """Begin an answer of unknown length. Nothing is sent before its first write."""
        path = f"{VERSION}/invocation/{request_id}/response"
        head = request_head(b"POST", path, self._authority, headers)
        reader, writer = await self._connected()
        return Upload(head, reader, writer, self._drop)

    async def acknowledged(self, upload: "Upload", request_id: str) -> None:
        """Read what the Runtime API says to an answer that was sent whole."""
        try:
            answer = await read_answer(upload.reader)
        except OSError:
            self._drop()
            self._journal.note("response_lost", request_id=request_id)
            return
        self._settled(answer, request_id)

    async def post(self, request_id: str, body: bytes) -> None:
        """A whole answer."""
        path = f"{VERSION}/invocation/{request_id}/response"
        answer = await self._post(path, {b"Content-Type": b"application/json"}, body)
        self._settled(answer, request_id)

    async def error(self, request_id: str, report: Report) -> None:
        """This invocation failed; the next may not."""
        answer = await self._report(f"/invocation/{request_id}/error", report)
        self._settled(answer, request_id)

    async def init_error(self, report: Report) -> None:
        """The start failed."""
        await self._report("/init/error", report)

    async def restore_error(self, report: Report) -> None:
        """The part of the start behind the restore failed."""
        await self._report("/restore/error", report)

    def close(self) -> None:
        """Close the connection."""
        self._drop()

    def _settled(self, answer: Answer, request_id: str) -> None:
        """413, or 400 and 403 for an invocation that Lambda has ended, are not the end of us."""
        if answer.status >= 500:
            raise RuntimeApiGone(f"The Runtime API answered {answer.status}.")
        if answer.status >= 300:
            self._journal.note("response_refused", request_id=request_id, status=answer.status)
        self._keep(answer)

    async def _report(self, path: str, report: Report) -> Answer:
        headers = {
            b"Content-Type": _ERROR_TYPE,
            b"Lambda-Runtime-Function-Error-Type": report.type.encode(),
        }
        return await self._post(VERSION + path, headers, report.json())

    async def _post(self, path: str, headers: Mapping[bytes, bytes], body: bytes) -> Answer:
        length = {b"Content-Length": b"%d" % len(body)}
        message = request_head(b"POST", path, self._authority, {**headers, **length}) + body
        return await self._exchange(message)

    async def _get(self, path: str) -> Answer:
        answer = await self._exchange(request_head(b"GET", VERSION + path, self._authority, {}))
        self._keep(answer)
        return answer

    async def _exchange(self, message: bytes) -> Answer:
        broken: OSError | None = None
        for tries in range(TRIES_MAX):
            if tries > 1:
                await asyncio.sleep(PAUSE_S)
            try:
                reader, writer = await self._connected()
                writer.write(message)
                await writer.drain()
                return await read_answer(reader)
            except OSError as exc:
                self._drop()
                broken = exc
            except BaseException:
                # Cancelled: its answer must not reach the next request.
                self._drop()
                raise
        raise RuntimeApiGone("The Runtime API cannot be reached.") from broken

    async def _connected(self) -> _Streams:
        if self._streams is not None:
            reader, writer = self._streams
            if not reader.at_eof() and not writer.is_closing():
                return self._streams
            self._drop()
        self._streams = await asyncio.open_connection(
            self._host, self._port, limit=READ_BUFFER_BYTES
        )
        return self._streams

    def _keep(self, answer: Answer) -> None:
        if answer.headers.get("connection", "").lower() == "close":
            self._drop()

    def _drop(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Upload:
    """One answer on its way: chunks, then an end with or without trailers."""

    def __init__(
        self,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        drop: Callable[[], None],
    ) -> None:
        self.reader = reader
        self.has_ended = False
        self._head = head
        self._writer = writer
        self._transport = writer.transport
        self._drop = drop

    async def write(self, body: bytes, *, last: bool = False) -> None:
        """Send a piece; waits while Lambda does not read. Raises ResponseGone."""
        data = chunk(body) if body else b""
        if last:
            self.has_ended = True
            data += last_chunk(())
        await self._send(data)

    async def end(self, trailers: tuple[tuple[bytes, bytes], ...]) -> None:
        """End the answer. Raises ResponseGone."""
        self.has_ended = True
        await self._send(last_chunk(trailers))

    async def _send(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        if not data:
            return
        try:
            self._writer.write(data)
            # The socket took it all: nothing to wait for. A quarter of a chunk's cost.
            if self._transport.get_write_buffer_size() or self._transport.is_closing():
                await self._writer.drain()
        except OSError as exc:
            self._drop()
            raise ResponseGone("The Runtime API has closed the connection.") from exc
