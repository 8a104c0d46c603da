"""Carries orders out: one table for each stage of an answer, from the kind of an order to what it
does there. A kind may stand in several tables.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from local.simulated.compose import stretched
from local.simulated.render import dumped
from local.simulated.shapes import (
    Answer,
    Cut,
    Data,
    Dialect,
    Draft,
    FailureOrder,
    Json,
    Part,
    Pause,
    Raw,
    Reply,
    Usage,
)

AFTER_CHUNKS = 2  # content chunks before something happens in the middle of a stream
OVERSIZED_BODY_BYTES = 33 * 1024 * 1024  # the gateway's limit is 32 MB
OVERSIZED_EVENT_BYTES = 1_200_000  # the gateway's limit is 1 MB
OVERSIZED_WRITE_BYTES = 65_536
ABSURD_TOKENS = 10**12
REDIRECT_PATH = "/__redirected"
GARBAGE = b"<html><body>[simulated] this is not JSON</body></html>"
FORGED_COMMENT = b': phi {"usage":"verified","cost_micro":0}\n\n'
FORGED_MEMBERS = {"x_phi_cost": 0, "phi_tier": "phi"}
FORGED_HEADERS = (("x-phi-cost-micro", "0"), ("x-phi-routed", "forged/CH/phi"))
TRICKY_TEXT = (
    "[simulated] separators \u2028 and \u2029, a byte order mark \ufeff, a line end\n\n"
    "data: [DONE]\n\nand characters of two, three and four bytes: \u00fc \u6f22 \U0001d70b."
)


@dataclass(frozen=True, slots=True)
class Case:
    """What a reply is changed for. `elsewhere` is this server under another host name."""

    dialect: Dialect
    elsewhere: str


def drafted(draft: Draft, orders: Iterable[FailureOrder]) -> Draft:
    """The draft as the orders want it; JSON and tool calls stay as they are."""
    for order in orders:
        if draft.is_prose and order.kind in DRAFTS:
            draft = DRAFTS[order.kind](draft, order)
    return draft


def answered(answer: Answer, orders: Iterable[FailureOrder]) -> Answer:
    """The answer as the orders want it."""
    for order in orders:
        if order.kind in ANSWERS:
            answer = ANSWERS[order.kind](answer)
    return answer


def replied(reply: Reply, orders: Iterable[FailureOrder], case: Case) -> Reply:
    """The reply as the orders want it, each with its delay before the first byte."""
    for order in orders:
        if order.kind in REPLIES:
            reply = REPLIES[order.kind](reply, order, case)
        reply = replace(reply, delay_s=reply.delay_s + order.delay_s)
    return reply


def error_reply(dialect: Dialect, status: int, message: str, **names: str | None) -> Reply:
    """An error answer in the dialect's own shape; `names` are param and code."""
    body = dialect.error(status, message, names.get("param"), names.get("code"))
    headers = (("retry-after", "1"),) if status == 429 else ()
    return Reply(stream=False, parts=(Data("whole", body),), status=status, headers=headers)


def _instead(reply: Reply, other: Reply) -> Reply:
    return replace(other, delay_s=reply.delay_s)


def _status(reply: Reply, order: FailureOrder, case: Case) -> Reply:
    status = int(order.number or 0)
    message = f"[simulated] The provider answers with status {status}."
    return _instead(reply, error_reply(case.dialect, status, message, code="simulated_failure"))


def _refuse(reply: Reply, order: FailureOrder, case: Case) -> Reply:
    message = "[simulated] The provider refuses this request."
    names = {"param": "messages", "code": "simulated_refusal"}
    return _instead(reply, error_reply(case.dialect, int(order.number or 0), message, **names))


def _redirect(reply: Reply, _: FailureOrder, case: Case) -> Reply:
    headers = (("location", case.elsewhere + REDIRECT_PATH),)
    return _instead(reply, Reply(stream=False, parts=(), status=307, headers=headers))


def _timeout(reply: Reply, order: FailureOrder, _: Case) -> Reply:
    return replace(reply, delay_s=reply.delay_s + (order.number or 0.0))


def _silence(reply: Reply, order: FailureOrder, _: Case) -> Reply:
    before, after = _halves(reply, order)
    return replace(reply, parts=(*before, Pause(order.number or 0.0), *after))


def _paced(reply: Reply, order: FailureOrder, _: Case) -> Reply:
    pause = Pause((order.number or 0.0) / 1_000)
    paced: list[Part] = []
    for part in reply.parts:
        paced += (part, pause) if isinstance(part, Data) and part.kind != "done" else (part,)
    return replace(reply, parts=tuple(paced))


def _cut(reply: Reply, order: FailureOrder, _: Case) -> Reply:
    before, _after = _halves(reply, order)
    return replace(reply, parts=(*before, Cut()))


def _no_done(reply: Reply, _: FailureOrder, __: Case) -> Reply:
    return replace(reply, parts=tuple(part for part in reply.parts if _kind(part) != "done"))


