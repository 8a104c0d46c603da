"""What a simulated provider can be told to do wrong, and how it is told.

An order comes from the control endpoint or from a magic word in the last user text:
`simulate:kind` or `simulate:kind=number`. failures.py carries orders out.
"""

import re
from dataclasses import dataclass, replace

from local.simulated.shapes import FailureOrder, Json, Refused

TIMEOUT_S = 900.0  # longer than any deadline of the gateway
DELAY_S_MAX = 3_600.0
CHUNKS_MAX = 10_000
ORDERS_MAX = 16  # magic words in one text
_WORD = re.compile(r"\bsimulate:([a-z_]+)(?:=(\d+(?:\.\d+)?))?")
_AFTER = "after_chunks"
_CONTROL_MEMBERS = frozenset({"provider", "fail", "times", _AFTER, "status", "delay_s", "number"})


@dataclass(frozen=True, slots=True)
class FailureKind:
    """The control member that a kind's number comes from (None: it takes none), its default and
    its bounds."""

    takes: str | None = None
    default: float | None = None
    least: float = 0
    most: float = 0


@dataclass(frozen=True, slots=True)
class RepeatedFailure:
    """An order for the next `times_left` calls of a provider; None is until it is reset."""

    order: FailureOrder
    times_left: int | None


def orders_in(text: str) -> tuple[FailureOrder, ...]:
    """The orders of the magic words in a text. Raises Refused for a word there is not."""
    found = [(name, float(number) if number else None) for name, number in _WORD.findall(text)]
    if len(found) > ORDERS_MAX:
        raise Refused("Too many failures to simulate at once.", param="messages")
    after = next((int(number or 0) for name, number in found if name == _AFTER), None)
    orders = (FailureOrder(name, number, after) for name, number in found if name != _AFTER)
    return tuple(_checked(order, "messages") for order in orders)


def plan_of(body: Json) -> tuple[str, RepeatedFailure]:
    """The provider and the plan in a body of POST /__control. Raises Refused."""
    for name in body:
        if name not in _CONTROL_MEMBERS:
            raise Refused("There is no such member.", param=name)
    provider, kind = body.get("provider"), body.get("fail")
    if not isinstance(provider, str) or not isinstance(kind, str):
        raise Refused("provider and fail are names.", param="fail")
    takes = KINDS[kind].takes if kind in KINDS else None
    delay_s = _number(body, "delay_s") or 0.0
    if delay_s > DELAY_S_MAX:
        raise Refused("delay_s is too long.", param="delay_s")
    order = FailureOrder(
        kind,
        _number(body, takes or "number"),
        _count(body, _AFTER),
        0.0 if takes == "delay_s" else delay_s,
    )
    return provider, RepeatedFailure(_checked(order, "fail"), _count(body, "times"))


def _checked(order: FailureOrder, param: str) -> FailureOrder:
    """The order with its number filled in. Raises Refused for a kind or number there is not."""
    kind = KINDS.get(order.kind)
    if kind is None:
        raise Refused("There is no such failure to simulate.", param=param)
    if order.number is None:
        return replace(order, number=kind.default)
    if not kind.least <= order.number <= kind.most:
        raise Refused(f"{order.kind} does not take this number.", param=param)
    return order


def _number(body: Json, name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or value < 0:
        raise Refused(f"{name} is a number of at least 0.", param=name)
    return float(value)


def _count(body: Json, name: str) -> int | None:
    value = body.get(name)
    if value is not None and (type(value) is not int or value < 0):
        raise Refused(f"{name} is a whole number of at least 0.", param=name)
    return value


KINDS: dict[str, FailureKind] = {
    # An error instead of an answer.
    "status": FailureKind("status", 503, 400, 599),
    "refuse": FailureKind("status", 400, 400, 499),
    "redirect": FailureKind(),
    # Time.
    "timeout": FailureKind("delay_s", TIMEOUT_S, 0, DELAY_S_MAX),
    "silence": FailureKind("delay_s", 20, 0, DELAY_S_MAX),
    "pace_ms": FailureKind("number", 10, 0, 60_000),
    "chunks": FailureKind("number", 200, 1, CHUNKS_MAX),
    # A broken answer.
    "cut": FailureKind(),
    "no_done": FailureKind(),
    "garbage": FailureKind(),
    "error_first": FailureKind(),
    "error_mid": FailureKind(),
    "oversized": FailureKind(),
    # Usage.
    "no_usage": FailureKind(),
    "absurd_usage": FailureKind(),
    "negative_usage": FailureKind(),
    "usage_with_choices": FailureKind(),
    # Valid, and hard to read or not to be trusted.
    "unicode": FailureKind(),
    "crlf": FailureKind(),
    "forge": FailureKind(),
}
