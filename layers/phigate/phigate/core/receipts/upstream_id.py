"""What a receipt keeps of the id that an upstream gives its answer.

Law: a record holds nothing that an upstream could have written as text. An id of a shape that
providers are known to make is a number behind a known prefix and stands as it is; any other is kept
as its hash, which whoever has the id can compare, and under PHI not at all: it could be guessed.
"""

import hashlib
import re

# By OpenAI and vLLM, their older endpoints, Anthropic, OpenRouter, OpenAI's responses, and gateways
# that count requests.
_PREFIXES = r"(?:chatcmpl-|cmpl-|chat-|msg_|gen-|resp_|req_)"
_HEX = r"[0-9]{1,20}|[0-9a-f]{8,64}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
# A number to the base of 62 has capitals, small letters and digits in turn. Words have longer runs
# of small letters; one such number in five has too, and is kept as its hash.
_BASE62 = (
    r"(?=[^0-9]*[0-9])(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])(?!.*[a-z]{5})"
    r"(?:[0-9]{10}-)?[A-Za-z0-9]{16,43}"  # OpenRouter puts the time before it
)
_KNOWN = re.compile(rf"{_PREFIXES}(?:{_HEX}|{_BASE62})|{_HEX}")
_HASHED = "sha256:"


def kept_id(upstream_id: str, *, phi: bool) -> str | None:
    """What is kept of an id; None where nothing is."""
    if _KNOWN.fullmatch(upstream_id) is not None:
        return upstream_id
    return None if phi else _HASHED + hashlib.sha256(upstream_id.encode()).hexdigest()
