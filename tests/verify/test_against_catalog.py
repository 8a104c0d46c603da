"""A receipt that says a confidential row was required, against the rows of the catalog it names."""

from typing import Any

import pytest

from phigate.core.types import Json
from phigate.verify.against_catalog import mismatches
from tests.builders import make_catalog, make_row
from tests.verify.receipt_factory import general

CATALOG = make_catalog(
    [
        make_row("ark-one", confidential=True),
        make_row("ark-two", confidential=True),
        make_row("acme-one"),
    ]
)
PLAIN = make_catalog([make_row("acme-one")])
OK, FAILED = ["ark-one", "CH", "ok", 300, 30], ["ark-two", "CH", "http_503", 20, 5]
ELSEWHERE = ["acme-one", "CH", "http_503", 20, 5]
TURN = [10, 5, 0, 0, 1, 1, 1, 1]


def told(**changes: Any) -> Json:
    """A general answer of ark-one, after ark-two failed."""
    return general(**{"row": "ark-one", "provider": "ark", "attempts": [FAILED, OK], **changes})


@pytest.mark.parametrize("by", ["name", "policy", "preference", "lifted"])
def test_an_answer_of_an_enclave_keeps_what_was_required(by: str) -> None:
    found = [name for name, _ in mismatches(told(confidential=by), CATALOG)]
    assert "confidential" not in found


# The rows that are none of an enclave, as a failed attempt, a turn before, or the answer.
DEPARTURES: dict[str, Json] = {
    "a failed attempt": {"attempts": [ELSEWHERE, OK]},
    "a turn before the last": {"turns": [["acme-one", *TURN], ["ark-one", *TURN]]},
    "the answer": {"row": "acme-one", "provider": "acme"},
}


@pytest.mark.parametrize("by", ["name", "policy", "preference"])
@pytest.mark.parametrize("changes", DEPARTURES.values(), ids=DEPARTURES)
def test_a_row_outside_an_enclave_is_found(changes: Json, by: str) -> None:
    found = dict(mismatches(told(confidential=by, **changes), CATALOG))
    assert found["confidential"] == f"a confidential row was required by {by}, acme-one is none"


@pytest.mark.parametrize("changes", DEPARTURES.values(), ids=DEPARTURES)
@pytest.mark.parametrize("members", [{}, {"confidential": "lifted"}], ids=["nothing", "lifted"])
def test_where_it_was_not_required_any_row_may_answer(members: Json, changes: Json) -> None:
    found = [name for name, _ in mismatches(told(**members, **changes), CATALOG)]
    assert "confidential" not in found


@pytest.mark.parametrize("by", ["name", "lifted"])
def test_no_name_is_confidential_in_a_catalog_without_enclaves(by: str) -> None:
    record = told(confidential=by, row="acme-one", provider="acme", attempts=[])
    sentences = [text for name, text in mismatches(record, PLAIN) if name == "confidential"]
    assert sentences[-1] == "the catalog has no confidential row that a name could mean"
