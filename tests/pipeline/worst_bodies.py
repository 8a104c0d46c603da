"""The dearest body of each limit: every one is within the limits, or refused at one of them."""

from phigate.core.limits import (
    BODY_BYTES_MAX,
    ESCAPES_MAX,
    JSON_DEPTH_MAX,
    JSON_MEMBERS_MAX,
    MESSAGES_MAX,
    OBJECT_MEMBERS_MAX,
    PARTS_MAX,
    SCHEMA_BYTES_MAX,
    STOP_MAX,
    TOOL_CALLS_MAX,
    TOOLS_MAX,
)

ROOM = BODY_BYTES_MAX - 500
ITEMS = JSON_MEMBERS_MAX - 50


def asks(content: bytes = b'"x"', more: bytes = b"") -> bytes:
    """One user message, and further members of the body."""
    return b'{"model": "auto", "messages": [{"role": "user", "content": %s}]%s}' % (
        content,
        b", " + more if more else b"",
    )


def says(messages: list[bytes]) -> bytes:
    """A conversation."""
    return b'{"model": "auto", "messages": [%s]}' % b",".join(messages)


def fill(piece: bytes, size: int = ROOM) -> bytes:
    """As many pieces as fit."""
    return piece * (size // len(piece))


def text(piece: bytes) -> bytes:
    """A string as long as a body."""
    return b'"%s"' % fill(piece)


def escaped(piece: bytes) -> bytes:
    """A string with as many backslashes as are taken, filled up with letters."""
    pieces = min((ESCAPES_MAX - 10) // piece.count(b"\\"), ROOM // len(piece))
    return b'"%s%s"' % (piece * pieces, b"a" * (ROOM - pieces * len(piece)))


def listed(item: bytes, count: int = ITEMS) -> bytes:
    """An array."""
    return b"[%s]" % b",".join([item] * count)


def members(count: int, value: bytes = b"1", name_bytes: int = 5) -> bytes:
    """Members of an object, without its braces."""
    return b",".join(b'"%0*x":%s' % (name_bytes, i, value) for i in range(count))


def tool(i: int, function: bytes) -> bytes:
    """A tool of a request."""
    return b'{"type": "function", "function": {"name": "f%d", %s}}' % (i, function)


def schema(properties: int) -> bytes:
    """An open object schema."""
    kept = members(properties, b'{"type":"string"}')
    return b'"strict": true, "parameters": {"type":"object","properties":{%s}}' % kept


CALL = b'{"id":"c","type":"function","function":{"name":"f","arguments":%s}}'
PART = b'{"type":"text","text":"%s"}'
IMAGE = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}'
TURN = b'{"role":"user","content":"x"}'


def calls(*arguments: bytes) -> bytes:
    """Tool calls of an assistant, with these arguments as they stand in a string."""
    each = [CALL % (b'"%s"' % written) for written in arguments]
    return says([TURN, b'{"role":"assistant","tool_calls":[%s]}' % b",".join(each)])


BODIES: dict[str, bytes] = {
    # One string of 5 MB.
    "text": asks(text(b"a")),
    "text of white space": asks(text(b" ")),
    "text of two bytes": asks(text("é".encode())),
    "text of four bytes": asks(text("😀".encode())),
    "text of escaped line ends": asks(escaped(rb"\n")),
    "text of escaped quotes": asks(escaped(rb"\"")),
    "text of escaped backslashes": asks(escaped(rb"\\")),
    "text of letters and escapes": asks(escaped(rb"a\n")),
    "text of letters and escapes apart": asks(escaped(rb"aaa\n")),
    "text of other letters and escapes": asks(escaped("é".encode() + rb"\n")),
    "text of escaped letters": asks(escaped(rb"\u00e9")),
    "text of surrogate pairs": asks(escaped(rb"\ud83d\ude00")),
    "text of letters and surrogate pairs": asks(escaped(rb"a\ud83d\ude00")),
    "text of more escapes than are taken": asks(text(rb"\n")),
    "text of separators": asks(text(b"[{,")),
    "text of quotes and separators": asks(escaped(rb"\",")),
    "unknown text of two bytes": asks(more=b'"z": ' + text("é".encode())),
    "unknown text of four bytes": asks(more=b'"z": ' + text("😀".encode())),
    "unknown text of letters and escapes": asks(more=b'"z": ' + escaped(rb"a\n")),
    "a user's name": asks(more=b'"user": ' + text(b"u")),
    "white space around": fill(b" ") + asks(),
    "a link": asks(b'[{"type":"image_url","image_url":{"url":"https://%s"}}]' % fill(b"a")),
    "a type of a tool": asks(more=b'"tools": [{"type": %s}]' % text(b"w")),
    "an id of a tool call": says(
        [TURN, b'{"role":"assistant","tool_calls":[{"id":%s,"function":{}}]}' % text(b".")]
    ),
    "a long number": asks(more=b'"z": 0.%s' % fill(b"1")),
    "a long integer": asks(more=b'"z": %s' % fill(b"1")),
    # As many members and items as are taken, and more.
    "nulls": asks(more=b'"z": ' + listed(b"null")),
    "integers": asks(more=b'"z": ' + listed(b"1234567890123456789")),
    "fractions": asks(more=b'"z": ' + listed(b"1.5e-7")),
    "empty strings": asks(more=b'"z": ' + listed(b'""')),
    "strings": asks(more=b'"z": ' + listed(b'"%s"' % (b"a" * 40))),
    "strings of escapes": asks(more=b'"z": ' + listed(b'"%s"' % (rb"aa\n" * 10))),
    "strings of surrogate pairs": asks(more=b'"z": ' + listed(b'"%s"' % (rb"\ud83d\ude00" * 3))),
    "empty objects": asks(more=b'"z": ' + listed(b"{}", ITEMS // 2)),
    "empty arrays": asks(more=b'"z": ' + listed(b"[]", ITEMS // 2)),
    "small objects": asks(more=b'"z": ' + listed(b'{"a":1}', ITEMS // 2)),
    "full objects": asks(
        more=b'"z": ' + listed(b"{%s}" % members(OBJECT_MEMBERS_MAX, b'"v"', 40), 95)
    ),
    "nested arrays": asks(
        more=b'"z": '
        + listed(b"[" * (JSON_DEPTH_MAX - 3) + b"]" * (JSON_DEPTH_MAX - 3), ITEMS // JSON_DEPTH_MAX)
    ),
    "nested objects": asks(
        more=b'"z": '
        + listed(
            b'{"a":' * (JSON_DEPTH_MAX - 3) + b"1" + b"}" * (JSON_DEPTH_MAX - 3),
            ITEMS // JSON_DEPTH_MAX,
        )
    ),
    "nested too deep": asks(more=b'"z": ' + fill(b"[", 90_000)),
    "unknown members": asks(more=members(OBJECT_MEMBERS_MAX - 10, b"1", 250)),
    "unknown members that no row may drop": asks(
        more=b'"provider": {"require_parameters": true}, '
        + members(OBJECT_MEMBERS_MAX - 10, b"1", 250)
    ),
    "options of providers": asks(
        more=b'"provider_options": {%s}' % members(95, b"{%s}" % members(OBJECT_MEMBERS_MAX))
    ),
    "metadata": asks(more=b'"metadata": {%s}' % members(990, listed(b"1", 98))),
    "commas": asks(more=b'"z": [%s1]' % fill(b"1,")),
    "arrays": asks(more=b'"z": [%s1]' % fill(b"[],")),
    "quotes": asks(more=b'"z": [%s1]' % fill(b'"",')),
    "quotes alone": fill(b'"'),
    "240,000 members in a name of 2.2 MB": asks(
        more=b'"%s": {%s}' % (b"n" * 2_200_000, members(240_000))
    ),
    "90,000 members in a name of 3.9 MB": asks(
        more=b'"%s": {%s}' % (b"n" * 3_900_000, members(90_000))
    ),
    "420,000 members that no row may drop": asks(
        more=b'"provider": {"require_parameters": true}, ' + members(420_000)
    ),
    # Messages, parts, images, tools, stop strings.
    "messages": says([b'{"role":"user","content":"%s"}' % (b"a" * 2_400)] * MESSAGES_MAX),
    "messages of unknown members": says(
        [b'{"role":"user","content":"x",%s}' % members(45)] * MESSAGES_MAX
    ),
    "messages of echoes": says(
        [
            TURN,
            *[b'{"role":"assistant","content":"x","provider_specific_fields":{%s}}' % members(45)]
            * (MESSAGES_MAX - 1),
        ]
    ),
    "messages and parts": says(
        [TURN] * (MESSAGES_MAX - 1)
        + [b'{"role":"user","content":%s}' % listed(PART % (b"a" * 9_000), PARTS_MAX)]
    ),
    "parts of unknown members": asks(
        listed(b'{"type":"text","text":"x",%s}' % members(190), PARTS_MAX)
    ),
    "images": asks(listed(IMAGE % (b"A" * 248_000), 20)),
    "bad messages": says([b"{}"] * MESSAGES_MAX),
    "bad parts": asks(listed(b"{}", PARTS_MAX)),
    "bad calls": says([b'{"role":"assistant","tool_calls":%s}' % listed(b"{}", TOOL_CALLS_MAX)]),
    "too many bad messages": says([b"1"] * ITEMS),
    "bad modalities": asks(more=b'"modalities": ' + listed(b"1")),
    "bad biases": asks(more=b'"logit_bias": {%s}' % members(OBJECT_MEMBERS_MAX, b'"a"')),
    "fonts": asks(more=b'"image_config": {"font_inputs": %s}' % listed(b'{"text":"a"}', 45_000)),
    "modalities": asks(more=b'"response_modalities": ' + listed(b'"text"')),
    "calls": calls(*[rb"{\"a\":1}"] * TOOL_CALLS_MAX),
    "annotations": says(
        [
            TURN,
            b'{"role":"assistant","content":"x","annotations":%s}'
            % listed(b'{"type":"url_citation",%s}' % members(45), TOOL_CALLS_MAX),
        ]
    ),
    "arguments of empty arrays": calls(rb"{\"a\":[%s1]}" % fill(b"[],")),
    "arguments as large as is taken": calls(rb"{\"a\":[%s1]}" % (b"[]," * (ITEMS // 2 - 20))),
    "arguments of strings": calls(rb"{\"a\":[%s1]}" % (rb"\"\"," * 90_000)),
    "arguments of text": calls(rb"{\"a\":\"%s\"}" % fill(b"a")),
    "tools of wide schemas": asks(
        more=b'"tools": [%s]' % b",".join(tool(i, schema(380)) for i in range(TOOLS_MAX - 2))
    ),
    "tools of one wide schema": asks(
        more=b'"tools": [%s]' % b",".join(tool(i, schema(2_300)) for i in range(14))
    ),
    "tools of long words": asks(
        more=b'"tools": [%s]'
        % b",".join(
            tool(i, b'"description": "%s"' % ("é".encode() * 10_000)) for i in range(TOOLS_MAX)
        )
    ),
    "tools of long escapes": asks(
        more=b'"tools": [%s]'
        % b",".join(tool(i, b'"description": "%s"' % (rb"aaa\n" * 7_000)) for i in range(TOOLS_MAX))
    ),
    "a schema as large as is taken": asks(
        more=b'"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": '
        b'{"type": "object", "properties": {%s}}}}'
        % members(SCHEMA_BYTES_MAX // 40, b'{"type": "string"}')
    ),
    "stop strings": asks(more=b'"stop": ' + listed(b'"%s"' % fill(b" ", 310_000), STOP_MAX)),
    "too many stop strings": asks(more=b'"stop": ' + listed(b'"a"')),
}
