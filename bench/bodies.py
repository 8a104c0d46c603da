"""The requests that the scenarios send: deterministic, of the size that their names say."""

import base64
import struct
import zlib
from dataclasses import dataclass, field

import orjson

MODEL = "gemma-4"
CLAUDE = "claude-sonnet-4-6"
TOKENS_OUT_MAX = 512
# What stands behind a 4 MB image: the base64 text has exactly this many bytes.
IMAGE_BASE64_BYTES = 4_194_304
_SENTENCE = "The quick brown fox jumps over the lazy dog and then writes a careful report of it. "
_SYSTEM = "You are a terse assistant in a benchmark."
_TURNS: list[dict[str, object]] = [
    {"role": "user", "content": _SENTENCE * 5},
    {"role": "assistant", "content": _SENTENCE},
    {"role": "user", "content": _SENTENCE * 3},
]
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_WIDTH = 1_024
_PNG_HEIGHT = 1_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go: `headers` come after ours; `keys` are one per account."""

    host: str
    port: int
    keys: tuple[str, ...] = ("bench",)
    headers: dict[str, str] = field(default_factory=dict)
    path: str = "/v1/chat/completions"


def text_body(*, stream: bool, model: str = MODEL) -> bytes:
    """A chat of about 1 KB with a system message and three turns."""
    return _body(_TURNS, stream=stream, model=model)


def anthropic_body(*, stream: bool) -> bytes:
    """The same chat as a Messages request."""
    request: dict[str, object] = {
        "model": CLAUDE,
        "max_tokens": TOKENS_OUT_MAX,
        "temperature": 0.2,
        "system": _SYSTEM,
        "messages": _TURNS,
    }
    return orjson.dumps(request | ({"stream": True} if stream else {}))


def image_body() -> bytes:
    """One question about one image of 4 MB of base64, as a data URL."""
    image = "data:image/png;base64," + base64.b64encode(png(IMAGE_BASE64_BYTES // 4 * 3)).decode()
    parts = [
        {"type": "text", "text": _SENTENCE},
        {"type": "image_url", "image_url": {"url": image}},
    ]
    return _body([{"role": "user", "content": parts}], stream=False)


def png(size: int) -> bytes:
    """A valid PNG of exactly `size` bytes (RFC 2083).

    The pixels are stored uncompressed; a private chunk of zeros fills up to the size.
    """
    header = struct.pack(">IIBBBBB", _PNG_WIDTH, _PNG_HEIGHT, 8, 2, 0, 0, 0)
    row = b"\0" + bytes(range(256)) * (_PNG_WIDTH * 3 // 256)
    pixels = _png_part(b"IDAT", zlib.compress(row * _PNG_HEIGHT, 0))
    end = _png_part(b"IEND", b"")
    whole = _PNG_SIGNATURE + _png_part(b"IHDR", header) + pixels
    room = size - len(whole) - len(end) - len(_png_part(b"fiLl", b""))
    return whole + _png_part(b"fiLl", bytes(room)) + end


def http_request(endpoint: Endpoint, body: bytes, *, key: str) -> bytes:
    """The whole request as one write of a keep-alive connection."""
    lines = [
        f"POST {endpoint.path} HTTP/1.1",
        f"host: {endpoint.host}:{endpoint.port}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"authorization: Bearer {key}",
        *(f"{name}: {value}" for name, value in endpoint.headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _body(turns: list[dict[str, object]], *, stream: bool, model: str = MODEL) -> bytes:
    request: dict[str, object] = {
        "model": model,
        "max_tokens": TOKENS_OUT_MAX,
        "temperature": 0.2,
        "messages": [{"role": "system", "content": _SYSTEM}, *turns],
    }
    if stream:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    return orjson.dumps(request)


def _png_part(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
