"""Reads format and pixel size of an image from its first bytes, and refuses what is none.

Sources: PNG specification 11.2.2, ITU-T T.81 B.2.2, GIF89a 18, RFC 9649 (WebP).
"""

import base64
import binascii
import re
from collections.abc import Callable

from local.simulated.shapes import Image

_DATA_URL = re.compile(r"data:image/(png|jpeg|jpg|gif|webp);base64,")
# JPEG markers that start a frame: C0 to CF without the tables C4 and CC and the reserved C8.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})


def image_of_data_url(url: str) -> Image | None:
    """The image in a base64 `data:` URL, or None when it is not one of the four formats."""
    head = _DATA_URL.match(url)
    if head is None:
        return None
    try:
        return image(base64.b64decode(url[head.end() :], validate=True))
    except binascii.Error:
        return None


def image(data: bytes) -> Image | None:
    """Format and size, or None when the header is not whole or says zero pixels."""
    for signature, name, size in FORMATS:
        if data.startswith(signature):
            try:
                width, height = size(data)
            except (IndexError, ValueError):
                return None
            return Image(name, width, height) if width > 0 and height > 0 else None
    return None


def _number(data: bytes, at: int, length: int, order: str) -> int:
    if len(data) < at + length:
        raise IndexError(at)
    value = data[at : at + length]
    return int.from_bytes(value, "big" if order == "big" else "little")


def _png(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise ValueError("no IHDR")
    return _number(data, 16, 4, "big"), _number(data, 20, 4, "big")


def _gif(data: bytes) -> tuple[int, int]:
    return _number(data, 6, 2, "little"), _number(data, 8, 2, "little")


def _jpeg(data: bytes) -> tuple[int, int]:
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _JPEG_FRAMES:
            return _number(data, at + 7, 2, "big"), _number(data, at + 5, 2, "big")
        if marker == 0xFF:
            at += 1
        elif marker in _JPEG_WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + max(2, _number(data, at + 2, 2, "big"))
    raise ValueError("no frame")


def _webp(data: bytes) -> tuple[int, int]:
    if data[8:12] != b"WEBP":
        raise ValueError("another RIFF file")
    kind = data[12:16]
    if kind == b"VP8X":
        return _number(data, 24, 3, "little") + 1, _number(data, 27, 3, "little") + 1
    if kind == b"VP8L":
        bits = _number(data, 21, 4, "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return _number(data, 26, 2, "little") & 0x3FFF, _number(data, 28, 2, "little") & 0x3FFF
    raise ValueError("unknown WebP")


FORMATS: tuple[tuple[bytes, str, Callable[[bytes], tuple[int, int]]], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png", _png),
    (b"\xff\xd8", "jpeg", _jpeg),
    (b"GIF87a", "gif", _gif),
    (b"GIF89a", "gif", _gif),
    (b"RIFF", "webp", _webp),
)
