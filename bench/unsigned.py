"""The gateway with receipts that nobody signs: what signing costs is the difference.

Takes the flags of `phigate local`. For benches only: its receipts prove nothing.
"""

import argparse
import sys
from pathlib import Path

import uvloop

from local.__main__ import CATALOG
from local.stack import Options, serve


class UnsignedKey:
    """Signs with zeros, and says that it is certified for ever."""

    kid = "A" * 43
    expires_at_s: int | None = 1 << 40

    def sign(self, message: bytes) -> bytes:
        """No signature."""
        return bytes(64)


class UnsignedSigner:
    """Hands out that key; asks nobody for a certificate."""

    def begin(self, until_s: float) -> None:
        """Nothing to ask for."""

    async def key(self, until_s: float) -> UnsignedKey:
        """The key that signs nothing."""
        return UnsignedKey()

    async def renew(self) -> None:
        """Nothing to renew."""


def main() -> int:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(prog="python -m bench.unsigned")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True)
    flags = parser.parse_args()
    options = Options(flags.port, flags.state.absolute(), CATALOG)
    uvloop.run(serve(options, signer=UnsignedSigner()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
