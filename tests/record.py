"""`make record PROVIDER=… CASE=…`: one real exchange with a provider, kept as a fixture.

Law 1: nothing is written of an answer that holds a piece of the provider's key, or that is not what
the case is about. Headers are never kept.
Law 2: what names an account or a request is replaced, the same value by the same word.
"""

import argparse
import asyncio
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from phigate.adapters import ADAPTERS
from phigate.adapters.adapter import WirePlan
from phigate.core.catalog.reach import overridden_row
from phigate.core.errors import InvalidRequest, UpstreamFailed
from phigate.core.limits import JSON_TIMEOUT_S
from phigate.core.types import Catalog, Json, Row
from phigate.core.upstream import Head, UpstreamRequest
from phigate.effects.upstream.credentials import ProviderAccess
from phigate.effects.upstream.http_upstream import HttpUpstream
from phigate.wiring import MissingVariable, local_access
from tests.builders import repository_catalog

RECORDED = Path(__file__).parent / "adapters" / "recorded"
TOKENS_OUT = 2_000  # a model that reasons needs some hundreds before its first word
KEY_PIECE_CHARS = 12  # providers quote the ends of a wrong key
_STATUSES_OF_KEYS = frozenset({401, 403})
_NO_SIMULATOR = "http://127.0.0.1:1"
_NO_KEY = frozenset({"simulated", "none"})
_SERVICE_ACCOUNT_SECRETS = ("private_key", "private_key_id", "client_email", "client_id")

_SQUARE = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAT0lEQVR42u3PQQkAAAgEsEty/aMYywi+"
    "hcEKLNO+FgEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQGBywLKp0Dx"
    "vxLbjwAAAABJRU5ErkJggg=="
)


class RecordRefused(Exception):
    """Nothing was recorded; one line for a person, without a word of what the provider said."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked, in canonical form, and which rows can be asked it."""

    members: Json
    stream: bool = False
    tokens_out: int = TOKENS_OUT
    is_refused: bool = False
    suits: Callable[[Row], bool] = lambda row: True


@dataclass(frozen=True, slots=True)
class Recording:
    """One exchange, as it lies in its folder."""

    request: bytes
    response: bytes
    meta: Json


def _says(text: str, **members: Any) -> Json:
    return {"messages": [{"role": "user", "content": text}], **members}


def _function(name: str) -> Json:
    place = {"type": "string", "description": "A town."}
    parameters = {"type": "object", "properties": {"place": place}, "required": ["place"]}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


_CAPITAL = "What is the capital of Switzerland? Answer in one sentence."
_TOOLS = _says(
    "The weather in Bern and the sunrise in Geneva: call both functions at once.",
    tools=[_function("weather"), _function("sunrise")],
    tool_choice="required",
)
_TOWN = {
    "type": "object",
    "properties": {"town": {"type": "string"}, "letters": {"type": "integer"}},
    "required": ["town", "letters"],
    "additionalProperties": False,
}
_IMAGE: Json = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Which colour is this square? Answer in one word."},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_SQUARE}"}},
            ],
        }
    ]
}
CASES: Mapping[str, Case] = {
    "text": Case(_says(_CAPITAL)),
    "stream": Case(_says(_CAPITAL), stream=True),
    "tools": Case(_TOOLS, suits=lambda row: row.supports_tools),
    "tools_stream": Case(_TOOLS, stream=True, suits=lambda row: row.supports_tools),
    "json_schema": Case(
        _says(
            "The capital of Switzerland, and how many letters it has.",
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "town", "strict": True, "schema": _TOWN},
            },
        ),
        suits=lambda row: row.supports_json_schema,
    ),
    "image": Case(_IMAGE, suits=lambda row: "image" in row.modalities),
    # Out of every dialect's range.
    "error": Case(_says(_CAPITAL), tokens_out=-1, is_refused=True),
}


async def recorded(
    catalog: Catalog, provider: str, name: str, environ: Mapping[str, str] | None = None
) -> Recording:
    """Ask the provider once. Raises RecordRefused."""
    case = CASES[name]
    row = _row(catalog, provider, case)
    access = _access(catalog, provider, environ)
    if (override := access[provider].override) is not None:
        row = overridden_row(row, override)
    region = min(row.places)
    adapter = ADAPTERS[row.dialect]
    plan = WirePlan(case.stream, case.tokens_out, {})
    body = {"model": row.model, **case.members}
    wire = adapter.request(body, row, row.places[region], plan)
    request = orjson.dumps(wire.body)
    headers = {**adapter.headers, **wire.headers}
    head, response = await _exchanged(
        access, UpstreamRequest(row, region, adapter.path, headers, request)
    )
    _check_status(head, case)
    reached = access[provider]
    meta = {
        "status": head.status,
        "content_type": head.content_type,
        "dialect": row.dialect,
        "row": row.id,
        "region": region,
    }
    _check_holds_no_key(request + response, reached.api_key)
    return Recording(request, without_names(response, reached.variables.values()), meta)


