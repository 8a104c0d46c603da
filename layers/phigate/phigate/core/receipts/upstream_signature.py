"""What a confidential provider has signed of one answer: its four members, and nothing else of what
its endpoint says.

Law: each member is a number in hex, a known name or a model's name: no content can hide in it. What
is kept names no other model than the row's.
https://docs.phala.com/phala-cloud/confidential-ai/confidential-model/api-reference/signature
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from phigate.core.limits import UPSTREAM_SIGNATURE_BYTES_MAX

_SHAPES: Mapping[str, re.Pattern[str]] = {
    # request:response, or with the provider's own name of the model in front.
    "text": re.compile(r"(?:[A-Za-z0-9._/-]{1,80}:)?[0-9a-f]{64}:[0-9a-f]{64}"),
    "signature": re.compile(r"(?:0x)?(?:[0-9a-fA-F]{128}|[0-9a-fA-F]{130})"),
    # An Ethereum address, or an Ed25519 key.
    "signing_address": re.compile(r"(?:0x)?(?:[0-9a-fA-F]{40}|[0-9a-fA-F]{64})"),
    "signing_algo": re.compile(r"ecdsa|ed25519"),
}


@dataclass(frozen=True, slots=True)
class UpstreamSignature:
    """The signature of a text that holds the two hashes, and who made it."""

    text: str
    signature: str
    signing_address: str
    signing_algo: str

    @property
    def hashes(self) -> tuple[str, str]:
        """What the text says the request and the answer hash to."""
        *_, request, response = self.text.split(":")
        return request, response

    def names(self, model: str) -> bool:
        """Whether the text names this model and no other, or none at all. A name is the one member
        in which words could stand, so only one that the catalog knows is kept."""
        name, *hashes = self.text.split(":")
        return len(hashes) == 1 or name in (model, model.rpartition("/")[2])


def read_upstream_signature(content: bytes) -> UpstreamSignature | None:
    """The signature in an answer's JSON; None where it holds none."""
    if len(content) > UPSTREAM_SIGNATURE_BYTES_MAX:
        return None
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    found = {field.name: body.get(field.name) for field in fields(UpstreamSignature)}
    for name, value in found.items():
        if not isinstance(value, str) or _SHAPES[name].fullmatch(value) is None:
            return None
    return UpstreamSignature(**{name: str(value) for name, value in found.items()})
