"""The requests are what their scenarios' names say."""

import base64
import struct
import zlib

import httptools
import orjson

from bench.bodies import Endpoint, anthropic_body, http_request, image_body, png, text_body

# The gateway's BODY_BYTES_MAX, by hand. A larger body would measure a refusal.
BODY_BYTES_MAX = 5_000_000


def test_a_text_body_has_about_one_kilobyte() -> None:
    assert 900 < len(text_body(stream=False)) < 1_300


def test_a_messages_request_says_the_same_in_its_own_dialect() -> None:
    body = orjson.loads(anthropic_body(stream=True))
    same = orjson.loads(text_body(stream=True, model=body["model"]))
    assert [{"role": "system", "content": body.pop("system")}, *body["messages"]] == same[
        "messages"
    ]
    assert same.items() >= {(name, body[name]) for name in ("model", "max_tokens", "stream")}
    assert "stream" not in orjson.loads(anthropic_body(stream=False))


def test_a_stream_asks_for_its_usage() -> None:
    body = orjson.loads(text_body(stream=True))
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}


def test_the_image_has_four_mebibytes_of_base64_and_fits_the_limit_of_a_body() -> None:
    body = image_body()
    url = orjson.loads(body)["messages"][1]["content"][1]["image_url"]["url"]
    assert len(url.partition(",")[2]) == 4 * 1024 * 1024
    assert len(body) < BODY_BYTES_MAX


def test_the_image_is_a_png_of_the_size_that_was_asked_with_valid_parts() -> None:
    image = png(3_145_728)
    assert len(image) == 3_145_728
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    names, at, pixels = [], 8, b""
    while at < len(image):
        size = struct.unpack(">I", image[at : at + 4])[0]
        name_and_content = image[at + 4 : at + 8 + size]
        checksum = struct.unpack(">I", image[at + 8 + size : at + 12 + size])[0]
        assert zlib.crc32(name_and_content) == checksum
        names.append(name_and_content[:4])
        pixels += name_and_content[4:] if name_and_content[:4] == b"IDAT" else b""
        at += 12 + size
    assert names == [b"IHDR", b"IDAT", b"fiLl", b"IEND"]
    assert len(zlib.decompress(pixels)) == 1_000 * (1 + 1_024 * 3)
    assert base64.b64decode(base64.b64encode(image)) == image


def test_a_request_is_one_whole_http_message_with_its_key_and_headers() -> None:
    seen: dict[bytes, bytes] = {}
    parts: list[bytes] = []

    class Seen:
        def on_header(self, name: bytes, value: bytes) -> None:
            seen[name] = value

        def on_body(self, part: bytes) -> None:
            parts.append(part)

    endpoint = Endpoint("127.0.0.1", 8080, headers={"x-region": "CH"})
    httptools.HttpRequestParser(Seen()).feed_data(http_request(endpoint, b"{}", key="k1"))
    assert seen[b"authorization"] == b"Bearer k1"
    assert seen[b"x-region"] == b"CH"
    assert parts == [b"{}"]
