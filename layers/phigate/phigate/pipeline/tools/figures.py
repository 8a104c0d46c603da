"""What of a math agent's drawings and text may leave, for the processes that serve math.

It is handed to a gateway made: what it loads is not for processes that only chat.
"""

import functools
from collections.abc import Sequence
from typing import Any

import orjson

from phigate.core.limits import EVENT_BYTES_MAX
from phigate.core.tools.clean_answer import clean_answer, clean_members, refuse_drawing
from phigate.core.types import Json
from phigate.pipeline.gateway import AnswerCleaner
from phigate.wire.svg.sanitize import sanitize


def _clean_answer(body: Json, figures: Sequence[str] | None) -> None:
    """See AnswerCleaner. What was written out as it came is opened first, a part at a time."""
    _open_parts(body)
    clean_answer(body, figures, sanitize)


def _open_parts(root: Any) -> None:
    pending: list[Any] = [root]
    while pending:
        container = pending.pop()
        places = container.items() if isinstance(container, dict) else enumerate(container)
        for place, value in list(places):
            if isinstance(value, orjson.Fragment):
                container[place] = _clean_part(value)
            elif isinstance(value, dict | list):
                pending.append(value)


def _clean_part(part: orjson.Fragment) -> orjson.Fragment | None:
    """A part, clean; nothing of one that is larger than an event: reading it would hold the loop of
    every other request."""
    contents = orjson.dumps(part)
    if len(contents) > EVENT_BYTES_MAX:
        return None
    held = [orjson.loads(contents)]
    clean_members({"": held}, sanitize)
    return orjson.Fragment(orjson.dumps(held[0]))


ANSWER_CLEANER = AnswerCleaner(
    clean=sanitize,
    clean_answer=_clean_answer,
    # An error draws nothing.
    clean_error=functools.partial(clean_members, sanitize=refuse_drawing),
)
