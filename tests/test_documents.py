"""The documents hold together: every decision, file and heading that a file of the repository names
is in the repository, and docs/api.md lists the errors and headers that there are."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from phigate.core import errors
from phigate.core.errors import PhigateError

ROOT = Path(__file__).parents[1]
DECISIONS = ROOT / "docs" / "decisions"
API = ROOT / "docs" / "api.md"

TEXTS = {".md", ".py", ".toml", ".yaml", ".yml", ".sh", ".txt", ".R", ".js", ".mjs", ".cfg", ""}
# Recorded bytes, which name what they like.
RECORDED = ("tests/golden/", "tests/adapters/streams/", "tests/wire/svg/")
# What the project was planned with and what is not in the repository. A reader cannot open it.
ABSENT = re.compile(
    r"\b(?:DESIGN|PLATFORM|STYLE)\b(?=[ '.,:;)]|$)|\bseeds? 00\d|\bissue-\d+|(?<!\])\(#\d+\)", re.M
)
CITED = re.compile(r"\b[Dd]ecisions?\s+(\d+(?:(?:,\s+and|,|\s+and|\s+to)\s+\d+)*)(?![\d.]*\s?%)")
NAMED = re.compile(r"(?<![\w*/{<-])(?:[\w-]+/)*[\w-]+\.md\b(?!\w)")
HEADING = re.compile(r"^## (\d+)\. (.+)$", re.M)
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)```.*?^\1```", re.M | re.S)


class Decision(NamedTuple):
    title: str
    file: str
    date: str
    status: str
    text: str


@cache
def files() -> tuple[Path, ...]:
    """Every text file that is, or would be, in the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = [name for name in listed.splitlines() if not name.startswith(RECORDED)]
    paths = [ROOT / name for name in sorted(set(names))]
    return tuple(path for path in paths if path.suffix in TEXTS and path.is_file())


def documents() -> list[Path]:
    return [path for path in files() if path.suffix == ".md"]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def decisions() -> dict[int, Decision]:
    found: dict[int, Decision] = {}
    for path in sorted(DECISIONS.glob("*.md")):
        parts = HEADING.split(path.read_text())[1:]
        for number, title, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            head = re.search(r"^Date: (\S+)\. Status: ([^.]+)\.$", text, re.M)
            assert head is not None, f"decision {number} has no date and status"
            assert int(number) not in found, f"decision {number} stands twice"
            found[int(number)] = Decision(title, path.stem, head[1], head[2], text)
    return found


def cited(text: str) -> Iterator[int]:
    """The numbers of "decision 5", "decisions 3, 7 to 9 and 12"."""
    for match in CITED.finditer(text):
        words = re.findall(r"\d+|to", match[1])
        for before, word in zip(["", *words], words, strict=False):
            if before == "to":
                yield from range(int(words[words.index("to") - 1]), int(word))
            if word != "to":
                yield int(word)


def slug(heading: str) -> str:
    """The anchor that hosts of repositories make of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    text = FENCE.sub("", path.read_text())
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.M)}


def prose(path: Path) -> str:
    """A document without its code, where brackets mean other things."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", path.read_text()))


def test_decisions_are_numbered_without_a_gap() -> None:
    assert sorted(decisions()) == list(range(1, len(decisions()) + 1))


@pytest.mark.parametrize("number", sorted(decisions()))
def test_a_decision_has_all_its_parts(number: int) -> None:
    decision = decisions()[number]
    parts = re.findall(r"^- \*\*(\w+)\.\*\* \S", decision.text, re.M)
    assert parts == ["Context", "Options", "Decision", "Consequence"]
    status = re.fullmatch(r"accepted(?:, not built)?|superseded by (\d+)", decision.status)
    assert status is not None
    assert status[1] is None or int(status[1]) in decisions()


def test_the_index_of_decisions_is_what_the_files_hold() -> None:
    rows = re.findall(r"^\| (\d+) \|.*$", (DECISIONS / "README.md").read_text(), re.M)
    index = (DECISIONS / "README.md").read_text()
    assert [int(row) for row in rows] == sorted(decisions())
    for number, each in decisions().items():
        link = f"[{each.file}]({each.file}.md)"
        row = f"| {number} | {each.title} | {link} | {each.date} | {each.status} |"
        assert row in index


