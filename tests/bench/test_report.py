"""From cells to rows, budgets and the printed report; and the order in which cells are measured."""

import operator
from collections import Counter
from dataclasses import replace

import pytest

from bench.bodies import Endpoint
from bench.budgets import BUDGETS, Budget, budget_line
from bench.figures import (
    Cell,
    Memory,
    Noise,
    growth_percent,
    peak_growth_bytes,
    percentile,
    rows_of,
)
from bench.report import render, wrong_total
from bench.run import Step, load_of, plan
from bench.scenarios import SCENARIOS, Scenario
from bench.targets import STARTERS, Target


def cell(scenario: str = "json-1k", clients: int = 8, target: str = "gateway") -> Cell:
    return Cell(
        scenario=scenario,
        clients=clients,
        target=target,
        requests=500,
        wrong=Counter(),
        requests_per_s=1_000.0,
        p50_ms=1.0,
        p99_ms=2.0,
        first_chunk_p50_ms=11.0 if target == "gateway" else 10.0,
        cpu_ms_per_request=0.12,
        helpers_cpu_ms_per_request=None,
        memory=Memory(before=40_000_000, after=41_000_000, peak=50_000_000),
        noise=Noise(others_percent=3.0, steal_percent=0.1),
        streams_open_max=500,
        body_bytes=4_000_000,
    )


def whole_run() -> list[Cell]:
    return [
        cell(scenario.name, clients, target)
        for scenario in SCENARIOS
        for clients in scenario.clients
        for target in STARTERS
    ]


PERCENTILES = {
    "of nothing": ([], 50, None),
    "of one": ([3.0], 99, 3.0),
    "the median of an even number is the lower one": ([4.0, 1.0, 3.0, 2.0], 50, 2.0),
    "the 99th of a hundred": ([float(n) for n in range(1, 101)], 99, 99.0),
    "the highest": ([1.0, 2.0], 100, 2.0),
}


@pytest.mark.parametrize(("values", "percent", "wanted"), PERCENTILES.values(), ids=PERCENTILES)
def test_percentile_is_the_nearest_rank(
    values: list[float], percent: float, wanted: float | None
) -> None:
    assert percentile(values, percent) == wanted


def test_a_row_is_the_median_of_its_cells_and_the_sum_of_their_wrong_answers() -> None:
    cells = [
        replace(cell(), cpu_ms_per_request=cpu, wrong=Counter({"no usage": 1}))
        for cpu in (0.9, 0.1, None, 0.2)
    ]
    (row,) = rows_of([*cells]).values()
    assert row.median("cpu_ms_per_request") == 0.2
    assert row.wrong == {"no usage": 4}
    assert wrong_total(cells) == 4


def test_cells_of_another_target_or_number_of_clients_are_another_row() -> None:
    assert len(rows_of([cell(), cell(clients=1), cell(target="floor"), cell()])) == 3


def test_memory_grows_from_before_the_first_cell_to_the_highest_peak_of_all() -> None:
    first = replace(cell(), memory=Memory(before=100, after=150, peak=180))
    second = replace(cell(), memory=Memory(before=150, after=165, peak=200))
    (row,) = rows_of([first, second]).values()
    assert peak_growth_bytes(row) == 100
    assert growth_percent(row) == 65


LIMITS: dict[str, tuple[Budget, str]] = {
    "at the upper limit": (Budget("b", 2.0, "ms", lambda _: 2.0), "**met**"),
    "over it": (Budget("b", 2.0, "ms", lambda _: 2.1), "**missed**"),
    "at the lower limit": (Budget("b", 500, "x", lambda _: 500, operator.ge), "**met**"),
    "under it": (Budget("b", 500, "x", lambda _: 499, operator.ge), "**missed**"),
    "without a figure": (Budget("b", 2.0, "ms", lambda _: None), "not measured"),
}


@pytest.mark.parametrize(("budget", "verdict"), LIMITS.values(), ids=LIMITS.keys())
def test_a_budget_is_met_up_to_its_limit(budget: Budget, verdict: str) -> None:
    assert verdict in budget_line(budget, {})


def test_a_cpu_budget_is_also_shown_at_the_pace_of_the_machine_where_it_was_set() -> None:
    (budget,) = [one for one in BUDGETS if one.name == "CPU of a JSON answer"]
    slow = replace(cell(target="floor"), cpu_ms_per_request=0.24)
    line = budget_line(budget, rows_of([slow, replace(cell(), cpu_ms_per_request=2.0)]))
    assert line.endswith("**missed**; scaled by the floor: 1 ms, met")


def test_a_translated_answer_is_scaled_by_the_floor_of_the_untranslated_one() -> None:
    (budget,) = [one for one in BUDGETS if "Anthropic JSON" in one.name]
    slow = replace(cell(target="floor"), cpu_ms_per_request=0.24)
    translated = replace(cell("anthropic-json-1k"), cpu_ms_per_request=2.0)
    line = budget_line(budget, rows_of([slow, translated]))
    assert line.endswith("**missed**; scaled by the floor: 1 ms, met")


