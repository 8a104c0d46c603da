"""The math agent: the model's programs run in one sandbox of the request's own, and whatever
becomes of the request, that sandbox is closed and the turns are charged exactly once."""

import asyncio
import json
from typing import Any

import pytest

from phigate.core.errors import InternalError, RateLimited, SandboxError
from phigate.core.limits import FIGURES_MAX, MATH_TIMEOUT_S, MATH_TURNS_MAX, PROGRAMS_MAX
from phigate.core.sandbox.port import RunResult
from phigate.core.types import Json
from tests.builders import make_body, make_catalog, make_row
from tests.fakes import FakeSandboxes, SandboxScript, Script, StaticCatalog
from tests.pipeline.gateway_harness import (
    ROWS,
    USAGE,
    USAGE_MICROS,
    GatewayAnswer,
    GatewayHarness,
    answers,
    fails,
)

ASKS: Json = make_body(model="acme-one", max_tokens=100)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"><path d="M0 0L4 4"/></svg>'
MERMAID = "```mermaid\nflowchart TD\nclick A call x()\nA-->B\n```"
LOOK_UP = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def ran(**changes: Any) -> RunResult:
    """A program that printed 42."""
    members: dict[str, Any] = {
        "language": "python",
        "exit_code": 0,
        "stdout": "42\n",
        "stderr": "",
        "value": None,
        "figures": (),
        "limits": (),
        "wall_ms": 12,
    }
    return RunResult(**{**members, **changes})


def program(code: str = "print(6 * 7)", language: str = "python", call_id: str = "c1") -> Json:
    function = {"name": language, "arguments": json.dumps({"code": code})}
    return {"id": call_id, "type": "function", "function": function}


def calls(*tool_calls: Json, text: str | None = None, usage: Any = USAGE) -> Script:
    message = {"role": "assistant", "content": text, "tool_calls": list(tool_calls)}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return answers(choices=[choice], usage=usage)


class Math(GatewayHarness):
    """A harness that is asked for math."""

    def ask(self, body: Json | None = None, **headers: str) -> GatewayAnswer:
        """One math call."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        told = self.chat(body or ASKS, named, task="math")
        assert self.sandboxes.closed == len(self.sandboxes.opened), "no sandbox is left"
        return told

    def results(self, turn: int = 1) -> list[Json]:
        """The tool results that a turn's upstream was sent."""
        sent = self.upstream.bodies[turn]["messages"]
        return [json.loads(m["content"]) for m in sent if m["role"] == "tool"]


def content(told: GatewayAnswer) -> str:
    text: str = told.json["choices"][0]["message"]["content"]
    return text


def test_a_program_is_run_and_the_answer_comes_from_the_next_turn() -> None:
    harness = Math(calls(program()), answers("It is 42."), plays=(ran(),))
    told = harness.ask()
    assert content(told) == "It is 42."
    assert harness.results() == [{"exit_code": 0, "stdout": "42\n"}]
    assert harness.sandboxes.programs == [("python", "print(6 * 7)", 60.0)]
    assert told.json["usage"]["server_tool_use"] == {"python_runs": 1, "r_runs": 0}
    assert told.json["usage"]["prompt_tokens"] == 2 * USAGE["prompt_tokens"]
    assert told.headers["x-phi-sandbox-figures"] == "0"
    assert "x-phi-tools" not in told.headers
    assert [name for name, *_ in harness.log] == ["hold", "extend", "receipt", "settle"]
    assert harness.account()["spent"] == 2 * USAGE_MICROS


def test_the_model_is_offered_both_languages_beside_the_callers_tools() -> None:
    harness = Math(answers("No need."))
    told = harness.ask({**ASKS, "tools": [LOOK_UP]})
    names = [tool["function"]["name"] for tool in harness.upstream.bodies[0]["tools"]]
    assert names == ["look_up", "python", "r"]
    assert told.headers["x-phi-tools"] == "supported"
    assert harness.sandboxes.opened == []


def test_one_sandbox_serves_all_programs_of_a_request_and_only_those() -> None:
    harness = Math(
        calls(program("x = 1"), program("x + 1", call_id="c2")),
        calls(program("1 + 1", "r")),
        answers("2"),
        plays=(ran(), ran(value="2"), ran(language="r")),
    )
    told = harness.ask()
    (opened,) = harness.sandboxes.opened
    assert (opened["account"], opened["region"]) == ("acme", "CH")
    assert opened["id"] == told.headers["x-phi-receipt"]
    assert opened["until_s"] == harness.record["time"] + MATH_TIMEOUT_S
    assert told.json["usage"]["server_tool_use"] == {"python_runs": 2, "r_runs": 1}


