"""`phigate route`: the dry run in the terminal."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phigate.core.limits import BODY_BYTES_MAX
from tests.cli.conftest import CommandResult, Terminal

CATALOG = Path(__file__).resolve().parents[2] / "catalog"
FOLDER = ("--catalog", str(CATALOG))
GEMMA_CH = "infomaniak-gemma-4-31b"
QWEN_CH = "infomaniak-qwen3.5"


def decided(terminal: Terminal, *flags: str) -> dict[str, Any]:
    """The decision as JSON."""
    ran = terminal("route", *flags, *FOLDER, "--json")
    assert ran.status == 0, ran.err
    decision: dict[str, Any] = json.loads(ran.out)
    return decision


ROUTED: dict[str, tuple[tuple[str, ...], str]] = {
    "no region is the stack's": (("gemma-4",), GEMMA_CH),
    "PHI in Switzerland": (("gemma-4", "--region", "CH", "--phi"), GEMMA_CH),
    "another region": (("gemma-4", "--region", "eu"), "scaleway-gemma-4-26b"),
    "an image": (("qwen3.5", "--images", "1"), GEMMA_CH),
    "a tool call is required": (("gemma-4", "--tools"), QWEN_CH),
    "a schema": (("gemma-4", "--json-schema"), GEMMA_CH),
    "a model tier": (("auto", "--model-tier", "thinking"), QWEN_CH),
}


@pytest.mark.parametrize(("flags", "row"), ROUTED.values(), ids=ROUTED)
def test_a_call_is_routed_as_its_flags_say(
    terminal: Terminal, flags: tuple[str, ...], row: str
) -> None:
    decision = decided(terminal, *flags)
    assert decision["decision"] == "routed"
    assert decision["candidates"][0]["row"] == row
    assert decision["cost_max_micro"] > 0


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "PHI without an agreement": (("auto", "--region", "US", "--phi"), "phi_blocked"),
    "PHI with an image in the US": (
        ("auto", "--region", "US", "--phi", "--images", "1"),
        "no_route",
    ),
}


@pytest.mark.parametrize(("flags", "code"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_a_result_with_its_code(
    terminal: Terminal, flags: tuple[str, ...], code: str
) -> None:
    decision = decided(terminal, *flags)
    assert (decision["decision"], decision["code"], decision["candidates"]) == ("refused", code, [])
    shown = terminal("route", *flags, *FOLDER)
    assert shown.status == 0
    assert f"refused: {code}" in shown.out


def test_max_tokens_bounds_the_cost(terminal: Terminal) -> None:
    few, many = (
        decided(terminal, "gemma-4", "--max-tokens", tokens)["cost_max_micro"]
        for tokens in ("10", "1000")
    )
    assert 0 < few < many


def test_the_table_names_candidates_with_costs_and_rejections_with_rules(
    terminal: Terminal,
) -> None:
    decision = decided(terminal, "gemma-4", "--phi")
    lines = [
        line.split() for line in terminal("route", "gemma-4", "--phi", *FOLDER).out.split("\n")
    ]
    for place, candidate in enumerate(decision["candidates"], start=1):
        micros = candidate["cost_max_micro"]
        assert [str(place), candidate["row"], f"0.{micros:06d}"] in lines
    for rejection in decision["rejections"]:
        assert [rejection["row"], rejection["rule"]] in lines


WRONG: dict[str, tuple[tuple[str, ...], int, str]] = {
    "an unknown model": (("nobody-9",), 1, "no row"),
    "more tokens than any row writes": (("auto", "--max-tokens", "9999999"), 1, "max_tokens"),
    "too many images": (("auto", "--images", "1000000"), 1, "images"),
    "no model": ((), 2, "--body"),
    "an unknown region": (("auto", "--region", "FR"), 2, "CH, EU"),
    "half a call": (("auto", "--images", "0.5"), 2, "--images"),
}


@pytest.mark.parametrize(("flags", "status", "said"), WRONG.values(), ids=WRONG)
def test_a_call_that_is_none_is_one_line(
    terminal: Terminal, flags: tuple[str, ...], status: int, said: str
) -> None:
    ran = terminal("route", *flags, *FOLDER)
    assert (ran.status, ran.out, ran.err.count("\n")) == (status, "", 1)
    assert said in ran.err


def test_a_body_from_a_file_is_read_as_a_call(terminal: Terminal, tmp_path: Path) -> None:
    body = tmp_path / "call.json"
    messages = [{"role": "user", "content": "x" * 10_000}]
    body.write_text(json.dumps({"model": "gemma-4", "messages": messages, "max_tokens": 8192}))
    assert (
        decided(terminal, "--body", str(body), "--phi")["cost_max_micro"]
        > decided(terminal, "gemma-4", "--phi", "--max-tokens", "8192")["cost_max_micro"]
    )


def test_a_body_from_standard_input_is_read_as_a_call() -> None:
    command = [sys.executable, "-m", "phigate.cli.main", "route", "--body", "-", *FOLDER, "--json"]
    body = b'{"model": "gemma-4", "provider": {"only": ["infomaniak"]}}'
    ran = subprocess.run(command, input=body, capture_output=True, check=True)
    assert {"row": "scaleway-gemma-4-26b", "rule": "region"} in json.loads(ran.stdout)["rejections"]


SHOWN: dict[str, tuple[dict[str, Any], str, str]] = {
    "by its name": ({"model": "phala/qwen3.5-27b"}, "name", "every row of the name"),
    "by a wish": (
        {"model": "auto", "provider": {"confidential": True}},
        "preference",
        "required by provider.confidential",
    ),
    "lifted": (
        {"model": "phala/qwen3.5-27b", "provider": {"confidential": False}},
        "lifted",
        "lifts it",
    ),
}


@pytest.mark.parametrize(("body", "by", "said"), SHOWN.values(), ids=SHOWN)
def test_what_makes_an_enclave_necessary_is_shown(
    terminal: Terminal, tmp_path: Path, body: dict[str, Any], by: str, said: str
) -> None:
    file = tmp_path / "call.json"
    file.write_text(json.dumps(body))
    flags = ("--body", str(file), "--region", "WORLD")
    decision = decided(terminal, *flags)
    assert decision["confidential"] == by
    rows = [candidate["row"] for candidate in decision["candidates"]]
    assert rows[0].startswith("phala-")
    assert all(row.startswith("phala-") for row in rows) == (by != "lifted")
    assert said in terminal("route", *flags, *FOLDER).out


def test_a_confidential_name_has_no_route_where_no_enclave_is(terminal: Terminal) -> None:
    decision = decided(terminal, "phala/qwen3.5-27b", "--region", "CH")
    assert (decision["decision"], decision["code"]) == ("refused", "no_route")
    shown = terminal("route", "phala/qwen3.5-27b", "--region", "CH", *FOLDER).out
    assert "provider.confidential is false" in shown


BODIES: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"{", "JSON"),
    "no model": (b"{}", "model"),
    "a wrong type": (b'{"model": "auto", "max_tokens": "many"}', "max_tokens"),
    "a name twice": (b'{"model": "auto", "model": "auto"}', "twice"),
    "a body over the limit": (b" " * (BODY_BYTES_MAX + 1), str(BODY_BYTES_MAX)),
}


@pytest.mark.parametrize(("content", "said"), BODIES.values(), ids=BODIES)
def test_a_body_that_is_none_is_one_line(
    terminal: Terminal, tmp_path: Path, content: bytes, said: str
) -> None:
    body = tmp_path / "call.json"
    body.write_bytes(content)
    ran = terminal("route", "--body", str(body), *FOLDER)
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert said in ran.err


def test_a_body_and_a_flag_that_describes_one_exclude_each_other(
    terminal: Terminal, tmp_path: Path
) -> None:
    ran = terminal("route", "gemma-4", "--body", str(tmp_path / "call.json"), *FOLDER)
    assert (ran.status, ran.err.count("\n")) == (2, 1)


def test_a_body_file_that_is_missing_is_one_line(terminal: Terminal, tmp_path: Path) -> None:
    ran = terminal("route", "--body", str(tmp_path / "call.json"), *FOLDER)
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)


def test_without_a_folder_the_loaded_catalog_decides(terminal: Terminal, tmp_path: Path) -> None:
    def asked() -> CommandResult:
        return terminal("route", "gemma-4", "--json")

    assert "catalog push" in asked().err
    terminal("catalog", "push", str(CATALOG))
    assert json.loads(asked().out) == decided(terminal, "gemma-4")


def test_a_folder_needs_no_state(terminal: Terminal, tmp_path: Path) -> None:
    nowhere = {"PHIGATE_STATE": str(tmp_path / "nowhere")}
    assert terminal("route", "gemma-4", *FOLDER, environ=nowhere).status == 0
    assert not (tmp_path / "nowhere").exists()


def test_as_on_aws_a_row_whose_residency_is_unproven_is_not_routed(terminal: Terminal) -> None:
    flags = ("auto", "--region", "LATAM")
    assert decided(terminal, *flags)["decision"] == "routed"
    on_aws = decided(terminal, *flags, "--table", "phigate-latam")
    assert on_aws["code"] == "no_route"
    assert {"row": "google-gemini-2-5-flash", "rule": "residency_unproven"} in on_aws["rejections"]


ELSEWHERE = {"PHIGATE_INFOMANIAK_BASE_URL": "http://127.0.0.1:9/v1"}
TRUSTED = {**ELSEWHERE, "PHIGATE_INFOMANIAK_PHI": "trusted"}
PHI_IN_CH = ("route", "gemma-4", "--region", "CH", "--phi", *FOLDER, "--json")
# What stands in the environment, what the last start has left behind, and what comes of PHI.
REACHED: dict[str, tuple[dict[str, str], str | None, str]] = {
    "a stack started with this environment would not send it": (ELSEWHERE, None, "refused"),
    "it would, where the address is trusted": (TRUSTED, None, "routed"),
    "a running stack's own words count": (TRUSTED, '{"infomaniak": {"host": "x"}}', "refused"),
    "also where it has none": (ELSEWHERE, "{}", "routed"),
    "as on every stack": ({}, None, "routed"),
}


@pytest.mark.parametrize(("environ", "left", "decision"), REACHED.values(), ids=REACHED)
def test_a_provider_that_is_reached_elsewhere_is_shown_so(
    terminal: Terminal, environ: dict[str, str], left: str | None, decision: str
) -> None:
    if left is not None:
        (terminal.state / "overrides.json").write_text(left)
    ran = terminal(*PHI_IN_CH, environ={"PHIGATE_STATE": str(terminal.state), **environ})
    assert json.loads(ran.out)["decision"] == decision


BROKEN = {
    "an address that is none": (
        {"PHIGATE_INFOMANIAK_BASE_URL": "http://127.0.0.1@evil.example"},
        None,
        "PHIGATE_INFOMANIAK_BASE_URL must be",
    ),
    "another word than trusted": (
        {**ELSEWHERE, "PHIGATE_INFOMANIAK_PHI": "yes"},
        None,
        "PHIGATE_INFOMANIAK_PHI must be trusted",
    ),
    "a file that is cut off": ({}, '{"infomaniak": ', "overrides.json cannot be read"),
    "a file of another kind": ({}, "[1]", "overrides.json cannot be read"),
    "a file with other members": ({}, '{"infomaniak": {"to": "x"}}', "cannot be read"),
}


@pytest.mark.parametrize(("environ", "left", "words"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_of_overrides_decides_nothing(
    terminal: Terminal, environ: dict[str, str], left: str | None, words: str
) -> None:
    if left is not None:
        (terminal.state / "overrides.json").write_text(left)
    ran = terminal(*PHI_IN_CH, environ={"PHIGATE_STATE": str(terminal.state), **environ})
    assert (ran.status, ran.out) == (1, "")
    assert words in ran.err
