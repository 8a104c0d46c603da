"""Bodies that two parsers could understand differently are refused; none costs more than a 400."""

import json
import time
from typing import Any

import pytest

from phigate.core.errors import InvalidRequest
from phigate.core.limits import ESCAPES_MAX, JSON_MEMBERS_MAX, OBJECT_MEMBERS_MAX, PATH_CHARS_MAX
from phigate.wire.json import parse_object

CANARY = "c4n4ry"


def nested(levels: int) -> bytes:
    """An object that nests `levels` deep, itself included."""
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def with_members(count: int) -> bytes:
    """An object of so many members."""
    return b"{" + b",".join(b'"%x": 1' % i for i in range(count)) + b"}"


# A body, and what it is.
GOOD: dict[str, tuple[bytes, Any]] = {
    "empty object": (b"{}", {}),
    "spaces and line ends around": (b' \r\n\t{"a": 1}\n ', {"a": 1}),
    "UTF-8": ('{"a": "Grüezi 😀"}'.encode(), {"a": "Grüezi 😀"}),
    "a valid pair of surrogate escapes": (rb'{"a": "\ud83d\ude00"}', {"a": "😀"}),
    "an escaped backslash before the letters of a surrogate": (
        rb'{"a": "\\ud83d"}',
        {"a": r"\ud83d"},
    ),
    "the same name in two objects": (
        b'{"a": {"b": 1}, "c": {"b": 2}}',
        {"a": {"b": 1}, "c": {"b": 2}},
    ),
    "names that differ by case": (b'{"a": 1, "A": 2}', {"a": 1, "A": 2}),
    "64 levels": (nested(64), json.loads(nested(64))),
    "many brackets that do not nest": (
        b'{"a": [' + b"[]," * 99 + b"[]]}",
        {"a": [[]] * 100},
    ),
    "as many items as are taken": (
        b'{"a": [' + b"1," * (JSON_MEMBERS_MAX - 2) + b"1]}",
        {"a": [1] * (JSON_MEMBERS_MAX - 1)},
    ),
    "as many empty containers as are taken": (
        b'{"a": [' + b"{}," * (JSON_MEMBERS_MAX // 2 - 2) + b"[]]}",
        {"a": [{}] * (JSON_MEMBERS_MAX // 2 - 2) + [[]]},
    ),
    "a million separators in strings": (
        b'{"a": "' + b",[{" * 400_000 + rb"\"," * 400_000 + b'", "b": ",", "": ""}',
        {"a": ",[{" * 400_000 + '",' * 400_000, "b": ",", "": ""},
    ),
    "as many members in an object as are taken": (
        with_members(OBJECT_MEMBERS_MAX),
        json.loads(with_members(OBJECT_MEMBERS_MAX)),
    ),
    "a tool's schema with more": (
        b'{"tools": [{"function": {"parameters": %s}}]}' % with_members(5_000),
        {"tools": [{"function": {"parameters": json.loads(with_members(5_000))}}]},
    ),
    "a response format's schema with more": (
        b'{"response_format": {"json_schema": {"schema": {"properties": %s}}}}'
        % with_members(5_000),
        {
            "response_format": {
                "json_schema": {"schema": {"properties": json.loads(with_members(5_000))}}
            }
        },
    ),
    "a name as long as is taken": (b'{"%s": 1}' % (b"n" * 256), {"n" * 256: 1}),
    "a name as long as is taken, not in ASCII": (
        b'{"%s": 1}' % ("é" * 128).encode(),
        {"é" * 128: 1},
    ),
    "millions of brackets inside strings": (
        b'{"a": "' + b"[{" * 1_000_000 + b'", "b": ["' + b"[" * 1_000_000 + b'"]}',
        {"a": "[{" * 1_000_000, "b": ["[" * 1_000_000]},
    ),
    "as many backslashes as are taken": (
        rb'{"a": "' + rb"\\" * (ESCAPES_MAX // 2) + b'"}',
        {"a": "\\" * (ESCAPES_MAX // 2)},
    ),
    "brackets behind escaped quotes": (
        rb'{"a": "' + rb"\\\"[" * 200_000 + rb'", "b": "\\"}',
        {"a": r"\"[" * 200_000, "b": "\\"},
    ),
    "brackets inside a string": (b'{"a": "' + b"[" * 500 + b'"}', {"a": "[" * 500}),
    "a 64-bit integer": (b'{"a": -9223372036854775808}', {"a": -(2**63)}),
    "twenty digits": (b'{"a": 18446744073709551615}', {"a": 2**64 - 1}),
    "the greatest float": (b'{"a": 1e308}', {"a": 1e308}),
    "a float too small becomes zero": (b'{"a": 1e-999}', {"a": 0.0}),
    "the line separator is a character": ('{"a": "\u2028\ufeff"}'.encode(), {"a": "\u2028\ufeff"}),
    "an escaped NUL": (rb'{"a": "\u0000"}', {"a": "\0"}),
}


@pytest.mark.parametrize(("body", "value"), GOOD.values(), ids=GOOD)
def test_a_body_is_read(body: bytes, value: Any) -> None:
    assert parse_object(body) == value


BAD: dict[str, bytes] = {
    "nothing": b"",
    "spaces": b"  ",
    "not JSON": b"c4n4ry",
    "cut off": b'{"a": "c4n4ry',
    "trailing text": b'{"a": 1} c4n4ry',
    "two objects": b'{"a": 1}{"b": 2}',
    "a trailing comma": b'{"a": 1,}',
    "single quotes": b"{'c4n4ry': 1}",
    "a comment": b'{"a": 1} // c4n4ry',
    "an array": b'[{"model": "c4n4ry"}]',
    "a string": b'"c4n4ry"',
    "a number": b"7",
    "null": b"null",
    "true": b"true",
    "a byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-32": '{"a": 1}'.encode("utf-32"),
    "Latin-1": '{"a": "c4n4ry é"}'.encode("latin-1"),
    "a cut character": b'{"a": "c4n4ry \xc3"}',
    "an overlong character": b'{"a": "c4n4ry \xc0\xaf"}',
    "a surrogate as UTF-8": b'{"a": "c4n4ry \xed\xa0\xbd"}',
    "past Unicode": b'{"a": "c4n4ry \xf5\x80\x80\x80"}',
    "the same name twice": b'{"c4n4ry": 1, "c4n4ry": 2}',
    "the same name twice, once escaped": rb'{"model": 1, "\u006dodel": 2}',
    "the same name twice, further in": b'{"a": [{"c4n4ry": 1, "c4n4ry": 2}]}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "minus Infinity": b'{"a": [-Infinity]}',
    "a float past infinity": b'{"a": 1e999}',
    "a negative float past infinity": b'{"a": -1e999}',
    "21 digits": b'{"a": 111111111111111111111}',
    "a million digits": b'{"a": ' + b"1" * 1_000_000 + b"}",
    "a leading zero": b'{"a": 01}',
    "a plus sign": b'{"a": +1}',
    "a hexadecimal number": b'{"a": 0x10}',
    "a lone high surrogate": rb'{"a": "c4n4ry \ud83d"}',
    "a lone low surrogate": rb'{"a": "c4n4ry \ude00"}',
    "a reversed pair": rb'{"a": "c4n4ry \ude00\ud83d"}',
    "a high surrogate and a letter": rb'{"a": "c4n4ry \ud83dx"}',
    "a lone surrogate in a name": rb'{"c4n4ry \uD800": 1}',
    "a lone surrogate further in": rb'{"a": [{"b": ["c4n4ry \uDFFF"]}]}',
    "a raw line end in a string": b'{"a": "c4n4ry\n"}',
    "a raw NUL in a string": b'{"a": "c4n4ry\0"}',
    "65 levels": nested(65),
    "65 levels of objects": b'{"a":' * 65 + b"1" + b"}" * 65,
    "900 levels": nested(900),
    "one backslash more than is taken": (
        rb'{"a": "' + rb"\\" * (ESCAPES_MAX // 2 - 1) + rb"c4n4ry\n\r\t" + b'"}'
    ),
    "one item more than is taken": b'{"a": [' + b"1," * (JSON_MEMBERS_MAX - 1) + b"1]}",
    "one member more than is taken": (
        b'{"a": {' + b",".join(b'"%x":1' % i for i in range(JSON_MEMBERS_MAX)) + b"}}"
    ),
    "one string more than is taken": b'{"a": [' + b'"c4n4ry",' * (JSON_MEMBERS_MAX - 1) + b'""]}',
    "one array more than is taken": (
        b'{"c4n4ry": [' + b"[]," * (JSON_MEMBERS_MAX // 2 - 1) + b"[]]}"
    ),
    "one object more than is taken": (
        b'{"c4n4ry": [' + b"{}," * (JSON_MEMBERS_MAX // 2 - 1) + b"{}]}"
    ),
    "one member more in an object than is taken": with_members(OBJECT_MEMBERS_MAX + 1),
    "a name of 257 bytes": b'{"%s": 1}' % (b"n" * 257),
    "a name of 258 bytes in 129 letters": b'{"%s": 1}' % ("\u00e9" * 129).encode(),
    "a name of 2.2 MB with 240,000 members in it": (
        b'{"%s": %s}' % (b"n" * 2_200_000, with_members(240_000))
    ),
    "420,000 members": with_members(420_000),
    "a name of 2 MB, and no JSON": b'{"%s": 1, c4n4ry' % (b"n" * 2_000_000),
    "a name of 2 MB, and a number of 10,000 digits": (
        b'{"%s": %s}' % (b"n" * 2_000_000, b"1" * 10_000)
    ),
    "a name of 2 MB, and 900 levels": b'{"a": {"%s": 1}, "b": %s}'
    % (b"n" * 2_000_000, nested(900)),
    "too many containers between strings": (
        b'{"c4n4ry": [' + rb'"\\","\"",[],' * JSON_MEMBERS_MAX + b"[]]}"
    ),
    "10 MB of opening brackets": b"[" * 10_000_000,
    "10 MB of nesting": nested(5_000_000),
    "10 MB of nested objects": b'{"a":' * 2_000_000,
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_a_bad_body_is_one_clear_refusal_that_quotes_nothing(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_object(body)
    assert CANARY not in caught.value.message
    assert len(caught.value.message) < 200
    assert len(caught.value.param or "") <= PATH_CHARS_MAX
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


LONG = "n" * 257
# A body that is refused, and the path that tells where.
PATHS: dict[str, tuple[bytes, str | None]] = {
    "a long name at the top": (b'{"%s": 1}' % LONG.encode(), None),
    "a long name inside": (b'{"a": [1, {"b": {"%s": 1}}]}' % LONG.encode(), "a.1.b"),
    "many members at the top": (with_members(1_001), None),
    "many members inside": (b'{"a": [[], {"b": %s}]}' % with_members(1_001), "a.1.b"),
    "many members beside a schema": (
        b'{"tools": [{"function": {"parameters": {}, "more": %s}}]}' % with_members(1_001),
        "tools.0.function.more",
    ),
    "many members in what only looks like a schema": (
        b'{"tools": [{"parameters": %s}]}' % with_members(1_001),
        "tools.0.parameters",
    ),
    "many members in a tool call": (
        b'{"messages": [{"tool_calls": [{"function": {"parameters": %s}}]}]}' % with_members(1_001),
        "messages.0.tool_calls.0.function.parameters",
    ),
    "a way of long names": (
        b'{"%s": {"%s": %s}}' % (b"a" * 150, b"b" * 150, with_members(1_001)),
        "a" * 150 + "." + "b" * 48 + "…",
    ),
}


@pytest.mark.parametrize(("body", "param"), PATHS.values(), ids=PATHS)
def test_what_is_refused_is_told_by_a_path_that_is_cut(body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_object(body)
    assert caught.value.param == param
    assert len(caught.value.message) < PATH_CHARS_MAX + 100


# 5 MB that are dear to count, and whether they are taken.
COSTLY: dict[str, bytes] = {
    "arrays": b'{"a": [' + b"[]," * 1_660_000 + b"[]]}",
    "objects": b'{"a": [' + b"{}," * 1_660_000 + b"{}]}",
    "arrays between empty strings": b'{"a": [' + b'"",[],' * 830_000 + b"[]]}",
    "arrays between brackets in strings": b'{"a": [' + b'"[",[],' * 710_000 + b"[]]}",
    "escapes before arrays": b'{"a": "' + rb"\\" * 450_000 + b'", "b": [' + b"[]," * 1_000_000,
}


@pytest.mark.parametrize("body", COSTLY.values(), ids=COSTLY)
def test_too_many_containers_are_refused_before_they_are_built(body: bytes) -> None:
    start_s = time.process_time()
    with pytest.raises(InvalidRequest, match="members and items"):
        parse_object(body)
    # Building them takes seconds; counting them does not take one.
    assert time.process_time() - start_s < 0.7
