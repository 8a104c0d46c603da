"""What whoever installs or builds the packages relies on."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("layers/phigate/phigate", "layers/streaming_runtime/python/streaming_runtime", "local")
WORKFLOW = (ROOT / ".github/workflows/ci.yml").read_text()


@pytest.mark.parametrize(
    ("layer", "target", "package"),
    [
        ("phigate", "build-Phigate", "phigate"),
        ("streaming_runtime", "build-StreamingRuntime", "streaming_runtime"),
    ],
)
def test_a_built_layer_says_that_its_package_is_typed(
    layer: str, target: str, package: str, tmp_path: Path
) -> None:
    subprocess.run(
        ["make", target, f"ARTIFACTS_DIR={tmp_path}", f"PYTHON={sys.executable}"],
        cwd=ROOT / "layers" / layer,
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "python" / package / "py.typed").is_file()


@pytest.mark.parametrize("package", (*PACKAGES, "sandbox_fargate"))
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_the_workflow_runs_make_test_and_nothing_else() -> None:
    assert re.findall(r"run: (.*)", WORKFLOW) == ["make test"]


def test_the_workflow_names_each_action_by_a_commit() -> None:
    used = re.findall(r"uses: (.*)", WORKFLOW)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action), action


def test_the_workflow_may_read_and_nothing_else() -> None:
    assert re.findall(r"permissions:\n((?:  +.*\n)+)", WORKFLOW) == ["  contents: read\n"]


def test_the_workflow_runs_the_oldest_python_and_that_of_the_functions() -> None:
    (versions,) = re.findall(r"python: (\[.*\])", WORKFLOW)
    oldest, functions = json.loads(versions)
    assert PROJECT["requires-python"] == f">={oldest}"
    assert f"Runtime: python{functions}" in (ROOT / "template.yaml").read_text()
