"""Finds what `_HANDLER` names: an ASGI application, or a function without arguments that makes one.

Law: finding it imports the module and does nothing more; a factory is called by the loop, after a
SnapStart restore.
"""

import importlib
import inspect
from typing import Any

from streaming_runtime.errors import HandlerNotFound
from streaming_runtime.types import App


def find(name: str) -> Any:
    """The object at `module.attribute`; the module may be written with slashes, as Lambda does."""
    module_name, _, attribute = name.rpartition(".")
    if not module_name or not attribute:
        raise HandlerNotFound("The handler is not of the form module.attribute.")
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except (Exception, SystemExit) as exc:
        raise HandlerNotFound(f"The module {module_name} cannot be imported:") from exc
    try:
        return getattr(module, attribute)
    except AttributeError as exc:
        raise HandlerNotFound(f"The module {module_name} has no {attribute}.") from exc


def app_of(found: Any) -> App:
    """The application itself. What takes three arguments is one, also when it could take none."""
    app: App = found
    if not _takes(found, 3):
        if not _takes(found, 0):
            raise HandlerNotFound("The handler takes neither (scope, receive, send) nor nothing.")
        app = found()
    if not _takes(app, 3):
        raise HandlerNotFound("The handler made something that takes no (scope, receive, send).")
    return app


def _takes(found: Any, arguments: int) -> bool:
    try:
        inspect.signature(found).bind(*[None] * arguments)
    except (TypeError, ValueError):
        return False
    return True
