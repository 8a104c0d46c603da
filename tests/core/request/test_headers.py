"""What the headers of a call ask, held against the key's policy."""

import pytest

from phigate.core.errors import InvalidRequest, KeyPolicyViolated
from phigate.core.request.headers import (
    RoutingHeaders,
    check_key_phi,
    check_key_region,
    read_headers,
)
from phigate.core.types import KeyPolicy

ANY = KeyPolicy()
GENERAL = RoutingHeaders("CH", False, None)
PHI = RoutingHeaders("CH", True, None)

# Headers, the key's policy, and what is pinned. The stack's own region is EU.
HEADERS: dict[str, tuple[dict[str, str], KeyPolicy, RoutingHeaders]] = {
    "none: the stack's region, general": ({}, ANY, RoutingHeaders("EU", False, None)),
    "X-PHI true": ({"x-phi": "true"}, ANY, RoutingHeaders("EU", True, None)),
    "X-PHI 1": ({"x-phi": "1"}, ANY, RoutingHeaders("EU", True, None)),
    "X-PHI TRUE": ({"x-phi": "TRUE"}, ANY, RoutingHeaders("EU", True, None)),
    "X-PHI with spaces": ({"x-phi": " true "}, ANY, RoutingHeaders("EU", True, None)),
    "X-PHI false": ({"x-phi": "false"}, ANY, RoutingHeaders("EU", False, None)),
    "X-PHI 0": ({"x-phi": "0"}, ANY, RoutingHeaders("EU", False, None)),
    "a key for PHI alone needs no header": (
        {},
        KeyPolicy("required"),
        RoutingHeaders("EU", True, None),
    ),
    "a key without PHI needs no header": (
        {},
        KeyPolicy("forbidden"),
        RoutingHeaders("EU", False, None),
    ),
    "the key's region": ({}, KeyPolicy(default_region="UK"), RoutingHeaders("UK", False, None)),
    "the header before the key's region": (
        {"x-region": "US"},
        KeyPolicy(default_region="UK"),
        RoutingHeaders("US", False, None),
    ),
    "region in lower case": ({"x-region": "latam"}, ANY, RoutingHeaders("LATAM", False, None)),
    "WORLD is a region": ({"x-region": "WORLD"}, ANY, RoutingHeaders("WORLD", False, None)),
    "model tier": ({"x-model-tier": "Fast"}, ANY, RoutingHeaders("EU", False, "fast")),
    "the key's model tier": (
        {},
        KeyPolicy(default_model_tier="thinking"),
        RoutingHeaders("EU", False, "thinking"),
    ),
}


@pytest.mark.parametrize(("headers", "policy", "pinned"), HEADERS.values(), ids=HEADERS)
def test_headers_are_read_with_the_defaults_of_the_key(
    headers: dict[str, str], policy: KeyPolicy, pinned: RoutingHeaders
) -> None:
    assert read_headers(headers, policy, "EU") == pinned


BAD_HEADERS = {
    "X-PHI yes": ("x-phi", "yes", "X-PHI"),
    "X-PHI empty": ("x-phi", "", "X-PHI"),
    "X-PHI 2": ("x-phi", "2", "X-PHI"),
    "X-PHI sent twice": ("x-phi", "true, false", "X-PHI"),
    "X-PHI in another script": ("x-phi", "\N{FULLWIDTH DIGIT ONE}", "X-PHI"),
    "unknown region": ("x-region", "MARS", "X-Region"),
    "region empty": ("x-region", "", "X-Region"),
    "two regions": ("x-region", "CH, EU", "X-Region"),
    "region with a line end inside": ("x-region", "CH\r\nX: 1", "X-Region"),
    "unknown model tier": ("x-model-tier", "huge", "X-Model-Tier"),
}


@pytest.mark.parametrize(("name", "value", "param"), BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_a_header_out_of_range_is_refused(name: str, value: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_headers({name: value}, ANY, "EU")
    assert caught.value.param == param


# What is pinned, the key's policy, and the header that contradicts it.
POLICIES: dict[str, tuple[RoutingHeaders, KeyPolicy, str | None]] = {
    "PHI where it is required": (PHI, KeyPolicy("required"), None),
    "no PHI where it is required": (GENERAL, KeyPolicy("required"), "X-PHI"),
    "PHI where it is forbidden": (PHI, KeyPolicy("forbidden"), "X-PHI"),
    "no PHI where it is forbidden": (GENERAL, KeyPolicy("forbidden"), None),
    "PHI where it is allowed": (PHI, ANY, None),
    "no PHI where it is allowed": (GENERAL, ANY, None),
    "a region of the key": (GENERAL, KeyPolicy(regions=frozenset({"CH", "EU"})), None),
    "a region outside the key": (GENERAL, KeyPolicy(regions=frozenset({"EU"})), "X-Region"),
    "a key without any region": (GENERAL, KeyPolicy(regions=frozenset()), "X-Region"),
}


def check(routing: RoutingHeaders, policy: KeyPolicy) -> None:
    check_key_region(routing, policy)
    check_key_phi(routing, policy)


@pytest.mark.parametrize(("pinned", "policy", "param"), POLICIES.values(), ids=POLICIES)
def test_a_header_that_contradicts_the_policy_is_refused(
    pinned: RoutingHeaders, policy: KeyPolicy, param: str | None
) -> None:
    if param is None:
        check(pinned, policy)
        return
    with pytest.raises(KeyPolicyViolated) as caught:
        check(pinned, policy)
    assert caught.value.param == param