def test_with_warm_start_the_sandbox_is_opened_when_the_request_comes() -> None:
    seen: list[int] = []
    harness = Math(plays=(ran(),), warm_start=True)
    harness.plays(
        Script([lambda: seen.append(len(harness.sandboxes.opened)), *calls(program()).body]),
        answers("42"),
    )
    assert content(harness.ask()) == "42"
    assert seen == [1]
    assert len(harness.sandboxes.opened) == 1


def test_a_warm_start_that_nobody_needed_is_ended_and_named_nowhere() -> None:
    harness = Math(answers("No need."), warm_start=True)
    assert content(harness.ask()) == "No need."
    assert "sandbox" not in harness.record


def test_a_warm_start_that_fails_harms_nobody_who_runs_nothing() -> None:
    harness = Math(answers("No need."), warm_start=True)
    harness.sandboxes.refuses = SandboxError("no capacity")
    assert harness.ask().status == 200


def test_a_program_that_fails_is_a_result_that_the_model_sees() -> None:
    failed = ran(exit_code=1, stdout="", stderr="ZeroDivisionError", limits=("wall",))
    harness = Math(calls(program()), answers("It cannot be."), plays=(failed,))
    assert harness.ask().status == 200
    assert harness.results() == [
        {"exit_code": 1, "stderr": "ZeroDivisionError", "limits": ["wall"]}
    ]


def test_figures_are_numbered_over_the_request_and_stand_where_the_answer_names_them() -> None:
    harness = Math(
        calls(program()),
        calls(program()),
        answers("See [Figure 2] first.\n\nThen [Figure 1]."),
        plays=(ran(figures=(SVG,)), ran(figures=(SVG.replace("4 4", "4 0"),))),
    )
    told = harness.ask()
    assert [result["figures"] for result in harness.results(2)] == [["[Figure 1]"], ["[Figure 2]"]]
    text = content(told)
    assert text.count("```svg") == 2
    assert text.index("[Figure 2]") < text.index("L4 0") < text.index("[Figure 1]")
    assert told.headers["x-phi-sandbox-figures"] == "2"


def test_what_is_hostile_in_a_figure_or_in_the_answer_is_not_handed_on() -> None:
    hostile = SVG.replace("<path", '<script>alert(1)</script><path onload="x()"')
    harness = Math(
        calls(program()),
        answers(f"```svg\n{hostile}\n```\n\n{MERMAID}"),
        plays=(ran(figures=(hostile,)),),
    )
    text = content(harness.ask())
    assert "script" not in text
    assert "onload" not in text
    assert "click" not in text
    assert "A-->B" in text


def test_a_figure_that_is_refused_is_told_to_the_model_and_not_counted() -> None:
    harness = Math(calls(program()), answers("None."), plays=(ran(figures=("<html/>", SVG)),))
    told = harness.ask()
    (result,) = harness.results()
    assert result["figures"] == ["[Figure 1]"]
    assert len(result["figures_refused"]) == 1
    assert told.headers["x-phi-sandbox-figures"] == "1"


def test_there_are_not_more_figures_than_an_answer_may_have() -> None:
    harness = Math(calls(program()), answers("Many."), plays=(ran(figures=(SVG,) * 12),))
    told = harness.ask()
    assert told.headers["x-phi-sandbox-figures"] == str(FIGURES_MAX)
    assert "at most" in harness.results()[0]["figures_refused"][0]


def test_json_that_was_asked_for_stays_json() -> None:
    harness = Math(calls(program()), answers('{"x": 42}'), plays=(ran(figures=(SVG,)),))
    told = harness.ask({**ASKS, "response_format": {"type": "json_object"}})
    assert content(told) == '{"x": 42}'
    assert told.headers["x-phi-dropped"] == "figures"


# Arguments that are no program; the model is told, and nothing is opened.
NO_PROGRAMS = {
    "no JSON": "print(1)",
    "no code": "{}",
    "code that is no text": '{"code": 1}',
    "a list": "[]",
    "nothing": "",
    "too long": json.dumps({"code": "#" * 300_000}),
}


