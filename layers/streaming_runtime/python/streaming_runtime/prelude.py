"""What stands before the body of an answer, in both of Lambda's formats. Pure.

Law: nothing that could end a header early or start another goes out.
Specification: https://docs.aws.amazon.com/apigateway/latest/developerguide/
response-transfer-mode-lambda.html
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streaming_runtime.errors import AnswerTooLarge, HeadRefused

DELIMITER = b"\0" * 8
PRELUDE_BYTES_MAX = 16 * 1024  # the delimiter has to come within the first 16 KB
BUFFERED_BYTES_MAX = 6 * 1024 * 1024  # the greatest buffered answer that Lambda takes

# Of one connection; API Gateway has its own. RFC 9110, 7.6.1.
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ENDS_A_LINE = re.compile(rb"[\r\n\0]")
_WITHOUT_BODY = frozenset((204, 304))  # RFC 9110, 15.3.5 and 15.4.5


@dataclass(frozen=True, slots=True)
class Head:
    """The status and the headers of an answer, checked."""

    status: int
    headers: dict[str, list[str]]

    @property
    def may_have_body(self) -> bool:
        """Whether this status allows one."""
        return self.status not in _WITHOUT_BODY

    @property
    def content_type(self) -> str:
        """In lower case, "" where the application gave none."""
        return self.headers.get("content-type", [""])[-1].lower()


def head_of(message: Mapping[str, Any]) -> Head:
    """The head in an `http.response.start`. Raises HeadRefused."""
    status = message.get("status")
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise HeadRefused("The status is not a number from 200 to 599.")
    headers: dict[str, list[str]] = {}
    for name, value in message.get("headers", ()):
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise HeadRefused("A header is not made of bytes.")
        if not _NAME.fullmatch(name):
            raise HeadRefused("A header's name is no token.")
        if _ENDS_A_LINE.search(value):
            raise HeadRefused("A header's value holds a line break.")
        key = name.decode("ascii").lower()
        if key not in _HOP_BY_HOP:
            headers.setdefault(key, []).append(value.decode("latin-1"))
    return Head(status, headers)


def prelude(head: Head) -> bytes:
    """The JSON before a streamed body, and the delimiter behind it. Raises HeadRefused."""
    fields: dict[str, object] = {"statusCode": head.status}
    once = {name: values[0] for name, values in head.headers.items() if len(values) == 1}
    often = {name: values for name, values in head.headers.items() if len(values) > 1}
    once.pop("set-cookie", None)
    often.pop("set-cookie", None)
    fields["headers"] = once
    if often:
        fields["multiValueHeaders"] = often
    if "set-cookie" in head.headers:
        fields["cookies"] = head.headers["set-cookie"]
    written = json.dumps(fields, separators=(",", ":")).encode() + DELIMITER
    if len(written) > PRELUDE_BYTES_MAX:
        raise HeadRefused(f"The headers are over {PRELUDE_BYTES_MAX} bytes together.")
    return written


def buffered(head: Head, body: bytes) -> bytes:
    """A whole answer for an integration that does not stream. Raises AnswerTooLarge."""
    text = _as_text(head, body)
    fields = {
        "statusCode": head.status,
        "multiValueHeaders": head.headers,
        "body": base64.b64encode(body).decode() if text is None else text,
        "isBase64Encoded": text is None,
    }
    written = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    if len(written) > BUFFERED_BYTES_MAX:
        raise AnswerTooLarge(f"A buffered answer is over {BUFFERED_BYTES_MAX} bytes.")
    return written


def _as_text(head: Head, body: bytes) -> str | None:
    if "content-encoding" in head.headers:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
