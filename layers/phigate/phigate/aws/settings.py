"""The settings of each function on AWS: read once by a table, refused in one line when wrong.

Law: nothing is guessed. What is missing or malformed stops the start, and so does a variable that
would say where a provider's data goes, or that PHI may go there: on AWS only the catalog and the
secrets say that.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from phigate.core.types import REGIONS

Function = Literal["chat", "math", "directory", "catalog_sync", "sweeper"]
FUNCTIONS: tuple[Function, ...] = get_args(Function)

_LOCAL_ONLY = re.compile(r"PHIGATE_[A-Z0-9_]+_(?:BASE_URL|API_KEY|PHI)")
_ROW_REGION = re.compile(r"[a-z0-9][a-z0-9.-]*/[A-Z]+")
_AWS_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]")
_SERVERS: frozenset[Function] = frozenset({"chat", "math", "directory"})
_SIGNERS: frozenset[Function] = frozenset({"chat", "math"})
_WITH_TASKS: frozenset[Function] = frozenset({"math", "sweeper"})


class SettingsRefused(Exception):
    """This function does not start; one line names each variable and what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """Where sandboxes run, how many, and under which secret their tokens are made."""

    cluster: str
    task_definition: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    image: str
    warm_pool: int
    per_account: int
    per_stack: int
    secret_name: str


@dataclass(frozen=True, slots=True)
class Settings:
    """One function's settings; what it has no business with is empty."""

    function: Function
    table: str
    stack: str
    aws_region: str
    issuer: str = ""
    region: str = ""
    jurisdictions: tuple[str, ...] = ()
    unproven_allowed: frozenset[str] = frozenset()
    receipts_required: Literal["phi", "all", "none"] = "phi"
    receipt_key: str = ""
    catalog_key: str = ""
    day_key: str = ""
    redpill_key: str = ""
    secrets: str = ""
    streaming: bool = True
    digest_bucket: str = ""
    catalog_folder: str = ""
    tasks: Tasks | None = None


def read_settings(environ: Mapping[str, str], function: Function) -> Settings:
    """The settings of a function. Raises SettingsRefused."""
    faults = [
        f"{name} may not be set on AWS: only the catalog and the secrets say where data goes"
        for name in sorted(environ)
        if _LOCAL_ONLY.fullmatch(name)
    ]
    values = _values(environ, function, FIELDS, faults)
    if function in _WITH_TASKS and (function == "math" or environ.get("PHIGATE_CLUSTER")):
        tasks = _values(environ, function, TASK_FIELDS, faults)
        values["tasks"] = None if faults else Tasks(**tasks)
    region, jurisdictions = values.get("region"), values.get("jurisdictions")
    if region and jurisdictions and region not in jurisdictions:
        faults.append("PHIGATE_REGION is none of PHIGATE_JURISDICTIONS")
    if faults:
        raise SettingsRefused(f"{function} does not start: " + "; ".join(faults))
    return Settings(function=function, **values)


def _values(
    environ: Mapping[str, str], function: Function, fields: "tuple[Field, ...]", faults: list[str]
) -> dict[str, Any]:
    """What the table's fields of this function hold; what is wrong is added to `faults`."""
    values: dict[str, Any] = {}
    for field in fields:
        if function not in field.functions:
            continue
        text = environ.get(field.variable, "").strip()
        if not text and not field.may_be_empty:
            faults.append(f"{field.variable} is missing")
            continue
        try:
            values[field.name] = field.read(text)
        except ValueError as exc:
            faults.append(f"{field.variable} {exc}")
    return values


def _text(text: str) -> str:
    return text


def _issuer(text: str) -> str:
    if not text.startswith("https://") or text.endswith("/"):
        raise ValueError("is no https URL without a slash at its end")
    return text


def _region(text: str) -> str:
    if text not in REGIONS:
        raise ValueError(f"names {text}, which is none of {', '.join(REGIONS)}")
    return text


