"""What a process that only chats loads: nothing that signs or checks texts, which takes 25 ms."""

import subprocess
import sys

import pytest

HEAVY = ("coincurve", "Crypto", "boto3", "botocore", "httpx", "moto")


# The models of the catalog's files run where files are read, not where a signed snapshot is.
ELSEWHERE = ("phigate.core.catalog.files", "phigate.core.catalog.check")


@pytest.mark.parametrize("module", ["phigate.http.app", "phigate.wiring", "phigate.pipeline.serve"])
def test_chats_import_path_has_none_of(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ran.stdout.split())
    assert {name.split(".")[0] for name in loaded} & set(HEAVY) == set()
    assert loaded & set(ELSEWHERE) == set()
