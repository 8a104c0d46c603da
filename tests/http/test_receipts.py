"""Receipts as a caller gets and checks them: the real SDK, its own bytes, no network afterwards."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from openai import OpenAI

from phigate.core.receipts.record import nonce
from phigate.core.types import Json
from tests.http.calls import HELLO, assert_envelope
from tests.local.running import HttpAnswer, RunningStack, environment, started

CH_PHI = {"X-Region": "CH", "X-PHI": "true"}
JWKS = "/.well-known/jwks.json"


@dataclass
class Wire:
    """The SDK's transport, which keeps the bytes that went out and came in."""

    request: bytes = b""
    response: bytes = b""

    def client(self, stack: RunningStack, key: str) -> OpenAI:
        """An SDK on this wire."""
        inner = httpx2.HTTPTransport()
        wire = self

        class Kept(httpx2.BaseTransport):
            def handle_request(self, request: httpx2.Request) -> httpx2.Response:
                wire.request = request.read()
                answer = inner.handle_request(request)
                wire.response = answer.read()
                return answer

            def close(self) -> None:
                inner.close()

        http_client = httpx2.Client(transport=Kept())
        return OpenAI(base_url=stack.base_url, api_key=key, max_retries=0, http_client=http_client)


@dataclass(frozen=True)
class Kept:
    """What a caller keeps of one call: files in a folder."""

    folder: Path
    receipt_id: str

    def verify(self, *more: str, jwks: bool = True) -> "subprocess.CompletedProcess[str]":
        """`phigate verify` in a process without any network, where that can be had."""
        flags = ["--request", "request", "--response", "response", "--card", "card", *more]
        flags += ["--jwks", "jwks"] if jwks else []
        command = [sys.executable, "-m", "phigate.cli.main", "verify", "receipt", *flags]
        return subprocess.run(
            [*ALONE, *command],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def _alone() -> list[str]:
    """A new network namespace has no interface that is up; not every machine lets us have one."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-n", "true"], check=False).returncode != 0:
        return []
    return [unshare, "-n"]


ALONE = _alone()


def kept(stack: RunningStack, key: str, folder: Path, *, stream: bool, phi: bool) -> Kept:
    """One call by the SDK, and everything that its receipt can be checked with."""
    wire = Wire()
    headers = CH_PHI if phi else {"X-Region": "CH"}
    with wire.client(stack, key) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="gemma-4",
            messages=[{"role": "user", "content": "Summarise this note."}],
            stream=stream,
            extra_headers=headers,
        )
    receipt_id = raw.headers["x-phi-receipt"]
    receipt = stack.call("GET", f"/v1/receipts/{receipt_id}", key=key)
    card = receipt.json["record"]["card"]
    contents = {
        "request": wire.request,
        "response": wire.response,
        "receipt": receipt.body,
        "jwks": stack.call("GET", JWKS).body,
        "card": stack.call("GET", f"/v1/pricing?card={card}").body,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return Kept(folder, receipt_id)


CASES = {
    "json": (False, False),
    "stream": (True, False),
    "phi json": (False, True),
    "phi stream": (True, True),
}


@pytest.mark.parametrize("stream, phi", CASES.values(), ids=CASES)
def test_an_sdk_call_is_verified_with_the_network_off_and_fails_by_any_changed_byte(
    stack: RunningStack, key: str, tmp_path: Path, stream: bool, phi: bool
) -> None:
    call = kept(stack, key, tmp_path, stream=stream, phi=phi)
    (tmp_path / "nonce").write_text(nonce(key, call.receipt_id).hex() + "\n")
    more = ["--nonce-file", str(tmp_path / "nonce")] if phi else []
    good = call.verify(*more)
    assert good.returncode == 0, good.stdout + good.stderr
    shown = [line.split()[:2] for line in good.stdout.split("\n\n")[1].splitlines()]
    names = ("certificate", "signature", "record", "card", "request", "response")
    assert shown == [["ok", name] for name in names]
    for name in ("request", "response", "receipt"):
        whole = (tmp_path / name).read_bytes()
        at = whole.index(b'"receipt":"') + 200 if name == "receipt" else len(whole) // 2
        (tmp_path / name).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        bad = call.verify(*more)
        (tmp_path / name).write_bytes(whole)
        assert bad.returncode == 1, (name, bad.stdout)
        assert f"FAIL  {name if name != 'receipt' else ''}" in bad.stdout


def test_without_a_key_set_nothing_is_anchored(
    stack: RunningStack, key: str, tmp_path: Path
) -> None:
    call = kept(stack, key, tmp_path, stream=False, phi=False)
    told = call.verify(jwks=False)
    assert told.returncode == 3
    assert "give --jwks" in told.stderr


def test_the_checks_as_json(stack: RunningStack, key: str, tmp_path: Path) -> None:
    call = kept(stack, key, tmp_path, stream=False, phi=False)
    told = json.loads(call.verify("--json").stdout)
    assert told["holds"] is told["anchored"] is True
    assert told["record"]["id"] == call.receipt_id


def test_the_nonce_is_printed_to_whoever_has_the_key(
    stack: RunningStack, key: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "phigate.cli.main", "nonce", "AGsBXlcYrhHYYCaP"]
    told = subprocess.run(
        command,
        env=environment({"OPENAI_API_KEY": key}),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert told.stdout.strip() == nonce(key, "AGsBXlcYrhHYYCaP").hex()


@pytest.fixture
def answered(stack: RunningStack, key: str) -> HttpAnswer:
    """One PHI answer."""
    return stack.chat(HELLO, key, X_Region="CH", X_PHI="true")


def receipt_of(stack: RunningStack, key: str, receipt_id: str) -> Json:
    told = stack.call("GET", f"/v1/receipts/{receipt_id}", key=key)
    assert told.status == 200
    return told.json


def test_a_receipt_is_found_by_its_id_and_by_the_completions(
    stack: RunningStack, key: str, answered: HttpAnswer, account: str
) -> None:
    receipt_id = answered.headers["x-phi-receipt"]
    found = receipt_of(stack, key, receipt_id)
    assert found == receipt_of(stack, key, answered.json["id"])
    assert (found["id"], found["object"], found["state"]) == (receipt_id, "receipt", "done")
    assert found["cost_micro"] == int(answered.headers["x-phi-cost-micro"])
    assert found["record"]["account"] == account
    agreement = found["record"]["agreements"][found["record"]["row"]]
    assert agreement[0] == found["record"]["agreement"]


def test_the_bare_jws_comes_with_its_certificate(
    stack: RunningStack, key: str, answered: HttpAnswer
) -> None:
    path = f"/v1/receipts/{answered.headers['x-phi-receipt']}"
    told = stack.call("GET", path, key=key, headers=[("accept", "application/jose")])
    assert told.headers["content-type"] == "application/jose"
    whole = stack.call("GET", path, key=key).json
    assert told.body.decode() == whole["receipt"]
    assert told.headers["x-phi-certificate"] == whole["certificate"]


def test_a_refusal_has_a_receipt_too(stack: RunningStack, key: str) -> None:
    refused = stack.chat(HELLO, key, X_Region="US", X_PHI="true")
    record = receipt_of(stack, key, refused.headers["x-phi-receipt"])["record"]
    assert (record["verdict"], record["ended"]) == ("phi_blocked", "refused")
    assert record["rejected"]
    assert "cost" not in record


# Ids under which nobody finds a receipt.
NOT_FOUND = {
    "no such id": "AGsBXlcYrhHYYCaP",
    "no id": "receipt",
    "too long": "A" * 500,
    "a path": "..%2F..%2Faccount",
    "another partition": "A%23acme%23S0",
    "the completion prefix alone": "chatcmpl-",
}


@pytest.mark.parametrize("receipt_id", NOT_FOUND.values(), ids=NOT_FOUND)
def test_what_is_no_receipt_of_this_account_is_404(
    stack: RunningStack, key: str, receipt_id: str
) -> None:
    told = stack.call("GET", f"/v1/receipts/{receipt_id}", key=key)
    assert told.status == 404
    assert told.error["code"] == "not_found"


def test_another_accounts_receipt_is_404_and_without_a_key_it_is_401(
    stack: RunningStack, answered: HttpAnswer
) -> None:
    path = f"/v1/receipts/{answered.headers['x-phi-receipt']}"
    other = stack.new_key("somebody-else")
    assert_envelope(stack.call("GET", path, key=other), 404, "not_found", "id")
    assert_envelope(stack.call("GET", path), 401, "invalid_api_key")


def test_the_key_set_is_open_and_holds_nothing_private(stack: RunningStack) -> None:
    keys = stack.call("GET", JWKS).json["keys"]
    assert stack.call("GET", f"/api{JWKS}").json["keys"] == keys
    assert {key["phi_signs"] for key in keys} == {
        "phigate-key+jwt",
        "phigate-day+jwt",
        "phigate-catalog",
        "redpill-ecdsa",
    }
    assert all("d" not in key for key in keys)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state of its own."""
    yield tmp_path / "state"


def test_a_root_that_was_replaced_still_vouches_for_what_it_signed(state: Path) -> None:
    with started(state) as stack:
        old = stack.chat(HELLO, stack.key).headers["x-phi-receipt"]
    (state / "receipt-root.pem").unlink()
    with started(state) as stack:
        new = stack.chat(HELLO, stack.key).headers["x-phi-receipt"]
        roots = {key["kid"]: key for key in stack.call("GET", JWKS).json["keys"]}
        (state / "jwks.json").write_bytes(stack.call("GET", JWKS).body)
        for receipt_id in (old, new):
            (state / "receipt.json").write_text(
                json.dumps(receipt_of(stack, stack.key, receipt_id))
            )
            command = [sys.executable, "-m", "phigate.cli.main", "verify", "receipt.json"]
            told = subprocess.run(
                [*command, "--jwks", "jwks.json"],
                cwd=state,
                env=environment(),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert told.returncode == 0, told.stdout + told.stderr
    certifying = [key for key in roots.values() if key["phi_signs"] == "phigate-key+jwt"]
    assert len(certifying) == 2
    assert ["phi_until" in key for key in sorted(certifying, key=lambda key: key["phi_from"])] == [
        True,
        False,
    ]
