"""A provider that is reached at another address than its own, on a real stack: what goes there,
what is said of it, and what the start is refused for."""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from phigate.cli.main import main
from phigate.core.types import Json
from tests.builders import make_body
from tests.http.echoing_upstream import EchoingUpstream, echoing
from tests.local.running import HttpAnswer, RunningStack, free_port, refused, started

HELLO: Json = make_body(model="gemma-4")
ROW = "infomaniak-gemma-4-31b"
CONFIDENTIAL = "phala/qwen3.5-27b"
HERE = {"x_region": "CH"}


def variables(upstream: EchoingUpstream, name: str = "INFOMANIAK", **more: str) -> dict[str, str]:
    """What points a provider at that upstream."""
    said = {"BASE_URL": upstream.base_url, **more}
    return {f"PHIGATE_{name}_{member}": value for member, value in said.items()}


@pytest.fixture(scope="module")
def upstream() -> Iterator[EchoingUpstream]:
    """Where overridden providers are."""
    with echoing() as server:
        yield server


@pytest.fixture(autouse=True)
def _forgotten(upstream: EchoingUpstream) -> None:
    upstream.requests.clear()
    upstream.gets.clear()


@pytest.fixture(scope="module")
def general(
    upstream: EchoingUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    """Infomaniak and phala elsewhere, and nobody trusts that."""
    said = variables(upstream) | variables(upstream, "PHALA")
    with started(tmp_path_factory.mktemp("general") / "state", variables=said) as stack:
        yield stack


@pytest.fixture(scope="module")
def trusted(
    upstream: EchoingUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    """Infomaniak elsewhere, trusted with PHI."""
    said = variables(upstream, PHI="trusted")
    with started(tmp_path_factory.mktemp("trusted") / "state", variables=said) as stack:
        yield stack


def host_of(upstream: EchoingUpstream) -> str:
    """How the address is named."""
    return f"127.0.0.1:{upstream.server_address[1]}"


def receipt_of(stack: RunningStack, told: HttpAnswer, key: str) -> Json:
    """The stored receipt, as the endpoint gives it."""
    return stack.call("GET", f"/v1/receipts/{told.headers['x-phi-receipt']}", key=key).json


def record_of(stack: RunningStack, told: HttpAnswer, key: str) -> Json:
    record: Json = receipt_of(stack, told, key)["record"]
    return record


def command(stack: RunningStack, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """A command on the running stack's state: its exit status and what it says."""
    capsys.readouterr()
    status = main([*words, "--state", str(stack.state)])
    return status, capsys.readouterr().out


PHI_CALLS = {
    "as JSON": HELLO,
    "as a stream": {**HELLO, "stream": True},
    "by the row's own name": {**HELLO, "model": ROW},
    "of this provider alone": {**HELLO, "provider": {"only": ["infomaniak"]}},
    "with tools": {
        **HELLO,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    },
}


@pytest.mark.parametrize("body", PHI_CALLS.values(), ids=PHI_CALLS)
def test_no_phi_goes_to_an_address_that_nobody_trusts(
    general: RunningStack, upstream: EchoingUpstream, body: Json
) -> None:
    told = general.chat(body, general.key, **HERE, x_phi="true")
    assert (told.status, told.error["code"]) == (403, "phi_blocked")
    assert upstream.requests == []
    record = record_of(general, told, general.key)
    assert {"infomaniak-gemma-4-31b", "infomaniak-qwen3.5"} == set(
        record["rejected"]["phi_overridden"]
    )
    assert record["attempts"] == []


def test_general_traffic_goes_there_and_its_receipt_says_so(
    general: RunningStack, upstream: EchoingUpstream
) -> None:
    told = general.chat(HELLO, general.key, **HERE)
    assert (told.status, len(upstream.requests)) == (200, 1)
    record = record_of(general, told, general.key)
    assert record["override"] is True
    assert record["overrides"] == {ROW: host_of(upstream)}
    assert (record["residency"], record["agreement"]) == ("unproven", None)
    assert "agreements" not in record
    assert "simulated" not in record


def test_a_call_that_failed_there_says_so_whoever_answers(
    general: RunningStack, upstream: EchoingUpstream
) -> None:
    body = make_body(model="gemma-4", messages=[{"role": "user", "content": "answer:failure"}])
    told = general.chat(body, general.key, **HERE)
    assert (told.status, told.error["code"]) == (502, "upstream_error")
    record = record_of(general, told, general.key)
    assert record["override"] is True
    assert set(record["overrides"].values()) == {host_of(upstream)}
    assert "row" not in record


def test_models_prices_and_a_dry_run_say_what_stands_there(
    general: RunningStack, upstream: EchoingUpstream
) -> None:
    item = general.call("GET", f"/v1/models/{ROW}").json
    assert (item["status"], item["tier"], item["agreement"]) == ("overridden", "general", None)
    assert set(item["residency"].values()) == {"unproven"}
    assert item["override"] == {"host": host_of(upstream), "phi_trusted": False}
    rows = {row["row"]: row for row in general.call("GET", "/v1/pricing").json["rows"]}
    assert rows[ROW]["status"] == "overridden"
    assert rows["scaleway-gemma-4-26b"]["status"] == "live"
    for phi, decision in (("false", "routed"), ("true", "refused")):
        headers = [("x-region", "CH"), ("x-phi", phi)]
        told = general.call("POST", "/v1/route", body=HELLO, key=general.key, headers=headers).json
        assert told["decision"] == decision
        assert all(each["override"] == host_of(upstream) for each in told["candidates"])
    assert told["code"] == "phi_blocked"


def test_an_override_is_no_enclave(general: RunningStack, upstream: EchoingUpstream) -> None:
    item = general.call("GET", "/v1/models/phala-qwen3.5-27b").json
    assert (item["confidential"], item["status"]) == (False, "overridden")
    only = {"provider": {"confidential": True, "allow_fallbacks": False}}
    told = general.chat(make_body(model=CONFIDENTIAL, **only), general.key, x_region="WORLD")
    assert (told.status, told.error["code"]) == (404, "no_route")
    report = general.call(
        "GET",
        f"/v1/attestation/report?model={CONFIDENTIAL}&nonce=00",
        key=general.key,
        headers=[("x-region", "WORLD")],
    )
    assert report.status == 404
    named = general.chat(make_body(model=CONFIDENTIAL), general.key, x_region="WORLD")
    assert (named.status, named.error["code"]) == (404, "no_route")
    assert upstream.requests == []
    lifted = {"provider": {"confidential": False, "allow_fallbacks": False}}
    told = general.chat(
        make_body(model=CONFIDENTIAL, messages=[{"role": "user", "content": "answer:signed"}])
        | lifted,
        general.key,
        x_region="WORLD",
    )
    assert told.status == 200
    receipt = receipt_of(general, told, general.key)
    assert not {"upstream_id", "upstream_request_sha256"} & receipt["record"].keys()
    assert "upstream_signature" not in receipt
    assert upstream.gets == []


def test_phi_goes_where_it_is_trusted_and_the_receipt_claims_no_agreement(
    trusted: RunningStack, upstream: EchoingUpstream
) -> None:
    told = trusted.chat(HELLO, trusted.key, **HERE, x_phi="true")
    assert (told.status, len(upstream.requests)) == (200, 1)
    assert told.headers["x-phi-routed"] == f"{ROW}/CH/phi"
    record = record_of(trusted, told, trusted.key)
    assert (record["override"], record["overrides"]) == (True, {ROW: host_of(upstream)})
    assert (record["residency"], record["agreement"]) == ("unproven", None)
    assert "agreements" not in record
    item = trusted.call("GET", f"/v1/models/{ROW}").json
    assert (item["status"], item["tier"], item["agreement"]) == ("overridden", "phi", None)


def test_trust_follows_no_redirect(trusted: RunningStack, upstream: EchoingUpstream) -> None:
    content = [{"role": "user", "content": "answer:redirect"}]
    told = trusted.chat(make_body(model=ROW, messages=content), trusted.key, **HERE, x_phi="true")
    assert told.status == 502
    outcomes = {attempt["outcome"] for attempt in told.error["attempts"]}
    # The echoing provider closes its socket after each answer, which may end a later attempt.
    assert "redirect" in outcomes
    assert outcomes <= {"redirect", "connect"}


def test_trust_in_an_address_opens_no_other_row(
    trusted: RunningStack, upstream: EchoingUpstream
) -> None:
    told = trusted.chat(HELLO, trusted.key, x_region="US", x_phi="true")
    assert (told.status, told.error["code"]) == (403, "phi_blocked")
    assert upstream.requests == []


def test_the_start_names_each_host_and_what_may_go_there(
    general: RunningStack, trusted: RunningStack, upstream: EchoingUpstream
) -> None:
    host = host_of(upstream)
    hello = general.output.decode()
    for name in ("infomaniak", "phala"):
        assert f"  override   {name} is {host}: general traffic alone" in hello
        assert name not in hello.partition("  simulated  ")[2].partition("\n")[0]
    assert f"  override   infomaniak is {host}: PHI is sent there" in trusted.output.decode()
    assert "no agreement is in force" in trusted.output.decode()


def test_the_terminal_routes_as_the_stack_does(
    general: RunningStack, trusted: RunningStack, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("route", "gemma-4", "--region", "CH", "--phi", "--json")
    for stack, decision in ((general, "refused"), (trusted, "routed")):
        _, out = command(stack, capsys, *asked)
        assert json.loads(out)["decision"] == decision
    _, out = command(general, capsys, "route", "gemma-4", "--region", "CH")
    assert f"{ROW} at 127.0.0.1:" in out


def test_an_audit_finds_phi_there_until_the_host_is_allowed(
    trusted: RunningStack, upstream: EchoingUpstream, capsys: pytest.CaptureFixture[str]
) -> None:
    key = trusted.new_key("audited")
    for phi in ("true", "false"):
        assert trusted.chat(HELLO, key, **HERE, x_phi=phi).status == 200
    trusted.settled_account(key)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    period = ("audit", "--account", "audited", "--from", today, "--to", today)
    status, out = command(trusted, capsys, *period, "--json")
    assert (status, json.loads(out)["findings"]["by_rule"]) == (1, {"override": 1})
    for host in ("127.0.0.1", host_of(upstream)):
        allowed = ("--allow-override", "x.example", "--allow-override", host)
        status, out = command(trusted, capsys, *period, *allowed)
        assert status == 0, out
        assert f"1 phi at {host_of(upstream)}" in out


def test_a_receipt_is_verified_and_shows_the_host(
    trusted: RunningStack,
    upstream: EchoingUpstream,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = trusted.chat(HELLO, trusted.key, **HERE, x_phi="true")
    receipt, keys = tmp_path / "receipt.json", tmp_path / "jwks.json"
    receipt.write_text(json.dumps(receipt_of(trusted, told, trusted.key)))
    keys.write_bytes(trusted.call("GET", "/.well-known/jwks.json").body)
    capsys.readouterr()
    assert main(["verify", str(receipt), "--jwks", str(keys)]) == 0
    out = capsys.readouterr().out
    assert f"{ROW} was tried at {host_of(upstream)}, where no agreement is in force" in out
    assert "open  override" in out


REFUSED: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "http to another machine": (
        {"BASE_URL": "http://10.0.0.7/v1", "PHI": "trusted"},
        ("PHIGATE_INFOMANIAK_BASE_URL", "https"),
    ),
    "a user who looks like a host": (
        {"BASE_URL": "http://127.0.0.1@evil.example/v1", "PHI": "trusted"},
        ("PHIGATE_INFOMANIAK_BASE_URL",),
    ),
    "a secret in the address": (
        {"BASE_URL": "https://me:secret@proxy.example/v1"},
        ("PHIGATE_INFOMANIAK_BASE_URL",),
    ),
    "another word": (
        {"BASE_URL": "https://proxy.example/v1", "PHI": "true"},
        ("PHIGATE_INFOMANIAK_PHI must be trusted",),
    ),
    "trust in nothing": ({"PHI": "trusted"}, ("PHIGATE_INFOMANIAK_PHI", "not set")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trusted_refuses_the_start_in_one_line(tmp_path: Path, name: str) -> None:
    said, words = REFUSED[name]
    told = {f"PHIGATE_INFOMANIAK_{member}": value for member, value in said.items()}
    status, out, err = refused(tmp_path / "state", free_port(), variables=told)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("phigate: ")
    assert all(word in err for word in words)
    assert "secret" not in err


def test_a_simulated_provider_says_that_it_is_and_takes_phi(general: RunningStack) -> None:
    told = general.chat(HELLO, general.key, x_region="EU", x_phi="true")
    assert told.status == 200
    assert "simulated" in told.json["choices"][0]["message"]["content"]
    record = record_of(general, told, general.key)
    assert record["simulated"] == [record["row"]]
    assert record["agreement"] is not None
    assert "override" not in record
    item = general.call("GET", f"/v1/models/{record['row']}").json
    assert (item["status"], item["tier"]) == ("live", "phi")
