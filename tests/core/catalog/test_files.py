"""What is said of a value that a catalog file may not hold: one sentence a field."""

import copy
from typing import Any

import pytest

from phigate.core.catalog.files import MODELS, wrong_fields

ROW: dict[str, Any] = {
    "id": "acme-one",
    "model": "one",
    "status": "live",
    "model_tier": "fast",
    "modalities": ["text"],
    "supports_tools": True,
    "supports_json_schema": True,
    "confidential": False,
    "context": 1000,
    "tokens_out_default": 10,
    "tokens_out_max": 10,
    "max_tokens_name": "max_tokens",
    "image_tokens_max": 0,
    "overhead_tokens": 0,
    "tokens_per_message": 0,
    "tool_overhead_tokens": 0,
    "bytes_per_token_x10": 35,
    "price": {"in_micros_per_mtok": 1},
    "places": {"CH": {}},
}
PLACE = {
    "base_url": "https://api.example/v1",
    "residency": "contract",
    "evidence_url": "https://example.org",
    "evidence_read": "2026-11-21",
}
PROVIDER = {"provider": "acme", "dialect": "openai", "auth": "bearer", "rows": [{}]}
TABLES = {"row": ROW, "place": PLACE, "provider": PROVIDER}
AN_ID = "must be an id: lower case letters, digits, '.' and '-'"

# The kind of table, the field, values that it may not hold, and what is said of each.
SAID: list[tuple[str, str, tuple[Any, ...], str]] = [
    ("row", "id", ("", "A", "a\n", 1, None, "\ud800"), AN_ID),
    ("row", "model", ("", "a b", "x" * 500, 1, None), "must be a name"),
    ("row", "status", ("no_key", "", 1, None, ["live"]), "must be one of live, staged, alpha"),
    ("row", "agreement", (None, ""), "must be a name"),
    ("row", "supports_tools", (0, 1, "true", None), "must be true or false"),
    ("row", "context", ("1", 1.0, True, None), "must be an integer"),
    ("row", "context", (0, -1, 10**30), "must be from 1 to 10000000"),
    ("row", "overhead_tokens", (-1, 10_000_001), "must be from 0 to 10000000"),
    ("row", "modalities", ([], "text", None, {}), "must be a list that is not empty"),
    ("row", "modalities", (["text", "text"],), "names something twice"),
    ("row", "modalities", (["text", "a", "b"],), "'a' must be one of text, image"),
    ("row", "modalities", ([1],), "1 must be one of text, image"),
    ("row", "price", ({}, [], 1, None), "must be a table that is not empty"),
    (
        "row",
        "tokens_out_per_s_evidence",
        ("", " ", "x" * 501, 1, None),
        "must be text of at most 500 characters",
    ),
    (
        "place",
        "base_url",
        ("http://a.b", "https://a.b/", 1, None),
        "must be an https URL, with no query, no closing slash and {variables} only",
    ),
    ("place", "evidence_url", ("http://a.b", 1), "must be an https URL"),
    ("place", "evidence_read", ("20261121", "2026-02-30", 1), "must be a date, year-month-day"),
    ("place", "pins", ([], "a", None), "must be a table"),
    (
        "place",
        "pins",
        ({"a": None}, {"a": 0.5}, {"a": {}}, {"a": []}),
        "must hold text, integers and flags only",
    ),
    ("provider", "rows", ([], {}, None), "must be a list of tables"),
    ("provider", "agreements", ({}, [], None), "must be a table that is not empty"),
    ("row", "of_another_time", (None, 1, {}), "unknown field"),
    ("row", "\ud800", (1,), "unknown field"),
]


@pytest.mark.parametrize(("kind", "table"), TABLES.items(), ids=TABLES)
def test_a_right_table_has_nothing_wrong(kind: str, table: dict[str, Any]) -> None:
    assert wrong_fields(MODELS[kind], table) == {}


@pytest.mark.parametrize(
    ("kind", "field", "values", "said"), SAID, ids=lambda value: repr(value)[:40]
)
def test_one_sentence_says_what_is_wrong_with_a_field(
    kind: str, field: str, values: tuple[Any, ...], said: str
) -> None:
    for value in values:
        table = {**copy.deepcopy(TABLES[kind]), field: value}
        assert wrong_fields(MODELS[kind], table) == {field: said}


def test_every_mistake_of_a_table_is_said_at_once() -> None:
    table = {**ROW, "id": "", "context": "1", "extra": 1}
    del table["status"]
    assert wrong_fields(MODELS["row"], table) == {
        "id": AN_ID,
        "context": "must be an integer",
        "status": "missing",
        "extra": "unknown field",
    }
