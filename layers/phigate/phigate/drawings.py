"""What of a math agent's drawings and text may leave, for the processes that serve math.

It is handed to a gateway made: what it loads is not for processes that only chat.
"""

from collections.abc import Sequence

from phigate.core.figures import clean_text, stitch
from phigate.core.types import Json
from phigate.gateway import Drawings
from phigate.wire.svg import sanitise


def illustrate(message: Json, figures: Sequence[str]) -> None:
    """Clean everything that a math answer says, and put its figures where its text names them."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(text for text in parts if isinstance(text, str))
    text, _ = stitch(clean_text(content if isinstance(content, str) else "", sanitise), figures)
    if text or content is not None:
        message["content"] = text
    for name in message.keys() - {"content", "role", "tool_calls"}:
        if isinstance(message[name], str):
            message[name] = clean_text(message[name], sanitise)


DRAWINGS = Drawings(sanitise, illustrate)
