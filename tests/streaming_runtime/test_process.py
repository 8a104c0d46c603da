"""The layer as Lambda starts it: the wrapper script, the environment, a signal, an exit code."""

import ast
import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.streaming_runtime.events import event
from tests.streaming_runtime.fake_api import FakeApi, fake_api

pytestmark = pytest.mark.anyio

LAYER = Path(__file__).parents[2] / "layers" / "streaming_runtime"
WRAPPER = LAYER / "streaming-runtime"
STORY_S = 20  # a story that hangs fails

APP = """
import gc, json, os, random, sys

COLLECTED_AT_IMPORT = gc.isenabled()
OPENED = []
sys.addaudithook(lambda name, args: OPENED.append(args[1]) if name == "socket.connect" else None)
random.seed(7)

def make():
    before = [list(address) for address in OPENED]
    print("made", flush=True)

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            print("shutdown", flush=True)
            await send({"type": "lifespan.shutdown.complete"})
            return
        seen = {
            "before": before,
            "random": random.random(),
            "trace": os.environ["_X_AMZN_TRACE_ID"],
            "collector": [COLLECTED_AT_IMPORT, gc.isenabled(), gc.get_freeze_count() > 0],
            "path": [entry for entry in sys.path if "streaming_runtime" in entry][:1],
        }
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(seen).encode()})

    return app
"""


@asynccontextmanager
async def process(
    folder: Path, api: FakeApi, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The wrapper, started as the managed runtime's bootstrap does."""
    child = await asyncio.create_subprocess_exec(
        WRAPPER,
        sys.executable,
        "/var/runtime/bootstrap.py",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd="/",
        env={
            "AWS_LAMBDA_RUNTIME_API": api.authority,
            "LAMBDA_TASK_ROOT": str(folder),
            "_HANDLER": "app.make",
            "PATH": os.defpath,
            **environment,
        },
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def test_wrapper_serves_a_handler_and_stops_on_sigterm(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    async with asyncio.timeout(STORY_S), fake_api() as api, process(tmp_path, api) as child:
        api.hand_out(event())
        prelude, content = await (await api.post()).streamed()
        seen = parsed(content)
        assert prelude["statusCode"] == 200
        assert (seen["trace"], seen["path"]) == ("Root=1-a", [str(LAYER / "python")])
        assert seen["collector"] == [False, True, True]
        await api.asked()
        child.send_signal(signal.SIGTERM)
        out, err = await child.communicate()
        assert (out, child.returncode) == (b"made\nshutdown\n", 0)
        assert b'"stopped"' in err


QUOTING = """
import asyncio

async def quoting():
    raise ValueError("canary-prompt")

def make():
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise RuntimeError
        asyncio.ensure_future(quoting())
        await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    return app
"""


async def test_a_failure_that_nobody_awaits_is_named_by_its_class(tmp_path: Path) -> None:
    """asyncio's own handler would write its text."""
    (tmp_path / "app.py").write_text(QUOTING)
    async with asyncio.timeout(STORY_S), fake_api() as api, process(tmp_path, api) as child:
        api.hand_out(event())
        await (await api.post()).streamed()
        await api.asked()
        child.send_signal(signal.SIGTERM)
        _, err = await child.communicate()
        lines = [json.loads(line) for line in err.splitlines()]
        assert [(each["streaming_runtime"], each.get("error")) for each in lines] == [
            ("no_lifespan", "RuntimeError"),
            ("loop_failure", "ValueError"),
            ("stopped", None),
        ]


async def test_under_snapstart_only_the_runtime_api_is_reached_before_the_restore(
    tmp_path: Path,
) -> None:
    (tmp_path / "app.py").write_text(APP)
    async with (
        asyncio.timeout(STORY_S),
        fake_api() as api,
        process(tmp_path, api, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start") as child,
    ):
        await api.restore_asked.wait()
        api.restored.set()
        api.hand_out(event())
        _, content = await (await api.post()).streamed()
        seen = parsed(content)
        host, port = api.authority.split(":")
        assert seen["before"] == [[host, int(port)]]
        assert seen["random"] != random.Random(7).random()
        assert child.returncode is None


@pytest.mark.parametrize(
    ("source", "environment", "words"),
    [
        ("import nowhere", {}, ["module app cannot be imported", "nowhere"]),
        ("raise SystemExit(3)", {}, ["module app cannot be imported", "SystemExit"]),
        ("other = 1", {}, ["module app has no make"]),
        ("", {"_HANDLER": "app"}, ["module.attribute"]),
        ("make = 1", {"STREAMING_RUNTIME_RESPONSE": "no"}, ["KeyError", "no"]),
        ("make = 1", {"STREAMING_RUNTIME_FAILURES": "app.no"}, ["app has no no"]),
    ],
    ids=["import", "exit", "attribute", "handler", "response", "failures"],
)
async def test_start_that_fails_is_reported_and_ends_the_process(
    tmp_path: Path, source: str, environment: dict[str, str], words: list[str]
) -> None:
    (tmp_path / "app.py").write_text(source)
    async with (
        asyncio.timeout(STORY_S),
        fake_api() as api,
        process(tmp_path, api, **environment) as child,
    ):
        post = await api.post()
        message = parsed(await post.rest())["errorMessage"]
        assert post.path == "/init/error"
        assert all(word in str(message) for word in words)
        assert await child.wait() == 1


async def test_process_ends_when_the_runtime_api_is_gone(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    async with asyncio.timeout(STORY_S):
        async with fake_api() as api:
            gone = FakeApi()
            gone.authority = api.authority
        async with process(tmp_path, gone) as child:
            _, err = await child.communicate()
            assert child.returncode == 1
            assert b"runtime_api_gone" in err


async def test_failures_and_buffered_answers_are_chosen_by_the_environment(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "async def app(scope, receive, send): raise KeyError\n"
        "class FAILURES:\n"
        "    def answer(failure): return 418, [], failure.encode()\n"
    )
    chosen = {
        "_HANDLER": "app.app",
        "STREAMING_RUNTIME_RESPONSE": "buffered",
        "STREAMING_RUNTIME_FAILURES": "app.FAILURES",
    }
    async with asyncio.timeout(STORY_S), fake_api() as api, process(tmp_path, api, **chosen):
        api.hand_out(event())
        answer = parsed(await (await api.post()).rest())
        assert (answer["statusCode"], answer["body"]) == (418, "app_failed")


def parsed(content: bytes) -> dict[str, object]:
    """A JSON object."""
    value = json.loads(content)
    assert isinstance(value, dict)
    return value


async def test_layer_imports_the_standard_library_alone() -> None:
    imported = set()
    for module in (LAYER / "python").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"streaming_runtime"}


async def test_wrapper_may_be_executed() -> None:
    assert os.access(WRAPPER, os.X_OK)
