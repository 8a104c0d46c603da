"""Which images may go upstream: data URLs always, https links in general traffic."""

from collections.abc import Mapping
from typing import Any

import pytest

from phigate.core.errors import InvalidRequest
from phigate.core.media import check_image, images

PATH = "messages.0.content.0.image_url.url"
BASE64 = "aVZCT1I="

# The URL, whether PHI takes it, whether general traffic takes it.
URLS: dict[str, tuple[str, bool, bool]] = {
    "png": (f"data:image/png;base64,{BASE64}", True, True),
    "jpeg": (f"data:image/jpeg;base64,{BASE64}", True, True),
    "webp": (f"data:image/webp;base64,{BASE64}", True, True),
    "gif": (f"data:image/gif;base64,{BASE64}", True, True),
    "an example cut short with dots": ("data:image/png;base64,iVBOR...", True, True),
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
    "other characters in base64": (f"data:image/png;base64,{BASE64}<", False, False),
    "a link after base64": (f"data:image/png;base64,{BASE64}https://a.example", False, False),
    "a space in base64": ("data:image/png;base64,aVZ CT1I=", False, False),
    "a line end after base64": (f"data:image/png;base64,{BASE64}\n", False, False),
    "url-safe base64": ("data:image/png;base64,aV-_", False, False),
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


def test_of_a_large_image_only_the_beginning_is_looked_at() -> None:
    url = "data:image/png;base64," + "A" * 4_000_000
    check_image(PATH, url + "!", phi=True)
    with pytest.raises(InvalidRequest):
        check_image(PATH, url.replace("A", "!", 1), phi=True)


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_images_are_found_in_every_message_tool_results_included() -> None:
    messages: list[Mapping[str, Any]] = [
        {"role": "system", "content": "none here"},
        {"role": "user", "content": [{"type": "text", "text": "x"}, image("a"), image("b")]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "tool_call_id": "1", "content": [image("c")]},
    ]
    assert list(images(messages)) == [
        ("messages.1.content.1.image_url.url", "a"),
        ("messages.1.content.2.image_url.url", "b"),
        ("messages.3.content.0.image_url.url", "c"),
    ]
