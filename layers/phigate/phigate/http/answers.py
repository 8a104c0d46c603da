"""Answers of the endpoints that are no chat."""

from collections.abc import Mapping

import orjson
from fastapi import Response


def json_answer(content: Mapping[str, object]) -> Response:
    """An answer in JSON."""
    return Response(orjson.dumps(content), media_type="application/json")
