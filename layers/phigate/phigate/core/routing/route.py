"""The route: in which order the rows that passed the gate are tried. It orders, it never adds.

Candidates are the rows of the asked model first, then, unless `allow_fallbacks` is false, the
other rows that passed, the region's default for the task first. Each row stands once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from phigate.core.limits import ATTEMPTS_MAX
from phigate.core.routing.gate import Code, GateContext, Steps, admit, may_attempt, refusal_code
from phigate.core.types import Catalog, ConfidentialBy, Rejection, Requirements, Row

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Route:
    """The decision. `code` is set exactly when `candidates` is empty."""

    requirements: Requirements
    candidates: tuple[Row, ...]
    rejections: tuple[Rejection, ...]
    code: Code | None


def rows_of_model(catalog: Catalog, name: str) -> tuple[Row, ...]:
    """The rows that a model name means: a row id, an upstream id or an alias. Empty: unknown."""
    if name == AUTO:
        return catalog.rows
    row = catalog.rows_by_id.get(name)
    if row is not None:
        return (row,)
    if name in catalog.aliases:
        return tuple(catalog.rows_by_id[row_id] for row_id in catalog.aliases[name])
    return tuple(row for row in catalog.rows if row.model == name)


def confidential_by(catalog: Catalog, requirements: Requirements) -> ConfidentialBy | None:
    """What makes an enclave necessary: the key's policy; the asked name, when every row of it is
    confidential and the caller has not lifted that; the caller's preference. The first one counts.
    """
    wished = requirements.preferences.confidential
    if requirements.confidential == "policy":
        return "policy"
    if requirements.model != AUTO and _is_confidential(catalog, requirements.model):
        return "lifted" if wished is False else "name"
    return "preference" if wished else None


def _is_confidential(catalog: Catalog, model: str) -> bool:
    """Whether every row that the name means is, as the catalog has it: what a name promises does
    not go away because its provider is reached elsewhere."""
    return all(row.reviewed.confidential for row in rows_of_model(catalog, model))


def decide(
    catalog: Catalog, requirements: Requirements, context: GateContext, steps: Steps | None = None
) -> Route:
    """Gate, then order. The model step removes nothing unless the caller forbade fallbacks.

    `steps` is a parameter so that a test can mutate the gate. The route's `requirements` say what
    makes an enclave necessary.
    """
    by = confidential_by(catalog, requirements)
    requirements = (
        requirements if by == requirements.confidential else replace(requirements, confidential=by)
    )
    verdict = admit(catalog.rows, requirements, context, steps)
    if verdict.blocking_step is not None:
        code = refusal_code(verdict.blocking_step, requirements)
        return Route(requirements, (), verdict.rejections, code)
    candidates, others = _ordered(catalog, requirements, verdict.rows)
    if requirements.model != AUTO and not requirements.preferences.allow_fallbacks:
        rejections = verdict.rejections + tuple(Rejection(row.id, "model") for row in others)
        return Route(requirements, candidates, rejections, None if candidates else "no_route")
    return Route(requirements, candidates + others, verdict.rejections, None)


def _ordered(
    catalog: Catalog, requirements: Requirements, rows: Sequence[Row]
) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """The rows of the asked model and the other rows, each in the order of trying."""
    default = catalog.rows_by_id.get(
        catalog.regions[requirements.region].rows.get(_task(requirements), "")
    )
    named = {row.id for row in rows_of_model(catalog, requirements.model)}
    order = requirements.preferences.order

    def preferred(row: Row) -> int:
        places = [i for i, name in enumerate(order) if name in (row.provider, row.id)]
        return places[0] if places else len(order)

    def cost(row: Row) -> tuple[int, str]:
        return (row.price.in_micros_per_mtok + row.price.out_micros_per_mtok, row.id)

    def off_tier(row: Row) -> bool:
        return requirements.model_tier is not None and row.model_tier != requirements.model_tier

    def away(row: Row) -> bool:
        return default is None or row.provider != default.provider

    def by_model(row: Row) -> tuple[int, bool, bool, tuple[int, str]]:
        return (preferred(row), off_tier(row), requirements.model != AUTO and away(row), cost(row))

    def by_default(row: Row) -> tuple[int, bool, bool, tuple[int, str]]:
        return (preferred(row), off_tier(row), row is not default, cost(row))

    first = sorted((row for row in rows if row.id in named), key=by_model)
    second = sorted((row for row in rows if row.id not in named), key=by_default)
    return tuple(first), tuple(second)


def _task(requirements: Requirements) -> str:
    return "vision" if requirements.images and requirements.task == "chat" else requirements.task


def fallback_reason(catalog: Catalog, route: Route, row: Row) -> str | None:
    """Why another model than the asked one answers (`x-phi-fallback`); None if it is that one."""
    named = {named_row.id for named_row in rows_of_model(catalog, route.requirements.model)}
    if row.id in named:
        return None
    if any(candidate.id in named for candidate in route.candidates):
        return "upstream_failed"
    # Of several rows that bear the name, the one that came furthest says most about the reason.
    rules = [rejection.rule for rejection in route.rejections if rejection.row in named]
    return next(reason for prefix, reason in FALLBACK_REASONS if rules[-1].startswith(prefix))


# A rule of the gate, by how its name begins, and what it says of the asked model.
FALLBACK_REASONS = (
    ("region", "model_not_in_region"),
    ("residency", "model_not_in_region"),
    ("status", "model_not_live"),
    ("modality", "model_lacks_modality"),
    ("capability", "model_lacks_capability"),
    ("phi", "model_not_phi"),
    ("key_policy", "model_not_in_key_policy"),
    ("provider", "model_not_preferred"),
)


class Attempts:
    """Hands out the candidates of one route, each checked again by the gate before it is tried.

    A list of one row is tried twice; at most ATTEMPTS_MAX are handed out. Rows whose breaker is
    open come last, nothing else. `look` is a parameter so that a test can mutate the gate.
    """

    def __init__(
        self,
        route: Route,
        open_breakers: frozenset[str] = frozenset(),
        look: Callable[[Row, Requirements, GateContext], bool] = may_attempt,
    ) -> None:
        rows = sorted(route.candidates, key=lambda row: row.id in open_breakers)
        self._requirements = route.requirements
        self._look = look
        self._queue = (rows * 2 if len(rows) == 1 else rows)[:ATTEMPTS_MAX]
        self._single = len(rows) == 1
        self.handed_out = 0

    def next(self, context: GateContext) -> Row | None:
        """The next row that the gate admits now, or None when none is left."""
        while self._queue:
            row = self._queue.pop(0)
            if self._look(row, self._requirements, context):
                self.handed_out += 1
                return row
        return None

    @property
    def pauses_next(self) -> bool:
        """True when the next attempt repeats the same row and should wait a moment."""
        return self._single and self.handed_out > 0 and bool(self._queue)