@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: budget.name)
def test_every_budget_finds_its_figure_in_a_whole_run(budget: Budget) -> None:
    assert budget.figure(rows_of(whole_run())) is not None


@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: budget.name)
def test_no_budget_takes_a_figure_from_a_run_without_the_gateway(budget: Budget) -> None:
    cells = [one for one in whole_run() if not one.target.startswith("gateway")]
    assert budget.figure(rows_of(cells)) is None


SHRUNK = replace(
    cell("soak-20k"), memory=Memory(before=100_000_000, after=90_000_000, peak=100_000_000)
)
BROKEN = {
    "a stream failed": (replace(cell("streams-500", 500), wrong=Counter({"x": 1})), "499 streams"),
    "the streams never stood together": (
        replace(cell("streams-500", 500), streams_open_max=125),
        "125 streams",
    ),
    "memory that shrank is not flat either": (SHRUNK, ": 10 %"),
    "idle memory is the higher of before and after": (cell("idle-rss", 1), "41 MB"),
}


@pytest.mark.parametrize(("only", "figure"), BROKEN.values(), ids=BROKEN.keys())
def test_a_budget_shows_the_worse_figure(only: Cell, figure: str) -> None:
    lines = [budget_line(budget, rows_of([only])) for budget in BUDGETS]
    assert [figure in line for line in lines].count(True) == 1


def test_the_report_shows_ratios_calls_wrong_answers_and_every_budget() -> None:
    floor = replace(cell(target="floor"), cpu_ms_per_request=0.2)
    gateway = replace(
        cell(),
        cpu_ms_per_request=0.5,
        wrong=Counter({"no usage": 2}),
        dynamodb_calls_per_request={"UpdateItem": 2.0, "PutItem": 1.0},
    )
    text = render([floor, gateway])
    assert "| json-1k | 8 | gateway | 1000 | 1.00 | 2.00 | 0.500 | 0.500 | 2.50 |" in text
    assert "- gateway, json-1k, c=8: 3.00 (PutItem 1.00, UpdateItem 2.00)" in text
    assert "- gateway, json-1k, c=8: 2 x no usage" in text
    assert all(f"- {budget.name}: " in text for budget in BUDGETS)


def test_a_target_without_a_process_has_empty_figures_and_no_memory_line() -> None:
    direct = replace(cell(target="direct"), cpu_ms_per_request=None, memory=None)
    text = render([direct])
    assert text.count("| direct |") == 1
    assert "| direct | 1000 | 1.00 | 2.00 |  |  |  |" in text


DIRECT = Target("direct", Endpoint("127.0.0.1", 1), pid=None)
FLOOR = Target("floor", Endpoint("127.0.0.1", 2), pid=2)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def planned(names: list[str], repeats: int) -> list[tuple[str, int, str]]:
    chosen: list[Scenario] = [BY_NAME[name] for name in names]
    steps = plan(chosen, [DIRECT, FLOOR], repeats)
    return [(step.scenario.name, step.clients, step.target.name) for step in steps]


def test_targets_are_interleaved_and_turned_round_in_every_second_repeat() -> None:
    assert planned(["first-chunk"], 3) == [
        ("first-chunk", 1, "direct"),
        ("first-chunk", 1, "floor"),
        ("first-chunk", 1, "floor"),
        ("first-chunk", 1, "direct"),
        ("first-chunk", 1, "direct"),
        ("first-chunk", 1, "floor"),
    ]


def test_idle_memory_comes_first_and_the_soak_and_the_many_streams_last_and_once() -> None:
    names = [name for name, _, _ in planned(list(BY_NAME), 3)]
    assert names[0] == "idle-rss"
    assert names.count("idle-rss") == 1
    assert names[-3:] == ["soak-20k", "streams-500", "streams-500"]
    assert names.count("soak-20k") == 1


GATEWAY = Target(
    "gateway", Endpoint("127.0.0.1", 3, headers={"x-region": "CH"}), pid=3, translates=True
)


def test_a_scenario_of_another_dialect_leaves_out_the_floor_which_translates_nothing() -> None:
    steps = plan([BY_NAME["anthropic-json-1k"]], [DIRECT, FLOOR, GATEWAY], 1)
    assert [(step.clients, step.target.name) for step in steps] == [
        (1, "direct"),
        (1, "gateway"),
        (8, "direct"),
        (8, "gateway"),
    ]


def test_the_upstream_is_asked_in_its_own_dialect_and_the_gateway_in_its_callers() -> None:
    scenario = BY_NAME["anthropic-stream-200"]
    own = load_of(Step(scenario, 1, DIRECT), scenario.quick)
    callers = load_of(Step(scenario, 1, GATEWAY), scenario.quick)
    assert (own.endpoint.path, b"stream_options" in own.body) == ("/v1/messages", False)
    assert callers.endpoint.path == "/v1/chat/completions"
    assert callers.endpoint.headers == {"x-region": "US"}
    assert b"stream_options" in callers.body


def test_scenarios_about_a_process_leave_out_a_target_without_one() -> None:
    assert planned(["idle-rss", "soak-20k"], 1) == [
        ("idle-rss", 1, "floor"),
        ("soak-20k", 8, "floor"),
    ]