@pytest.mark.parametrize("arguments", NO_PROGRAMS.values(), ids=NO_PROGRAMS)
def test_arguments_that_are_no_program_are_told_and_open_no_sandbox(arguments: str) -> None:
    call = program()
    call["function"]["arguments"] = arguments
    harness = Math(calls(call), answers("Sorry."))
    assert harness.ask().status == 200
    assert "error" in harness.results()[0]
    assert harness.sandboxes.opened == []


def test_meta_and_the_receipt_tell_what_ran_and_never_which_program() -> None:
    harness = Math(
        calls(program("secret = 1")),
        calls(program("plot(1)", "r")),
        answers("Done."),
        plays=(ran(), ran(language="r", exit_code=1, wall_ms=300)),
    )
    told = harness.ask({**ASKS, "meta": True})
    runs = [["python", 0, 12], ["r", 1, 300]]
    assert told.json["meta"]["sandbox"] == {"image": "sha256:simulated", "runs": runs}
    assert harness.record["sandbox"] == told.json["meta"]["sandbox"]
    assert "secret" not in json.dumps(harness.record)
    assert [line["language"] for line in harness.event_log.fields("program")] == ["python", "r"]


def test_a_stream_is_refused_and_phi_is_blocked_before_anything_is_called() -> None:
    harness = Math()
    told = harness.ask({**ASKS, "stream": True})
    assert (told.status, told.error["param"]) == (400, "stream")
    told = harness.ask(x_phi="true")
    assert (told.status, told.error["code"]) == (403, "phi_blocked")
    assert harness.upstream.requests == []
    assert harness.records[1]["rejected"] == {"phi_sandbox": ["acme-one", "bolt-two", "cove-three"]}


def test_where_there_is_no_sandbox_the_model_reasons_without_one() -> None:
    drawn = answers("About 42.\n\n```svg\n<svg onload='x'/>\n```")
    harness = Math(drawn, catalog=make_catalog(ROWS))
    told = harness.ask()
    assert told.headers["x-phi-dropped"] == "sandbox"
    assert told.headers["x-phi-sandbox-figures"] == "0"
    assert "tools" not in harness.upstream.bodies[0]
    assert "onload" not in content(told)


def test_a_stack_without_sandboxes_says_so_before_anything_is_called() -> None:
    harness = Math()
    harness.use(sandboxes=None)
    told = harness.ask()
    assert (told.status, told.error["code"]) == (503, "sandbox_error")
    assert harness.account()["spent"] == 0
    assert harness.upstream.requests == []


@pytest.mark.parametrize("has_sandbox", [True, False], ids=["sandbox", "none in the region"])
def test_a_process_that_only_chats_refuses_math_before_anything_is_called(
    has_sandbox: bool,
) -> None:
    harness = Math(catalog=make_catalog(ROWS, sandboxes=("CH",) if has_sandbox else ()))
    harness.use(answer_cleaner=None)
    told = harness.ask()
    assert (told.status, told.error["code"]) == (503, "sandbox_error")
    assert told.headers["x-phi-receipt"]
    assert harness.account()["spent"] == 0
    assert (harness.upstream.requests, harness.sandboxes.opened) == ([], [])


FAILURES: dict[str, tuple[Exception, int, str]] = {
    "cannot start": (SandboxError("no capacity"), 503, "sandbox_error"),
    "too many at once": (RateLimited("4 at once"), 429, "rate_limited"),
}


@pytest.mark.parametrize("error, status, code", FAILURES.values(), ids=FAILURES)
def test_a_sandbox_that_cannot_start_charges_the_turns_already_made_and_nothing_else(
    error: Exception, status: int, code: str
) -> None:
    harness = Math(calls(program()))
    harness.sandboxes.refuses = error
    told = harness.ask()
    assert (told.status, told.error["code"]) == (status, code)
    assert told.headers["x-should-retry"] == "false"
    assert told.headers["x-phi-cost-micro"] == str(USAGE_MICROS)
    assert harness.account()["spent"] == USAGE_MICROS
    assert harness.record["verdict"] == code


def test_a_sandbox_that_fails_under_way_is_closed_and_the_turns_are_charged() -> None:
    harness = Math(
        calls(program()), calls(program()), plays=(ran(), SandboxError("the sandbox is gone"))
    )
    told = harness.ask()
    assert (told.status, told.error["code"]) == (503, "sandbox_error")
    assert harness.account()["spent"] == 2 * USAGE_MICROS
    assert harness.record["sandbox"]["runs"] == [["python", 0, 12]]


