"""The gate: which rows may serve a request. It fails closed.

Law 1: a step only removes rows, and records the rule for each; nothing adds a row back.
Law 2: the steps run in the order of STEPS; the one that empties the list decides the refusal.
Law 3: under PHI a row passes only with an agreement that covers the region, is in force now,
forbids retention and training, at a place whose residency is proven, from a fresh catalog; and for
a math agent none does: no agreement covers the sandbox.
Law 4: before every attempt all steps are looked at again, so that whoever lists candidates, in
whatever turn, cannot add a row that they remove.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from phigate.core.catalog.reach import permitting_row
from phigate.core.limits import CATALOG_PHI_AGE_MAX_S
from phigate.core.request.fields import unsupported
from phigate.core.types import Rejection, Requirements, Row

Code = Literal["no_route", "phi_blocked", "key_policy"]
Rule = Callable[[Row, Requirements, "GateContext"], str | None]
Steps = Sequence[tuple[str, Rule]]

EVERY_UNPROVEN = frozenset({"*"})


@dataclass(frozen=True, slots=True)
class GateContext:
    """What the gate knows besides the request: the time, the catalog's age, the stack's parameter.

    `unproven_allowed` holds `row/region` pairs that may be routed although unproven, or `*`.
    """

    now_s: float
    catalog_age_s: float
    unproven_allowed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The rows that passed, the rejections, and the step that emptied the list, if one did."""

    rows: tuple[Row, ...]
    rejections: tuple[Rejection, ...]
    blocking_step: str | None


def admit(
    rows: Sequence[Row],
    requirements: Requirements,
    context: GateContext,
    steps: Steps | None = None,
) -> GateVerdict:
    """Run the steps over `rows` in order. `steps` is a parameter so that a test can mutate it."""
    left = tuple(rows)
    rejections: list[Rejection] = []
    for name, rule in STEPS if steps is None else steps:
        passed: list[Row] = []
        for row in left:
            broken = rule(row, requirements, context)
            if broken is None:
                passed.append(row)
            else:
                rejections.append(Rejection(row.id, broken))
        left = tuple(passed)
        if not left:
            return GateVerdict((), tuple(rejections), name)
    return GateVerdict(left, tuple(rejections), None)


def may_attempt(
    row: Row, requirements: Requirements, context: GateContext, steps: Steps | None = None
) -> bool:
    """The gate's last look, before every attempt and every turn: time has passed since `admit`,
    and a later turn may ask for more."""
    return all(
        rule(row, requirements, context) is None for _, rule in (STEPS if steps is None else steps)
    )


def refusal_code(blocking_step: str, requirements: Requirements) -> Code:
    """One function of the step that emptied the list and whether there are images
    (decision 80). PHI for a math agent is blocked whatever else the rows lack: no row would do."""
    if requirements.phi and requirements.task == "math":
        return "phi_blocked"
    if blocking_step == "key_policy":
        return "key_policy"
    if requirements.phi and blocking_step in ("phi", "agreement"):
        return "no_route" if requirements.images else "phi_blocked"
    return "no_route"


def _region(row: Row, requirements: Requirements, context: GateContext) -> str | None:
    place = row.places.get(requirements.region)
    if place is None:
        return "region"
    if place.residency == "unproven" and not _unproven_allowed(row, requirements, context):
        return "residency_unproven"
    return None


def _unproven_allowed(row: Row, requirements: Requirements, context: GateContext) -> bool:
    if context.unproven_allowed == EVERY_UNPROVEN:
        return True
    return f"{row.id}/{requirements.region}" in context.unproven_allowed


def _status(row: Row, requirements: Requirements, context: GateContext) -> str | None:
    status = row.reviewed.status if row.status == "overridden" else row.status
    if status == "live" or (status == "alpha" and requirements.preferences.include_alpha):
        return None
    return f"status_{status}"


def _modality(row: Row, requirements: Requirements, context: GateContext) -> str | None:
    return "modality" if requirements.images and "image" not in row.modalities else None


def _capability(row: Row, requirements: Requirements, context: GateContext) -> str | None:
    if requirements.needs_tools and not row.supports_tools:
        return "capability_tools"
    if requirements.needs_json_schema and not row.supports_json_schema:
        return "capability_json_schema"
    if requirements.tokens_out is not None and requirements.tokens_out > row.tokens_out_max:
        return "capability_tokens_out"
    if requirements.preferences.require_parameters and unsupported(requirements.parameters, row):
        return "capability_parameters"
    return None


def _confidential(row: Row, requirements: Requirements, context: GateContext) -> str | None:
    is_required = requirements.confidential in ("name", "policy")
    return "capability_confidential" if is_required and not row.confidential else None


def _phi(row: Row, requirements: Requirements, context: GateContext) -> str | None:
    if not requirements.phi:
        return None
    return "phi_sandbox" if requirements.task == "math" else _phi_terms(row, requirements)


def _phi_terms(row: Row, requirements: Requirements) -> str | None:
    if row.override is not None and not row.override.phi_trusted:
        return "phi_overridden"
    row = permitting_row(row)
    agreement = row.agreement
    if agreement is None or requirements.region not in agreement.regions:
        return "phi_no_agreement"
    if not agreement.zero_retention:
        return "phi_retention"
    if not agreement.no_training:
        return "phi_training"
    place = row.places.get(requirements.region)
    if place is None or place.residency == "unproven":
        return "phi_residency_unproven"
    return None


def _agreement(row: Row, requirements: Requirements, context: GateContext) -> str | None:
    if not requirements.phi:
        return None
    if not 0 <= context.catalog_age_s <= CATALOG_PHI_AGE_MAX_S:
        return "phi_catalog_stale"
    agreement = permitting_row(row).agreement
    if agreement is None or not agreement.effective_at_s <= context.now_s < agreement.expires_at_s:
        return "phi_agreement_not_in_force"
    return None


def _key_policy(row: Row, requirements: Requirements, context: GateContext) -> str | None:
    allowed = requirements.models_allowed
    return None if allowed is None or row.id in allowed else "key_policy"


def _preferences(row: Row, requirements: Requirements, context: GateContext) -> str | None:
    wanted = requirements.preferences
    names = (row.provider, row.id)
    if wanted.only and not any(name in wanted.only for name in names):
        return "provider_only"
    if any(name in wanted.ignore for name in names):
        return "provider_ignore"
    if wanted.confidential and not row.confidential:
        return "provider_confidential"
    return None


STEPS: Steps = (
    ("region", _region),
    ("status", _status),
    ("modality", _modality),
    ("capability", _capability),
    ("confidential", _confidential),
    ("phi", _phi),
    ("agreement", _agreement),
    ("key_policy", _key_policy),
    ("preferences", _preferences),
)
