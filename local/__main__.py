"""`python -m local`: the local stack in the foreground, until Ctrl-C."""

import argparse
import os
import sys
from pathlib import Path

import uvloop

from local.stack import Options, serve
from local.state import StartRefused

WARM = 2  # a sandbox that waits takes 0.2 GB
WARM_MAX = 8
CATALOG = Path(__file__).resolve().parent.parent / "catalog"


def main() -> int:
    """Parse the flags and serve. Exit status 1 with one line when the start is refused."""
    parser = argparse.ArgumentParser(
        prog="phigate local",
        description="Serve an OpenAI-compatible gateway on this machine, providers simulated.",
        epilog="Example: phigate local --port 8080 --state .phigate",
    )
    parser.add_argument("--port", type=_port, default=8080, help="TCP port (default 8080)")
    parser.add_argument("--state", type=Path, default=Path(".phigate"), help="state directory")
    parser.add_argument("--catalog", type=Path, default=CATALOG, help="catalog directory")
    parser.add_argument(
        "--sandboxes", type=_few, default=WARM, help=f"sandboxes kept warm (default {WARM})"
    )
    flags = parser.parse_args()
    os.umask(0o077)  # the state holds hashes of keys, prices of calls and a signing key
    try:
        options = Options(flags.port, flags.state.absolute(), flags.catalog, flags.sandboxes)
        uvloop.run(serve(options))
    except StartRefused as refused:
        sys.stderr.write(f"phigate: {refused}\n")
        return 1
    except KeyboardInterrupt:
        return 130  # Ctrl-C before it served, as a shell reports it
    return 0


def _few(text: str) -> int:
    if not text.isdecimal() or int(text) > WARM_MAX:
        raise argparse.ArgumentTypeError(f"a number from 0 to {WARM_MAX}")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