def _aws_region(text: str) -> str:
    if _AWS_REGION.fullmatch(text) is None:
        raise ValueError("is no AWS region")
    return text


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ValueError("names nothing")
    return names


def _regions(text: str) -> tuple[str, ...]:
    return tuple(_region(name) for name in _names(text))


def _rows(text: str) -> frozenset[str]:
    """`*` is for local stacks: here each row and region is named."""
    rows = frozenset(_names(text)) if text else frozenset()
    if wrong := sorted(row for row in rows if _ROW_REGION.fullmatch(row) is None):
        raise ValueError(f"holds {wrong[0]}, which is not row/region")
    return rows


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"is {text}, not {' or '.join(words)}")
        return text

    return read


def _on(text: str) -> bool:
    return _one_of("on", "off")(text) == "on"


def _count(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or int(text) < least:
            raise ValueError(f"is no whole number of {least} or more")
        return int(text)

    return read


@dataclass(frozen=True, slots=True)
class Field:
    """One variable: the field it fills, how it is read, and the functions that must have it."""

    variable: str
    name: str
    read: Callable[[str], Any]
    functions: frozenset[Function] = frozenset(FUNCTIONS)
    may_be_empty: bool = False


_SYNC: frozenset[Function] = frozenset({"catalog_sync"})
_SWEEPER: frozenset[Function] = frozenset({"sweeper"})

FIELDS: tuple[Field, ...] = (
    Field("PHIGATE_TABLE", "table", _text),
    Field("PHIGATE_STACK", "stack", _text),
    Field("AWS_REGION", "aws_region", _aws_region),
    Field("PHIGATE_ISSUER", "issuer", _issuer, _SERVERS),
    Field("PHIGATE_REGION", "region", _region, _SERVERS | _SWEEPER),
    Field("PHIGATE_JURISDICTIONS", "jurisdictions", _regions, _SERVERS | _SWEEPER),
    Field("PHIGATE_ALLOW_UNPROVEN", "unproven_allowed", _rows, _SERVERS, may_be_empty=True),
    Field(
        "PHIGATE_RECEIPTS_REQUIRED", "receipts_required", _one_of("phi", "all", "none"), _SIGNERS
    ),
    Field("PHIGATE_RECEIPT_KEY", "receipt_key", _text, _SIGNERS | _SYNC),
    Field("PHIGATE_CATALOG_KEY", "catalog_key", _text, _SERVERS | _SYNC),
    Field("PHIGATE_DAY_KEY", "day_key", _text, _SWEEPER | _SYNC),
    Field("PHIGATE_REDPILL_KEY", "redpill_key", _text, _SYNC | {"directory"}),
    Field("PHIGATE_SECRETS", "secrets", _text, _SERVERS),
    Field("PHIGATE_STREAMING", "streaming", _on, _SIGNERS),
    Field("PHIGATE_DIGEST_BUCKET", "digest_bucket", _text, _SWEEPER, may_be_empty=True),
    Field("PHIGATE_CATALOG_FOLDER", "catalog_folder", _text, _SYNC),
)
# Of the sweeper too, where PHIGATE_CLUSTER says that the stack has sandboxes.
TASK_FIELDS: tuple[Field, ...] = (
    Field("PHIGATE_CLUSTER", "cluster", _text),
    Field("PHIGATE_TASK_DEFINITION", "task_definition", _text),
    Field("PHIGATE_SUBNETS", "subnets", _names),
    Field("PHIGATE_SECURITY_GROUPS", "security_groups", _names),
    Field("PHIGATE_SANDBOX_IMAGE", "image", _text),
    Field("PHIGATE_WARM_POOL", "warm_pool", _count(0)),
    Field("PHIGATE_SANDBOXES_PER_ACCOUNT", "per_account", _count(1)),
    Field("PHIGATE_SANDBOXES_PER_STACK", "per_stack", _count(1)),
    Field("PHIGATE_SANDBOX_SECRET", "secret_name", _text),
)
