"""What a receipt says of output that nobody saw, held against the catalog that it names."""

import pytest

from phigate.core.types import Json
from phigate.verify.against_catalog import mismatches
from tests.builders import make_catalog, make_row
from tests.verify.receipt_factory import answer

CATALOG = make_catalog([make_row("acme-one", tokens_out_per_s=100), make_row("bolt-two")])

# The member, and the sentence of what departs from the catalog.
WORKED: dict[str, tuple[Json, str]] = {
    "nothing": ({}, ""),
    "as the catalog says": ({"worked": [500, 100, 8_192]}, ""),
    "faster": ({"worked": [250, 200, 8_192]}, "acme-one writes 100 tokens a second, not 200"),
    "more than may be asked for": (
        {"worked": [500, 100, 9_000]},
        "acme-one is asked for 8192 tokens at most, not 9000",
    ),
    "of the last of several turns": (
        {"worked": [250, 200, 9_000], "turns": [["acme-one", *[1] * 8], ["bolt-two", *[1] * 8]]},
        "bolt-two is asked for 8192 tokens at most, not 9000",
    ),
}


@pytest.mark.parametrize(("members", "sentence"), WORKED.values(), ids=WORKED)
def test_the_time_worked_is_at_the_catalogs_speed(members: Json, sentence: str) -> None:
    found = [said for rule, said in mismatches(answer(**members), CATALOG) if rule == "worked"]
    assert "; ".join(found) == sentence