def test_every_decision_that_is_cited_exists() -> None:
    unknown = {named(path): set(cited(path.read_text())) - set(decisions()) for path in files()}
    assert {name: numbers for name, numbers in unknown.items() if numbers} == {}


@pytest.mark.parametrize(
    ("text", "numbers"),
    {
        "one": ("see decision 5.", [5]),
        "two": ("(decisions 5 and 7)", [5, 7]),
        "a list": ("Decisions 1, 3, and 12", [1, 3, 12]),
        "a range": ("decisions 46, 68 to 70 and 103", [46, 68, 68, 69, 70, 103]),
        "over a line": ("decision\n7", [7]),
        "no number": ("the decision of 7 people", []),
    }.values(),
)
def test_citations_are_found(text: str, numbers: list[int]) -> None:
    assert list(cited(text)) == numbers


def leads_nowhere(path: Path, label: str, target: str) -> bool:
    """A link to no file, to no heading of it, or to another file than the decision stands in."""
    if re.match(r"[a-z]+:", target):
        return False
    name, _, anchor = target.partition("#")
    there = (path.parent / name).resolve() if name else path
    if not there.exists() or (anchor and anchor not in anchors(there)):
        return True
    return any(decisions()[number].file != there.stem for number in cited(label))


def test_every_link_of_a_document_leads_somewhere() -> None:
    dead = [
        (named(path), target)
        for path in documents()
        for label, target in LINK.findall(prose(path))
        if leads_nowhere(path, label, target)
    ]
    assert dead == []


def test_every_document_that_is_named_is_in_the_repository() -> None:
    known = {path.name for path in documents()}
    unknown = [
        (named(path), name)
        for path in files()
        if path != Path(__file__)
        for name in NAMED.findall(path.read_text())
        if name not in known and not ((ROOT / name).exists() or (path.parent / name).exists())
    ]
    assert unknown == []


def test_nothing_cites_what_the_project_was_planned_with() -> None:
    """The changelog alone has the numbers of issues."""
    found = [
        (named(path), match[0])
        for path in files()
        if path != Path(__file__)
        for match in ABSENT.finditer(path.read_text())
        if path.name != "CHANGELOG.md" or not match[0].startswith("(")
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    ["(DESIGN 3)", "DESIGN's table", "as PLATFORM says", "of STYLE.", "seed 003", "a hole (#11)"],
)
def test_a_name_of_what_is_not_there_is_found(text: str) -> None:
    assert ABSENT.search(text) is not None


def test_the_api_lists_every_error_with_its_status() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    own = {kind.code: kind.status for kind in kinds if issubclass(kind, PhigateError)}
    told = re.findall(r"^\| `(\w+)` \| (\d{3}) \|", API.read_text(), re.M)
    assert {code: int(status) for code, status in told} == own


def test_the_api_lists_every_header_of_ours() -> None:
    header = re.compile(
        r"(?<![\w-])(?:x-phi-[a-z]+(?:-[a-z]+)*|x-should-retry|x-ratelimit-[a-z-]+)"
    )
    package = ROOT / "layers" / "phigate" / "phigate"
    sources = "\n".join(path.read_text() for path in sorted(package.rglob("*.py")))
    assert set(header.findall(API.read_text())) == set(header.findall(sources))


SOURCE = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|toml|txt|json|jsonl|yaml|R|lock))`")
PLACES = ("", "layers/phigate/", "layers/phigate/phigate/", "layers/phigate/phigate/pipeline/")


def test_every_source_file_that_a_document_names_exists() -> None:
    """A path is from the root, from the package, or from the document's own folder."""
    unknown = [
        (named(path), name)
        for path in documents()
        if path.name != "CHANGELOG.md"
        for name in SOURCE.findall(FENCE.sub("", path.read_text()))
        if not any((ROOT / place / name).exists() for place in PLACES)
        if not (path.parent / name).exists()
    ]
    assert unknown == []