def write(recording: Recording, folder: Path) -> None:
    """Replace what lies in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "request.json").write_bytes(recording.request + b"\n")
    (folder / "response.bin").write_bytes(recording.response)
    meta = orjson.dumps(recording.meta, option=orjson.OPT_INDENT_2)
    (folder / "meta.json").write_bytes(meta + b"\n")


def without_names(response: bytes, more: Iterable[str] = ()) -> bytes:
    """The answer with every value that names an account or a request replaced.

    `more` are the values of an endpoint's variables, which name an account too.
    """
    named = [match[2] for match in _NAMED_MEMBER.finditer(response)]
    named += [match[0] for match in _NAME_IN_TEXT.finditer(response)]
    words = {value: b"recorded-%d" % n for n, value in enumerate(dict.fromkeys(named), start=1)}
    response = _NAMED_MEMBER.sub(lambda match: match[1] + words[match[2]] + b'"', response)
    for variable in more:
        whole = rb"(?<!\w)%b(?!\w)" % re.escape(variable.encode())
        response = re.sub(whole, b"recorded-variable", response)
    # The longest first: one name may begin another.
    for value in sorted(words, key=len, reverse=True):
        if len(value) >= _NAME_BYTES_MIN:
            response = response.replace(value, words[value])
    return response


def _row(catalog: Catalog, provider: str, case: Case) -> Row:
    """The provider's first row that can be asked, a live one if there is any."""
    rows = [row for row in catalog.rows if row.provider == provider]
    if not rows:
        names = ", ".join(sorted({row.provider for row in catalog.rows}))
        raise RecordRefused(f"the catalog has no such provider; it has {names}")
    able = sorted((row for row in rows if case.suits(row)), key=lambda row: row.status != "live")
    if not able:
        raise RecordRefused(f"no row of {provider} can do this")
    return able[0]


def _access(
    catalog: Catalog, provider: str, environ: Mapping[str, str] | None
) -> Mapping[str, ProviderAccess]:
    rows = tuple(row for row in catalog.rows if row.provider == provider)
    try:
        access = local_access(replace(catalog, rows=rows), _NO_SIMULATOR, environ)
    except MissingVariable as exc:
        raise RecordRefused(str(exc)) from exc
    if access[provider].api_key in _NO_KEY:
        name = provider.upper().replace("-", "_")
        raise RecordRefused(f"set PHIGATE_{name}_API_KEY")
    return access


async def _exchanged(
    access: Mapping[str, ProviderAccess], request: UpstreamRequest
) -> tuple[Head, bytes]:
    upstream = HttpUpstream(access)
    exchange = upstream.open(request)
    pieces = []
    try:
        async with asyncio.timeout(JSON_TIMEOUT_S):
            head = await exchange.headers(JSON_TIMEOUT_S)
            while (
                head is not None
                and (piece := await exchange.next_chunk(JSON_TIMEOUT_S)) is not None
            ):
                pieces.append(piece)
    except (TimeoutError, UpstreamFailed) as exc:
        outcome = getattr(exc, "outcome", "timeout")
        raise RecordRefused(f"the provider did not answer: {outcome}") from None
    finally:
        exchange.close()
        await upstream.close()
    if head is None:
        raise RecordRefused("the provider did not answer: timeout")
    return head, b"".join(pieces)


def _check_status(head: Head, case: Case) -> None:
    status = head.status
    if status in _STATUSES_OF_KEYS:
        raise RecordRefused(f"the provider refused the key with {status}")
    is_refused = 400 <= status < 500
    if (is_refused if case.is_refused else status == 200) is False:
        raise RecordRefused(f"the provider answered with {status}, which this case is not about")


def _check_holds_no_key(exchange: bytes, key: str) -> None:
    """A provider may quote a part of the key."""
    for secret in _secrets(key):
        ends = range(KEY_PIECE_CHARS, max(len(secret), KEY_PIECE_CHARS) + 1)
        if any(secret[max(0, end - KEY_PIECE_CHARS) : end].encode() in exchange for end in ends):
            raise RecordRefused("the exchange holds a piece of the key")


def _secrets(key: str) -> list[str]:
    """What of a key nobody may see; a service account's JSON also holds public addresses."""
    if not key.lstrip().startswith("{"):
        return [key]
    account = orjson.loads(key)
    return [account[name] for name in _SERVICE_ACCOUNT_SECRETS if account.get(name)]


def main() -> int:
    """Entry point of `python -m tests.record PROVIDER CASE`; the exit code."""
    parser = argparse.ArgumentParser(prog="make record", description="Record a real exchange.")
    parser.add_argument("provider")
    parser.add_argument("case", choices=CASES)
    asked = parser.parse_args()
    folder = RECORDED / asked.provider / asked.case
    try:
        recording = asyncio.run(recorded(repository_catalog(), asked.provider, asked.case))
    except (InvalidRequest, RecordRefused) as refused:
        sys.stderr.write(f"record: {refused}\n")
        return 1
    write(recording, folder)
    sys.stdout.write(f"{folder}: {recording.meta['status']}, {len(recording.response)} bytes\n")
    return 0


_NAMED_MEMBER = re.compile(
    rb'("(?:id|request_id|organization|organization_id|project|project_id|user|user_id|account'
    rb'|account_id|system_fingerprint|signature)"\s*:\s*")([^"\\]+)"'
)
# As error texts name them.
_NAME_IN_TEXT = re.compile(rb"\b(?:org|proj|user|acct|req|key)[-_][A-Za-z0-9]{8,}\b")
_NAME_BYTES_MIN = 8  # a shorter name may be a word of the answer

if __name__ == "__main__":
    sys.exit(main())
