"""Async tests carry `@pytest.mark.anyio` and run on the plugin that anyio brings along.

The gateway runs on asyncio alone (aiohttp needs it), so the tests do too.
"""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The backend of tests marked `anyio`; session-wide, so fixtures of any scope may use it."""
    return "asyncio"
