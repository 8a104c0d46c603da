"""The catalog's files: their texts as one document, and a model of each of their tables.

`catalog/README.md` says what each field means; a model says which are required and what each may
hold. A model knows its own table alone: `core.catalog.check` runs it on every such table, so that
one table's mistake hides none of another. This is the one module of core that stands on pydantic,
and it runs where files are read, in no process that serves requests.

A field whose `json_schema_extra` has `reads_from` narrows who may be sent what: the first release
that knows it. A snapshot that has the field says so, and is refused by releases before.
"""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from phigate.core.catalog import vocabulary as may_be
from phigate.core.catalog.mistakes import CatalogInvalid, Mistake
from phigate.core.catalog.rules import ALIASES_FILE, PROVIDERS_FOLDER, REGIONS_FILE
from phigate.core.catalog.vocabulary import PRICE_MICROS_MAX, READS_FROM, TOKENS_MAX, Table
from phigate.core.release import parse_release
from phigate.core.request.prompt_cache import CACHE_KEY_NAMES
from phigate.core.types import MODEL_TIERS, REGIONS, Json


def _must(test: Callable[[Any], bool], message: str) -> BeforeValidator:
    """Asked before the type is, so that one sentence says all that is wrong with a value."""

    def right(value: Any) -> Any:
        if not test(value):
            raise PydanticCustomError("wrong", "{message}", {"message": f"must {message}"})
        return value

    return BeforeValidator(right)


def _one_of(names: tuple[str, ...]) -> BeforeValidator:
    return _must(may_be.one_of(names), f"be one of {', '.join(names)}")


def _within(least: int, most: int) -> AfterValidator:
    def right(value: int) -> int:
        if not least <= value <= most:
            raise PydanticCustomError(
                "range", "must be from {least} to {most}", {"least": str(least), "most": str(most)}
            )
        return value

    return AfterValidator(right)


def _once_each(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise PydanticCustomError("twice", "names something twice")
    return values


def _plain(pins: Table) -> Table:
    if not may_be.is_plain(pins):
        raise PydanticCustomError("pins", "must hold text, integers and flags only")
    return pins


Name = Annotated[str, _must(may_be.is_name, "be a name")]
Id = Annotated[str, _must(may_be.is_id, "be an id: lower case letters, digits, '.' and '-'")]
Sha256 = Annotated[str, _must(may_be.is_sha256, "be a SHA-256 in hex")]
Day = Annotated[str, _must(may_be.is_day, "be a date, year-month-day")]
WebUrl = Annotated[str, _must(may_be.is_web_url, "be an https URL")]
BaseUrl = Annotated[
    str,
    _must(
        may_be.is_base_url,
        "be an https URL, with no query, no closing slash and {variables} only",
    ),
]
Evidence = Annotated[
    str,
    _must(may_be.is_evidence, f"be text of at most {may_be.EVIDENCE_CHARS_MAX} characters"),
]
AwsRegion = Annotated[str, _must(may_be.is_aws_region, "be the name of an AWS region")]
Region = Annotated[str, _one_of(REGIONS)]
Modality = Annotated[str, _one_of(may_be.MODALITIES)]
Drop = Annotated[str, _one_of(may_be.DROPS)]
Regions = Annotated[list[Region], Field(min_length=1), AfterValidator(_once_each)]
AwsRegions = Annotated[list[AwsRegion], Field(min_length=1), AfterValidator(_once_each)]
Modalities = Annotated[list[Modality], Field(min_length=1), AfterValidator(_once_each)]
Drops = Annotated[list[Drop], Field(min_length=1), AfterValidator(_once_each)]
Tokens = Annotated[int, _within(0, TOKENS_MAX)]
SomeTokens = Annotated[int, _within(1, TOKENS_MAX)]
PriceMicros = Annotated[int, _within(0, PRICE_MICROS_MAX)]
Pins = Annotated[dict[str, Any], AfterValidator(_plain)]
Tables = Annotated[
    dict[str, Any],
    _must(lambda value: isinstance(value, dict) and value != {}, "be a table that is not empty"),
]
Rows = Annotated[
    list[Any],
    _must(lambda value: isinstance(value, list) and value != [], "be a list of tables"),
]


class FileTable(BaseModel):
    """A table of a file. A default stands where a field may be left out; it is never read."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ProviderTable(FileTable):
    provider: Id
    dialect: Id
    auth: Annotated[str, _one_of(may_be.AUTH_SCHEMES)]
    agreements: Tables = {}
    rows: Rows


class AgreementTable(FileTable):
    id: Id
    law: Annotated[str, _one_of(may_be.LAWS)]
    kind: Annotated[str, _one_of(may_be.KINDS)]
    regions: Regions
    effective: Day
    expires: Day
    zero_retention: bool
    no_training: bool
    evidence_sha256: Sha256


class RowTable(FileTable):
    id: Id
    model: Name
    status: Annotated[str, _one_of(may_be.STATUSES)]
    model_tier: Annotated[str, _one_of(MODEL_TIERS)]
    agreement: Name = ""
    modalities: Modalities
    supports_tools: bool
    supports_json_schema: bool
    confidential: bool
    context: SomeTokens
    tokens_out_default: SomeTokens
    tokens_out_max: SomeTokens
    api_version: Annotated[str, _one_of(may_be.API_VERSIONS)] = ""
    drops: Drops = []
    max_tokens_name: Annotated[str, _one_of(may_be.MAX_TOKENS_NAMES)]
    cache_key_name: Annotated[str, _one_of(CACHE_KEY_NAMES)] = ""
    cache_is_per_key: bool = False
    image_tokens_max: Tokens
    overhead_tokens: Tokens
    tokens_per_message: Tokens
    tool_overhead_tokens: Tokens
    bytes_per_token_x10: Annotated[int, _within(*may_be.BYTES_PER_TOKEN_X10)]
    tokens_out_per_s: Annotated[int, _within(1, may_be.TOKENS_PER_S_MAX)] = 1
    tokens_out_per_s_evidence: Evidence = ""
    price: Tables
    places: Tables


class PriceTable(FileTable):
    in_micros_per_mtok: PriceMicros
    out_micros_per_mtok: PriceMicros
    cache_read_micros_per_mtok: PriceMicros = 0
    cache_write_micros_per_mtok: PriceMicros = 0


class PlaceTable(FileTable):
    base_url: BaseUrl
    residency: Annotated[str, _one_of(may_be.RESIDENCIES)]
    evidence_url: WebUrl
    evidence_read: Day
    pins: Pins = {}


class RegionTable(FileTable):
    aws_regions: AwsRegions
    chat: Id = ""
    vision: Id = ""
    math: Id = ""
    sandbox: bool = False


def wrong_fields(model: type[FileTable], table: Table) -> dict[str, str]:
    """What is wrong with a table's own members, by field: the first thing of each."""
    # Found here and not by the model, which gives up a table with a name that is no valid UTF-8.
    messages = {str(name): "unknown field" for name in table.keys() - model.model_fields}
    known = {name: value for name, value in table.items() if name in model.model_fields}
    try:
        model.model_validate(known)
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False, include_context=False):
            said = MESSAGES.get(error["type"], error["msg"])
            if len(error["loc"]) > 1:  # of an item of a list
                said = f"{error['input']!r} {said}"
            messages.setdefault(str(error["loc"][0]), said)
    return messages


