"""How much structure JSON has, seen in its bytes: letters of texts are no structure."""

import pytest

from phigate.core.json_bounds import depth, is_too_much, structure
from phigate.core.limits import ANSWER_COMMAS_MAX, ANSWER_CONTAINERS_MAX

MUCH: dict[str, tuple[bytes, bool]] = {
    "as many lists as there may be": (b"[]" * ANSWER_CONTAINERS_MAX, False),
    "one list more": (b"[]" * (ANSWER_CONTAINERS_MAX + 1), True),
    "objects and lists together": (b"[{}]" * (ANSWER_CONTAINERS_MAX // 2 + 1), True),
    "as many commas as there may be": (b"," * ANSWER_COMMAS_MAX, False),
    "one comma more": (b"," * (ANSWER_COMMAS_MAX + 1), True),
    "brackets in a text": (b'"' + b"[" * 500_000 + b'"', False),
    "commas behind an escaped quote": (b'"\\\\\\"' + b"," * 500_000 + b'"', False),
    "commas behind a text": (b'"\\\\"' + b"," * 500_000, True),
}


@pytest.mark.parametrize(("body", "is_much"), MUCH.values(), ids=MUCH)
def test_more_than_an_answer_has_is_seen_before_it_is_built(body: bytes, is_much: bool) -> None:
    assert is_too_much(body) is is_much


def test_structure_is_what_stands_outside_texts() -> None:
    assert structure(rb'{"a[": ["b,\"]", "", {}]}') == b"{[,,{}]}"
    assert depth(b'{"a": [[1], {"b": []}]}', 100) == 4
    assert depth(b"[" * 300, 100) == 100
