"""What a simulated provider can be told to do wrong, and how: tables, no branches by kind.

An order comes from the control endpoint or from a magic word in the last user text:
`simulate:kind` or `simulate:kind=number`. Each stage of an answer has its own table at the end.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from local.simulated.compose import stretched
from local.simulated.render import dumped
from local.simulated.shapes import (
    Answer,
    Ask,
    Cut,
    Data,
    Dialect,
    Draft,
    Order,
    Part,
    Pause,
    Raw,
    Refused,
    Reply,
    Usage,
)

AFTER_CHUNKS = 2  # content chunks before something happens in the middle of a stream
TIMEOUT_S = 900.0  # longer than any deadline of the gateway
OVERSIZED_BODY_BYTES = 33 * 1024 * 1024  # the gateway's limit is 32 MB
OVERSIZED_EVENT_BYTES = 1_200_000  # the gateway's limit is 1 MB
ABSURD_TOKENS = 10**12
CHUNKS_MAX = 100_000
REDIRECT_PATH = "/__redirected"
GARBAGE = b"<html><body>[simulated] this is not JSON</body></html>"
TRICKY_TEXT = (
    "[simulated] separators \u2028 and \u2029, a byte order mark \ufeff, a line end\n\n"
    "data: [DONE]\n\nand characters of two, three and four bytes: \u00fc \u6f22 \U0001d70b."
)
_WORD = re.compile(r"\bsimulate:([a-z_]+)(?:=(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True)
class Kind:
    """What the number of a kind means (None: it takes none), its default and its bounds."""

    takes: str | None = None
    default: float = 0
    least: float = 0
    most: float = 0


@dataclass(frozen=True, slots=True)
class Case:
    """What an order is carried out on. `elsewhere` is the same server under another host name."""

    ask: Ask
    dialect: Dialect
    elsewhere: str


def checked(order: Order) -> Order:
    """The order with its number filled in. Raises Refused for a kind or number there is not."""
    kind = KINDS.get(order.kind)
    if kind is None:
        raise Refused("There is no failure of this kind.", param="fail")
    if order.number is None:
        return replace(order, number=kind.default)
    if kind.takes is None or not kind.least <= order.number <= kind.most:
        raise Refused(f"{order.kind} does not take this number.", param=kind.takes or "fail")
    return order


def orders_in(text: str) -> tuple[Order, ...]:
    """The orders of the magic words in a text. Raises Refused for a word there is not."""
    found = [(name, float(number) if number else None) for name, number in _WORD.findall(text)]
    after = next((int(number or 0) for name, number in found if name == "after_chunks"), None)
    return tuple(
        checked(Order(name, number, after)) for name, number in found if name != "after_chunks"
    )


def drafted(draft: Draft, orders: Iterable[Order]) -> Draft:
    """The draft as the orders want it."""
    for order in orders:
        draft = DRAFTS.get(order.kind, _same)(draft, order)
    return draft


def answered(answer: Answer, orders: Iterable[Order]) -> Answer:
    """The answer as the orders want it."""
    for order in orders:
        answer = ANSWERS.get(order.kind, _same)(answer, order)
    return answer


def replied(reply: Reply, orders: Iterable[Order], case: Case) -> Reply:
    """The reply as the orders want it."""
    for order in orders:
        if order.kind in REPLIES:
            reply = REPLIES[order.kind](reply, order, case)
        reply = replace(reply, delay_s=reply.delay_s + order.delay_s)
    return reply


def error_reply(dialect: Dialect, status: int, message: str, **names: str | None) -> Reply:
    """An error answer in the dialect's own shape."""
    body = dialect.error(status, message, names.get("param"), names.get("code"))
    headers = (("retry-after", "1"),) if status == 429 else ()
    return Reply(stream=False, parts=(Data("whole", body),), status=status, headers=headers)


def _same[T](value, order):
    return value
