"""Where a command's catalog comes from: a folder of TOML, or the signed snapshot of the store."""

from pathlib import Path

from phigate.adapters import ADAPTERS
from phigate.cli.command import CommandFailed
from phigate.cli.store import Store
from phigate.core.catalog.check import check
from phigate.core.catalog.files import document_from_texts
from phigate.core.catalog.mistakes import CatalogInvalid, Mistake
from phigate.core.catalog.port import CatalogView
from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.errors import Overloaded
from phigate.effects.signing.signer import load_or_create_key_file
from phigate.effects.store.catalog import DynamoCatalog

DEFAULT_FOLDER = Path("catalog")


def document_bytes(folder: Path) -> bytes:
    """The folder's catalog as canonical bytes, without mistakes. Raises CatalogInvalid."""
    document = document_from_texts(_texts(folder))
    mistakes = check(document, frozenset(ADAPTERS))
    if mistakes:
        raise CatalogInvalid(mistakes)
    return canonical_bytes(document)


async def stored_view(store: Store) -> CatalogView:
    """The snapshot in use, its signature verified. Raises CommandFailed where there is none."""
    key_file = store.key_file
    if not key_file.exists():
        raise CommandFailed("no catalog was loaded here yet; run phigate catalog push")
    signer = load_or_create_key_file(key_file)
    noted = _Noted()
    source = DynamoCatalog(store.dynamodb, store.clock, noted, {signer.kid: signer.public_key})
    try:
        return await source.current()
    except Overloaded as exc:
        raise CommandFailed(
            f"the loaded catalog cannot be used ({noted.reason}); run phigate catalog push"
        ) from exc


def _texts(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        raise CommandFailed(f"there is no catalog folder {folder}")
    texts, mistakes = {}, []
    for path in sorted(folder.rglob("*.toml")):
        name = path.relative_to(folder).as_posix()
        try:
            texts[name] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as exc:
            mistakes.append(Mistake(name, "", "", f"not UTF-8 (byte {exc.start})"))
    if mistakes:
        raise CatalogInvalid(mistakes)
    return texts


class _Noted:
    """A EventLog that keeps the reason of the last event."""

    def __init__(self) -> None:
        self.reason = "not read"

    def record(self, event: str, **fields: str | int | float | bool) -> None:
        """See core.event_log.EventLog."""
        self.reason = str(fields.get("reason", event))
