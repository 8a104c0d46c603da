"""A math answer's figures as a person sees them: headless Chromium draws both SVG blocks."""

import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.sandboxes import VENV
from tests.local.running import RunningStack, started

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FENCE = re.compile(r"```svg\n(.*?)\n```", re.DOTALL)
QUESTION = "Plot sin(x) from 0 to 6 in Python and then plot sin(x) from 0 to 6 in R."
WIDTH, HEIGHT = 900, 1_100
INK_MIN = 2_000  # dark or coloured pixels of one chart; an empty page has none

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.skipif(
        shutil.which("bwrap") is None or not VENV.exists(), reason="no sandbox on this machine"
    ),
    pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed"),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A local stack."""
    with started(tmp_path_factory.mktemp("stack") / "state") as running:
        yield running


def test_both_figures_are_drawn(stack: RunningStack, tmp_path: Path) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": QUESTION}]}
    told = stack.call(
        "POST",
        "/v1/math/chat/completions",
        body=body,
        key=stack.key,
        headers=[("x-region", "CH")],
    )
    figures = FENCE.findall(told.json["choices"][0]["message"]["content"])
    assert len(figures) == 2
    page = tmp_path / "answer.html"
    page.write_text(
        "<!doctype html><meta charset=utf-8><body style='margin:0'>"
        + "".join(f"<div style='height:{HEIGHT // 2}px'>{svg}</div>" for svg in figures)
    )
    picture = tmp_path / "answer.png"
    _screenshot(page, picture)
    rows = _rows(picture.read_bytes())
    halves = (rows[: HEIGHT // 2], rows[HEIGHT // 2 :])
    assert [sum(map(_ink, half)) > INK_MIN for half in halves] == [True, True]


def _screenshot(page: Path, picture: Path) -> None:
    assert CHROMIUM is not None
    flags = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
    )
    subprocess.run(
        [
            CHROMIUM,
            *flags,
            f"--user-data-dir={picture.with_suffix('')}",
            f"--window-size={WIDTH},{HEIGHT}",
            f"--screenshot={picture}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )


def _ink(row: bytes) -> int:
    """Pixels of a row that are not nearly white or the grey of ggplot2's panel."""
    pixels = zip(row[0::4], row[1::4], row[2::4], strict=True)
    return sum(min(pixel) < 200 for pixel in pixels)


def _rows(png: bytes) -> list[bytes]:
    """The rows of an 8-bit RGB or RGBA picture, as RGBA (https://www.w3.org/TR/png-3/)."""
    at, packed, header = 8, b"", b""
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        header = content if kind == b"IHDR" else header
        packed += content if kind == b"IDAT" else b""
        at += length + 12
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    assert (width, height, depth) == (WIDTH, HEIGHT, 8)
    size = {2: 3, 6: 4}[colour]
    raw, stride = zlib.decompress(packed), width * size
    rows: list[bytes] = []
    before = bytearray(stride)
    for y in range(height):
        start = y * (stride + 1)
        line = bytearray(raw[start + 1 : start + 1 + stride])
        _unfilter(raw[start], line, before, size)
        rows.append(bytes(line) if size == 4 else _with_alpha(line))
        before = line
    return rows


def _unfilter(kind: int, line: bytearray, before: bytearray, size: int) -> None:
    for i in range(len(line)):
        left = line[i - size] if i >= size else 0
        corner = before[i - size] if i >= size else 0
        line[i] = (line[i] + _FILTERS[kind](left, before[i], corner)) & 255


def _paeth(left: int, above: int, corner: int) -> int:
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))


def _with_alpha(line: bytearray) -> bytes:
    wide = bytearray(len(line) // 3 * 4)
    wide[0::4], wide[1::4], wide[2::4] = line[0::3], line[1::3], line[2::3]
    return bytes(wide)


_FILTERS = (
    lambda left, above, corner: 0,
    lambda left, above, corner: left,
    lambda left, above, corner: above,
    lambda left, above, corner: (left + above) // 2,
    _paeth,
)