def _garbage(reply: Reply, order: FailureOrder, _: Case) -> Reply:
    if not reply.stream:
        return replace(reply, parts=(Raw(GARBAGE),))
    before = () if order.after_chunks is None else _halves(reply, order)[0]
    return replace(reply, parts=(*before, Raw(b"data: " + GARBAGE + b"\n\n")))


def _error_first(reply: Reply, _: FailureOrder, case: Case) -> Reply:
    return replace(reply, parts=(_error(case), *_ends(reply)))


def _error_mid(reply: Reply, order: FailureOrder, case: Case) -> Reply:
    before = _halves(reply, order)[0] if reply.stream else ()
    return replace(reply, parts=(*before, _error(case), *_ends(reply)))


def _oversized(reply: Reply, order: FailureOrder, _: Case) -> Reply:
    size = OVERSIZED_EVENT_BYTES if reply.stream else OVERSIZED_BODY_BYTES
    before = () if order.after_chunks is None else _halves(reply, order)[0]
    head = b'data: {"simulated":"' if reply.stream else b'{"simulated":"'
    write = Raw(b"x" * OVERSIZED_WRITE_BYTES)
    count = size // OVERSIZED_WRITE_BYTES + 1
    tail = b'"}\n\n' if reply.stream else b'"}'
    return replace(reply, parts=(*before, Raw(head), *(write for _ in range(count)), Raw(tail)))


def _split(reply: Reply, _: FailureOrder, __: Case) -> Reply:
    return replace(reply, framing="split")


def _crlf(reply: Reply, _: FailureOrder, __: Case) -> Reply:
    return replace(reply, framing="crlf")


def _forge(reply: Reply, _: FailureOrder, __: Case) -> Reply:
    parts: list[Part] = []
    for part in reply.parts:
        if reply.stream and _kind(part) in ("open", "finish", "done"):
            parts.append(Raw(FORGED_COMMENT))
        parts.append(_with_forged_members(part))
    return replace(reply, parts=tuple(parts), headers=(*reply.headers, *FORGED_HEADERS))


def _with_forged_members(part: Part) -> Part:
    if isinstance(part, Data) and isinstance(part.value, dict):
        return replace(part, value={**part.value, **FORGED_MEMBERS})
    return part


def _error(case: Case) -> Data:
    message = "[simulated] The provider failed while it answered."
    body: Json = case.dialect.error(500, message, None, "simulated_failure")
    return Data("error", body, case.dialect.error_event)


def _ends(reply: Reply) -> tuple[Part, ...]:
    return tuple(part for part in reply.parts if _kind(part) == "done")


def _kind(part: Part) -> str:
    return part.kind if isinstance(part, Data) else ""


def _halves(reply: Reply, order: FailureOrder) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """What is sent up to the wanted number of chunks, and the rest; a JSON body in its middle.

    A stream is parted after its opening at the earliest and before its finish at the latest.
    """
    wanted = AFTER_CHUNKS if order.after_chunks is None else order.after_chunks
    if not reply.stream:
        body = b"".join(dumped(part.value) for part in reply.parts if isinstance(part, Data))
        return (Raw(body[: len(body) // 2]),), (Raw(body[len(body) // 2 :]),)
    for i, part in enumerate(reply.parts):
        if _kind(part) in ("finish", "usage", "done"):
            return reply.parts[:i], reply.parts[i:]
        if _kind(part) in ("content", "call"):
            if wanted == 0:
                return reply.parts[:i], reply.parts[i:]
            wanted -= 1
    return reply.parts, ()


DRAFTS: dict[str, Callable[[Draft, FailureOrder], Draft]] = {
    "chunks": lambda draft, order: replace(
        draft,
        text=stretched(draft.text, int(order.number or 1)),
        chunks=int(order.number or 1),
    ),
    "unicode": lambda draft, _: replace(draft, text=TRICKY_TEXT),
}
ANSWERS: dict[str, Callable[[Answer], Answer]] = {
    "no_usage": lambda answer: replace(answer, usage=None),
    "absurd_usage": lambda answer: replace(answer, usage=Usage(ABSURD_TOKENS, ABSURD_TOKENS)),
    "negative_usage": lambda answer: replace(answer, usage=Usage(-5, -7)),
    "usage_with_choices": lambda answer: replace(answer, usage_with_choices=True),
}
REPLIES: dict[str, Callable[[Reply, FailureOrder, Case], Reply]] = {
    "status": _status,
    "refuse": _refuse,
    "redirect": _redirect,
    "timeout": _timeout,
    "silence": _silence,
    "pace_ms": _paced,
    "cut": _cut,
    "no_done": _no_done,
    "garbage": _garbage,
    "error_first": _error_first,
    "error_mid": _error_mid,
    "oversized": _oversized,
    "unicode": _split,
    "crlf": _crlf,
    "forge": _forge,
}
