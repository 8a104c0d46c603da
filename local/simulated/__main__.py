"""`python -m local.simulated --port N`: prints the base URL and serves until it is ended."""

import argparse
import sys

from local.simulated.app import build_app
from local.simulated.server import HOST, build_server, open_socket, port_of

PROVIDERS = (
    "infomaniak",
    "scaleway",
    "together",
    "anthropic",
    "google",
    "azure",
    "openai",
    "phala",
)


def main() -> int:
    """The exit status; 1 with one line on standard error when the port is in use."""
    parser = argparse.ArgumentParser(prog="python -m local.simulated", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one")
    parser.add_argument("--providers", default=",".join(PROVIDERS), help="names, with commas")
    asked = parser.parse_args()
    try:
        listening = open_socket(asked.port)
    except OSError as exc:
        print(f"simulated providers: port {asked.port}: {exc.strerror}", file=sys.stderr)
        return 1
    print(f"simulated providers: http://{HOST}:{port_of(listening)}", flush=True)
    try:
        build_server(build_app(asked.providers.split(","))).run(sockets=[listening])
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
