"""Which images may go upstream: data URLs always, https links in general traffic."""

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phigate.core.errors import InvalidRequest
from phigate.core.request.media import check_image
from phigate.wire.openai.chat_messages import Message, images

PATH = "messages.0.content.0.image_url.url"
BASE64 = "iVBORw0KGgo="  # the eight bytes that every PNG begins with

# The URL, whether PHI takes it, whether general traffic takes it.
# What each kind begins with, filled up.
BEGINNINGS = {
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "webp": b"RIFF\x24\0\0\0WEBPVP8 ",
    "gif, old": b"GIF87a\x01\0",
    "gif": b"GIF89a\x01\0",
}


def url_of(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


LONG = base64.b64encode(BEGINNINGS["png"] + bytes(3_000_000 - len(BEGINNINGS["png"]))).decode()

# The URL, whether PHI takes it, whether general traffic takes it.
URLS: dict[str, tuple[str, bool, bool]] = {
    **{
        f"{kind}'s bytes": (url_of(content, kind.partition(",")[0]), True, True)
        for kind, content in BEGINNINGS.items()
    },
    **{
        f"{kind}'s bytes by another label": (url_of(content, label), True, True)
        for kind, content, label in (
            ("jpeg", BEGINNINGS["jpeg"], "png"),
            ("png", BEGINNINGS["png"], "webp"),
        )
    },
    "no need of padding": (url_of(BEGINNINGS["png"] + b"12"), True, True),
    "one character of padding": (url_of(BEGINNINGS["png"] + b"1"), True, True),
    "two characters of padding": (url_of(BEGINNINGS["png"]), True, True),
    "padding left out": (url_of(BEGINNINGS["png"]).rstrip("="), False, True),
    "too much padding": (url_of(BEGINNINGS["png"]) + "====", False, False),
    "an SVG by a PNG's label": (url_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), False, True),
    "a PDF by a PNG's label": (url_of(b"%PDF-1.7 and more than this"), False, True),
    "a page by a PNG's label": (url_of(b"<html><img src='https://a.example/'>"), False, True),
    "text by a PNG's label": (url_of(b"hello"), False, True),
    "a RIFF file that is a sound": (url_of(b"RIFF\x24\0\0\0WAVEfmt "), False, True),
    "a PNG's first seven bytes": (url_of(BEGINNINGS["png"][:7]), False, True),
    "an example cut short with dots": ("data:image/png;base64,iVBOR...", True, True),
    "a long one cut short with dots": (f"data:image/png;base64,{LONG[:68]}...", False, True),
    "dots alone": ("data:image/png;base64,...", False, False),
    "more after the dots": ("data:image/png;base64,iVBOR...iVBOR", False, False),
    "https link": ("https://images.example.com/x.png", False, True),
    "http link": ("http://images.example.com/x.png", False, False),
    "link without scheme": ("//images.example.com/x.png", False, False),
    "svg": (f"data:image/svg+xml;base64,{BASE64}", False, False),
    "bmp": (f"data:image/bmp;base64,{BASE64}", False, False),
    "pdf": (f"data:application/pdf;base64,{BASE64}", False, False),
    "a type that only begins like one": (f"data:image/pngx;base64,{BASE64}", False, False),
    "a type with a parameter": (f"data:image/png;name=x;base64,{BASE64}", False, False),
    "not base64": ("data:image/png,%89PNG", False, False),
    "no bytes": ("data:image/png;base64,", False, False),
    "padding alone": ("data:image/png;base64,====", False, False),
    "other characters in base64": (f"data:image/png;base64,{BASE64}<", False, False),
    "a link after base64": (f"data:image/png;base64,{BASE64}https://a.example", False, False),
    "a space in base64": ("data:image/png;base64,aVZ CT1I=", False, False),
    "a line end after base64": (f"data:image/png;base64,{BASE64}\n", False, False),
    "url-safe base64": ("data:image/png;base64,aV-_", False, False),
    "letters of another alphabet": ("data:image/png;base64,iVBORw0KGgö=", False, False),
    "padding alone in the middle": ("data:image/png;base64,aV==aV==", False, False),
    "a space before": (f" data:image/png;base64,{BASE64}", False, False),
    "a file": ("file:///etc/passwd", False, False),
    "a stored file": ("file-abc123", False, False),
    "a bucket": ("gs://bucket/x.png", False, False),
    "a script": ("javascript:alert(1)", False, False),
    "empty": ("", False, False),
}


