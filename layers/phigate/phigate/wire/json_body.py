"""Reads a request body as JSON, strictly: what two parsers could understand differently is refused.

Refused besides bad syntax: bytes that are not UTF-8, a name that stands twice in one object, NaN
and Infinity, integers of over INTEGER_DIGITS_MAX digits, lone surrogates, nesting over
JSON_DEPTH_MAX, more objects and arrays than JSON_CONTAINERS_MAX. The standard library's parser is
used because it alone tells of doubled names.
"""

import json
import math
import re
from typing import Any

from phigate.core.errors import InvalidRequest
from phigate.core.limits import INTEGER_DIGITS_MAX, JSON_CONTAINERS_MAX, JSON_DEPTH_MAX
from phigate.core.types import Json

_NO_BRACKETS = bytes(set(range(256)) - set(b'"[{'))
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_object(body: bytes) -> Json:
    """The body as a JSON object. Raises InvalidRequest; the message never quotes the body."""
    brackets = body.count(b"{") + body.count(b"[")
    # Only a body with more opening brackets than the limit can nest deeper than the limit.
    may_be_deep = brackets > JSON_DEPTH_MAX
    if brackets > JSON_CONTAINERS_MAX:
        _check_containers(body)
    may_hold_surrogates = _SURROGATE_ESCAPE.search(body) is not None
    try:
        text = body.decode("utf-8")
        del body  # a large image would be held twice while it is parsed
        value = _DECODER.decode(text)
    except UnicodeDecodeError as exc:
        raise InvalidRequest(
            f"The body is not valid UTF-8 (byte {exc.start}). Send JSON encoded as UTF-8."
        ) from None
    except json.JSONDecodeError as exc:
        raise InvalidRequest(
            f"The body is not valid JSON: {exc.msg} at character {exc.pos}."
        ) from None
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    if may_be_deep:
        _check_depth(value, 1)
    if may_hold_surrogates:
        _check_surrogates(value)
    return value


def _check_containers(body: bytes) -> None:
    """Counts the opening brackets outside strings before anything is built.

    What stands up to the first mistake in the JSON is counted right, which is all that is parsed.
    """
    # Without escapes every quote opens or closes a string; an empty one changes nothing.
    quoted = body.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _NO_BRACKETS)
    outside = b"".join(quoted.replace(b'""', b"").split(b'"')[::2])
    if len(outside) > JSON_CONTAINERS_MAX:
        raise InvalidRequest(
            f"The body has more than {JSON_CONTAINERS_MAX} objects and arrays in it."
        )


def _members(pairs: list[tuple[str, Any]]) -> Json:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidRequest("An object of the body has the same member name twice.")
    return members


def _integer(digits: str) -> int:
    if len(digits) > INTEGER_DIGITS_MAX:
        raise InvalidRequest(f"A number of the body has more than {INTEGER_DIGITS_MAX} digits.")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise InvalidRequest("A number of the body is too large to be represented.")
    return number


def _constant(name: str) -> float:
    raise InvalidRequest(f"{name} is not a JSON number.")


def _check_depth(value: Any, depth: int) -> None:
    if depth > JSON_DEPTH_MAX:
        raise _too_deep()
    children = value.values() if isinstance(value, dict) else value
    for child in children:
        if isinstance(child, dict | list):
            _check_depth(child, depth + 1)


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidRequest(
            "A string of the body holds a lone surrogate (\\ud800 to \\udfff), "
            "which is not a character. Send both halves of the pair, or neither."
        ) from None


def _too_deep() -> InvalidRequest:
    return InvalidRequest(f"The body nests deeper than {JSON_DEPTH_MAX} levels.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_int=_integer,
    parse_float=_number,
    parse_constant=_constant,
)
