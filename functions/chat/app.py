"""The chat function. Streaming=on: the runtime layer calls the factory and names FAILURES;
Streaming=off: Lambda calls the handler. Nothing is read or made before either is called."""

from phigate.aws.buffered import Buffered
from phigate.aws.chat import chat
from phigate.aws.error_responses import FAILURES
from phigate.aws.server import FunctionServer

__all__ = ("FAILURES", "application", "handler")


def application() -> FunctionServer:
    """The ASGI application."""
    return chat()


handler = Buffered(application)