def test_a_mixed_turn_hands_the_callers_calls_on_and_drops_the_programs() -> None:
    theirs = {"id": "c9", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    harness = Math(calls(program(), theirs))
    told = harness.ask({**ASKS, "tools": [LOOK_UP]})
    assert told.json["choices"][0]["message"]["tool_calls"] == [theirs]
    assert harness.sandboxes.programs == []


def test_a_callers_own_python_is_the_callers() -> None:
    own = {"type": "function", "function": {"name": "python", "parameters": {"type": "object"}}}
    harness = Math(calls(program()))
    told = harness.ask({**ASKS, "tools": [own]})
    assert told.json["choices"][0]["message"]["tool_calls"] == [program()]
    assert [t["function"]["name"] for t in harness.upstream.bodies[0]["tools"]] == ["python", "r"]
    assert told.json["usage"]["server_tool_use"] == {"python_runs": 0, "r_runs": 0}


def test_after_twelve_turns_the_model_answers_without_tools() -> None:
    harness = Math(
        *[calls(program())] * MATH_TURNS_MAX, answers("Enough."), plays=(ran(),) * MATH_TURNS_MAX
    )
    told = harness.ask()
    assert content(told) == "Enough."
    choices = [body.get("tool_choice") for body in harness.upstream.bodies]
    assert choices == [None] * MATH_TURNS_MAX + ["none"]


def test_a_model_that_calls_on_in_its_last_turn_is_not_run() -> None:
    harness = Math(
        *[calls(program(), text="Still.")] * (MATH_TURNS_MAX + 1), plays=(ran(),) * MATH_TURNS_MAX
    )
    told = harness.ask()
    assert content(told) == "Still."
    choice = told.json["choices"][0]
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "stop"
    assert len(harness.sandboxes.programs) == MATH_TURNS_MAX


def test_when_the_time_is_over_the_model_answers_without_tools() -> None:
    plays = (*[ran(wall_ms=59_000)] * 4, ran(wall_ms=4_000))
    harness = Math(*[calls(program())] * 5, answers("In time."), plays=plays)
    told = harness.ask()
    assert content(told) == "In time."
    timeouts = [timeout_s for _, _, timeout_s in harness.sandboxes.programs]
    assert timeouts == [60.0, 60.0, 60.0, 60.0, pytest.approx(MATH_TIMEOUT_S - 4 * 59)]


def test_there_is_an_end_to_programs_also_within_one_turn() -> None:
    many = [program(call_id=f"c{i}") for i in range(PROGRAMS_MAX + 1)]
    harness = Math(calls(*many), answers("Done."), plays=(ran(),) * PROGRAMS_MAX)
    assert harness.ask().status == 200
    assert "no time left" in harness.results()[-1]["error"]


def test_max_tool_calls_binds_programs_too() -> None:
    harness = Math(calls(program(), program(call_id="c2")))
    told = harness.ask({**ASKS, "max_tool_calls": 1})
    assert (told.status, told.error["code"]) == (400, "server_tool_limit")
    assert harness.sandboxes.opened == []


def test_credit_that_does_not_cover_another_turn_leaves_one_without_tools() -> None:
    harness = Math(
        calls(program()),
        answers("Short."),
        plays=(ran(stdout="9" * 60_000),),
        credit_micros=first_hold_micros() + 50,
    )
    assert content(harness.ask()) == "Short."
    last = harness.upstream.bodies[1]
    assert last["tool_choice"] == "none"
    assert last["messages"][-1]["content"].startswith("[cut: the credit is nearly used]")


# What one turn's programs wrote, and whether an answer can still be had of what is held.
OUTPUTS = {
    "a word": ("42", 1),
    "sixty kilobytes": ("9" * 60_000, 1),
    "six megabytes": ("9" * 65_000, 32),
}


@pytest.mark.parametrize("output, times", OUTPUTS.values(), ids=OUTPUTS)
def test_a_last_turn_never_costs_more_than_is_held(output: str, times: int) -> None:
    """Also when the provider reports every byte that was sent and every token that was asked."""
    many = [program(call_id=f"c{i}") for i in range(times)]
    harness = Math(
        calls(*many),
        answers("Short.", usage=None),
        plays=(ran(stdout=output, stderr=output, value=output),) * times,
        credit_micros=first_hold_micros(),
    )
    told = harness.ask()
    assert told.status in (200, 402)
    cost = harness.record["cost"]
    assert cost["computed"] == cost["charged"] <= cost["held"]
    if told.status == 200:
        sent = len(harness.upstream.requests[1].body)
        last_tokens = harness.upstream.bodies[1]["max_tokens"]
        worst = -(-(sent * 240_000 + last_tokens * 480_000) // 1_000_000) + USAGE_MICROS
        assert worst <= cost["held"]
    else:
        assert len(harness.upstream.requests) == 1
        assert told.headers["x-should-retry"] == "false"


def first_hold_micros() -> int:
    """What the first turn of a math call holds."""
    harness = Math(answers("Hi"))
    harness.ask()
    micros: int = next(line[1] for line in harness.log if line[0] == "hold")
    return micros


def test_a_row_without_tools_is_not_asked_and_its_pin_falls_back() -> None:
    rows = (make_row("acme-one", supports_tools=False), *ROWS[1:])
    harness = Math(answers("Hi"))
    catalog = make_catalog(rows, sandboxes=("CH",))
    harness.use(catalog=StaticCatalog(catalog, harness.clock.now_s()))
    told = harness.ask()
    assert told.headers["x-phi-routed"].startswith("bolt-two/")
    assert told.headers["x-phi-fallback"] == "model_lacks_capability"


def test_a_caller_who_hangs_up_while_a_program_runs_is_charged_and_leaves_no_sandbox() -> None:
    harness = Math(calls(program()))
    plays: tuple[SandboxScript, ...] = (harness.hang_up, ran())
    harness.sandboxes = FakeSandboxes(harness.clock, plays)
    harness.use(sandboxes=harness.sandboxes)
    asyncio.run(harness.serve(ASKS, task="math"))
    assert harness.sandboxes.closed == 1
    assert harness.account()["held"] == 0
    assert harness.account()["spent"] == USAGE_MICROS
    assert harness.record["ended"] == "hang_up"


def test_a_caller_who_hangs_up_has_no_further_program_run() -> None:
    harness = Math(calls(*[program(call_id=f"c{i}") for i in range(5)]))
    plays: tuple[SandboxScript, ...] = (harness.hang_up, *[ran()] * 5)
    harness.sandboxes = FakeSandboxes(harness.clock, plays)
    harness.use(sandboxes=harness.sandboxes)
    asyncio.run(harness.serve(ASKS, task="math"))
    assert len(harness.sandboxes.programs) == 1
    assert harness.sandboxes.closed == 1
    assert harness.account()["spent"] == USAGE_MICROS


def test_a_bug_after_a_charged_turn_says_that_a_repeat_is_charged_again() -> None:
    harness = Math(calls(program()), plays=(RuntimeError("secret words"),))
    with pytest.raises(InternalError) as raised:
        asyncio.run(harness.serve(ASKS, task="math"))
    assert raised.value.headers == {
        "x-phi-receipt": harness.record["id"],
        "x-phi-cost-micro": str(USAGE_MICROS),
        "x-should-retry": "false",
    }
    assert (harness.record["verdict"], harness.record["ended"]) == ("internal_error", "refused")
    assert harness.event_log.fields("bug") == [{"kind": "RuntimeError"}]
    assert harness.account()["spent"] == USAGE_MICROS


HOSTILE = f"```svg\n{SVG.replace('<path', '<script>x()</script><path')}\n```"
# Where a provider may put text besides the one place that is expected.
ELSEWHERE: dict[str, Json] = {
    "content in parts": {"content": [{"type": "text", "text": HOSTILE}]},
    "a refusal": {"content": "No.", "refusal": HOSTILE},
    "reasoning": {"content": "No.", "reasoning_content": HOSTILE},
}


@pytest.mark.parametrize("members", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_draws_is_cleaned_wherever_it_stands(members: Json) -> None:
    choice = {"index": 0, "message": {"role": "assistant", **members}, "finish_reason": "stop"}
    harness = Math(answers(choices=[choice, {**choice, "index": 1}]))
    told = harness.ask()
    assert b"script" not in told.body
    assert len(told.json["choices"]) == 1


def test_a_provider_that_fails_in_a_later_turn_ends_the_call_and_the_sandbox() -> None:
    harness = Math(calls(program()), *[fails(500)] * 4, plays=(ran(),))
    told = harness.ask({**ASKS, "provider": {"only": ["acme"]}})
    assert told.status == 502
    assert harness.account()["spent"] == USAGE_MICROS
