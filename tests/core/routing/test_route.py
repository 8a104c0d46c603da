"""The order in which rows are tried, what a name means, and why another model answers."""

from dataclasses import replace
from typing import Any

import pytest

from phigate.core.routing.route import Attempts, decide, fallback_reason, rows_of_model
from phigate.core.types import Catalog, ConfidentialBy, Preferences, Requirements, Row
from tests.builders import (
    make_catalog,
    make_gate_context,
    make_place,
    make_price,
    make_requirements,
    make_row,
)

HOME = {"CH": make_place()}


def row(row_id: str, dollars: int, **changes: Any) -> Row:
    return make_row(row_id, price=make_price(dollars * 1_000_000, 0), places=HOME, **changes)


# Gemma is served by three providers, of which `west` is the resident one. `east-big` thinks.
ROWS = (
    row("east-gemma", 2),
    row("west-gemma", 3),
    row("north-gemma", 1),
    row("east-big", 9, model_tier="thinking"),
    row("west-tiny", 1, modalities=frozenset({"text"})),
    row("south-see", 7),
)
CATALOG = make_catalog(
    ROWS,
    defaults={"CH": {"chat": "west-gemma", "vision": "south-see", "math": "east-big"}},
    aliases={"gemma": ("east-gemma", "west-gemma", "north-gemma")},
)
GEMMAS = ["west-gemma", "north-gemma", "east-gemma"]

# What is asked, and the rows in the order of trying.
ORDERS: dict[str, tuple[Requirements, list[str]]] = {
    "an alias: the resident provider, then the cheaper; then the others by price": (
        make_requirements(model="gemma"),
        [*GEMMAS, "west-tiny", "south-see", "east-big"],
    ),
    "an alias: provider.order comes before residency, also among the others": (
        make_requirements(model="gemma", preferences=Preferences(order=("east", "north"))),
        ["east-gemma", "north-gemma", "west-gemma", "east-big", "west-tiny", "south-see"],
    ),
    "provider.order may name a row": (
        make_requirements(model="gemma", preferences=Preferences(order=("north-gemma",))),
        ["north-gemma", "west-gemma", "east-gemma", "west-tiny", "south-see", "east-big"],
    ),
    "provider.order names nobody: nothing changes": (
        make_requirements(model="gemma", preferences=Preferences(order=("nobody",))),
        [*GEMMAS, "west-tiny", "south-see", "east-big"],
    ),
    "a row id: that row, then the region's default for the task, then the cheaper": (
        make_requirements(model="east-big"),
        ["east-big", "west-gemma", "north-gemma", "west-tiny", "east-gemma", "south-see"],
    ),
    "an upstream id means the row": (
        make_requirements(model="upstream/east-big"),
        ["east-big", "west-gemma", "north-gemma", "west-tiny", "east-gemma", "south-see"],
    ),
    "images: the default for vision leads the others": (
        make_requirements(model="gemma", images=1),
        ["north-gemma", "east-gemma", "west-gemma", "south-see", "east-big"],
    ),
    "math: the default for math leads the others": (
        make_requirements(model="south-see", task="math"),
        ["south-see", "east-big", "north-gemma", "west-tiny", "east-gemma", "west-gemma"],
    ),
    "auto: the cheapest": (
        make_requirements(),
        ["north-gemma", "west-tiny", "east-gemma", "west-gemma", "south-see", "east-big"],
    ),
    "auto: the cheapest of the model tier, then the rest": (
        make_requirements(model_tier="thinking"),
        ["east-big", "north-gemma", "west-tiny", "east-gemma", "west-gemma", "south-see"],
    ),
    "auto: provider.order comes before price and model tier": (
        make_requirements(model_tier="thinking", preferences=Preferences(order=("south",))),
        ["south-see", "east-big", "north-gemma", "west-tiny", "east-gemma", "west-gemma"],
    ),
    "auto has no model to fall back from": (
        make_requirements(preferences=Preferences(allow_fallbacks=False, only=("east",))),
        ["east-gemma", "east-big"],
    ),
    "no fallbacks: the rows of the model alone": (
        make_requirements(model="gemma", preferences=Preferences(allow_fallbacks=False)),
        GEMMAS,
    ),
    "a model tier that nobody has is soft": (
        make_requirements(model="gemma", model_tier="fast"),
        [*GEMMAS, "west-tiny", "south-see", "east-big"],
    ),
}


@pytest.mark.parametrize(("requirements", "ids"), ORDERS.values(), ids=ORDERS)
def test_candidates_stand_in_the_order_of_trying(
    requirements: Requirements, ids: list[str]
) -> None:
    route = decide(CATALOG, requirements, make_gate_context())
    assert [candidate.id for candidate in route.candidates] == ids


