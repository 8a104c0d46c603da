"""Each Python example runs as its reader would run it, on a local stack, and shows what it says.

The examples in other languages and LangChain need packages of their own: `make test-examples`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.effects.sandbox.sandboxes import why_not
from tests.local.running import RunningStack, environment, started

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT_S = 60
# What a reader sees of each, among other lines.
SHOWS: Mapping[str, tuple[str, ...]] = {
    "chat.py": ("answered by infomaniak-gemma-4-31b/CH/phi", "refused: phi_blocked"),
    "stream.py": ("[simulated infomaniak]", "tokens were written"),
    "tools.py": ("the model asks for lab_value('potassium')", "was read 1 times"),
    "vision.py": ("[simulated infomaniak]",),
    "json_schema.py": ("{'diagnosis': ", "'urgent': "),
    "math_figure.py": ("figure-1.svg: ", "1 figures"),
    "verify_receipt.py": ("it holds",),
}
# They need packages that `make test` does not install.
ELSEWHERE = {"langchain_chat.py"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One stack for all of them."""
    with started(tmp_path_factory.mktemp("examples") / "state") as running:
        yield running


@pytest.mark.parametrize("name", SHOWS)
def test_an_example_shows_what_its_reader_is_told(
    name: str, stack: RunningStack, tmp_path: Path
) -> None:
    if name == "math_figure.py" and why_not():
        pytest.skip(why_not())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {"OPENAI_BASE_URL": stack.base_url, "OPENAI_API_KEY": stack.key, "PATH": path}
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=tmp_path,
        env=environment(variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert ran.returncode == 0, ran.stderr
    for line in SHOWS[name]:
        assert line in ran.stdout


def test_no_example_is_left_out() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHOWS) | ELSEWHERE
