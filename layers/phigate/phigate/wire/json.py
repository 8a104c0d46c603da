"""Reads a request body as JSON, strictly: what two parsers could understand differently is refused.

Refused besides bad syntax: bytes that are not UTF-8, a name that stands twice in one object, NaN
and Infinity, integers of over INTEGER_DIGITS_MAX digits, lone surrogates, nesting over
JSON_DEPTH_MAX, more members and items than JSON_MEMBERS_MAX, objects outside schemas with more than
OBJECT_MEMBERS_MAX, names over MEMBER_NAME_BYTES_MAX, more backslashes than ESCAPES_MAX. The
standard library's parser is used because it alone tells of doubled names.
Law: the work is linear in the body, and no single call into C takes longer than 50 ms.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from phigate.core.errors import InvalidRequest, member_path
from phigate.core.limits import (
    ESCAPES_MAX,
    INTEGER_DIGITS_MAX,
    JSON_DEPTH_MAX,
    JSON_MEMBERS_MAX,
    LIGHT_BODY_MARKS_MAX,
    MEMBER_NAME_BYTES_MAX,
    OBJECT_MEMBERS_MAX,
)
from phigate.core.types import Json

Steps = tuple[str | int, ...]

_UNMARKED = bytes(set(range(256)) - set(b"\\,[{"))
_NO_STRUCTURE = bytes(set(range(256)) - set(b'",[{'))
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_UTF8_CHAR_BYTES_MAX = 4
_NAME_CHARS_SURE = MEMBER_NAME_BYTES_MAX // _UTF8_CHAR_BYTES_MAX


def marks_of(body: bytes) -> bytes:
    """The body's backslashes, commas and opening brackets, those in strings too: they bound what it
    costs to read."""
    return body.translate(None, _UNMARKED)


def parse_object(body: bytes, marks: bytes | None = None) -> Json:
    """The body as a JSON object; `marks` are its own, where they are known. Raises InvalidRequest;
    the message never quotes a value of the body."""
    if marks is None:
        marks = marks_of(body)
    escapes = marks.count(b"\\")
    if escapes > ESCAPES_MAX:
        raise InvalidRequest(
            f"The body has more than {ESCAPES_MAX} backslashes. Send its characters as UTF-8."
        )
    separators = len(marks) - escapes
    if separators > JSON_MEMBERS_MAX and members_within(body) > JSON_MEMBERS_MAX:
        raise InvalidRequest(f"The body has more than {JSON_MEMBERS_MAX} members and items in it.")
    # Only a body with more opening brackets than the limit can nest deeper than the limit.
    may_be_deep = marks.count(b"{") + marks.count(b"[") > JSON_DEPTH_MAX
    may_hold_surrogates = escapes > 0 and _SURROGATE_ESCAPE.search(body) is not None
    text = _text(body)
    del body  # a large image would be held twice while it is parsed
    value = _decoded(text)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    if may_be_deep:
        _check_depth(value, 1)
    if separators > OBJECT_MEMBERS_MAX:
        _check_widths(value)
    if may_hold_surrogates:
        _check_surrogates(value)
    return value


def is_heavy(marks: bytes) -> bool:
    """Whether a body with these marks is read beside the event loop."""
    return len(marks) > LIGHT_BODY_MARKS_MAX


def members_within(text: bytes) -> int:
    """How many members and items a JSON text has, seen before any is built: outside strings every
    comma and every opening bracket stands for one, or for an empty container.

    What stands up to the first mistake in the JSON is counted right, which is all that is parsed.
    """
    # Without escapes every quote opens or closes a string; two beside each other change nothing.
    plain = text.replace(rb"\\", b"").replace(rb"\"", b"")
    strings = plain.count(b'"') // 2
    if strings > 2 * (JSON_MEMBERS_MAX + 1):
        return strings // 2  # a member has two at most, its name and its value
    quoted = plain.translate(None, _NO_STRUCTURE).replace(b'""', b"")
    return sum(map(len, quoted.split(b'"')[::2]))


class _NameTooLong(Exception):
    """Some name of the text is; which one is looked for then."""


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidRequest(
            f"The body is not valid UTF-8 (byte {exc.start}). Send JSON encoded as UTF-8."
        ) from None


def _decoded(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except _NameTooLong:
        pass
    except json.JSONDecodeError as exc:
        raise InvalidRequest(
            f"The body is not valid JSON: {exc.msg} at character {exc.pos}."
        ) from None
    except RecursionError:
        raise _too_deep() from None
    where = member_path(*_way_to_long_name(text))
    raise InvalidRequest(
        f"The name of a member{where and f' of {where}'} is longer than {MEMBER_NAME_BYTES_MAX} "
        "bytes.",
        param=where or None,
    )


def _way_to_long_name(text: str) -> Steps:
    """The way to the object that has it; none where the text is no JSON further on."""
    try:
        # Numbers have been read by the other decoder, or will never be; a hook in Python lets other
        # threads run between them.
        value = json.loads(text, object_pairs_hook=dict, parse_int=_ignored)
    except (json.JSONDecodeError, RecursionError):
        return ()
    return _first(value, _has_long_name) or ()


def _members(pairs: list[tuple[str, Any]]) -> Json:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidRequest("An object of the body has the same member name twice.")
    for name in members:
        if len(name) > _NAME_CHARS_SURE and _is_long(name):
            raise _NameTooLong
    return members


def _ignored(digits: str) -> None:
    return None


def _is_long(name: str) -> bool:
    return len(name.encode("utf-8", "surrogatepass")) > MEMBER_NAME_BYTES_MAX


def _has_long_name(value: Any) -> bool:
    return isinstance(value, dict) and any(map(_is_long, value))


def _is_wide(value: Any) -> bool:
    return isinstance(value, dict) and len(value) > OBJECT_MEMBERS_MAX


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


def _check_widths(body: Json) -> None:
    steps = _first(_without_schemas(body), _is_wide)
    if steps is not None:
        where = member_path(*steps)
        raise InvalidRequest(
            f"{where or 'The body'} has more than {OBJECT_MEMBERS_MAX} members; only in JSON "
            "schemas an object may have more.",
            param=where or None,
        )


def _without_schemas(body: Json) -> Json:
    """The body without the JSON schemas of its tools and of its response format."""
    out = dict(body)
    if isinstance(tools := body.get("tools"), list):
        out["tools"] = [_without(tool, "function", "parameters") for tool in tools]
    if "response_format" in body:
        out["response_format"] = _without(body["response_format"], "json_schema", "schema")
    return out


def _without(value: Any, holder: str, name: str) -> Any:
    if isinstance(value, dict) and isinstance(value.get(holder), dict):
        return {**value, holder: {**value[holder], name: None}}
    return value


def _first(value: Any, is_wrong: Callable[[Any], bool]) -> Steps | None:
    """The way to the first value that is wrong; made from its end, once it is found."""
    if is_wrong(value):
        return ()
    for step, child in _children(value):
        if isinstance(child, dict | list) and (steps := _first(child, is_wrong)) is not None:
            return (step, *steps)
    return None


def _children(value: Any) -> Iterator[tuple[str | int, Any]]:
    return iter(value.items()) if isinstance(value, dict) else enumerate(value)


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
