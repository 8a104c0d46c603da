"""How much a model is asked to reason, out of the three members that say so.

Law: `thinking` is said over by `reasoning`, and both by `reasoning_effort`; an earlier member still
says what a later one is silent about.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from phigate.core.errors import InvalidRequest
from phigate.core.types import Json

_TOKENS_NAMES = ("budget_tokens", "budgetTokens", "max_tokens", "maxTokens")
_SHOWN_NAMES = ("include_thoughts", "includeThoughts")
_OFF = frozenset({"none", "disabled"})


@dataclass(frozen=True, slots=True)
class Reasoning:
    """`named` are the members that asked; None is what nobody asked."""

    named: tuple[str, ...]
    enabled: bool
    effort: str | None
    tokens_max: int | None
    shown: bool | None


def reasoning(body: Json) -> Reasoning | None:
    """What the request asks of reasoning; None when it is silent. Members that are null are."""
    asked: dict[str, Any] = {}
    named = [name for name in ("thinking", "reasoning", "reasoning_effort") if body.get(name)]
    for name in named:
        value = body[name]
        asked |= _asked(value if isinstance(value, Mapping) else {"effort": value})
    if not asked:
        return None
    return Reasoning(
        tuple(named),
        asked.get("enabled", True),
        asked.get("effort"),
        asked.get("tokens_max"),
        asked.get("shown"),
    )


def _asked(value: Mapping[str, Any]) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    effort = _first(value, ("effort",), str)
    if effort is not None:
        asked |= {"effort": effort, "enabled": effort not in _OFF}
    enabled = _first(value, ("enabled",), bool)
    if enabled is not None:
        asked["enabled"] = enabled
    kind = _first(value, ("type",), str)
    if kind is not None:
        asked["enabled"] = kind not in _OFF
    tokens = _first(value, _TOKENS_NAMES, int)
    if tokens is not None:
        asked["tokens_max"] = tokens
    shown, summary = _first(value, _SHOWN_NAMES, bool), _first(value, ("summary",), str)
    if shown is not None or summary is not None:
        asked["shown"] = summary not in _OFF if shown is None else shown
    return asked


def _first(value: Mapping[str, Any], names: tuple[str, ...], kind: type) -> Any:
    """The first of the members that is there. Raises InvalidRequest for one of another type."""
    for name in names:
        found = value.get(name)
        if found is not None:
            if type(found) is not kind:
                raise InvalidRequest(f"{name} must be of type {_NOUNS[kind]}.", param=name)
            return found
    return None


_NOUNS = {str: "string", bool: "boolean", int: "integer"}
