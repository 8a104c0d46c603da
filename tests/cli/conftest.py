"""Commands run on a real engine, reached as `phigate local` lets them reach it: by engine.json.

One engine serves all tests, and every test has a table of its own in it.
"""

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from local.engine import Engine, running
from phigate.cli.main import main
from phigate.effects.aws.sigv4 import Credentials
from phigate.effects.clock import WallClock
from phigate.effects.store.dynamodb import DynamoDB

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command left behind: its exit status and its two outputs."""

    status: int
    out: str
    err: str


class Terminal:
    """Types commands as a person would, with PHIGATE_STATE set."""

    def __init__(
        self, state: Path, url: str, table: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.state = state
        self.url = url
        self.table = table
        self._capsys = capsys

    def __call__(self, *argv: str, environ: dict[str, str] | None = None) -> CommandResult:
        """Run one command in this process."""
        self._capsys.readouterr()
        variables = {"PHIGATE_STATE": str(self.state)} if environ is None else environ
        status = main(argv, variables)
        out, err = self._capsys.readouterr()
        return CommandResult(status, out, err)

    def ask(self, work: Callable[[DynamoDB], Awaitable[Answer]]) -> Answer:
        """Look into the engine without a command."""

        async def asked() -> Answer:
            dynamodb = DynamoDB(
                table=self.table,
                endpoint=self.url,
                region="local",
                credentials=lambda: Credentials("local", "local"),
                clock=WallClock(),
            )
            try:
                return await work(dynamodb)
            finally:
                await dynamodb.close()

        return asyncio.run(asked())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory that exists and is empty."""
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine of all tests."""
    with running(tmp_path_factory.mktemp("engine")) as started:
        yield started


@pytest.fixture
def terminal(
    state: Path, tmp_path: Path, engine: Engine, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    """A terminal on a state whose engine runs, as beside `phigate local`."""
    table = re.sub(r"[^A-Za-z0-9]", "-", f"{tmp_path.parent.name}-{tmp_path.name}")
    named = {"url": engine.url, "table": table, "pid": os.getpid(), "durable": True}
    (state / "engine.json").write_text(json.dumps(named))
    return Terminal(state, engine.url, table, capsys)
