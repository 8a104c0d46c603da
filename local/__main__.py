"""`python -m local`: the local stack in the foreground, until Ctrl-C."""

import argparse
import sys
from pathlib import Path

import uvloop

from local.stack import Options, serve
from local.state import StartRefused

CATALOG = Path(__file__).resolve().parent.parent / "catalog"


def main() -> int:
    """Parse the flags and serve. Exit status 1 with one line when the start is refused."""
    parser = argparse.ArgumentParser(
        prog="phigate local",
        description="Serve an OpenAI-compatible gateway on this machine, providers simulated.",
        epilog="Example: phigate local --port 8080 --state .phigate",
    )
    parser.add_argument("--port", type=int, default=8080, help="TCP port (default 8080)")
    parser.add_argument("--state", type=Path, default=Path(".phigate"), help="state directory")
    parser.add_argument("--catalog", type=Path, default=CATALOG, help="catalog directory")
    flags = parser.parse_args()
    try:
        uvloop.run(serve(Options(flags.port, flags.state.absolute(), flags.catalog)))
    except StartRefused as refused:
        sys.stderr.write(f"phigate: {refused}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