def document_from_texts(texts: Mapping[str, str]) -> Json:
    """The document of a catalog folder. Keys are paths relative to the folder (`regions.toml`,
    `aliases.toml`, `providers/<name>.toml`), values TOML text.

    Raises CatalogInvalid for text that is not TOML and for files that have no place; what the
    document says is `check`'s matter.
    """
    document: Json = {"regions": {}, "aliases": {}, "providers": {}}
    mistakes = [
        Mistake(name, "", "", "the file is missing")
        for name in (REGIONS_FILE, ALIASES_FILE)
        if name not in texts
    ]
    for path, text in sorted(texts.items()):
        try:
            table = _without_dates(tomllib.loads(text))
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            mistakes.append(Mistake(path, "", "", f"not TOML: {error}"))
            continue
        if path in FILES:
            document[FILES[path]] = table
        elif path.startswith(PROVIDERS_FOLDER) and path.endswith(".toml"):
            name = path.removeprefix(PROVIDERS_FOLDER).removesuffix(".toml")
            document["providers"][name] = table
        else:
            mistakes.append(Mistake(path, "", "", "no such file belongs in a catalog"))
    if mistakes:
        raise CatalogInvalid(mistakes)
    return with_reads_from(document)


def with_reads_from(document: Table, models: Mapping[str, type[FileTable]] | None = None) -> Table:
    """The document, naming the oldest release that may read it where that is not any. `models` is
    a parameter so that a test can be a later release."""
    models = MODELS if models is None else models
    needed = [
        release
        for kind, table in _tables_of(document)
        for name, field in models[kind].model_fields.items()
        if isinstance(table, dict) and name in table
        if (release := reads_from(field.json_schema_extra)) is not None
    ]
    if not needed:
        return document
    return {**document, READS_FROM: ".".join(map(str, max(needed)))}


def reads_from(extra: Any) -> tuple[int, int, int] | None:
    """The first release that may read a field, of the metadata that hangs on it."""
    return parse_release(extra.get(READS_FROM)) if isinstance(extra, dict) else None


def _tables_of(document: Table) -> Iterator[tuple[str, Any]]:
    """Every table of a document that has a model, with its kind. What is no table has no members;
    the check names it."""
    for region in _members(document, "regions"):
        yield "region", region
    for provider in _members(document, "providers"):
        yield "provider", provider
        for agreement in _members(provider, "agreements"):
            yield "agreement", agreement
        rows = provider.get("rows") if isinstance(provider, dict) else None
        for row in rows if isinstance(rows, list) else ():
            yield "row", row
            if isinstance(row, dict):
                yield "price", row.get("price")
            for place in _members(row, "places"):
                yield "place", place


def _members(table: Any, name: str) -> list[Any]:
    inner = table.get(name) if isinstance(table, dict) else None
    return list(inner.values()) if isinstance(inner, dict) else []


def _without_dates(value: Any) -> Any:
    """TOML's dates as their text: the document is JSON."""
    if isinstance(value, dict):
        return {key: _without_dates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_dates(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else value


# What is said in place of pydantic's own words, by its name for the mistake.
MESSAGES = {
    "missing": "missing",
    "int_type": "must be an integer",
    "bool_type": "must be true or false",
    "list_type": "must be a list that is not empty",
    "too_short": "must be a list that is not empty",
    "dict_type": "must be a table",
}
FILES = {REGIONS_FILE: "regions", ALIASES_FILE: "aliases"}
# The models by the kind of table that they describe.
MODELS: Mapping[str, type[FileTable]] = {
    "provider": ProviderTable,
    "agreement": AgreementTable,
    "row": RowTable,
    "price": PriceTable,
    "place": PlaceTable,
    "region": RegionTable,
}
