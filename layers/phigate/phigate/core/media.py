"""Which media may go upstream, or be named to one. The gateway fetches nothing itself.

Under PHI an image is a `data:` URL of png, jpeg, webp or gif: a link would make the provider fetch
from a place that nobody has vetted. In general traffic https links pass as well.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from phigate.core.errors import InvalidRequest
from phigate.core.types import Json

_DATA_URL = re.compile(r"data:image/(?:png|jpeg|webp|gif);base64,")
# So many characters tell base64 from a link or a mistake; looking at all of a 4 MB image would cost
# 11 ms to learn what the provider finds out anyway.
_LOOKED_AT = 4_096
# Three dots end a shortened example, as documentation prints it; what such an image is worth is the
# provider's to say.
_BASE64 = re.compile(r"[A-Za-z0-9+/]+(?:={0,2}|\.\.\.)")


def images(messages: list[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Every image of the messages, tool results included: the path of its URL, and the URL."""
    for i, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, list):
            for j, part in enumerate(content):
                if part.get("type") == "image_url":
                    yield f"messages.{i}.content.{j}.image_url.url", part["image_url"]["url"]


def check_image(path: str, url: str, *, phi: bool) -> None:
    """Refuse an image that may not go upstream. Raises InvalidRequest; never quotes the URL."""
    head = _DATA_URL.match(url)
    if head is not None:
        if _BASE64.fullmatch(url, head.end(), head.end() + _LOOKED_AT) is None:
            raise InvalidRequest(f"{path} is not valid base64.", param=path)
        return
    if phi:
        raise InvalidRequest(
            f"{path} must be a data: URL of image/png, image/jpeg, image/webp or image/gif in "
            "base64 under X-PHI: true; links are not followed.",
            param=path,
        )
    if not url.startswith("https://"):
        raise InvalidRequest(
            f"{path} must be an https: link or a base64 data: URL of image/png, image/jpeg, "
            "image/webp or image/gif.",
            param=path,
        )


def check_image_config(body: Json) -> None:
    """Under PHI nothing may name media outside a message. Raises InvalidRequest."""
    for member in ("image_config", "imageConfig"):
        for name in _REMOTE_MEDIA:
            if (body.get(member) or {}).get(name):
                param = f"{member}.{name}"
                raise InvalidRequest(
                    f"{param} names media by links, which is refused under X-PHI: true.",
                    param=param,
                )


_REMOTE_MEDIA = (
    "font_inputs",
    "fontInputs",
    "reference_images",
    "referenceImages",
    "super_resolution_references",
    "superResolutionReferences",
)
