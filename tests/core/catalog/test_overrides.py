"""Addresses that take the place of a provider's own: which are taken, which may see PHI, and what
is said of their rows."""

from dataclasses import replace

import pytest

from phigate.core.catalog.model_item import model_item
from phigate.core.catalog.overrides import OverrideRefused, is_loopback, read_override, without_port
from phigate.core.catalog.price import card_sha256, pricing_card
from phigate.core.catalog.reach import overridden_row, with_overrides, with_simulated
from phigate.core.catalog.snapshot import with_missing_keys
from phigate.core.types import Override
from tests.builders import make_agreement, make_catalog, make_row, repository_catalog

PREFIX = "PHIGATE_ACME_"
URL, PHI = f"{PREFIX}BASE_URL", f"{PREFIX}PHI"

# The address, and how it is named. All of them take general traffic.
TAKEN = {
    "https://proxy.example/v1": "proxy.example",
    "https://Proxy.Example:8443/v1/": "proxy.example:8443",
    "http://10.0.0.7:9/v1": "10.0.0.7:9",
    "http://ollama:11434/v1": "ollama:11434",
    "http://my_proxy.internal": "my_proxy.internal",
    "HTTPS://x.example/openai/deployments/gpt-4o": "x.example",
    "http://[2001:db8::1]:80/v1": "[2001:db8::1]:80",
    "https://x.example/a@b": "x.example",
}
# Those that PHI may go to where they are trusted.
PRIVATE = {
    "https://proxy.example/v1": "proxy.example",
    "https://10.0.0.7/v1": "10.0.0.7",
    "http://127.0.0.1:9/v1": "127.0.0.1:9",
    "http://127.8.9.10/v1": "127.8.9.10",
    "http://localhost:11434/v1": "localhost:11434",
    "http://LOCALHOST/v1": "localhost",
    "http://[::1]:9/v1": "[::1]:9",
    "http://[0:0:0:0:0:0:0:1]:9": "[0:0:0:0:0:0:0:1]:9",
    "HTTP://127.0.0.1:9": "127.0.0.1:9",
}
# Plain http to what only looks like this machine, or is some other.
NOT_PRIVATE = [
    "http://10.0.0.7:9/v1",
    "http://proxy.example/v1",
    "http://localhost.evil.example/v1",
    "http://127.0.0.1.evil.example/v1",
    "http://127.0.0.1.nip.io/v1",
    "http://localtest.me/v1",
    "http://notlocalhost/v1",
    "http://ip6-localhost/v1",
    "http://0.0.0.0:9/v1",
    "http://126.255.255.255/v1",
    "http://128.0.0.1/v1",
    "http://2130706433/v1",
    "http://0x7f000001/v1",
    "http://0x7f.0.0.1/v1",
    "http://0177.0.0.1/v1",
    "http://017700000001/v1",
    "http://127.1/v1",
    "http://127.0.1/v1",
    "http://127.0.0.01/v1",
    "http://[::ffff:127.0.0.1]/v1".replace("127.0.0.1", "7f00:1"),
    "http://[::]/v1",
    "http://[::2]/v1",
    "http://[fe80::1]/v1",
    "http://evil.example/127.0.0.1",
    "http://evil.example/@127.0.0.1",
]
# What no traffic goes to: another parser might take another part of it for the host.
NO_ADDRESS = [
    "http://127.0.0.1@evil.example/v1",
    "http://127.0.0.1:80@evil.example/v1",
    "https://user:secret@proxy.example/v1",
    "https://secret@proxy.example/v1",
    "http://127.0.0.1\\@evil.example/v1",
    "http://127.0.0.1#@evil.example/v1",
    "http://127.0.0.1?@evil.example/v1",
    "http://127.0.0.1:9/v1?key=secret",
    "http://127.0.0.1:9/v1#x",
    "http://127.0.0.1%2eevil.example@x",
    "http://evil.example%00.localhost/v1",
    "http://127.0.0.1 .evil.example/v1",
    " http://127.0.0.1:9/v1",
    "http://127.0.0.1:9/v1\n",
    "http://127.0.0.1:9/v1\r\nx: y",
    "http://127.0.0.1\t:9/v1",
    "http:///v1",
    "http://:9/v1",
    "http:127.0.0.1/v1",
    "//127.0.0.1/v1",
    "127.0.0.1:9",
    "localhost",
    "ftp://127.0.0.1/v1",
    "file:///etc/passwd",
    "unix:///tmp/socket",
    "http+unix://x/v1",
    "http://127.0.0.1:0/v1",
    "http://127.0.0.1:65536/v1",
    "http://127.0.0.1:99999999/v1",
    "http://127.0.0.1:-1/v1",
    "http://127.0.0.1:/v1",
    "http://localhost./v1",
    "http://127.0.0.1./v1",
    "http://.localhost/v1",
    "http://-x/v1",
    "http://[::1/v1",
    "http://::1/v1",
    "http://[::1%25lo]/v1",
    "http://[::ffff:127.0.0.1]/v1",
    "http://[1:2]/v1",
    "http://[::1].evil.example/v1",
    "http://[::1]evil.example/v1",
    "http://①②⑦.0.0.1/v1",
    "http://１２７.0.0.1/v1",  # noqa: RUF001  # digits of another width
    "http://ⓛocalhost/v1",
    "http://127。0。0。1/v1",
    f"https://{'a' * 254}/v1",
]


@pytest.mark.parametrize("url", TAKEN)
def test_an_address_without_trust_is_named_and_sees_no_phi(url: str) -> None:
    assert read_override(PREFIX, {URL: url}) == Override(TAKEN[url], phi_trusted=False)


