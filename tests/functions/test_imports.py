"""Each function in a clean interpreter: what it exports, what it loads, and that it does nothing.

Nothing is read from the environment and nothing is opened before a factory or handler is called:
what happens at import lies in a SnapStart snapshot.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPORTS = {
    "chat": ("FAILURES", "application", "handler"),
    "math": ("FAILURES", "application", "handler"),
    "directory": ("handler",),
    "catalog_sync": ("handler",),
    "sweeper": ("handler",),
}
# What costs a cold start most, by the functions that may load it; a loaded `random` is seeded anew
# by the runtime.
HEAVY = {
    # Its Parameters are for who has boto3; the rest comes with the first line, after an answer.
    "aws_lambda_powertools": {"math", "sweeper"},
    "boto3": {"math", "sweeper"},
    # The sweeper reads what confidential providers have signed, to close a day over it.
    "coincurve": {"directory", "sweeper"},
    "Crypto": {"directory", "sweeper"},
    # Parses SVG, which only the math agent draws.
    "defusedxml": {"math"},
    "mangum": {"chat", "math", "directory"},
    "fastapi": {"directory"},
    "starlette": {"directory"},
    "httpx": set[str](),
    "moto": set[str](),
    "uvicorn": set[str](),
}
# The models of the catalog's files run where files are read, which is a push.
CATALOG_FILES = {"catalog_sync"}
CODE = """
import sys
watched = []
forbidden = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen")
sys.addaudithook(lambda event, args: watched.append(event) if event in forbidden else None)
import app
print(*(name for name in sys.argv[1].split() if getattr(app, name, None) is None))
print(*sorted({name.split(".")[0] for name in sys.modules}))
print(*watched)
print("phigate.core.catalog.files" in sys.modules)
"""


@pytest.mark.parametrize("function", EXPORTS)
def test_a_function_is_imported_without_settings(function: str) -> None:
    folder = ROOT / "functions" / function
    paths = [str(folder), str(ROOT / "layers" / "phigate")]
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE, " ".join(EXPORTS[function])],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(paths)},
        cwd="/",
        check=True,
    )
    missing, loaded, watched, catalog_files = ran.stdout.split("\n")[:4]
    assert (missing, watched) == ("", "")
    assert catalog_files == str(function in CATALOG_FILES)
    names = set(loaded.split())
    assert {heavy for heavy in HEAVY if heavy in names} == {
        heavy for heavy, functions in HEAVY.items() if function in functions
    }


@pytest.mark.parametrize("function", EXPORTS)
def test_a_function_is_short(function: str) -> None:
    (file,) = (ROOT / "functions" / function).glob("*.py")
    assert file.name == "app.py"
    assert len(file.read_text().splitlines()) <= 20


@pytest.mark.parametrize("function", EXPORTS)
def test_without_settings_it_does_not_start(function: str) -> None:
    """Also catalog_sync: without a URL there is nobody to answer."""
    call = "app.application()" if function in ("chat", "math") else "app.handler({}, None)"
    ran = subprocess.run(
        [sys.executable, "-c", f"import app; {call}"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{ROOT / 'functions' / function}:{ROOT / 'layers' / 'phigate'}"},
        check=False,
    )
    last = ran.stderr.strip().splitlines()[-1]
    if function == "catalog_sync":
        assert last.endswith("NotAnswered: the event has no ResponseURL")
    else:
        assert f"SettingsRefused: {function} does not start: PHIGATE_TABLE is missing" in last
