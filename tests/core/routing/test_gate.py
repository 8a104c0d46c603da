"""Promise number one: no PHI request reaches a row without an agreement in force, and no request a
row outside its region. Fail closed, in every path.

The gate, the order and the attempts are run over every region x PHI x images x needed tools x
agreement state x age of the catalog x what makes an enclave necessary x every subset of failing
candidates, against an oracle that is written from decisions 78 to 85 and calls nothing of the gate.
Then the same check is run on gates that are broken on purpose: each of them must be caught, by the
law that it breaks.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import pytest

from phigate.core.catalog.reach import overridden_row
from phigate.core.routing.gate import (
    STEPS,
    GateContext,
    Rule,
    Steps,
    admit,
    may_attempt,
    refusal_code,
)
from phigate.core.routing.route import Attempts, Route, decide
from phigate.core.types import REGIONS, Catalog, Override, Preferences, Rejection, Requirements, Row
from tests.builders import (
    DAY_S,
    NOW_S,
    make_agreement,
    make_catalog,
    make_gate_context,
    make_place,
    make_price,
    make_requirements,
    make_row,
    repository_catalog,
)

# The clock of a case: the first attempt begins a second after the route was decided, and every
# failing attempt takes two.
ROUTE_S = 1
ATTEMPT_S = 2
FIRST_ATTEMPT_S = int(NOW_S) + ROUTE_S
TRIES_SEEN_MAX = 6
NOTHING: frozenset[str] = frozenset()
EVERYTHING = frozenset({"*"})

# Decision 85: at most 3,600 s for PHI. The second turns stale between two attempts.
CATALOG_AGES_S = {"fresh": 0.0, "stale after the first attempt": 3_598.0, "stale": 3_600.5}

# --- The rows of the cases -------------------------------------------------------------------

# Every agreement state, as what is changed in an agreement that is in force in the region asked.
AGREEMENTS: dict[str, dict[str, Any] | None] = {
    "in force": {},
    "none": None,
    "not yet in force": {"effective_at_s": int(NOW_S) + DAY_S},
    "in force from the first attempt on": {"effective_at_s": FIRST_ATTEMPT_S},
    "expired": {"expires_at_s": int(NOW_S)},
    "expires between route and attempt": {"expires_at_s": FIRST_ATTEMPT_S},
    "expires between two attempts": {"expires_at_s": FIRST_ATTEMPT_S + ATTEMPT_S},
    "permits retention": {"zero_retention": False},
    "permits training": {"no_training": False},
    "of another region only": {"regions": frozenset({"elsewhere"})},
}
PLACES = ("proven", "unproven", "elsewhere")


@dataclass(frozen=True)
class Kind:
    """What sort of row stands in a catalog."""

    agreement: str = "in force"
    place: str = "proven"
    images: bool = True
    tools: bool = True
    status: str = "live"
    confidential: bool = False
    drops: frozenset[str] = NOTHING
    override: Override | None = None


# One row alone: everything about a row, crossed.
KINDS_ALONE = [
    Kind(agreement, place, images, tools)
    for agreement in AGREEMENTS
    for place in PLACES
    for images in (True, False)
    for tools in (True, False)
]
# Several rows: each agreement state, and each other reason to lose a row.
KINDS_TOGETHER = [
    *(Kind(agreement) for agreement in AGREEMENTS),
    Kind(place="unproven"),
    Kind(place="elsewhere"),
    Kind(images=False),
    Kind(tools=False),
    Kind(status="staged"),
]
# Three rows: what changes while attempts are made, and what does not.
KINDS_IN_TIME = [
    Kind("in force"),
    Kind("none"),
    Kind("in force from the first attempt on"),
    Kind("expires between route and attempt"),
    Kind("expires between two attempts"),
]


def other_region(region: str) -> str:
    return REGIONS[REGIONS.index(region) - 1]


def row_of(kind: Kind, region: str, position: int) -> Row:
    """A row of that kind as seen from `region`. Rows further on are dearer, so tried later."""
    place_region = other_region(region) if kind.place == "elsewhere" else region
    residency = "unproven" if kind.place == "unproven" else "contract"
    changes = AGREEMENTS[kind.agreement]
    agreement = None
    if changes is not None:
        agreement = make_agreement(**{"regions": frozenset({region}), **changes})
        if kind.agreement == "of another region only":
            agreement = replace(agreement, regions=frozenset({other_region(region)}))
    row = make_row(
        f"p{position}-row",
        places={place_region: make_place(residency=residency)},
        modalities=frozenset({"text", "image"} if kind.images else {"text"}),
        supports_tools=kind.tools,
        status=kind.status,
        confidential=kind.confidential,
        drops=kind.drops,
        agreement=agreement,
        price=make_price(position * 10_000, position * 10_000),
    )
    return row if kind.override is None else overridden_row(row, kind.override)


def catalogs_of(kinds: Sequence[Kind], count: int, region: str) -> Iterator[Catalog]:
    """Every ordered choice of `count` of the kinds as a catalog."""
    rows = [[row_of(kind, region, position) for kind in kinds] for position in range(count)]
    return (make_catalog(choice) for choice in itertools.product(*rows))


class Case(NamedTuple):
    """One request at one catalog; the stack allows the unproven places in `allowed`."""

    catalog: Catalog
    requirements: Requirements
    age_s: float
    allowed: frozenset[str] = NOTHING
    routed_at_s: float = NOW_S

    def context(self, at_s: float) -> GateContext:
        return GateContext(at_s, self.age_s + (at_s - self.routed_at_s), self.allowed)


def asks(
    region: str, preferences: Preferences | None = None, tools: Sequence[bool] = (False, True)
) -> Iterator[Requirements]:
    """PHI and general, with and without images, with and without needed tools."""
    for phi, images, needs_tools in itertools.product((True, False), (0, 1), tools):
        yield make_requirements(
            region=region,
            phi=phi,
            images=images,
            needs_tools=needs_tools,
            has_tools=needs_tools,
            preferences=preferences or Preferences(),
        )


def cases_of_one_row() -> Iterator[Case]:
    """Each kind of row alone, against every parameter of the stack about unproven places."""
    for region in REGIONS:
        catalogs = list(catalogs_of(KINDS_ALONE, 1, region))
        allowed = (
            NOTHING,
            frozenset({f"p0-row/{region}"}),
            frozenset({f"p0-row/{other_region(region)}"}),
            EVERYTHING,
        )
        for requirements, age_s, names in itertools.product(
            asks(region), CATALOG_AGES_S.values(), allowed
        ):
            for catalog in catalogs:
                yield Case(catalog, requirements, age_s, names)


def cases_of_two_rows() -> Iterator[Case]:
    """Every ordered pair of kinds, at every age of the catalog."""
    for region in REGIONS:
        catalogs = list(catalogs_of(KINDS_TOGETHER, 2, region))
        for requirements, age_s in itertools.product(asks(region), CATALOG_AGES_S.values()):
            for catalog in catalogs:
                yield Case(catalog, requirements, age_s, EVERYTHING)


def cases_of_three_rows() -> Iterator[Case]:
    """Every triple of rows whose agreements come and go while attempts are made."""
    for region in REGIONS:
        catalogs = list(catalogs_of(KINDS_IN_TIME, 3, region))
        for requirements, age_s in itertools.product(asks(region), CATALOG_AGES_S.values()):
            for catalog in catalogs:
                yield Case(catalog, requirements, age_s)


PREFERENCES = {
    "the first row alone": Preferences(only=("p0",)),
    "a row by its id alone": Preferences(only=("p1-row",)),
    "nobody that exists": Preferences(only=("nobody",)),
    "not the first row": Preferences(ignore=("p0",)),
    "neither of both": Preferences(ignore=("p0", "p1-row")),
    "the second row first": Preferences(order=("p1",)),
    "no fallbacks": Preferences(allow_fallbacks=False),
    "alpha rows too": Preferences(include_alpha=True),
}


def cases_of_preferences() -> Iterator[Case]:
    """Pairs of rows under every preference, for `auto` and for each row by its name."""
    kinds = [Kind(), Kind("none"), Kind("expired"), Kind(place="elsewhere"), Kind(status="alpha")]
    for region in REGIONS:
        catalogs = list(catalogs_of(kinds, 2, region))
        for preferences, model in itertools.product(
            PREFERENCES.values(), ("auto", "p0-row", "p1-row")
        ):
            for requirements in asks(region, preferences):
                named = replace(requirements, model=model)
                for catalog in catalogs:
                    yield Case(catalog, named, 0.0)


def cases_of_strict_preferences() -> Iterator[Case]:
    """Rows that are confidential or drop a parameter, and callers who mind."""
    drops = frozenset({"top_k"})
    kinds = [Kind(), Kind(confidential=True), Kind(drops=drops), Kind("none", confidential=True)]
    wishes = [
        Preferences(confidential=True),
        Preferences(require_parameters=True),
        Preferences(confidential=True, require_parameters=True),
        Preferences(confidential=True, only=("p0",)),
    ]
    for region in REGIONS:
        catalogs = list(catalogs_of(kinds, 2, region))
        for wish, parameters in itertools.product(wishes, (NOTHING, drops, frozenset({"stop"}))):
            for requirements in asks(region, wish):
                for catalog in catalogs:
                    yield Case(catalog, replace(requirements, parameters=parameters), 0.0)


CONFIDENTIAL_KINDS = [
    Kind(),
    Kind(place="elsewhere"),
    Kind(confidential=True),
    Kind("none", confidential=True),
    Kind("expires between two attempts", confidential=True),
    Kind(place="elsewhere", confidential=True),
]
# What the caller says of it, and whether the key's policy requires it.
CONFIDENTIAL_WISHES: list[tuple[Preferences, Literal["policy"] | None]] = [
    (Preferences(), None),
    (Preferences(confidential=True), None),
    (Preferences(confidential=False), None),
    (Preferences(allow_fallbacks=False, order=("p2",)), None),
    (Preferences(), "policy"),
    (Preferences(confidential=False), "policy"),
]
# A row id, an upstream id of two rows, an alias of one row, an alias of two, and no name.
CONFIDENTIAL_NAMES = ("p0-row", "upstream/both", "first", "both", "auto")


def cases_of_confidential_names() -> Iterator[Case]:
    """Pairs of rows by every kind of name, beside a row that would serve everything else."""
    aliases = {"first": ("p0-row",), "both": ("p0-row", "p1-row")}
    for region in REGIONS:
        third = row_of(Kind(), region, 2)
        pairs = catalogs_of(CONFIDENTIAL_KINDS, 2, region)
        rows = [[replace(row, model="upstream/both") for row in pair.rows] for pair in pairs]
        catalogs = [make_catalog([*pair, third], aliases=aliases) for pair in rows]
        for wish, policy in CONFIDENTIAL_WISHES:
            for requirements, name in itertools.product(
                asks(region, wish, tools=(False,)), CONFIDENTIAL_NAMES
            ):
                named = replace(requirements, model=name, confidential=policy)
                for catalog in catalogs:
                    yield Case(catalog, named, 0.0)


def cases_of_many_rows() -> Iterator[Case]:
    """Five rows that all may serve: more than may be attempted."""
    for region in REGIONS:
        rows = [row_of(Kind(), region, position) for position in range(5)]
        for requirements, age_s in itertools.product(asks(region), CATALOG_AGES_S.values()):
            yield Case(make_catalog(rows), requirements, age_s)


def moments_of(catalog: Catalog) -> list[float]:
    """Times of routing around every date of every agreement."""
    dates = {
        date
        for row in catalog.rows
        if row.agreement is not None
        for date in (row.agreement.effective_at_s, row.agreement.expires_at_s)
    }
    around = (-ROUTE_S - ATTEMPT_S, -ROUTE_S, 0, DAY_S)
    return sorted({date + offset for date in dates for offset in around})


def cases_of_the_repository() -> Iterator[Case]:
    """The real rows, and the same rows if all of them were live, around every date."""
    shipped = repository_catalog()
    live = make_catalog(replace(row, status="live") for row in shipped.rows)
    allowed = (NOTHING, frozenset({"azure-gpt-4o/US"}), EVERYTHING)
    for catalog, at_s in itertools.product((shipped, live), moments_of(shipped)):
        for region, age_s, names in itertools.product(REGIONS, CATALOG_AGES_S.values(), allowed):
            for requirements in asks(region):
                yield Case(catalog, requirements, age_s, names, at_s)


def cases_of_the_repository_by_name() -> Iterator[Case]:
    """Every name that means a real row, pinned or not, with every capability."""
    catalog = repository_catalog()
    names = {row.id for row in catalog.rows} | {row.model for row in catalog.rows}
    at_s = moments_of(catalog)[len(moments_of(catalog)) // 2]
    for region, name, fallbacks in itertools.product(REGIONS, sorted(names), (True, False)):
        for requirements, schema, tokens in itertools.product(
            asks(region, Preferences(allow_fallbacks=fallbacks)), (True, False), (None, 10_000)
        ):
            changed = replace(requirements, model=name, needs_json_schema=schema, tokens_out=tokens)
            yield Case(catalog, changed, 0.0, NOTHING, at_s)


def cases_of_the_repository_by_confidential_name() -> Iterator[Case]:
    """The real confidential rows by their ids and upstream ids, and two names that are not."""
    catalog = repository_catalog()
    confidential = [row for row in catalog.rows if row.confidential]
    names = [*(row.id for row in confidential), *(row.model for row in confidential)]
    for region, (wish, policy) in itertools.product(REGIONS, CONFIDENTIAL_WISHES):
        for requirements, name in itertools.product(
            asks(region, wish), [*names, "gemma-4", "auto"]
        ):
            named = replace(requirements, model=name, confidential=policy)
            yield Case(catalog, named, 0.0, EVERYTHING)


def cases_of_math() -> Iterator[Case]:
    """Each kind of row alone and a second beside it, asked for a math agent."""
    for region in REGIONS:
        catalogs = [
            *catalogs_of(KINDS_ALONE, 1, region),
            *catalogs_of([Kind(), Kind("none"), Kind(tools=False)], 2, region),
        ]
        for requirements, age_s in itertools.product(asks(region), CATALOG_AGES_S.values()):
            for catalog in catalogs:
                yield Case(catalog, replace(requirements, task="math"), age_s)


TRUSTED, UNTRUSTED = Override("127.0.0.1:9", phi_trusted=True), Override("10.0.0.7:9")


def cases_of_overrides() -> Iterator[Case]:
    """Each kind of row at another address, trusted and not: alone, and beside a row at home."""
    kinds = [
        Kind(agreement, place, images, status=status, confidential=True, override=override)
        for agreement, place in itertools.product(AGREEMENTS, PLACES)
        for images, status in ((True, "live"), (False, "live"), (True, "staged"), (True, "alpha"))
        for override in (TRUSTED, UNTRUSTED)
    ]
    for region in REGIONS:
        alone = list(catalogs_of(kinds, 1, region))
        others = [Kind(), Kind("none"), *(Kind(override=each) for each in (TRUSTED, UNTRUSTED))]
        together = list(catalogs_of(others, 2, region))
        for wish in (
            Preferences(),
            Preferences(include_alpha=True),
            Preferences(confidential=True),
        ):
            for requirements, age_s in itertools.product(
                asks(region, wish), CATALOG_AGES_S.values()
            ):
                for catalog in alone + together:
                    yield Case(catalog, requirements, age_s, EVERYTHING)
        for requirements in asks(region):
            for catalog in alone:
                yield Case(catalog, requirements, 0.0, NOTHING)


CASES: dict[str, Callable[[], Iterator[Case]]] = {
    "each row alone": cases_of_one_row,
    "every pair of rows": cases_of_two_rows,
    "triples that change in time": cases_of_three_rows,
    "preferences": cases_of_preferences,
    "strict preferences": cases_of_strict_preferences,
    "confidential names": cases_of_confidential_names,
    "more rows than attempts": cases_of_many_rows,
    "math": cases_of_math,
    "overrides": cases_of_overrides,
    "the catalog of the repository": cases_of_the_repository,
    "the catalog of the repository by name": cases_of_the_repository_by_name,
    "the repository's confidential names": cases_of_the_repository_by_confidential_name,
}

# --- The oracle: decisions 78 to 85 in other words --------------------------------------------


def bears(row: Row, name: str, catalog: Catalog) -> bool:
    """ "A model name is a row id, an upstream id, a canonical alias"."""
    return name in (row.id, row.model) or row.id in catalog.aliases.get(name, ())


def confidential_is_required(case: Case) -> bool:
    """Required capability: "confidential (when every row of the asked name is;
    `provider.confidential: false` lifts it)"; for a key with `confidential = required` always.
    `auto` is no name."""
    requirements = case.requirements
    if requirements.confidential == "policy":
        return True
    if requirements.model == "auto" or requirements.preferences.confidential is False:
        return False
    named = [row for row in case.catalog.rows if bears(row, requirements.model, case.catalog)]
    return all(row.confidential for row in named)


def row_serves(row: Row, case: Case) -> bool:
    """no_route: "no live row serves region x modality x required capability"."""
    requirements = case.requirements
    if not row.confidential and confidential_is_required(case):
        return False
    if requirements.region not in row.places:
        return False
    if row.places[requirements.region].residency == "unproven" and not (
        "*" in case.allowed or f"{row.id}/{requirements.region}" in case.allowed
    ):
        return False
    status = row.status if row.overridden is None else row.overridden.status
    if status != "live" and not (requirements.preferences.include_alpha and status == "alpha"):
        return False
    sees = not requirements.images or "image" in row.modalities
    writes = requirements.tokens_out is None or requirements.tokens_out <= row.tokens_out_max
    calls = row.supports_tools or not requirements.needs_tools
    if requirements.preferences.require_parameters and not requirements.parameters.isdisjoint(
        row.drops
    ):
        return False
    obeys_schema = row.supports_json_schema or not requirements.needs_json_schema
    return sees and writes and calls and obeys_schema


def phi_is_lawful(row: Row, region: str, at_s: float, age_s: float) -> bool:
    """An agreement for the region, in force, without retention or training, at a proven place, by a
    catalog that is not over its greatest age; never at another address than the provider's own,
    unless that is trusted."""
    if row.override is not None and row.overridden is not None:
        if not row.override.phi_trusted:
            return False
        row = row.overridden
    contract = row.agreement
    return (
        contract is not None
        and region in contract.regions
        and contract.zero_retention is True
        and contract.no_training is True
        and contract.effective_at_s <= at_s < contract.expires_at_s
        and row.places[region].residency in ("endpoint", "request_field", "contract")
        and age_s <= 3_600
    )


def row_may_serve(row: Row, case: Case, at_s: float) -> bool:
    age_s = case.age_s + (at_s - case.routed_at_s)
    return row_serves(row, case) and (
        not case.requirements.phi
        or (
            case.requirements.task != "math"
            and phi_is_lawful(row, case.requirements.region, at_s, age_s)
        )
    )


def row_is_preferred(row: Row, case: Case) -> bool:
    requirements, wanted = case.requirements, case.requirements.preferences
    names = {row.id, row.provider}
    if wanted.only and names.isdisjoint(wanted.only):
        return False
    if wanted.confidential and not row.confidential:
        return False
    if not (wanted.allow_fallbacks or requirements.model == "auto"):
        return bears(row, requirements.model, case.catalog) and names.isdisjoint(wanted.ignore)
    return names.isdisjoint(wanted.ignore)


def expected(case: Case) -> tuple[frozenset[str], str | None]:
    """The ids of all candidates, or the code of the refusal."""
    if case.requirements.phi and case.requirements.task == "math":
        # phi_blocked: "math with X-PHI: true, with or without images".
        return NOTHING, "phi_blocked"
    serving = [row for row in case.catalog.rows if row_serves(row, case)]
    if not serving:
        return NOTHING, "no_route"
    lawful = [row for row in serving if row_may_serve(row, case, case.routed_at_s)]
    if not lawful:
        return NOTHING, "no_route" if case.requirements.images else "phi_blocked"
    wanted = [row for row in lawful if row_is_preferred(row, case)]
    return frozenset(row.id for row in wanted), None if wanted else "no_route"


def expected_tries(case: Case, candidates: Sequence[Row], failing: frozenset[str]) -> list[str]:
    """Each candidate once (a single one twice), four at most, while the agreement is in force."""
    at_s = case.routed_at_s + ROUTE_S
    tries: list[str] = []
    for row in (list(candidates) * 2 if len(candidates) == 1 else candidates)[:4]:
        if row_may_serve(row, case, at_s):
            tries.append(row.id)
            at_s += ATTEMPT_S
            if row.id not in failing:
                break
    return tries


# --- The check --------------------------------------------------------------------------------

PHI_LAW = "no PHI attempt at a row without an agreement in force"
SANDBOX_LAW = "no PHI attempt for a math agent"
REGION_LAW = "no attempt at a row that does not process in the region"
CONFIDENTIAL_LAW = "no attempt outside an enclave where one is necessary"
CODE_LAW = "a refusal has the code of decision 80"
CANDIDATES_LAW = "the candidates are exactly the rows that may serve"
RECORD_LAW = "every row is a candidate or a rejection, once"
TRIES_LAW = "the attempts are the candidates in order, each looked at again"


class HandsOut(Protocol):
    """What of Attempts is used here."""

    def next(self, context: GateContext, /) -> Row | None: ...


class Subject(NamedTuple):
    """What is checked: the gate as shipped, or one that was broken on purpose."""

    decide: Callable[[Catalog, Requirements, GateContext], Route] = decide
    attempts: Callable[[Route], HandsOut] = Attempts


def laws_broken(subject: Subject, case: Case) -> Iterator[str]:
    """Runs one case with every subset of its candidates failing."""
    route = subject.decide(case.catalog, case.requirements, case.context(case.routed_at_s))
    ids, code = expected(case)
    if route.code != code:
        yield CODE_LAW
    if {row.id for row in route.candidates} != ids or len(route.candidates) != len(ids):
        yield CANDIDATES_LAW
    candidates = [row.id for row in route.candidates]
    recorded = candidates + [rejection.row for rejection in route.rejections]
    if len(recorded) != len(case.catalog.rows) or set(recorded) != set(case.catalog.rows_by_id):
        yield RECORD_LAW
    for count in range(len(candidates) + 1):
        for failing in map(frozenset, itertools.combinations(candidates, count)):
            yield from _laws_broken_by_tries(subject, case, route, failing)


def _laws_broken_by_tries(
    subject: Subject, case: Case, route: Route, failing: frozenset[str]
) -> Iterator[str]:
    hand = subject.attempts(route)
    tried: list[str] = []
    at_s = case.routed_at_s + ROUTE_S
    while len(tried) < TRIES_SEEN_MAX:
        row = hand.next(case.context(at_s))
        if row is None:
            break
        yield from _laws_broken_by_a_try(case, row, at_s)
        tried.append(row.id)
        at_s += ATTEMPT_S
        if row.id not in failing:
            break
    if tried != expected_tries(case, route.candidates, failing):
        yield TRIES_LAW


def _laws_broken_by_a_try(case: Case, row: Row, at_s: float) -> Iterator[str]:
    requirements, age_s = case.requirements, case.context(at_s).catalog_age_s
    if requirements.region not in row.places:
        yield REGION_LAW
    elif requirements.phi and not phi_is_lawful(row, requirements.region, at_s, age_s):
        yield PHI_LAW
    elif requirements.phi and requirements.task == "math":
        yield SANDBOX_LAW
    if not row.confidential and (
        requirements.preferences.confidential or confidential_is_required(case)
    ):
        yield CONFIDENTIAL_LAW


@pytest.mark.parametrize("cases", CASES.values(), ids=CASES)
def test_no_case_breaks_a_law(cases: Callable[[], Iterator[Case]]) -> None:
    shipped = Subject()
    broken = ((law, case) for case in cases() for law in laws_broken(shipped, case))
    assert next(broken, None) is None


@pytest.mark.parametrize("name", ["confidential names", "strict preferences", "math"])
def test_the_last_look_stops_what_was_added_back(name: str) -> None:
    """Whoever lists a row that the gate has removed: nothing is sent to it."""
    careless = Subject(decide=adds_a_row_back)
    laws = {PHI_LAW, SANDBOX_LAW, REGION_LAW, CONFIDENTIAL_LAW}
    cases = (case for case in CASES[name]() if case.requirements.region == "CH")
    broken = (law for case in cases for law in laws_broken(careless, case))
    assert next((law for law in broken if law in laws), None) is None


# --- The check bites: gates that were broken on purpose ----------------------------------------

Doctor = Callable[[Row, Requirements, GateContext], tuple[Row, Requirements, GateContext]]


def gate(steps: Steps) -> Subject:
    """The shipped code with other steps, at the route and before every attempt."""
    return Subject(
        partial(decide, steps=steps),
        lambda route: Attempts(route, look=partial(may_attempt, steps=steps)),
    )


def without(*names: str) -> Subject:
    """A gate from which steps were dropped."""
    return gate([(name, rule) for name, rule in STEPS if name not in names])


def deceived(doctor: Doctor) -> Subject:
    """A gate that is blind to something: each rule sees what `doctor` makes of its arguments."""

    def seeing(rule: Rule) -> Rule:
        return lambda row, requirements, context: rule(*doctor(row, requirements, context))

    return gate([(name, seeing(rule)) for name, rule in STEPS])


def blind_to(**changes: Any) -> Subject:
    """A gate that takes every agreement for one with these members."""

    def doctor(
        row: Row, requirements: Requirements, context: GateContext
    ) -> tuple[Row, Requirements, GateContext]:
        agreement = row.agreement
        if agreement is not None:
            row = replace(row, agreement=replace(agreement, **changes))
        return row, requirements, context

    return deceived(doctor)


def proven_everywhere(
    row: Row, requirements: Requirements, context: GateContext
) -> tuple[Row, Requirements, GateContext]:
    places = {name: replace(place, residency="contract") for name, place in row.places.items()}
    return replace(row, places=places), requirements, context


def as_if_allowed(
    row: Row, requirements: Requirements, context: GateContext
) -> tuple[Row, Requirements, GateContext]:
    return row, requirements, replace(context, unproven_allowed=EVERYTHING)


def as_if_just_read(
    row: Row, requirements: Requirements, context: GateContext
) -> tuple[Row, Requirements, GateContext]:
    return row, requirements, replace(context, catalog_age_s=0.0)


def passes_without_agreement(
    row: Row, requirements: Requirements, context: GateContext
) -> tuple[Row, Requirements, GateContext]:
    return row, replace(requirements, phi=requirements.phi and row.agreement is not None), context


def as_if_chat(
    row: Row, requirements: Requirements, context: GateContext
) -> tuple[Row, Requirements, GateContext]:
    return row, replace(requirements, task="chat"), context


def as_if_confidential(
    row: Row, requirements: Requirements, context: GateContext
) -> tuple[Row, Requirements, GateContext]:
    return replace(row, confidential=True), requirements, context


def as_if_it_took_all(
    row: Row, requirements: Requirements, context: GateContext
) -> tuple[Row, Requirements, GateContext]:
    return replace(row, drops=NOTHING), requirements, context


def as_if_trusted(
    row: Row, requirements: Requirements, context: GateContext
) -> tuple[Row, Requirements, GateContext]:
    if row.override is not None:
        row = replace(row, override=TRUSTED)
    return row, requirements, context


def as_if_at_home(
    row: Row, requirements: Requirements, context: GateContext
) -> tuple[Row, Requirements, GateContext]:
    return row.reviewed, requirements, context


def as_if_trust_were_an_agreement(
    row: Row, requirements: Requirements, context: GateContext
) -> tuple[Row, Requirements, GateContext]:
    if row.override == TRUSTED and row.overridden is not None:
        agreement = make_agreement(regions=frozenset(REGIONS))
        row = replace(row, overridden=replace(row.overridden, agreement=agreement))
    return row, requirements, context


def as_if_confidential_by_name(
    row: Row, requirements: Requirements, context: GateContext
) -> tuple[Row, Requirements, GateContext]:
    return replace(row, confidential=row.reviewed.confidential), requirements, context


def as_if_every_override_were_live(
    row: Row, requirements: Requirements, context: GateContext
) -> tuple[Row, Requirements, GateContext]:
    if row.overridden is not None:
        row = replace(row, overridden=replace(row.overridden, status="live"))
    return row, requirements, context


def adds_a_row_back(catalog: Catalog, requirements: Requirements, context: GateContext) -> Route:
    route = decide(catalog, requirements, context)
    back = tuple(catalog.rows_by_id[rejection.row] for rejection in route.rejections[:1])
    candidates = route.candidates + back
    return replace(route, candidates=candidates, code=None if candidates else route.code)


def widens(catalog: Catalog, requirements: Requirements, context: GateContext) -> Route:
    """Preferences that leave nobody are taken for none."""
    route = decide(catalog, requirements, context)
    if route.candidates:
        return route
    return decide(catalog, replace(requirements, preferences=Preferences()), context)


def falls_back_always(catalog: Catalog, requirements: Requirements, context: GateContext) -> Route:
    allowing = replace(requirements.preferences, allow_fallbacks=True)
    return decide(catalog, replace(requirements, preferences=allowing), context)


def with_code(of: Callable[[Requirements, str], str]) -> Subject:
    """Every refusal gets the code that `of` makes of the request and the right one."""

    def changed(catalog: Catalog, requirements: Requirements, context: GateContext) -> Route:
        route = decide(catalog, requirements, context)
        code: Any = None if route.code is None else of(requirements, route.code)
        return replace(route, code=code)

    return Subject(decide=changed)


def naming(change: Callable[[Catalog, Requirements], Requirements]) -> Subject:
    """What makes an enclave necessary is read from what `change` makes of the request."""

    def changed(catalog: Catalog, requirements: Requirements, context: GateContext) -> Route:
        return decide(catalog, change(catalog, requirements), context)

    return Subject(decide=changed)


def lifted(requirements: Requirements) -> Requirements:
    return replace(requirements, preferences=replace(requirements.preferences, confidential=False))


def lifted_by_true(catalog: Catalog, requirements: Requirements) -> Requirements:
    return lifted(requirements) if requirements.preferences.confidential else requirements


def lifted_for_policies(catalog: Catalog, requirements: Requirements) -> Requirements:
    return (
        replace(requirements, confidential=None)
        if requirements.preferences.confidential is False
        else requirements
    )


def never_lifted(catalog: Catalog, requirements: Requirements) -> Requirements:
    return replace(requirements, preferences=replace(requirements.preferences, confidential=None))


def any_row_of_the_name(catalog: Catalog, requirements: Requirements) -> Requirements:
    named = [row for row in catalog.rows if bears(row, requirements.model, catalog)]
    required = (
        any(r.confidential for r in named) and requirements.preferences.confidential is not False
    )
    return replace(requirements, confidential="policy") if required else requirements


def rows_of_the_region(catalog: Catalog, requirements: Requirements) -> Requirements:
    named = [row for row in catalog.rows if bears(row, requirements.model, catalog)]
    here = [row.confidential for row in named if requirements.region in row.places]
    required = bool(here) and all(here) and requirements.preferences.confidential is not False
    return replace(requirements, confidential="policy") if required else requirements


def without_aliases(catalog: Catalog, requirements: Requirements) -> Requirements:
    return lifted(requirements) if requirements.model in catalog.aliases else requirements


def without_upstream_ids(catalog: Catalog, requirements: Requirements) -> Requirements:
    return lifted(requirements) if requirements.model.startswith("upstream/") else requirements


def without_policy(catalog: Catalog, requirements: Requirements) -> Requirements:
    return replace(requirements, confidential=None)


def looks_past(*names: str) -> Callable[[Route], HandsOut]:
    """The last look leaves steps out that the first one had."""
    steps = [(name, rule) for name, rule in STEPS if name not in names]
    return lambda route: Attempts(route, look=partial(may_attempt, steps=steps))


def math_by_step(catalog: Catalog, requirements: Requirements, context: GateContext) -> Route:
    """PHI for a math agent is blocked only where a row came as far as the PHI step."""
    route = decide(catalog, requirements, context)
    rules = {rejection.rule for rejection in route.rejections}
    is_early = requirements.task == "math" and requirements.phi and "phi_sandbox" not in rules
    return replace(route, code="no_route") if is_early else route


def refuses_all(catalog: Catalog, requirements: Requirements, context: GateContext) -> Route:
    rejections = tuple(Rejection(row.id, "region") for row in catalog.rows)
    return Route(requirements, (), rejections, "phi_blocked" if requirements.phi else "no_route")


def forgets_rejections(catalog: Catalog, requirements: Requirements, context: GateContext) -> Route:
    return replace(decide(catalog, requirements, context), rejections=())


def never_looks(route: Route) -> HandsOut:
    return Attempts(route, look=lambda row, requirements, context: True)


def looks_once(route: Route) -> HandsOut:
    """The check before the second attempt and all later ones is skipped."""

    def look(row: Row, requirements: Requirements, context: GateContext) -> bool:
        return hand.handed_out > 0 or may_attempt(row, requirements, context)

    hand = Attempts(route, look=look)
    return hand


def looks_at_an_old_clock(route: Route) -> HandsOut:
    def look(row: Row, requirements: Requirements, context: GateContext) -> bool:
        return may_attempt(row, requirements, replace(context, now_s=NOW_S, catalog_age_s=0.0))

    return Attempts(route, look=look)


class TriesWithoutEnd:
    """Hands out the candidates for ever, each looked at."""

    def __init__(self, route: Route) -> None:
        self._requirements = route.requirements
        self._rows = itertools.cycle(route.candidates)

    def next(self, context: GateContext) -> Row | None:
        row = next(self._rows, None)
        return row if row is not None and may_attempt(row, self._requirements, context) else None


# What was broken, and the law by which it must be caught.
MUTANTS: dict[str, tuple[Subject, str]] = {
    "drop the PHI rule": (without("phi"), PHI_LAW),
    "drop the agreement rule": (without("agreement"), PHI_LAW),
    "drop both": (without("phi", "agreement"), PHI_LAW),
    "drop the region rule": (without("region"), REGION_LAW),
    "drop the status rule": (without("status"), CANDIDATES_LAW),
    "drop the modality rule": (without("modality"), CANDIDATES_LAW),
    "drop the capability rule": (without("capability"), CANDIDATES_LAW),
    "drop the preferences": (without("preferences"), CANDIDATES_LAW),
    "add a row back after filtering": (Subject(decide=adds_a_row_back), CANDIDATES_LAW),
    "add a row back and send PHI to it": (Subject(adds_a_row_back, never_looks), PHI_LAW),
    "add a row back and leave the region": (Subject(adds_a_row_back, never_looks), REGION_LAW),
    "pass a row that has no agreement": (deceived(passes_without_agreement), PHI_LAW),
    "take an expired agreement": (blind_to(expires_at_s=int(NOW_S) + DAY_S), PHI_LAW),
    "take an agreement not yet in force": (blind_to(effective_at_s=0), PHI_LAW),
    "take an agreement of another region": (blind_to(regions=frozenset(REGIONS)), PHI_LAW),
    "ignore retention": (blind_to(zero_retention=True), PHI_LAW),
    "ignore training": (blind_to(no_training=True), PHI_LAW),
    "take an unproven residency under PHI": (deceived(proven_everywhere), PHI_LAW),
    "take an unproven residency not allowed": (deceived(as_if_allowed), CANDIDATES_LAW),
    "ignore the age of the catalog": (deceived(as_if_just_read), PHI_LAW),
    "skip the check before a second attempt": (Subject(attempts=looks_once), PHI_LAW),
    "skip the check before every attempt": (Subject(attempts=never_looks), PHI_LAW),
    "check attempts by the route's clock": (Subject(attempts=looks_at_an_old_clock), PHI_LAW),
    "take PHI for a math agent": (deceived(as_if_chat), SANDBOX_LAW),
    "preferences widen": (Subject(decide=widens), CANDIDATES_LAW),
    "a pinned model widens": (Subject(decide=falls_back_always), CANDIDATES_LAW),
    "take a row that is not confidential": (deceived(as_if_confidential), CANDIDATES_LAW),
    "drop the confidential rule": (without("confidential"), CONFIDENTIAL_LAW),
    "look for an enclave at the route alone": (
        Subject(adds_a_row_back, looks_past("confidential")),
        CONFIDENTIAL_LAW,
    ),
    "look at preferences at the route alone": (
        Subject(adds_a_row_back, looks_past("preferences")),
        CONFIDENTIAL_LAW,
    ),
    "true lifts a confidential name": (naming(lifted_by_true), CONFIDENTIAL_LAW),
    "false lifts a key's policy": (naming(lifted_for_policies), CONFIDENTIAL_LAW),
    "false lifts nothing": (naming(never_lifted), CANDIDATES_LAW),
    "any row makes its name confidential": (naming(any_row_of_the_name), CANDIDATES_LAW),
    "the region's rows make a name confidential": (naming(rows_of_the_region), CANDIDATES_LAW),
    "an alias is never confidential": (naming(without_aliases), CONFIDENTIAL_LAW),
    "an upstream id is never confidential": (naming(without_upstream_ids), CONFIDENTIAL_LAW),
    "ignore the key's policy": (naming(without_policy), CONFIDENTIAL_LAW),
    "send PHI to an override that nobody trusts": (deceived(as_if_trusted), PHI_LAW),
    "take an override for the provider": (deceived(as_if_at_home), PHI_LAW),
    "take trust for an agreement": (deceived(as_if_trust_were_an_agreement), PHI_LAW),
    "take an override for an enclave": (deceived(as_if_confidential_by_name), CANDIDATES_LAW),
    "serve an alpha row because it is overridden": (
        deceived(as_if_every_override_were_live),
        CANDIDATES_LAW,
    ),
    "take a row that drops a parameter": (deceived(as_if_it_took_all), CANDIDATES_LAW),
    "attempts without end": (Subject(attempts=TriesWithoutEnd), TRIES_LAW),
    "refuse everything": (Subject(decide=refuses_all), CANDIDATES_LAW),
    "record no rejection": (Subject(decide=forgets_rejections), RECORD_LAW),
    "refuse PHI images as phi_blocked": (
        with_code(lambda requirements, code: "phi_blocked" if requirements.phi else code),
        CODE_LAW,
    ),
    "refuse PHI images of a math agent as no_route": (
        with_code(
            lambda requirements, code: (
                "no_route" if requirements.task == "math" and requirements.images else code
            )
        ),
        CODE_LAW,
    ),
    "refuse PHI of a math agent by what its rows lack": (Subject(math_by_step), CODE_LAW),
    "refuse PHI text as no_route": (with_code(lambda requirements, code: "no_route"), CODE_LAW),
}


# The cases that show a mutant; all cases in turn show the others soon (one mutant took a minute).
SHOWN_BY = {
    "take an override for an enclave": "overrides",
    "take a row that drops a parameter": "strict preferences",
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_check_catches(mutant: str) -> None:
    subject, law = MUTANTS[mutant]
    domains = [SHOWN_BY[mutant]] if mutant in SHOWN_BY else list(CASES)
    in_turn = itertools.zip_longest(*(CASES[name]() for name in domains))
    every_case = (case for cases in in_turn for case in cases if case is not None)
    assert any(law in laws_broken(subject, case) for case in every_case)


# --- Each rule by its name --------------------------------------------------------------------

RULES: dict[str, tuple[Row, Requirements, GateContext, str | None]] = {
    "a row that serves": (make_row(), make_requirements(phi=True), make_gate_context(), None),
    "another region": (make_row(), make_requirements(region="US"), make_gate_context(), "region"),
    "unproven, not allowed": (
        make_row(places={"CH": make_place(residency="unproven")}),
        make_requirements(),
        make_gate_context(),
        "residency_unproven",
    ),
    "unproven, allowed for general traffic": (
        make_row(places={"CH": make_place(residency="unproven")}),
        make_requirements(),
        make_gate_context(unproven_allowed=frozenset({"acme-one/CH"})),
        None,
    ),
    "unproven, allowed, but PHI": (
        make_row(places={"CH": make_place(residency="unproven")}),
        make_requirements(phi=True),
        make_gate_context(unproven_allowed=frozenset({"acme-one/CH"})),
        "phi_residency_unproven",
    ),
    "PHI for a math agent": (
        make_row(),
        make_requirements(phi=True, task="math"),
        make_gate_context(),
        "phi_sandbox",
    ),
    "general traffic for a math agent": (
        make_row(),
        make_requirements(task="math"),
        make_gate_context(),
        None,
    ),
    "staged": (
        make_row(status="staged"),
        make_requirements(),
        make_gate_context(),
        "status_staged",
    ),
    "no key": (
        make_row(status="no_key"),
        make_requirements(),
        make_gate_context(),
        "status_no_key",
    ),
    "alpha": (make_row(status="alpha"), make_requirements(), make_gate_context(), "status_alpha"),
    "alpha, wanted": (
        make_row(status="alpha"),
        make_requirements(preferences=Preferences(include_alpha=True)),
        make_gate_context(),
        None,
    ),
    "staged is not alpha": (
        make_row(status="staged"),
        make_requirements(preferences=Preferences(include_alpha=True)),
        make_gate_context(),
        "status_staged",
    ),
    "images": (
        make_row(modalities=frozenset({"text"})),
        make_requirements(images=1),
        make_gate_context(),
        "modality",
    ),
    "tools needed": (
        make_row(supports_tools=False),
        make_requirements(needs_tools=True),
        make_gate_context(),
        "capability_tools",
    ),
    "tools sent, not needed": (
        make_row(supports_tools=False),
        make_requirements(has_tools=True),
        make_gate_context(),
        None,
    ),
    "a JSON schema": (
        make_row(supports_json_schema=False),
        make_requirements(needs_json_schema=True),
        make_gate_context(),
        "capability_json_schema",
    ),
    "as many tokens as the row writes": (
        make_row(),
        make_requirements(tokens_out=8_192),
        make_gate_context(),
        None,
    ),
    "one token more": (
        make_row(),
        make_requirements(tokens_out=8_193),
        make_gate_context(),
        "capability_tokens_out",
    ),
    "another address": (
        overridden_row(make_row(), UNTRUSTED),
        make_requirements(),
        make_gate_context(unproven_allowed=EVERYTHING),
        None,
    ),
    "another address, PHI": (
        overridden_row(make_row(), UNTRUSTED),
        make_requirements(phi=True),
        make_gate_context(unproven_allowed=EVERYTHING),
        "phi_overridden",
    ),
    "a trusted address, PHI": (
        overridden_row(make_row(), TRUSTED),
        make_requirements(phi=True),
        make_gate_context(unproven_allowed=EVERYTHING),
        None,
    ),
    "a trusted address of a row without an agreement": (
        overridden_row(make_row(agreement=None), TRUSTED),
        make_requirements(phi=True),
        make_gate_context(unproven_allowed=EVERYTHING),
        "phi_no_agreement",
    ),
    "a trusted address where unproven rows are not allowed": (
        overridden_row(make_row(), TRUSTED),
        make_requirements(phi=True),
        make_gate_context(),
        "residency_unproven",
    ),
    "no agreement": (
        make_row(agreement=None),
        make_requirements(phi=True),
        make_gate_context(),
        "phi_no_agreement",
    ),
    "retention": (
        make_row(agreement=make_agreement(zero_retention=False)),
        make_requirements(phi=True),
        make_gate_context(),
        "phi_retention",
    ),
    "training": (
        make_row(agreement=make_agreement(no_training=False)),
        make_requirements(phi=True),
        make_gate_context(),
        "phi_training",
    ),
    "agreement for another region": (
        make_row(agreement=make_agreement(regions=frozenset({"EU"}))),
        make_requirements(phi=True),
        make_gate_context(),
        "phi_no_agreement",
    ),
    "the last moment of an agreement": (
        make_row(agreement=make_agreement(expires_at_s=int(NOW_S) + 1)),
        make_requirements(phi=True),
        make_gate_context(),
        None,
    ),
    "the moment it expires": (
        make_row(agreement=make_agreement(expires_at_s=int(NOW_S))),
        make_requirements(phi=True),
        make_gate_context(),
        "phi_agreement_not_in_force",
    ),
    "the moment it begins": (
        make_row(agreement=make_agreement(effective_at_s=int(NOW_S))),
        make_requirements(phi=True),
        make_gate_context(),
        None,
    ),
    "a catalog at its greatest age": (
        make_row(),
        make_requirements(phi=True),
        make_gate_context(catalog_age_s=3_600.0),
        None,
    ),
    "a catalog over its greatest age": (
        make_row(),
        make_requirements(phi=True),
        make_gate_context(catalog_age_s=3_600.001),
        "phi_catalog_stale",
    ),
    "a catalog from the future is not trusted": (
        make_row(),
        make_requirements(phi=True),
        make_gate_context(catalog_age_s=-0.001),
        "phi_catalog_stale",
    ),
    "a catalog of unknown age is not trusted": (
        make_row(),
        make_requirements(phi=True),
        make_gate_context(catalog_age_s=float("nan")),
        "phi_catalog_stale",
    ),
    "an old catalog serves general traffic": (
        make_row(agreement=None),
        make_requirements(),
        make_gate_context(catalog_age_s=1e9),
        None,
    ),
    "a clock that is not a number": (
        make_row(),
        make_requirements(phi=True),
        make_gate_context(now_s=float("nan")),
        "phi_agreement_not_in_force",
    ),
    "a model outside the key's policy": (
        make_row(),
        make_requirements(models_allowed=frozenset({"other-row"})),
        make_gate_context(),
        "key_policy",
    ),
    "not among the preferred providers": (
        make_row(),
        make_requirements(preferences=Preferences(only=("other",))),
        make_gate_context(),
        "provider_only",
    ),
    "an ignored provider": (
        make_row(),
        make_requirements(preferences=Preferences(ignore=("acme",))),
        make_gate_context(),
        "provider_ignore",
    ),
    "confidential, and is": (
        make_row(confidential=True),
        make_requirements(preferences=Preferences(confidential=True)),
        make_gate_context(),
        None,
    ),
    "confidential, and is not": (
        make_row(),
        make_requirements(preferences=Preferences(confidential=True)),
        make_gate_context(),
        "provider_confidential",
    ),
    "an enclave for the name, and is none": (
        make_row(),
        make_requirements(confidential="name"),
        make_gate_context(),
        "capability_confidential",
    ),
    "an enclave for the policy, and is none": (
        make_row(),
        make_requirements(confidential="policy"),
        make_gate_context(),
        "capability_confidential",
    ),
    "an enclave for the name, and is one": (
        make_row(confidential=True),
        make_requirements(confidential="name"),
        make_gate_context(),
        None,
    ),
    "an enclave for the name, lifted": (
        make_row(),
        make_requirements(confidential="lifted", preferences=Preferences(confidential=False)),
        make_gate_context(),
        None,
    ),
    "no enclave, and no agreement either": (
        make_row(agreement=None),
        make_requirements(confidential="name", phi=True),
        make_gate_context(),
        "capability_confidential",
    ),
    "a parameter that the row drops": (
        make_row(drops=frozenset({"top_k"})),
        make_requirements(parameters=frozenset({"top_k"})),
        make_gate_context(),
        None,
    ),
    "a parameter that the row drops, and the caller minds": (
        make_row(drops=frozenset({"top_k"})),
        make_requirements(
            parameters=frozenset({"top_k"}), preferences=Preferences(require_parameters=True)
        ),
        make_gate_context(),
        "capability_parameters",
    ),
    "a parameter that the row takes, and the caller minds": (
        make_row(drops=frozenset({"top_k"})),
        make_requirements(
            parameters=frozenset({"top_p"}), preferences=Preferences(require_parameters=True)
        ),
        make_gate_context(),
        None,
    ),
    "tools at a row without them, and the caller minds": (
        make_row(supports_tools=False),
        make_requirements(
            parameters=frozenset({"tools"}), preferences=Preferences(require_parameters=True)
        ),
        make_gate_context(),
        "capability_parameters",
    ),
}


@pytest.mark.parametrize(("row", "requirements", "context", "rule"), RULES.values(), ids=RULES)
def test_a_row_passes_or_is_rejected_with_its_rule(
    row: Row, requirements: Requirements, context: GateContext, rule: str | None
) -> None:
    verdict = admit([row], requirements, context)
    expected_rows, expected_rejections = ((row,), ()) if rule is None else ((), ((row.id, rule),))
    assert verdict.rows == expected_rows
    assert tuple((r.row, r.rule) for r in verdict.rejections) == expected_rejections


# The step that emptied the list, PHI, images -> the code.
CODES = {
    ("region", True, 0): "no_route",
    ("region", True, 1): "no_route",
    ("region", False, 0): "no_route",
    ("status", True, 0): "no_route",
    ("modality", True, 1): "no_route",
    ("capability", True, 0): "no_route",
    ("confidential", True, 0): "no_route",
    ("confidential", False, 1): "no_route",
    ("phi", True, 0): "phi_blocked",
    ("phi", True, 1): "no_route",
    ("agreement", True, 0): "phi_blocked",
    ("agreement", True, 2): "no_route",
    ("key_policy", True, 0): "key_policy",
    ("key_policy", False, 1): "key_policy",
    ("preferences", True, 0): "no_route",
    ("preferences", False, 0): "no_route",
}


@pytest.mark.parametrize(("step", "code"), CODES.items(), ids=map(str, CODES))
def test_the_code_follows_from_the_step_and_the_images(
    step: tuple[str, bool, int], code: str
) -> None:
    blocking_step, phi, images = step
    assert refusal_code(blocking_step, make_requirements(phi=phi, images=images)) == code


@pytest.mark.parametrize("images", [0, 1])
@pytest.mark.parametrize("step", [name for name, _ in STEPS])
def test_a_math_agents_phi_is_blocked_whatever_its_rows_lack(step: str, images: int) -> None:
    requirements = make_requirements(phi=True, images=images, task="math")
    assert refusal_code(step, requirements) == "phi_blocked"


def test_a_catalog_without_rows_refuses() -> None:
    route = decide(make_catalog([]), make_requirements(), make_gate_context())
    assert (route.code, route.candidates) == ("no_route", ())
