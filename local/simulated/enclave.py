"""The part of a simulated provider that a confidential one has on top: it signs the hash of what it
received and sent, and answers for its keys with a report which says that it is simulated.

The signatures are real, the keys live as long as the process. Hashes are kept, nothing else.
https://docs.phala.com/phala-cloud/confidential-ai/confidential-model/api-reference/signature
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import parse_qs

from coincurve import PrivateKey
from Crypto.Hash import keccak
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from local.simulated.failures import error_reply
from local.simulated.openai import DIALECT, authorized
from local.simulated.shapes import Data, Json, Reply, Step

PROVIDERS = ("phala",)  # those that have an enclave
TEXTS_MAX = 10_000  # as many answers can be asked about; the oldest is forgotten
_SIGNATURE = re.compile(r"/v1/signature/([^/]+)")
_REPORT = "/v1/attestation/report"
_NONCE = re.compile(r"[0-9a-fA-F]{0,64}")
_NO_QUOTE = "[simulated] There is no enclave here: this is no quote, and proves nothing."


class Enclave:
    """The keys of one simulated provider, and what they have signed."""

    def __init__(self) -> None:
        self._ecdsa = PrivateKey()
        self._ed25519 = Ed25519PrivateKey.generate()
        self._texts: dict[str, str] = {}

    def witnessed(self, script: Iterator[Step], request: bytes, answer_id: str) -> Iterator[Step]:
        """The same steps; what went in and out is remembered once all of it was sent."""
        sent = hashlib.sha256()
        for step in script:
            if isinstance(step, bytes):
                sent.update(step)
            yield step
        self._texts[answer_id] = f"{hashlib.sha256(request).hexdigest()}:{sent.hexdigest()}"
        if len(self._texts) > TEXTS_MAX:
            self._texts.pop(next(iter(self._texts)))

    def answers(self, path: str, query: bytes, headers: Mapping[str, str]) -> Reply | None:
        """The answer to a GET of the signature or the report; None for any other path."""
        found = _SIGNATURE.fullmatch(path)
        if found is None and path != _REPORT:
            return None
        if not authorized(headers):
            return error_reply(DIALECT, 401, "[simulated] You didn't provide an API key.")
        asked = {name: values[-1] for name, values in parse_qs(query.decode("latin-1")).items()}
        algo = asked.get("signing_algo", "ecdsa")
        if algo not in _SIGNERS:
            return error_reply(DIALECT, 400, "[simulated] Invalid signing algorithm.")
        return self._report(asked, algo) if found is None else self._signature(found[1], algo)

    def _signature(self, answer_id: str, algo: str) -> Reply:
        text = self._texts.get(answer_id)
        if text is None:
            return error_reply(DIALECT, 404, "[simulated] Chat id not found or expired.")
        signature, address = _SIGNERS[algo](self, text)
        return _whole(
            {
                "text": text,
                "signature": signature,
                "signing_address": address,
                "signing_algo": algo,
            }
        )

    def _report(self, asked: Mapping[str, str], algo: str) -> Reply:
        nonce = asked.get("nonce", "")
        if _NONCE.fullmatch(nonce) is None:
            return error_reply(DIALECT, 400, "[simulated] Invalid nonce.", param="nonce")
        _, address = _SIGNERS[algo](self, "")
        attestation: Json = {
            "simulated": True,
            "signing_address": address,
            "signing_algo": algo,
            "request_nonce": nonce,
            "intel_quote": _NO_QUOTE,
            "nvidia_payload": _NO_QUOTE,
        }
        return _whole({**attestation, "all_attestations": [attestation]})

    def sign_ecdsa(self, text: str) -> tuple[str, str]:
        """Signature and address by EIP-191."""
        content = text.encode()
        digest = _keccak(b"\x19Ethereum Signed Message:\n%d" % len(content) + content)
        raw = self._ecdsa.sign_recoverable(digest, hasher=None)
        public = self._ecdsa.public_key.format(compressed=False)[1:]
        return f"0x{raw[:64].hex()}{raw[64] + 27:02x}", f"0x{_keccak(public)[-20:].hex()}"

    def sign_ed25519(self, text: str) -> tuple[str, str]:
        """Signature and public key."""
        public = self._ed25519.public_key().public_bytes_raw()
        return self._ed25519.sign(text.encode()).hex(), public.hex()


def _keccak(content: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=content).digest()


def _whole(body: Json) -> Reply:
    return Reply(stream=False, parts=(Data("whole", body),))


_SIGNERS: Mapping[str, Callable[[Enclave, str], tuple[str, str]]] = {
    "ecdsa": Enclave.sign_ecdsa,
    "ed25519": Enclave.sign_ed25519,
}
