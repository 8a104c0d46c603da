"""Fifty requests through the local pool, after which nothing is left (`make test-sandbox`)."""

import pytest

from tests.effects.sandbox.sandboxes import nothing_left_after, why_not

SESSIONS = 50


@pytest.mark.anyio
@pytest.mark.skipif(bool(why_not()), reason=why_not() or "it runs")
async def test_nothing_is_left_after_fifty_sessions() -> None:
    await nothing_left_after(SESSIONS)
