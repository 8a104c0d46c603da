"""A bundle is laid out whole or not at all: a root that is left out is a provider not reached."""

import shutil
from pathlib import Path

import pytest

from layers.dependencies.authorities import lay_out
from tests.slow.authority import write_authority

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="a build needs openssl")


@pytest.fixture
def certificate(tmp_path: Path) -> bytes:
    """One authority's."""
    authority, _ = write_authority(tmp_path, ["name"])
    return authority.read_bytes()


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_every_certificate_is_laid_out(end: bytes, certificate: bytes, tmp_path: Path) -> None:
    text = certificate.replace(b"\n", end)
    bundle = b"# the first" + end + text + b"# the second" + end + text.rstrip()
    assert lay_out(bundle, tmp_path / "laid") == 2
    names = sorted(path.name for path in (tmp_path / "laid").iterdir())
    assert [name.partition(".")[2] for name in names] == ["0", "1"]  # of one subject


def test_a_bundle_that_was_cut_is_refused(certificate: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be told"):
        lay_out(certificate + certificate[:200], tmp_path / "laid")
