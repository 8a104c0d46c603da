"""What the tests of the surface send, and how every error has to look."""

from typing import Any

from phigate.core.types import Json
from tests.builders import make_body
from tests.local.running import HttpAnswer

CHAT = "/v1/chat/completions"
HELLO: Json = make_body(model="gemma-4")
# A PNG of one pixel.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PIXEL_URL = f"data:image/png;base64,{PIXEL}"
IMAGE: list[Any] = [{"type": "image_url", "image_url": {"url": PIXEL_URL}}]


def assert_envelope(told: HttpAnswer, status: int, code: str, param: str | None = None) -> None:
    """The error has the five marks of every error."""
    assert told.status == status, told.body
    assert told.headers["content-type"] == "application/json"
    assert told.headers["x-request-id"]
    assert told.headers["content-length"] == str(len(told.body))
    assert set(told.json) == {"error"}
    error = told.error
    assert (error["code"], error["param"]) == (code, param)
    assert error["type"]
    assert error["message"]
