"""Frames between server, supervisor and interpreter: one letter, four bytes of length, the payload.

Law: a frame that is unknown or longer than its kind allows is garbage, whoever sent it.
"""

import json
import os
import struct
from collections.abc import Mapping

# Server to supervisor: what to go by; one program. Supervisor to server: libraries loaded; result.
SETUP, RUN, WARM, RESULT = b"S", b"R", b"W", b"A"
# Interpreter to supervisor: a figure; the name of a limit; the end of a program.
FIGURE, LIMIT, DONE = b"F", b"L", b"D"

HEAD = struct.Struct(">cI")

# More than the greatest result (10 figures of 2 MB and three texts of 64 KiB, escaped in JSON).
FRAME_BYTES_MAX = 64_000_000
PIECE_BYTES = 1 << 16


class GarbageError(Exception):
    """What was read is no frame."""


def pack(kind: bytes, payload: bytes) -> bytes:
    """One frame."""
    return HEAD.pack(kind, len(payload)) + payload


def pack_json(kind: bytes, value: object) -> bytes:
    """One frame with JSON in it; ASCII, so lone surrogates pass."""
    return pack(kind, json.dumps(value).encode("ascii"))


def write(descriptor: int, frame: bytes) -> None:
    """Write all of a frame."""
    view = memoryview(frame)
    while view:
        view = view[os.write(descriptor, view) :]


def read(descriptor: int) -> tuple[bytes, bytes] | None:
    """The next frame, or None at the end; waits for it."""
    head = _exactly(descriptor, HEAD.size)
    if head is None:
        return None
    kind, length = HEAD.unpack(head)
    if length > FRAME_BYTES_MAX:
        raise GarbageError("a frame is too long")
    payload = _exactly(descriptor, length)
    return None if payload is None else (kind, payload)


def _exactly(descriptor: int, length: int) -> bytes | None:
    pieces = bytearray()
    while len(pieces) < length:
        piece = os.read(descriptor, min(length - len(pieces), PIECE_BYTES))
        if not piece:
            return None
        pieces += piece
    return bytes(pieces)


class FrameBuffer:
    """Frames out of bytes as they come; keeps what is incomplete."""

    def __init__(self, bytes_max: Mapping[bytes, int]) -> None:
        """`bytes_max` names the kinds that may come and how long each may be."""
        self._bytes_max = bytes_max
        self._held = bytearray()

    def feed(self, piece: bytes) -> list[tuple[bytes, bytes]]:
        """The frames that a piece completes."""
        self._held += piece
        frames = []
        while len(self._held) >= HEAD.size:
            kind, length = HEAD.unpack_from(self._held)
            if length > self._bytes_max.get(kind, -1):
                raise GarbageError("a frame is unknown or too long")
            end = HEAD.size + length
            if len(self._held) < end:
                break
            frames.append((kind, bytes(self._held[HEAD.size : end])))
            del self._held[:end]
        return frames
