"""`phigate catalog`: mistakes by file, row and field, and the snapshot that is loaded."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from phigate.effects.signing.signer import load_or_create_key_file
from tests.cli.conftest import Terminal

CATALOG = Path(__file__).resolve().parents[2] / "catalog"
INFOMANIAK = "providers/infomaniak.toml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the repository's catalog."""
    copy = tmp_path / "catalog"
    shutil.copytree(CATALOG, copy)
    return copy


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Break a file of a catalog in one place."""

    def breaks(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return breaks


def written(name: str, content: bytes) -> Callable[[Path], None]:
    """Write a file of a catalog anew."""

    def breaks(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return breaks


MISTAKES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "a wrong type": (
        replaced(INFOMANIAK, "context = 131072", 'context = "much"'),
        (INFOMANIAK, "infomaniak-gemma-4-31b", "context", "must be an integer"),
    ),
    "a price of a row": (
        replaced(INFOMANIAK, "in_micros_per_mtok = 220000", "in_micros_per_mtok = -1"),
        (INFOMANIAK, "infomaniak-gemma-4-31b", "price.in_micros_per_mtok"),
    ),
    "an agreement that is none": (
        replaced(INFOMANIAK, 'agreement = "dpa"', 'agreement = "dpb"'),
        (INFOMANIAK, "infomaniak-gemma-4-31b", "agreement", "dpb"),
    ),
    "a dialect without an adapter": (
        replaced("providers/anthropic.toml", 'dialect = "anthropic"', 'dialect = "bedrock"'),
        ("providers/anthropic.toml", "status", "must be 'staged'"),
    ),
    "an alias for no row": (
        replaced("aliases.toml", '"together-glm-5.2"', '"together-glm-9"'),
        ("aliases.toml", "glm-5.2", "together-glm-9"),
    ),
    "a default that serves elsewhere": (
        replaced("regions.toml", 'chat = "infomaniak-gemma-4-31b"', 'chat = "together-qwen3.5"'),
        ("regions.toml", "CH", "chat"),
    ),
    "a file that is no TOML": (
        written("aliases.toml", b"= 1"),
        ("aliases.toml", "not TOML"),
    ),
    "a file that is no UTF-8": (
        written("aliases.toml", b"# \xff"),
        ("aliases.toml", "not UTF-8"),
    ),
    "a file that is missing": (
        lambda folder: (folder / "regions.toml").unlink(),
        ("regions.toml", "missing"),
    ),
    "a file too many": (
        written("more.toml", b""),
        ("more.toml",),
    ),
}


def test_the_repository_s_catalog_has_no_mistake(terminal: Terminal) -> None:
    ran = terminal("catalog", "check", str(CATALOG))
    assert (ran.status, ran.err) == (0, "")
    assert "no mistake" in ran.out


@pytest.mark.parametrize(("breaks", "said"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("command", ["check", "show", "push"])
def test_a_mistake_is_named_by_file_row_and_field(
    terminal: Terminal,
    folder: Path,
    command: str,
    breaks: Callable[[Path], None],
    said: tuple[str, ...],
) -> None:
    breaks(folder)
    ran = terminal("catalog", command, str(folder))
    assert ran.status == 1
    assert any(all(word in line for word in said) for line in ran.out.splitlines()), ran.out
    assert ran.err.count("\n") == 1


def test_every_mistake_is_named_at_once(terminal: Terminal, folder: Path) -> None:
    for name in ("a wrong type", "an alias for no row", "a default that serves elsewhere"):
        MISTAKES[name][0](folder)
    ran = terminal("catalog", "check", str(folder))
    assert [line.split(":")[0] for line in ran.out.splitlines()] == [
        "aliases.toml",
        INFOMANIAK,
        "regions.toml",
    ]
    assert "3 mistakes" in ran.err


def test_a_folder_that_is_missing_is_one_line(terminal: Terminal, tmp_path: Path) -> None:
    ran = terminal("catalog", "check", str(tmp_path / "nowhere"))
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)


def test_show_has_the_published_price_and_the_agreement(terminal: Terminal) -> None:
    ran = terminal("catalog", "show", str(CATALOG))
    lines = {line.split()[0]: line.split() for line in ran.out.splitlines()}
    assert lines["infomaniak-gemma-4-31b"][1:8] == [
        *("CH", "live", "phi", "baseline", "0.24", "0.48", "2028-01-01")
    ]
    assert lines["together-glm-5.2"][-1] == "-"


def test_show_says_that_an_agreement_has_expired(terminal: Terminal, folder: Path) -> None:
    replaced(INFOMANIAK, "effective = 2026-01-01", "effective = 2019-01-01")(folder)
    replaced(INFOMANIAK, "expires = 2028-01-01", "expires = 2020-01-01")(folder)
    assert "2020-01-01 (nFADP) expired" in terminal("catalog", "show", str(folder)).out


def test_what_was_pushed_is_shown(terminal: Terminal, folder: Path) -> None:
    first = terminal("catalog", "push", str(CATALOG))
    replaced("aliases.toml", '"gpt-4o" = ', '"gpt-4-omni" = ')(folder)
    second = terminal("catalog", "push", str(folder))
    assert (first.status, second.status) == (0, 0)
    assert first.out != second.out
    shown = terminal("catalog", "show")
    assert shown.out == terminal("catalog", "show", str(CATALOG)).out
    assert second.out.strip() in shown.err


def test_a_push_with_mistakes_leaves_the_old_snapshot(terminal: Terminal, folder: Path) -> None:
    pushed = terminal("catalog", "push", str(CATALOG)).out.strip()
    MISTAKES["a wrong type"][0](folder)
    assert terminal("catalog", "push", str(folder)).status == 1
    assert pushed in terminal("catalog", "show").err


def test_without_a_catalog_show_says_what_to_do(terminal: Terminal) -> None:
    ran = terminal("catalog", "show")
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "phigate catalog push" in ran.err


def test_a_snapshot_of_another_signer_is_not_shown(terminal: Terminal) -> None:
    terminal("catalog", "push", str(CATALOG))
    (terminal.state / "catalog-key.pem").unlink()
    load_or_create_key_file(terminal.state / "catalog-key.pem")
    ran = terminal("catalog", "show")
    assert (ran.status, ran.out) == (1, "")
    assert "(key)" in ran.err


def test_a_key_file_that_others_may_read_is_refused(terminal: Terminal) -> None:
    terminal("catalog", "push", str(CATALOG))
    (terminal.state / "catalog-key.pem").chmod(0o644)
    ran = terminal("catalog", "push", str(CATALOG))
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "0600" in ran.err