def test_the_order_does_not_depend_on_the_order_of_the_catalog() -> None:
    backwards = replace(CATALOG, rows=CATALOG.rows[::-1])
    for requirements, ids in ORDERS.values():
        route = decide(backwards, requirements, make_gate_context())
        assert [candidate.id for candidate in route.candidates] == ids


def test_a_pinned_model_without_fallbacks_that_cannot_answer_is_no_route() -> None:
    requirements = make_requirements(
        model="west-tiny", images=1, preferences=Preferences(allow_fallbacks=False)
    )
    route = decide(CATALOG, requirements, make_gate_context())
    assert (route.code, route.candidates) == ("no_route", ())
    rules = {rejection.row: rejection.rule for rejection in route.rejections}
    assert rules["west-tiny"] == "modality"
    assert rules["west-gemma"] == "model"


NAMES: dict[str, tuple[str, list[str]]] = {
    "auto": ("auto", [row.id for row in ROWS]),
    "a row id": ("east-big", ["east-big"]),
    "an upstream id": ("upstream/east-big", ["east-big"]),
    "an alias": ("gemma", ["east-gemma", "west-gemma", "north-gemma"]),
    "a provider is no model": ("east", []),
    "names have one spelling": ("Gemma", []),
    "empty": ("", []),
}


@pytest.mark.parametrize(("name", "ids"), NAMES.values(), ids=NAMES)
def test_a_name_means_rows(name: str, ids: list[str]) -> None:
    assert [row.id for row in rows_of_model(CATALOG, name)] == ids


ENCLAVES = make_catalog(
    [
        make_row("ark-one", confidential=True),
        make_row("ark-two", confidential=True, status="staged", places={}),
        make_row("acme-one"),
    ],
    aliases={"ark": ("ark-one", "ark-two"), "mixed": ("ark-one", "acme-one")},
)
NO, YES = Preferences(confidential=False), Preferences(confidential=True)
# What is asked, and what makes an enclave necessary.
NECESSARY: dict[str, tuple[Requirements, ConfidentialBy | None]] = {
    "a confidential row": (make_requirements(model="ark-one"), "name"),
    "its upstream id": (make_requirements(model="upstream/ark-one"), "name"),
    "an alias of confidential rows, wherever they are": (make_requirements(model="ark"), "name"),
    "an alias of which not every row is": (make_requirements(model="mixed"), None),
    "another name": (make_requirements(model="acme-one"), None),
    "no name": (make_requirements(), None),
    "a confidential row, lifted": (make_requirements(model="ark-one", preferences=NO), "lifted"),
    "another name has nothing to lift": (make_requirements(model="acme-one", preferences=NO), None),
    "no name has nothing to lift": (make_requirements(preferences=NO), None),
    "true keeps what the name says": (make_requirements(model="ark", preferences=YES), "name"),
    "true with another name": (make_requirements(model="mixed", preferences=YES), "preference"),
    "true with no name": (make_requirements(preferences=YES), "preference"),
    "the key's policy": (make_requirements(confidential="policy"), "policy"),
    "the key's policy stands over a name": (
        make_requirements(model="ark", confidential="policy"),
        "policy",
    ),
    "the key's policy is not lifted": (
        make_requirements(model="ark", confidential="policy", preferences=NO),
        "policy",
    ),
}


@pytest.mark.parametrize(("requirements", "by"), NECESSARY.values(), ids=NECESSARY)
def test_an_enclave_is_necessary_by(requirements: Requirements, by: ConfidentialBy | None) -> None:
    assert decide(ENCLAVES, requirements, make_gate_context()).requirements.confidential == by


def catalog_with(**changes: Any) -> Catalog:
    """The asked row `acme-one`, changed, beside one that serves everything."""
    return make_catalog([make_row("acme-one", **changes), make_row("other-one")])


