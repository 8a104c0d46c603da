"""The keys that sign receipts: when they are made, how long they are good, what failure does."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from phigate.core.errors import Overloaded
from phigate.core.limits import CERTIFICATE_LIFE_S, CERTIFICATE_RENEW_S, CERTIFY_RETRY_S
from phigate.effects.signing.receipt_signer import EphemeralKeySigner
from phigate.verify.certificate import read_certificate
from phigate.verify.roots import CERTIFICATES, Root, by_kid
from tests.fakes import FakeClock, FakeRoot, RecordingEventLog

NOW_S = 1_800_000_000.0


class SignerHarness:
    """A signer, its root, and the certificates that it stored."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW_S)
        self.root = FakeRoot()
        self.event_log = RecordingEventLog()
        self.stored: dict[str, str] = {}
        self.store_fails = False
        self.signer = EphemeralKeySigner(
            root=self.root,
            store=self._store,
            clock=self.clock,
            event_log=self.event_log,
            issuer="https://stack.test",
            stack="stack-1",
            timeout_s=0.2,
        )

    async def _store(self, kid: str, jws: str, expires_at_s: int) -> None:
        if self.store_fails:
            raise Overloaded("the table is down")
        self.stored[kid] = jws

    async def kid(self) -> str:
        """The name of the key that signs now."""
        return (await self.signer.key(self.clock.now_s())).kid

    async def is_certified(self) -> bool:
        """Whether the key that signs now is vouched for."""
        return (await self.signer.key(self.clock.now_s())).expires_at_s is not None


def told(story: Callable[[SignerHarness], Awaitable[None]]) -> None:
    """Tell a story on an event loop of its own."""

    async def whole() -> None:
        await story(SignerHarness())

    asyncio.run(whole())


def test_nothing_is_made_before_the_first_request_asks() -> None:
    assert SignerHarness().root.asked == 0


def test_a_key_comes_with_a_certificate_that_its_root_signed() -> None:
    async def story(stand: SignerHarness) -> None:
        key = await stand.signer.key(NOW_S + 900)
        roots = by_kid([Root(stand.root.signer.public_jwk, CERTIFICATES, 0)])
        certificate = read_certificate(stand.stored[key.kid], roots)
        assert (certificate.kid, certificate.stack) == (key.kid, "stack-1")
        assert certificate.issuer == "https://stack.test"
        assert certificate.issued_at_s == NOW_S
        assert certificate.expires_at_s == key.expires_at_s == NOW_S + CERTIFICATE_LIFE_S

    told(story)


def test_many_requests_at_once_ask_for_one_certificate() -> None:
    async def story(stand: SignerHarness) -> None:
        keys = await asyncio.gather(*(stand.kid() for _ in range(50)))
        assert len(set(keys)) == 1
        assert stand.root.asked == 1

    told(story)


def test_begin_does_not_wait_and_the_key_is_there_when_it_is_needed() -> None:
    async def story(stand: SignerHarness) -> None:
        stand.signer.begin(NOW_S + 900)
        assert stand.stored == {}
        await stand.kid()
        assert len(stand.stored) == 1

    told(story)


def test_after_an_hour_another_key_signs() -> None:
    async def story(stand: SignerHarness) -> None:
        first = await stand.kid()
        stand.clock.time_s += CERTIFICATE_LIFE_S - 1
        assert await stand.kid() == first
        stand.clock.time_s += 1
        assert await stand.kid() != first
        assert len(stand.stored) == 2

    told(story)


def test_a_request_that_may_outlive_the_certificate_waits_for_another() -> None:
    async def story(stand: SignerHarness) -> None:
        first = await stand.kid()
        stand.clock.time_s += CERTIFICATE_LIFE_S - 100
        key = await stand.signer.key(stand.clock.now_s() + 900)
        assert key.kid != first

    told(story)


def test_a_signature_now_does_not_wait_for_a_better_key() -> None:
    async def story(stand: SignerHarness) -> None:
        first = await stand.kid()
        stand.clock.time_s += CERTIFICATE_LIFE_S - 100
        stand.root.hangs = True
        stand.signer.begin(stand.clock.now_s() + 900)
        assert await stand.kid() == first

    told(story)


def test_after_an_answer_the_key_is_renewed_when_it_soon_ends() -> None:
    async def story(stand: SignerHarness) -> None:
        first = await stand.kid()
        stand.clock.time_s += CERTIFICATE_LIFE_S - CERTIFICATE_RENEW_S - 1
        await stand.signer.renew()
        assert await stand.kid() == first
        stand.clock.time_s += 2
        await stand.signer.renew()
        assert await stand.kid() != first

    told(story)


def test_an_environment_that_never_signed_renews_nothing() -> None:
    async def story(stand: SignerHarness) -> None:
        await stand.signer.renew()
        assert stand.root.asked == 0

    told(story)


def test_a_clock_that_went_back_before_the_certificate_makes_another() -> None:
    async def story(stand: SignerHarness) -> None:
        first = await stand.kid()
        stand.clock.time_s -= 10
        assert await stand.kid() != first

    told(story)


def _root_fails(stand: SignerHarness) -> None:
    stand.root.fails = True


def _store_fails(stand: SignerHarness) -> None:
    stand.store_fails = True


def _root_hangs(stand: SignerHarness) -> None:
    stand.root.hangs = True


FAILURES = {"root": _root_fails, "store": _store_fails, "no answer": _root_hangs}


@pytest.mark.parametrize("fail", FAILURES.values(), ids=FAILURES)
def test_when_certification_fails_an_uncertified_key_signs_and_stays_so(
    fail: Callable[[SignerHarness], None],
) -> None:
    async def story(stand: SignerHarness) -> None:
        fail(stand)
        key = await stand.signer.key(NOW_S)
        assert key.expires_at_s is None
        assert stand.event_log.fields("certification_failed")
        stand.root.fails = stand.root.hangs = stand.store_fails = False
        stand.clock.time_s += CERTIFY_RETRY_S
        certified = await stand.signer.key(stand.clock.now_s())
        assert certified.expires_at_s is not None
        assert certified.kid != key.kid
        assert key.kid not in stand.stored

    told(story)


def test_a_root_that_is_down_is_not_hammered() -> None:
    async def story(stand: SignerHarness) -> None:
        stand.root.fails = True
        for _ in range(20):
            assert not await stand.is_certified()
        assert stand.root.asked == 1
        stand.clock.time_s += CERTIFY_RETRY_S
        assert not await stand.is_certified()
        assert stand.root.asked == 2

    told(story)


def test_a_caller_who_hangs_up_does_not_end_what_others_wait_for() -> None:
    async def story(stand: SignerHarness) -> None:
        leaving = asyncio.ensure_future(stand.kid())
        staying = asyncio.ensure_future(stand.kid())
        await asyncio.sleep(0)
        leaving.cancel()
        assert await staying in stand.stored

    told(story)
