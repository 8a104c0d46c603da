"""Whose doing it is that an answer cannot be handed on: the row's, or the caller's own levers.

What the caller asked for and the row wrote is charged, tried nowhere else and held against no row;
what no lever explains is the row's failure. Length, log probabilities, a schema and members that
nobody here knows are levers. A truthful row never writes more than they explain, so that nobody can
have tokens written for nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from phigate.core.json_bounds import depth, is_too_much
from phigate.core.limits import (
    ANSWER_BYTES_MAX,
    ANSWER_PARTS_MAX,
    CHUNK_BYTES_MAX,
    EVENT_BYTES_MAX,
    JSON_DEPTH_MAX,
    LOGPROB_BYTES_MAX,
    TOKEN_BYTES_MAX,
    UPSTREAM_BODY_BYTES_MAX,
)
from phigate.core.request.fields import MEMBERS, unsupported
from phigate.core.types import Json, Requirements, Row

# What has become too large: an answer in one piece, one event of a stream, a whole stream, or the
# number of parts that an answer is put together of.
Large = Literal["answer", "event", "stream", "parts"]

LOGPROBS = frozenset({"logprobs", "top_logprobs"})
_LIMITS: Mapping[Large, int] = {
    "answer": ANSWER_BYTES_MAX,
    "event": EVENT_BYTES_MAX,
    "stream": UPSTREAM_BODY_BYTES_MAX,
    "parts": ANSWER_PARTS_MAX,
}
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
# What has none of these was written by no model: an error, a page, nothing at all.
_ANSWERS = re.compile(rb'"(?:choices|content|text|output)"')
_DEPTH_SEEN_BYTES = 64 * 1024  # brackets that are walked through; no model writes more in a call


@dataclass(frozen=True, slots=True)
class Levers:
    """What of a request bears on the size and shape of one row's answer.

    `logprobs` are the alternatives told of each token, 0 for none; `is_shaped` says that a schema
    or tools make the model write JSON; `is_unknown` that members went upstream as they came.
    """

    tokens_out: int
    logprobs: int = 0
    is_shaped: bool = False
    is_unknown: bool = False


def levers_of(body: Json, requirements: Requirements, row: Row) -> Levers:
    """The levers of a canonical body at a row."""
    lost = unsupported(requirements.parameters, row)
    alternatives = 0
    if LOGPROBS & requirements.parameters - {*lost}:
        alternatives = 1 + (body.get("top_logprobs") or 0)
    options = body.get("provider_options") or {}
    return Levers(
        tokens_out=row.tokens_out_default
        if requirements.tokens_out is None
        else requirements.tokens_out,
        logprobs=alternatives,
        is_shaped=requirements.has_tools or body.get("response_format") is not None,
        is_unknown=bool(options.get(row.provider)) or not body.keys() <= MEMBERS.keys(),
    )


def explain_size(levers: Levers, large: Large) -> bool:
    """Whether a truthful row may have written more than the limit."""
    return levers.is_unknown or levers.tokens_out * _per_token(levers, large) > _LIMITS[large]


def explain_shape(levers: Levers, body: bytes) -> bool:
    """Whether an answer that cannot be read holds what a model was made to write: JSON that nests
    too deep, or half a character; or more log probabilities than can be read."""
    if levers.is_unknown and _ANSWERS.search(body) is not None:
        return True
    if levers.logprobs and is_too_much(body):
        return True
    if not levers.is_shaped:
        return False
    is_deep = depth(body, _DEPTH_SEEN_BYTES) > JSON_DEPTH_MAX
    return is_deep or _SURROGATE_ESCAPE.search(body) is not None


def written_bytes(levers: Levers, row: Row, body: bytes) -> int:
    """Bytes of text in JSON that was never read. Log probabilities are no text: where they were
    asked for they count the tokens."""
    if levers.logprobs:
        tokens = body.count(b'"logprob"') // levers.logprobs
        if tokens:
            return tokens * row.bytes_per_token_x10 // 10
    return len(body)


def _per_token(levers: Levers, large: Large) -> int:
    if large == "parts":
        return 1
    framing = CHUNK_BYTES_MAX if large == "stream" else 0
    return TOKEN_BYTES_MAX + framing + levers.logprobs * LOGPROB_BYTES_MAX
