"""`phigate catalog`: check the folder, load it, show what is in it."""

import argparse
from pathlib import Path

from phigate.cli.catalog_source import DEFAULT_FOLDER, document_bytes, stored_view
from phigate.cli.command import Command, Environment, remark
from phigate.cli.store import Store, on_store, place_flags
from phigate.cli.tables import columns, day
from phigate.core.catalog.check import checked_catalog
from phigate.core.catalog.mistakes import CatalogInvalid
from phigate.core.catalog.price import CARD_PREFIX, tier_of, usd_per_mtok
from phigate.core.limits import CATALOG_FRESH_S
from phigate.core.types import Catalog, Row
from phigate.effects.clock import WallClock
from phigate.effects.signing.signer import load_or_create_key_file
from phigate.effects.store.catalog_push import push_snapshot

_PRICES = ("IN USD/MTOK", "OUT USD/MTOK")
_HEADINGS = ("ROW", "REGIONS", "STATUS", "TIER", "MODEL TIER", *_PRICES, "AGREEMENT UNTIL")


def _check_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=DEFAULT_FOLDER,
        metavar="DIR",
        help="catalog folder (default: catalog)",
    )


def _check(flags: argparse.Namespace, environ: Environment) -> int:
    try:
        catalog = checked_catalog(document_bytes(flags.folder))
    except CatalogInvalid as exc:
        return _mistakes(exc)
    print(f"{flags.folder}: no mistake in {_size(catalog)}")
    print(f"rate card {CARD_PREFIX}{catalog.card_sha256}")
    return 0


def _mistakes(invalid: CatalogInvalid) -> int:
    """Every mistake on a line: file, row, field and what is wrong."""
    print(invalid)
    found = len(invalid.mistakes)
    remark(f"the catalog has {found} mistake{'' if found == 1 else 's'}")
    return 1


def _size(catalog: Catalog) -> str:
    return (
        f"{len(catalog.rows)} rows, {len(catalog.regions)} regions, {len(catalog.aliases)} aliases"
    )


def _show_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="DIR",
        help="catalog folder (default: the catalog that is loaded)",
    )
    place_flags(parser)


def _show(flags: argparse.Namespace, environ: Environment) -> int:
    if flags.folder is None:
        return on_store(_show_stored)(flags, environ)
    try:
        _print(checked_catalog(document_bytes(flags.folder)), WallClock().now_s())
    except CatalogInvalid as exc:
        return _mistakes(exc)
    return 0


async def _show_stored(store: Store, flags: argparse.Namespace) -> int:
    view = await stored_view(store)
    _print(view.catalog, store.clock.now_s())
    remark(f"catalog sha256:{view.catalog.sha256}")
    return 0


def _print(catalog: Catalog, now_s: float) -> None:
    rows = (_line(row, now_s) for row in sorted(catalog.rows, key=lambda row: row.id))
    print(columns(_HEADINGS, rows, right=frozenset(_PRICES)))


def _line(row: Row, now_s: float) -> tuple[str, ...]:
    price = row.price
    return (
        row.id,
        ",".join(sorted(row.places)),
        row.status,
        tier_of(row),
        row.model_tier,
        usd_per_mtok(price.in_micros_per_mtok),
        usd_per_mtok(price.out_micros_per_mtok),
        _agreement(row, now_s),
    )


def _agreement(row: Row, now_s: float) -> str:
    agreement = row.agreement
    if agreement is None:
        return "-"
    until = f"{day(agreement.expires_at_s)} ({agreement.law})"
    if agreement.expires_at_s <= now_s:
        return f"{until} expired"
    if agreement.effective_at_s > now_s:
        return f"{until} not before {day(agreement.effective_at_s)}"
    return until


def _push_flags(parser: argparse.ArgumentParser) -> None:
    _check_flags(parser)
    place_flags(parser)


def _push(flags: argparse.Namespace, environ: Environment) -> int:
    try:
        document = document_bytes(flags.folder)
    except CatalogInvalid as exc:
        return _mistakes(exc)

    async def work(store: Store, flags: argparse.Namespace) -> int:
        signer = load_or_create_key_file(store.key_file)
        name = await push_snapshot(store.dynamodb, document, signer, int(store.clock.now_s()))
        print(f"sha256:{name}")
        remark(f"a gateway that runs takes it up within {CATALOG_FRESH_S:.0f} s")
        return 0

    return on_store(work, makes_state=True)(flags, environ)


COMMANDS = (
    Command(
        words="catalog check",
        summary="Check a catalog folder; every mistake is named by file, row and field.",
        example="phigate catalog check catalog",
        flags=_check_flags,
        run=_check,
    ),
    Command(
        words="catalog show",
        summary="Show the rows: regions, status, tiers, published prices, agreements.",
        example="phigate catalog show catalog",
        flags=_show_flags,
        run=_show,
    ),
    Command(
        words="catalog push",
        summary="Check a catalog folder, sign it and load it as the snapshot in use.",
        example="phigate catalog push catalog",
        flags=_push_flags,
        run=_push,
    ),
)
