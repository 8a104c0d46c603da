"""What `make build-here` made, laid out as Lambda does and run by a clean python3.13.

`make build-here` sets PHIGATE_BUILT_HERE to SAM's folder: the template of `local.here`, whose
libraries are for this machine.
"""

import os
import shutil
import subprocess
from pathlib import Path

import botocore
import pytest

from local.here import ARCHITECTURES, TEMPLATE, here
from tests.functions.test_imports import EXPORTS
from tests.template.cloudformation import read

BUILT = Path(os.environ.get("PHIGATE_BUILT_HERE", ".aws-sam/here"))
FUNCTIONS = {
    "chat": "Chat",
    "math": "Math",
    "directory": "Directory",
    "catalog_sync": "CatalogSync",
    "sweeper": "Sweeper",
}
# What the managed runtime has and no layer brings.
MANAGED = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "urllib3", "six.py")
# -I and -S: no path comes from the environment, the folder, or packages of this machine's own.
# The order is Lambda's: https://docs.aws.amazon.com/lambda/latest/dg/python-layers.html
CODE = """
import os, sys
names, *paths = sys.argv[1:]
sys.path[:0] = paths
import app
files = {m.__name__: m for m in list(sys.modules.values()) if getattr(m, "__file__", None)}
print([name for name in names.split(",") if getattr(app, name, None) is None])
print([name for name, m in files.items() if not m.__file__.startswith((sys.base_prefix, *paths))])
laid = {name: m for name, m in files.items() if m.__file__.startswith(paths[1])}
cached = {name: getattr(m, "__cached__", None) for name, m in laid.items()}
print([name for name, path in cached.items() if path and not os.path.exists(path)])
"""


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the managed runtime's own packages."""
    folder = tmp_path_factory.mktemp("runtime")
    site = Path(botocore.__file__).parents[1]
    for name in MANAGED:
        (folder / name).symlink_to(site / name)
    return folder


def laid_out(function: str, folder: Path) -> tuple[Path, Path]:
    """Task root and /opt of a function, its layers merged in their order."""
    layers = read()["Resources"][FUNCTIONS[function]]["Properties"]["Layers"]
    for layer in layers:
        shutil.copytree(BUILT / layer["Ref"], folder / "opt", dirs_exist_ok=True)
    return BUILT / FUNCTIONS[function], folder / "opt"


@pytest.mark.parametrize("function", EXPORTS)
def test_a_built_function_is_imported_from_what_was_built_alone(
    function: str, tmp_path: Path, managed: Path
) -> None:
    root, opt = laid_out(function, tmp_path)
    paths = [str(root.resolve()), str(opt / "python"), str(managed)]
    ran = subprocess.run(
        ["python3.13", "-I", "-S", "-B", "-c", CODE, ",".join(EXPORTS[function]), *paths],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
        cwd="/",
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    missing, foreign, uncompiled = ran.stdout.splitlines()
    assert (missing, foreign, uncompiled) == ("[]", "[]", "[]")


def test_only_the_processor_differs_from_what_is_deployed() -> None:
    text = TEMPLATE.read_text()
    assert here(text, "aarch64") == text
    changed = [
        (before, after)
        for before, after in zip(text.splitlines(), here(text, "x86_64").splitlines(), strict=True)
        if before != after
    ]
    assert len(changed) == 11
    assert all(
        after == before.replace("arm64", ARCHITECTURES["x86_64"]) for before, after in changed
    )