@pytest.mark.parametrize("url", PRIVATE)
def test_an_address_that_nobody_else_hears_may_be_trusted(url: str) -> None:
    assert read_override(PREFIX, {URL: url, PHI: "trusted"}) == Override(PRIVATE[url], True)


@pytest.mark.parametrize("url", NOT_PRIVATE)
def test_plain_http_to_another_machine_is_never_trusted(url: str) -> None:
    override = read_override(PREFIX, {URL: url})
    assert override is not None
    assert not override.phi_trusted
    with pytest.raises(OverrideRefused, match=URL) as refused:
        read_override(PREFIX, {URL: url, PHI: "trusted"})
    assert PHI in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("phi", [{}, {PHI: "trusted"}], ids=["general", "trusted"])
@pytest.mark.parametrize("url", NO_ADDRESS)
def test_what_is_no_plain_address_is_refused_and_not_quoted(url: str, phi: dict[str, str]) -> None:
    with pytest.raises(OverrideRefused, match=URL) as refused:
        read_override(PREFIX, {URL: url, **phi})
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("phi", ["true", "1", "TRUSTED", "Trusted", " trusted", "trusted ", "no"])
@pytest.mark.parametrize("url", [{}, {URL: "https://x.example"}], ids=["no address", "an address"])
def test_trust_has_one_word(phi: str, url: dict[str, str]) -> None:
    with pytest.raises(OverrideRefused, match=f"{PHI} must be trusted"):
        read_override(PREFIX, {PHI: phi, **url})


@pytest.mark.parametrize("url", [{}, {URL: ""}, {"PHIGATE_OTHER_BASE_URL": "https://x.example"}])
def test_trust_in_no_address_is_a_mistake(url: dict[str, str]) -> None:
    with pytest.raises(OverrideRefused, match=f"{PHI} is about the address in {URL}"):
        read_override(PREFIX, {PHI: "trusted", **url})


def test_without_variables_there_is_no_override() -> None:
    assert read_override(PREFIX, {}) is None
    assert read_override(PREFIX, {URL: "", PHI: ""}) is None


def test_a_host_is_known_without_its_port() -> None:
    assert without_port("127.0.0.1:9") == without_port("127.0.0.1") == "127.0.0.1"
    assert without_port("[::1]:9") == without_port("[::1]") == "[::1]"
    assert not is_loopback("example.com")


TRUSTS = {"trusted": Override("x.example", True), "general": Override("10.0.0.7:9")}


@pytest.mark.parametrize("name", TRUSTS)
def test_an_override_has_no_agreement_no_residency_and_no_enclave(name: str) -> None:
    override = TRUSTS[name]
    catalog = repository_catalog()
    providers = {row.provider for row in catalog.rows}
    marked = with_overrides(catalog, dict.fromkeys(providers, override))
    assert (marked.sha256, marked.card_sha256) == (catalog.sha256, catalog.card_sha256)
    for row, before in zip(marked.rows, catalog.rows, strict=True):
        assert marked.rows_by_id[row.id] is row
        assert row.reviewed is before
        assert row.agreement is None
        assert not row.confidential
        assert not row.cache_is_per_key
        assert {place.residency for place in row.places.values()} == {"unproven"}
        served = before.status in ("live", "alpha")
        assert row.status == ("overridden" if served else before.status)
        item = model_item(marked, row)
        sees_phi = override.phi_trusted and before.agreement is not None
        assert item["tier"] == ("phi" if sees_phi else "general")
        assert (item["agreement"], item["confidential"]) == (None, False)
        assert item["status"] == row.status
        assert item["override"] == {"host": override.host, "phi_trusted": override.phi_trusted}


def test_only_the_provider_that_is_overridden_is_marked() -> None:
    catalog = repository_catalog()
    marked = with_overrides(catalog, {"infomaniak": Override("x.example")})
    for row, before in zip(marked.rows, catalog.rows, strict=True):
        assert (row == before) == (row.provider != "infomaniak")
    assert with_overrides(catalog, {}) is catalog


def test_the_price_card_is_the_same_card() -> None:
    catalog = repository_catalog()
    marked = with_overrides(catalog, {"infomaniak": Override("x.example")})
    card = pricing_card(marked)
    assert card_sha256(card) == catalog.card_sha256
    statuses = {row["row"]: row["status"] for row in card["rows"]}
    assert statuses["infomaniak-gemma-4-31b"] == "overridden"
    assert statuses["scaleway-gemma-4-26b"] == "live"


def test_a_provider_without_a_key_stays_without_one() -> None:
    catalog = make_catalog([make_row()])
    marked = with_overrides(with_missing_keys(catalog, {"acme"}), {"acme": Override("x.example")})
    assert marked.rows[0].status == "no_key"


def test_a_simulated_row_says_so_and_is_no_override() -> None:
    marked = with_simulated(make_catalog([make_row(), make_row("bolt-two")]), {"acme"})
    acme, bolt = (model_item(marked, row) for row in marked.rows)
    assert [row.is_simulated for row in marked.rows] == [True, False]
    assert (acme["status"], acme["tier"]) == (bolt["status"], bolt["tier"]) == ("live", "phi")
    assert "override" not in acme


def test_an_override_keeps_what_it_costs_and_can() -> None:
    row = make_row(agreement=make_agreement(), cache_is_per_key=True)
    assert not overridden_row(row, Override("x.example", True)).cache_is_per_key
    marked = overridden_row(row, Override("x.example"))
    back = replace(
        marked,
        status=row.status,
        places=row.places,
        agreement=row.agreement,
        confidential=row.confidential,
        cache_is_per_key=row.cache_is_per_key,
        override=None,
        overridden=None,
    )
    assert back == row
