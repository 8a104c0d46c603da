"""What `make build` made: executable, compiled, for the right processor, small enough.

`make build` sets PHIGATE_BUILT to SAM's folder, and PHIGATE_SAM_PYTHON to the interpreter that has
the module by which SAM zips.
"""

import os
import struct
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

BUILT = Path(os.environ.get("PHIGATE_BUILT", ".aws-sam/build"))
COMPILED = ("Dependencies", "Framework", "Signatures", "Phigate", "StreamingRuntime")
LAYERS = (*COMPILED, "Catalog")
CHATS = ("Dependencies", "Phigate", "StreamingRuntime")
CHAT_BYTES_MAX = 15_000_000
# importlib.util.MAGIC_NUMBER of 3.13, and the flags of an unchecked hash (PEP 552).
MAGIC = (3571).to_bytes(2, "little") + b"\r\n"
UNCHECKED = 0b01
AARCH64 = 183  # e_machine of ELF
ZIP = """
import shutil, sys
from samcli.lib.package.utils import make_zip_with_lambda_permissions, zip_folder
with zip_folder(sys.argv[1], make_zip_with_lambda_permissions) as (made, _):
    shutil.copyfile(made, sys.argv[2])
"""


Zipped = Callable[[str], zipfile.ZipFile]


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zipped]:
    """A layer as SAM uploads it, made once."""
    folder = tmp_path_factory.mktemp("zipped")
    with ExitStack() as opened:

        @cache
        def made(name: str) -> zipfile.ZipFile:
            path = folder / f"{name}.zip"
            python = os.environ["PHIGATE_SAM_PYTHON"]
            subprocess.run([python, "-c", ZIP, str(BUILT / name), str(path)], check=True)
            return opened.enter_context(zipfile.ZipFile(path))

        yield made


def test_wrapper_is_executable_for_everybody(zipped: Zipped) -> None:
    mode = zipped("StreamingRuntime").getinfo("streaming-runtime").external_attr >> 16
    assert mode & 0o555 == 0o555


@pytest.mark.parametrize("name", COMPILED)
def test_every_module_is_compiled_by_3_13_and_never_checked(name: str, zipped: Zipped) -> None:
    layer = zipped(name)
    names = layer.namelist()
    compiled = [each for each in names if each.endswith(".pyc")]
    for each in compiled:
        head = layer.open(each).read(8)
        assert head[:4] == MAGIC, each
        assert struct.unpack("<I", head[4:])[0] == UNCHECKED, each
    assert len(compiled) == len([each for each in names if each.endswith(".py")])


@pytest.mark.parametrize("name", LAYERS)
def test_libraries_are_for_arm64(name: str, zipped: Zipped) -> None:
    layer = zipped(name)
    for each in layer.namelist():
        if each.endswith(".so") or ".so." in each:
            head = layer.open(each).read(20)
            assert head[:4] == b"\x7fELF", each
            assert struct.unpack("<H", head[18:20])[0] == AARCH64, each


def test_dependencies_have_libraries(zipped: Zipped) -> None:
    assert any(name.endswith(".so") for name in zipped("Dependencies").namelist())


def test_catalog_is_where_the_contract_says(zipped: Zipped) -> None:
    names = zipped("Catalog").namelist()
    assert {"catalog/regions.toml", "catalog/aliases.toml"} <= set(names)
    assert any(name.startswith("catalog/providers/") for name in names)
    assert not [name for name in names if not name.endswith(".toml")]


def test_layers_hold_what_python_and_lambda_look_for(zipped: Zipped) -> None:
    assert "python/phigate/pipeline/serve.py" in zipped("Phigate").namelist()
    assert "python/streaming_runtime/__main__.py" in zipped("StreamingRuntime").namelist()


def test_chat_with_its_layers_is_small(zipped: Zipped) -> None:
    sizes = {name: Path(str(zipped(name).filename)).stat().st_size for name in CHATS}
    assert sum(sizes.values()) <= CHAT_BYTES_MAX, sizes
