"""Reads the three headers that say where a call may go, against the key's policy.

Law: a header that contradicts the policy is refused, never changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from phigate.core.errors import InvalidRequest, KeyPolicyViolated
from phigate.core.types import MODEL_TIERS, REGIONS, KeyPolicy

_PHI_VALUES = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class RoutingHeaders:
    """The three headers after the policy: where, under which tier, how strong a model."""

    region: str
    phi: bool
    model_tier: str | None


def read_headers(
    headers: Mapping[str, str], policy: KeyPolicy, stack_region: str
) -> RoutingHeaders:
    """X-Region, X-PHI and X-Model-Tier, else the key's defaults. Names in lower case."""
    region = _one_of(headers.get("x-region"), "X-Region", REGIONS, upper=True)
    model_tier = _one_of(headers.get("x-model-tier"), "X-Model-Tier", MODEL_TIERS)
    return RoutingHeaders(
        region=region or policy.default_region or stack_region,
        phi=_phi(headers.get("x-phi"), policy),
        model_tier=model_tier or policy.default_model_tier,
    )


def check_key_region(routing: RoutingHeaders, policy: KeyPolicy) -> None:
    """Refuse a region that the key may not send to. Raises KeyPolicyViolated."""
    if policy.regions is not None and routing.region not in policy.regions:
        raise KeyPolicyViolated(
            f"This key may not send to region {routing.region}; it may send to "
            f"{', '.join(sorted(policy.regions))}.",
            param="X-Region",
        )


def check_key_phi(routing: RoutingHeaders, policy: KeyPolicy) -> None:
    """Refuse PHI, or what is none, of a key that may not send it. Raises KeyPolicyViolated."""
    if policy.phi == ("forbidden" if routing.phi else "required"):
        raise KeyPolicyViolated(
            f"This key's policy is phi = {policy.phi}, which X-PHI: "
            f"{str(routing.phi).lower()} contradicts.",
            param="X-PHI",
        )


def _one_of(
    value: str | None, name: str, values: tuple[str, ...], *, upper: bool = False
) -> str | None:
    if value is None:
        return None
    known = value.strip().upper() if upper else value.strip().lower()
    if known not in values:
        raise InvalidRequest(f"{name} must be one of {', '.join(values)}.", param=name)
    return known


def _phi(value: str | None, policy: KeyPolicy) -> bool:
    if value is None:
        return policy.phi == "required"
    phi = _PHI_VALUES.get(value.strip().lower())
    if phi is None:
        raise InvalidRequest("X-PHI must be true, false, 1 or 0.", param="X-PHI")
    return phi
