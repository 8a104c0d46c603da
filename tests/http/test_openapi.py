"""The OpenAPI document prints the table of members: what each is, how dialects handle it."""

import pytest

from phigate.core.release import RELEASE
from phigate.core.request.fields import FIELDS, HANDLINGS
from phigate.http.app import ENDPOINTS
from phigate.http.openapi import openapi_document

PLACES = {
    "stream_options": "StreamOptions",
    "reasoning": "Reasoning",
    "thinking": "Thinking",
    "image_config": "ImageConfig",
    "provider": "ProviderPreferences",
    "debug": "Debug",
}
DOCUMENT = openapi_document(ENDPOINTS)
SCHEMAS = DOCUMENT["components"]["schemas"]


def test_the_document_tells_the_release() -> None:
    assert DOCUMENT["info"]["version"] == RELEASE


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize("body", ["ChatBody", "RouteBody"])
def test_a_field_is_described_with_how_both_dialects_handle_it(path: str, body: str) -> None:
    outer, _, inner = path.partition(".")
    schema = SCHEMAS[PLACES[outer]] if inner else SCHEMAS[body]
    described = schema["properties"][inner or outer]["description"]
    field = FIELDS[path]
    assert described.startswith(field.what)
    assert f"OpenAI dialect: {HANDLINGS[field.openai]}." in described
    assert f"Anthropic dialect: {HANDLINGS[field.anthropic]}." in described
