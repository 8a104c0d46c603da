"""Reads JSON of an upstream within bounds, so that no answer keeps the loop: bytes are bounded by
who receives them, objects, arrays and members here, before anything is built.
"""

from typing import Any

import orjson

from phigate.core.json_bounds import is_too_much
from phigate.core.limits import ANSWER_CONTAINERS_MAX, JSON_DEPTH_MAX

_SMALL_BYTES = ANSWER_CONTAINERS_MAX  # which cannot hold more of anything


def read_json(body: bytes, depth_max: int = JSON_DEPTH_MAX) -> Any:
    """The value. Raises ValueError for what is not JSON, or more of it than can be handed on."""
    if len(body) > _SMALL_BYTES and is_too_much(body):
        raise ValueError("more objects, arrays or members than an answer has")
    value = orjson.loads(body)
    # Only a body with more opening brackets than the limit can nest deeper than the limit.
    if body.count(b"{") + body.count(b"[") > depth_max and _nests_over(depth_max, value):
        raise ValueError("nested deeper than could be written out again")
    return value


def _nests_over(levels: int, value: Any) -> bool:
    """Level by level, which costs a third of calling itself."""
    inner = [value]
    for _ in range(levels + 1):
        inner = [
            child
            for each in inner
            for child in (each.values() if type(each) is dict else each)
            if type(child) is dict or type(child) is list
        ]
        if not inner:
            return False
    return True
