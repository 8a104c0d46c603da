"""What a process that only chats loads: nothing that signs or checks texts, which takes 25 ms."""

import subprocess
import sys

import pytest

HEAVY = ("coincurve", "Crypto", "boto3", "botocore", "httpx", "moto")


@pytest.mark.parametrize("module", ["phigate.http.app", "phigate.wiring", "phigate.pipeline.serve"])
def test_chats_import_path_has_none_of(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) & set(HEAVY) == set()
