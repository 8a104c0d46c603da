"""The counted limits of a request, held before anything looks at what is counted.

Law: any JSON is taken here; what has a wrong type is counted as nothing and refused by its shape.
"""

from collections.abc import Sequence
from typing import Any

from phigate.core import limits
from phigate.core.errors import InvalidRequest
from phigate.core.types import Json


def check_counts(body: Json) -> None:
    """Raises InvalidRequest; `param` names the list that is too long."""
    messages = _list(body.get("messages"))
    at_most("messages", len(messages), limits.MESSAGES_MAX)
    parts = others = 0
    for message in messages:
        if isinstance(message, dict):
            for name, value in message.items():
                if isinstance(value, list):
                    if name == "content":
                        parts += len(value)
                    else:
                        others += len(value)
    at_most("messages", parts, limits.PARTS_MAX, what="content parts")
    at_most("messages", others, limits.TOOL_CALLS_MAX, what="tool calls and annotations")
    at_most("tools", len(_list(body.get("tools"))), limits.TOOLS_MAX)
    at_most("stop", len(_list(body.get("stop"))), limits.STOP_MAX)


def at_most(param: str, count: int, limit: int, what: str = "members") -> None:
    """Raises InvalidRequest for a list that is too long."""
    if count > limit:
        raise InvalidRequest(f"{param} has {count} {what}; at most {limit} are taken.", param=param)


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
