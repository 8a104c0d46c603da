"""Where a command works: a local state directory, or a table on AWS; and what it finds there.

`--state` and `--table` decide, then PHIGATE_STATE and PHIGATE_TABLE, then the default directory.
"""

import argparse
import asyncio
import contextlib
import importlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from phigate.cli.command import CommandFailed, Environment, Run, WrongUsage, remark
from phigate.cli.state import local_engine
from phigate.core.clock import Clock
from phigate.effects.aws.sigv4 import Credentials
from phigate.effects.clock import WallClock
from phigate.effects.signing.key_files import key_file
from phigate.effects.store.admin import DynamoAdmin, create_table
from phigate.effects.store.dynamodb import DynamoDB
from phigate.effects.store.ledger import DynamoLedger
from phigate.verify.roots import CATALOGS

DEFAULT_STATE = ".phigate"

# Importing botocore costs 0.2 s, and only commands on AWS need it.
_AWS_MODULE = "phigate.cli.aws"


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Exactly one of the two is set."""

    state: Path | None
    table: str | None


@dataclass(frozen=True, slots=True)
class Store:
    """The table as a command reaches it. `state` is the local directory, None on AWS.

    `aws_region` is what AWS_REGION says, for other services than DynamoDB.
    """

    dynamodb: DynamoDB
    clock: Clock
    state: Path | None
    aws_region: str | None = None

    @property
    def admin(self) -> DynamoAdmin:
        """Accounts, keys and credit."""
        return DynamoAdmin(self.dynamodb, self.clock)

    @property
    def ledger(self) -> DynamoLedger:
        """What accounts hold, and the sweeper."""
        return DynamoLedger(self.dynamodb, self.clock)

    @property
    def key_file(self) -> Path:
        """The key that signs catalogs here. Raises CommandFailed on AWS."""
        if self.state is None:
            raise CommandFailed(
                "a catalog on AWS is signed and verified with the stack's own key, "
                "which this command cannot use; give the folder with --catalog, or use --state"
            )
        return key_file(self.state, CATALOGS)


Work = Callable[[Store, argparse.Namespace], Awaitable[int]]


def place_flags(parser: argparse.ArgumentParser) -> None:
    """`--state` and `--table`."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="local state directory (default: PHIGATE_STATE, else .phigate)",
    )
    place.add_argument(
        "--table",
        metavar="NAME",
        help="DynamoDB table on AWS, with the usual credentials (default: PHIGATE_TABLE)",
    )


def place_of(flags: argparse.Namespace, environ: Environment) -> StoreAddress:
    """Where the command is meant to work. Raises WrongUsage where that is not clear."""
    if flags.state is not None or flags.table is not None:
        return StoreAddress(flags.state, flags.table)
    state, table = environ.get("PHIGATE_STATE"), environ.get("PHIGATE_TABLE")
    if state and table:
        raise WrongUsage(
            "PHIGATE_STATE and PHIGATE_TABLE are both set; say --state DIR or --table NAME"
        )
    if table:
        return StoreAddress(None, table)
    return StoreAddress(Path(state or DEFAULT_STATE), None)


def on_store(work: Work, *, makes_state: bool = False) -> Run:
    """A command's `run` that does its work on the store. `makes_state`: a new directory is fine."""

    def run(flags: argparse.Namespace, environ: Environment) -> int:
        with reached(place_of(flags, environ), environ, makes_state=makes_state) as store:
            return asyncio.run(_worked(store, work, flags))

    return run


@contextlib.contextmanager
def reached(place: StoreAddress, environ: Environment, *, makes_state: bool) -> Iterator[Store]:
    """The store of a place, for as long as the context lasts. Raises CommandFailed."""
    clock = WallClock()
    region = environ.get("AWS_REGION")
    if place.state is None:
        yield Store(_on_aws(str(place.table), clock, environ), clock, None, region)
        return
    if not place.state.is_dir():
        if not makes_state:
            raise CommandFailed(
                f"there is no local state in {place.state}; start one with phigate local, "
                "or name another with --state"
            )
        place.state.mkdir(mode=0o700, parents=True)
        remark(f"made a new local state in {place.state}")
    with local_engine(place.state) as engine:
        dynamodb = DynamoDB(
            table=engine.table,
            endpoint=engine.url,
            region="local",
            credentials=lambda: Credentials("local", "local"),
            clock=clock,
        )
        yield Store(dynamodb, clock, place.state, region)


async def _worked(store: Store, work: Work, flags: argparse.Namespace) -> int:
    try:
        if store.state is not None:
            await create_table(store.dynamodb, store.clock)
        return await work(store, flags)
    finally:
        await store.dynamodb.close()


def _on_aws(table: str, clock: Clock, environ: Environment) -> DynamoDB:
    try:
        aws = importlib.import_module(_AWS_MODULE)
    except ImportError as exc:
        raise CommandFailed("a table on AWS needs botocore: pip install boto3") from exc
    credentials, region, endpoint = aws.reach(environ.get("AWS_REGION"))
    remark(f"working on table {table} in {region}")
    return DynamoDB(
        table=table,
        endpoint=endpoint,
        region=region,
        credentials=lambda: Credentials(*credentials),
        clock=clock,
    )
