"""The examples in Node, curl and LangChain, as readers run them: `make test-examples`."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.running import RunningStack, environment, started
from tests.slow.test_node_sdk import FILES, HERE, INSTALL, INSTALL_TIMEOUT_S

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
LANGCHAIN = ROOT / ".phigate-tools" / "examples" / "bin" / "python"
TIMEOUT_S = 60
ROUTED = "infomaniak-gemma-4-31b/CH/phi"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One stack for all of them."""
    with started(tmp_path_factory.mktemp("examples") / "state") as running:
        yield running


def shown(stack: RunningStack, command: list[str], folder: Path) -> str:
    """What an example prints."""
    variables = {
        "OPENAI_BASE_URL": stack.base_url,
        "OPENAI_API_KEY": stack.key,
        "PATH": os.environ["PATH"],
    }
    ran = subprocess.run(
        command,
        cwd=folder,
        env=environment(variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_curl(stack: RunningStack, tmp_path: Path) -> None:
    assert f"x-phi-routed: {ROUTED}" in shown(stack, [str(EXAMPLES / "chat.sh")], tmp_path)


def test_langchain(stack: RunningStack, tmp_path: Path) -> None:
    output = shown(stack, [str(LANGCHAIN), str(EXAMPLES / "langchain_chat.py")], tmp_path)
    assert "[simulated infomaniak]" in output
    assert "'output_tokens': " in output


@pytest.mark.skipif(shutil.which("npm") is None, reason="node and npm are not installed")
def test_node(stack: RunningStack, tmp_path: Path) -> None:
    for name in FILES:
        shutil.copy(HERE / name, tmp_path)
    subprocess.run(INSTALL, cwd=tmp_path, check=True, timeout=INSTALL_TIMEOUT_S)
    shutil.copy(EXAMPLES / "chat.mjs", tmp_path)
    assert f"answered by {ROUTED}" in shown(stack, ["node", "chat.mjs"], tmp_path)
