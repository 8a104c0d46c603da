"""functions/chat/app.py with the bench's endpoints: the same imports, the same factory."""

import os

from phigate.aws.buffered import Buffered
from phigate.aws.chat import chat
from phigate.aws.environment import LambdaEnvironment
from phigate.aws.error_responses import FAILURES
from phigate.aws.server import FunctionServer

__all__ = ("FAILURES", "application", "handler")


def application() -> FunctionServer:
    """The ASGI application."""
    return chat(
        LambdaEnvironment(
            endpoint=lambda service, region, _fips: os.environ["BENCH_AWS"],
            base_url=lambda provider: f"{os.environ['BENCH_PROVIDERS']}/{provider}/v1",
        )
    )


handler = Buffered(application)
"""As in the function; not called here."""
