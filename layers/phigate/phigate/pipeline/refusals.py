"""What a caller is told where no row may serve them, or their hold or call was refused."""

from collections.abc import Mapping

from phigate.core.errors import (
    CallerError,
    InsufficientCredit,
    InvalidApiKey,
    KeyPolicyViolated,
    NoRoute,
    PhiBlocked,
    RateLimited,
)
from phigate.core.ledger.cost import tokens_affordable
from phigate.core.ledger.port import CountRefusal, HoldRefused
from phigate.core.routing.gate import Code
from phigate.core.types import ConfidentialBy, KeyPolicy, Requirements
from phigate.pipeline.plan import RequestPlan


def refused(code: Code, requirements: Requirements) -> CallerError:
    """The refusal of a route without candidates."""
    kind, message = _REFUSALS[code]
    never = requirements.phi and requirements.task == "math"  # whatever else were asked
    why = _NEVER_PHI if never else _CONFIDENTIAL.get(requirements.confidential, "")
    return kind(message.format(region=requirements.region) + why)


def hold_refused(
    plan: RequestPlan, refused: HoldRefused, policy: KeyPolicy, now_s: float
) -> CallerError:
    """The answer to a hold that was not written."""
    return _HOLD_REFUSALS[refused.reason](plan, refused, policy, now_s)


def count_refused(reason: CountRefusal, policy: KeyPolicy, now_s: float) -> CallerError:
    """The answer to a call that was not counted."""
    return _disabled_key() if reason == "key" else _over_rate(policy, now_s)


_NEVER_PHI = (
    " No agreement covers the math agent's sandbox, so /v1/math takes general traffic only."
)
# What else a refusal says, by what makes an enclave necessary.
_CONFIDENTIAL: Mapping[ConfidentialBy | None, str] = {
    "name": " Every row of this model is confidential, so no other may answer for it, unless "
    "provider.confidential is false.",
    "policy": " This key's policy allows confidential rows only.",
    "preference": " provider.confidential allows confidential rows only.",
}
_REFUSALS: Mapping[Code, tuple[type[CallerError], str]] = {
    "phi_blocked": (
        PhiBlocked,
        "No provider in region {region} has an agreement in force that permits PHI for this "
        "request. It was not sent anywhere. POST /v1/route shows every row and its rule.",
    ),
    "key_policy": (
        KeyPolicyViolated,
        "None of the models that this key may use serves this request in region {region}.",
    ),
    "no_route": (
        NoRoute,
        "No live model serves this request in region {region} within what was asked. "
        "POST /v1/route shows every row and the rule that removed it.",
    ),
}


def _disabled(
    plan: RequestPlan, refused: HoldRefused, policy: KeyPolicy, now_s: float
) -> CallerError:
    return _disabled_key()


def _disabled_key() -> CallerError:
    return InvalidApiKey("The key is disabled.")


def _no_credit(
    plan: RequestPlan, refused: HoldRefused, policy: KeyPolicy, now_s: float
) -> CallerError:
    available = refused.available_micros
    affordable = tokens_affordable(plan.route.candidates, plan.requirements, available)
    what = "credit" if refused.reason == "credit" else "of this key's spending limit for today"
    extra = {"needed_micro": plan.hold_micros, "available_micro": available}
    advice = "not even one token of an answer is covered; add credit, or send a shorter prompt."
    if affordable:
        extra["max_tokens_affordable"] = affordable
        advice = f"add credit, or ask for at most {affordable} output tokens with max_tokens."
    return InsufficientCredit(
        f"The request may cost up to {plan.hold_micros} micro-USD and {available} {what} "
        f"{'is' if refused.reason == 'credit' else 'are'} left: {advice}",
        extra=extra,
    )


def _too_fast(
    plan: RequestPlan, refused: HoldRefused, policy: KeyPolicy, now_s: float
) -> CallerError:
    return _over_rate(policy, now_s)


def _over_rate(policy: KeyPolicy, now_s: float) -> CallerError:
    return RateLimited(
        f"This key may call {policy.rpm} times a minute.",
        headers={"retry-after": str(60 - int(now_s) % 60)},
    )


def _too_many(
    plan: RequestPlan, refused: HoldRefused, policy: KeyPolicy, now_s: float
) -> CallerError:
    return RateLimited(
        "The account has too many requests under way; wait for some to end.",
        headers={"retry-after": "1"},
    )


_HOLD_REFUSALS = {
    "key": _disabled,
    "credit": _no_credit,
    "spend_limit": _no_credit,
    "rate": _too_fast,
    "holds": _too_many,
    "refusals": _too_fast,
}
