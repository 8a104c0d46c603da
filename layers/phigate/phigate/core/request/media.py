"""Which media may go upstream, or be named to one. The gateway fetches nothing itself.

Under PHI an image is a `data:` URL of png, jpeg, webp or gif: a link would make the provider fetch
from a place that nobody has vetted. Every character of it is base64 and its bytes begin as such an
image does, so that nothing else goes upstream under its name. In general traffic https links pass
as well, and of a data URL the beginning alone is looked at.
"""

import base64
import re

from phigate.core.errors import InvalidRequest

_DATA_URL = re.compile(r"data:image/(?:png|jpeg|webp|gif);base64,")
# So many characters tell base64 from a link or a mistake. In general traffic what follows is the
# caller's own matter, and the provider finds it out anyway.
_LOOKED_AT = 4_096
# Three dots end a shortened example, as documentation prints it; what such an image is worth is the
# provider's to say.
_BASE64 = re.compile(r"[A-Za-z0-9+/]+(?:={0,2}|\.\.\.)")
# Under PHI a shortened example is one that a page has room for: `iVBOR...`.
_EXAMPLE = re.compile(r"[A-Za-z0-9+/]{5,64}\.\.\.")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# So much is looked at in one stretch: no copy of a 4 MB image is made, and the whole of it costs
# 3 ms, where decoding it into bytes that nobody reads would cost 13.
_PIECE_CHARS = 64 * 1024
# The first bytes of each kind. WebP is a RIFF file that says so behind its length.
_BEGINNINGS = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF.{4}WEBP", re.DOTALL)
_BEGINNING_CHARS = 16  # twelve bytes, the longest beginning


def check_image(path: str, url: str, *, phi: bool) -> None:
    """Refuse an image that may not go upstream. Raises InvalidRequest; never quotes the URL."""
    head = _DATA_URL.match(url)
    if head is not None:
        if phi:
            _check_whole(path, url, head.end())
        elif _BASE64.fullmatch(url, head.end(), head.end() + _LOOKED_AT) is None:
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


def _check_whole(path: str, url: str, start: int) -> None:
    """Refuse a data URL that holds anything but an image, from its first character to its last."""
    if _EXAMPLE.fullmatch(url, start) is not None:
        return
    if not _is_base64(url, start):
        raise InvalidRequest(
            f"{path} is not base64 to its end, which it must be under X-PHI: true: letters, "
            "digits, + and /, filled up with = to a multiple of four.",
            param=path,
        )
    first = base64.b64decode(url[start : start + _BEGINNING_CHARS])
    if _BEGINNINGS.match(first) is None:
        raise InvalidRequest(
            f"{path} does not begin as a PNG, JPEG, WebP or GIF does; under X-PHI: true nothing "
            "else goes to a provider as an image.",
            param=path,
        )


def _is_base64(url: str, start: int) -> bool:
    """Whether the text decodes: the alphabet alone, and padding nowhere but at its end."""
    if len(url) == start or (len(url) - start) % 4 or not url.isascii():
        return False
    end = len(url) - (2 if url.endswith("==") else 1 if url.endswith("=") else 0)
    return not any(
        url[at : min(at + _PIECE_CHARS, end)].encode("ascii").translate(None, _ALPHABET)
        for at in range(start, end, _PIECE_CHARS)
    )
