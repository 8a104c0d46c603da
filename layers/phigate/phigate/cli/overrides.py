"""Which providers a local stack reaches elsewhere, for commands that say where a call would go."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from phigate.cli.command import CommandFailed, Environment
from phigate.core.catalog.overrides import OverrideRefused, read_override
from phigate.core.catalog.port import CatalogView
from phigate.core.catalog.reach import with_overrides
from phigate.core.types import Override
from phigate.wiring import variable

OVERRIDES_FILE = "overrides.json"  # written by each start of the local stack, gone at its end


def as_reached(view: CatalogView, state: Path, environ: Environment) -> CatalogView:
    """The catalog as the stack on this state serves it; where none runs, as one would that is
    started with this environment. Raises CommandFailed."""
    providers = {row.provider for row in view.catalog.rows}
    overrides = _running(state / OVERRIDES_FILE)
    if overrides is None:
        overrides = _by_environment(providers, environ)
    return replace(view, catalog=with_overrides(view.catalog, overrides))


def _running(path: Path) -> dict[str, Override] | None:
    try:
        named = json.loads(path.read_text())
        return {name: Override(**each) for name, each in named.items()}
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError, OSError) as exc:
        raise CommandFailed(f"{path} cannot be read; start phigate local again") from exc


def _by_environment(providers: Iterable[str], environ: Environment) -> dict[str, Override]:
    try:
        read = {name: read_override(variable(name, ""), environ) for name in sorted(providers)}
    except OverrideRefused as exc:
        raise CommandFailed(str(exc)) from exc
    return {name: override for name, override in read.items() if override is not None}
