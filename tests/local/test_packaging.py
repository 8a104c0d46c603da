"""What whoever installs or builds the packages relies on."""

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("layers/phigate/phigate", "layers/streaming_runtime/python/streaming_runtime", "local")
WORKFLOW = (ROOT / ".github/workflows/ci.yml").read_text()


@pytest.mark.parametrize("package", (*PACKAGES, "sandbox_fargate"))
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_the_workflow_runs_make_test_and_nothing_else() -> None:
    assert re.findall(r"run: (.*)", WORKFLOW) == ["make test"]


def test_the_workflow_runs_the_oldest_python_and_that_of_the_functions() -> None:
    (versions,) = re.findall(r"python: (\[.*\])", WORKFLOW)
    oldest, functions = json.loads(versions)
    assert PROJECT["requires-python"] == f">={oldest}"
    assert f"Runtime: python{functions}" in (ROOT / "template.yaml").read_text()