@pytest.mark.parametrize("phi", [True, False], ids=["PHI", "general"])
@pytest.mark.parametrize(("url", "in_phi", "in_general"), URLS.values(), ids=URLS)
def test_an_image_url_passes_or_is_refused(
    url: str, in_phi: bool, in_general: bool, phi: bool
) -> None:
    if in_phi if phi else in_general:
        check_image(PATH, url, phi=phi)
        return
    with pytest.raises(InvalidRequest) as caught:
        check_image(PATH, url, phi=phi)
    assert caught.value.param == PATH
    assert len(url) < 2 or url not in caught.value.message


# What might stand far behind the beginning of an image: how many characters are cut off its end,
# and what is put there.
HIDDEN: dict[str, tuple[int, str]] = {
    "a link": (4, "https://a.example/x.png?x="),
    "a second data URL": (0, ",data:image/svg+xml;utf8,<svg/>"),
    "one character": (1, "!"),
    "a line end": (0, "\n"),
    "dots": (4, "..."),
    "padding and more": (4, "AA==AAAA"),
    "padding out of step": (4, "A==="),
    "half a group": (0, "AA"),
    "words": (4, "the patient has"),
}


@pytest.mark.parametrize(("cut", "hidden"), HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("chars", [4_096, 4_100, 65_536, 131_072, len(LONG)])
def test_under_phi_nothing_hides_behind_the_beginning_of_an_image(
    chars: int, cut: int, hidden: str
) -> None:
    image = f"data:image/png;base64,{LONG[:chars]}"
    check_image(PATH, image, phi=True)
    with pytest.raises(InvalidRequest) as caught:
        check_image(PATH, image[: len(image) - cut] + hidden, phi=True)
    assert caught.value.param == PATH


@given(st.integers(0, 300_000), st.integers(0, 0x10FFFF))
def test_under_phi_every_character_of_an_image_is_looked_at(at: int, code: int) -> None:
    """The reference: what the standard library refuses to decode is refused here."""
    text = LONG[:300_000]
    text = text[:at] + chr(code) + text[at + 1 :]
    if not 0xD800 <= code < 0xE000 and _decodes(text):
        check_image(PATH, f"data:image/png;base64,{text}", phi=True)
        return
    with pytest.raises(InvalidRequest):
        check_image(PATH, f"data:image/png;base64,{text}", phi=True)


def _decodes(text: str) -> bool:
    try:
        content = base64.b64decode(text.encode(), validate=True)
    except ValueError:
        return False
    # The library takes padding that stands too early.
    return len(content) >= len(text) // 4 * 3 - 2 and content.startswith(BEGINNINGS["png"][:8])


def test_of_a_large_image_in_general_traffic_only_the_beginning_is_looked_at() -> None:
    url = "data:image/png;base64," + "A" * 4_000_000
    check_image(PATH, url + "!", phi=False)
    with pytest.raises(InvalidRequest):
        check_image(PATH, url.replace("A", "!", 1), phi=False)


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_images_are_found_in_every_message_tool_results_included() -> None:
    messages: list[Mapping[str, Any]] = [
        {"role": "system", "content": "none here"},
        {"role": "user", "content": [{"type": "text", "text": "x"}, image("a"), image("b")]},
        {"role": "assistant", "content": "none here either", "tool_calls": []},
        {"role": "tool", "tool_call_id": "1", "content": [image("c")]},
    ]
    assert list(images([*map(Message.model_validate, messages)])) == [
        ("messages.1.content.1.image_url.url", "a"),
        ("messages.1.content.2.image_url.url", "b"),
        ("messages.3.content.0.image_url.url", "c"),
    ]
