"""Statements of trust: what follows from a pinned key, and what never comes back."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from phigate.core.catalog.ended import with_ended
from phigate.effects.signing.signer import KeyFileSigner
from phigate.verify.errors import VerificationError
from phigate.verify.roots import CATALOGS, CERTIFICATES, DIGESTS
from phigate.verify.trust.catalog_version import (
    highest,
    next_version,
    read_version,
    revived,
    version_input,
)
from phigate.verify.trust.freshness import Freshness, fresh_at_s, freshness_input, read_freshness
from phigate.verify.trust.pin import TrustPin, pin_json, read_pin
from phigate.verify.trust.roots_statement import (
    RootsStatement,
    SignedStatement,
    anchored,
    believed,
    next_roots,
    roots_input,
)
from phigate.verify.trust.statement import statement_name
from phigate.wire.jws import compact
from tests.builders import make_catalog, make_row

NOW_S = 1_790_000_000
OLD, NEW, DAY, RECEIPT = (KeyFileSigner(ec.generate_private_key(ec.SECP256R1())) for _ in range(4))


def jwks(**other: KeyFileSigner) -> dict[str, dict[str, str]]:
    keys = {CATALOGS: other.get("catalog", OLD), DIGESTS: DAY, CERTIFICATES: RECEIPT}
    return {signs: signer.public_jwk for signs, signer in keys.items()}


def signed(message: bytes, signer: KeyFileSigner) -> str:
    return compact(message, signer.signature(message))


def first() -> tuple[str, RootsStatement]:
    statement = next_roots(None, jwks(), stack="ch", now_s=NOW_S)
    assert statement is not None
    return signed(roots_input(statement, OLD.kid), OLD), statement


def second() -> tuple[str, str, RootsStatement]:
    """The one that replaces CatalogKey, signed by the new key and by the old one."""
    statement = next_roots(first_told, jwks(catalog=NEW), stack="ch", now_s=NOW_S + 10)
    assert statement is not None
    by_new = signed(roots_input(statement, NEW.kid), NEW)
    return by_new, signed(roots_input(statement, OLD.kid), OLD), statement


first_told = first()


def test_the_same_keys_are_no_new_statement() -> None:
    assert next_roots(first_told, jwks(), stack="ch", now_s=NOW_S + 5) is None


@pytest.mark.parametrize("is_cosigned, n", [(True, 2), (False, 1)])
def test_a_new_catalog_key_follows_where_the_old_one_has_signed_too(
    is_cosigned: bool, n: int
) -> None:
    by_new, by_old, _ = second()
    known = [
        SignedStatement(first_told[0]),
        SignedStatement(by_new, by_old if is_cosigned else None),
    ]
    assert believed(known, OLD.kid)[1].n == n
    assert believed(known[::-1], OLD.kid)[1].n == n
    assert believed(known, NEW.kid)[1].n == 2


@pytest.mark.parametrize(
    "fingerprint, stack, least_n, says",
    [
        (NEW.kid, None, 0, "pinned key"),
        (OLD.kid, "us", 0, "not us"),
        (OLD.kid, "ch", 2, "2 was pinned"),
    ],
    ids=["another key", "another stack", "an older one"],
)
def test_what_does_not_follow_is_refused(
    fingerprint: str, stack: str | None, least_n: int, says: str
) -> None:
    known = [SignedStatement(first_told[0])]
    with pytest.raises(VerificationError, match=says):
        believed(known, fingerprint, stack=stack, least_n=least_n)


def test_a_root_vouches_for_nothing_before_its_birth_or_after_its_end() -> None:
    roots = anchored(second()[2])
    assert not roots[NEW.kid].vouches(CATALOGS, NOW_S + 9)
    assert roots[NEW.kid].vouches(CATALOGS, NOW_S + 10)
    assert not roots[OLD.kid].vouches(CATALOGS, NOW_S + 3_610)
    assert roots[RECEIPT.kid].vouches(CERTIFICATES, NOW_S - 1)  # it stood at the seam


def test_an_ended_agreement_stays_ended_when_its_catalog_comes_back() -> None:
    with_agreement = make_catalog([make_row("acme-one")])
    agreement = with_agreement.rows[0].agreement
    assert agreement is not None
    without = replace(with_agreement, rows=(replace(with_agreement.rows[0], agreement=None),))
    roots = anchored(first_told[1])
    one = next_version(None, with_agreement, stack="ch", now_s=NOW_S)
    text = signed(version_input(one, OLD.kid), OLD)
    two = next_version((text, one), without, stack="ch", now_s=NOW_S + 60)
    later = signed(version_input(two, OLD.kid), OLD)
    three = next_version((later, two), with_agreement, stack="ch", now_s=NOW_S + 120)
    assert (three.n, three.ended, revived(three)) == (
        3,
        {agreement.id: NOW_S + 60},
        [agreement.id],
    )
    served = with_ended(with_agreement, three.ended).rows[0].agreement
    assert served is not None and served.expires_at_s == NOW_S + 60
    assert highest([later, "junk", text], roots, "ch") == (later, read_version(later, roots))
    assert highest([later], roots, "us") is None


def test_freshness_is_of_one_version_alone_and_signed_by_the_key_of_days() -> None:
    roots = anchored(first_told[1])
    version = next_version(None, make_catalog([make_row("acme-one")]), stack="ch", now_s=NOW_S)
    text = signed(version_input(version, OLD.kid), OLD)
    fresh = Freshness("ch", 1, statement_name(text), NOW_S + 600)
    told = read_freshness(signed(freshness_input(fresh, DAY.kid), DAY), roots)
    assert fresh_at_s(text, version, told, NOW_S + 700) == NOW_S + 600
    assert fresh_at_s(text, version, replace(told, n=2), NOW_S + 700) == NOW_S
    assert fresh_at_s(text, version, replace(told, at_s=NOW_S + 9_000), NOW_S + 700) == NOW_S
    with pytest.raises(VerificationError):
        read_freshness(signed(freshness_input(fresh, OLD.kid), OLD), roots)


def test_a_pin_is_read_as_it_was_written() -> None:
    pin = TrustPin("ch", OLD.kid, 1, NOW_S)
    assert read_pin(pin_json(pin).encode()) == pin
    with pytest.raises(VerificationError):
        read_pin(b'{"stack": "ch"}')