PHI = make_requirements(model="acme-one", phi=True)
GENERAL = make_requirements(model="acme-one")
# A catalog, what is asked of acme-one, and the reason why other-one answers.
REASONS: dict[str, tuple[Catalog, Requirements, str | None]] = {
    "in another region": (
        catalog_with(places={"EU": make_place()}),
        GENERAL,
        "model_not_in_region",
    ),
    "unproven residency": (
        catalog_with(places={"CH": make_place(residency="unproven")}),
        GENERAL,
        "model_not_in_region",
    ),
    "staged": (catalog_with(status="staged"), GENERAL, "model_not_live"),
    "no key": (catalog_with(status="no_key"), GENERAL, "model_not_live"),
    "blind": (
        catalog_with(modalities=frozenset({"text"})),
        replace(GENERAL, images=1),
        "model_lacks_modality",
    ),
    "without tools": (
        catalog_with(supports_tools=False),
        replace(GENERAL, needs_tools=True),
        "model_lacks_capability",
    ),
    "writes too little": (
        catalog_with(tokens_out_max=10),
        replace(GENERAL, tokens_out=11),
        "model_lacks_capability",
    ),
    "no agreement": (catalog_with(agreement=None), PHI, "model_not_phi"),
    "no enclave for a key that requires one": (
        make_catalog([make_row("acme-one"), make_row("other-one", confidential=True)]),
        replace(GENERAL, confidential="policy"),
        "model_lacks_capability",
    ),
    "outside the key's policy": (
        catalog_with(),
        replace(GENERAL, models_allowed=frozenset({"other-one"})),
        "model_not_in_key_policy",
    ),
    "ignored": (
        catalog_with(),
        replace(GENERAL, preferences=Preferences(ignore=("acme",))),
        "model_not_preferred",
    ),
    "tried and failed": (catalog_with(), GENERAL, "upstream_failed"),
    "auto has no reason": (catalog_with(), replace(GENERAL, model="auto"), None),
}


@pytest.mark.parametrize(("catalog", "requirements", "reason"), REASONS.values(), ids=REASONS)
def test_another_model_answers_for_a_reason(
    catalog: Catalog, requirements: Requirements, reason: str | None
) -> None:
    route = decide(catalog, requirements, make_gate_context())
    other = catalog.rows_by_id["other-one"]
    assert other in route.candidates
    assert fallback_reason(catalog, route, other) == reason


def test_the_asked_model_needs_no_reason() -> None:
    catalog = catalog_with()
    route = decide(catalog, GENERAL, make_gate_context())
    assert fallback_reason(catalog, route, catalog.rows_by_id["acme-one"]) is None


def test_of_several_rows_of_a_model_the_one_that_came_furthest_gives_the_reason() -> None:
    abroad = make_row("acme-one", places={"EU": make_place()})
    without_agreement = make_row("beta-one", agreement=None)
    other = make_row("other-one")
    catalog = make_catalog(
        [without_agreement, abroad, other], aliases={"one": ("beta-one", "acme-one")}
    )
    route = decide(catalog, replace(PHI, model="one"), make_gate_context())
    assert fallback_reason(catalog, route, other) == "model_not_phi"


# The candidates, those whose breaker is open, and the rows handed out when all of them fail.
HANDED_OUT: dict[str, tuple[int, set[int], list[int]]] = {
    "one row is tried twice": (1, set(), [0, 0]),
    "one row with an open breaker is tried all the same": (1, {0}, [0, 0]),
    "two rows once each": (2, set(), [0, 1]),
    "an open breaker moves its row last": (3, {0}, [1, 2, 0]),
    "all open: as they stand": (3, {0, 1, 2}, [0, 1, 2]),
    "at most four": (6, set(), [0, 1, 2, 3]),
    "at most four, the open ones last": (6, {0, 1}, [2, 3, 4, 5]),
}


@pytest.mark.parametrize(("count", "open_rows", "tried"), HANDED_OUT.values(), ids=HANDED_OUT)
def test_attempts_hand_out(count: int, open_rows: set[int], tried: list[int]) -> None:
    ids = [f"p{i}-row" for i in range(count)]
    catalog = make_catalog(row(row_id, position) for position, row_id in enumerate(ids))
    route = decide(catalog, make_requirements(), make_gate_context())
    attempts = Attempts(route, frozenset(ids[i] for i in open_rows))
    handed_out = []
    while (candidate := attempts.next(make_gate_context())) is not None:
        handed_out.append(candidate.id)
    assert handed_out == [ids[i] for i in tried]
    assert attempts.handed_out == len(tried)


def test_only_the_second_try_of_a_single_row_waits() -> None:
    route = decide(make_catalog([make_row()]), make_requirements(), make_gate_context())
    attempts = Attempts(route)
    pauses = []
    while True:
        pauses.append(attempts.pauses_next)
        if attempts.next(make_gate_context()) is None:
            break
    assert pauses == [False, True, False]


def test_the_next_of_several_rows_does_not_wait() -> None:
    route = decide(CATALOG, make_requirements(), make_gate_context())
    attempts = Attempts(route)
    attempts.next(make_gate_context())
    assert not attempts.pauses_next
