"""The math endpoint by the OpenAI SDK, on a real local stack with real sandboxes: a number, a plot
in Python and the same in R, from programs that a simulated provider writes from the question."""

import re
import shutil
from collections.abc import Iterator
from xml.etree import ElementTree

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from local.sandboxes import VENV
from phigate.core.types import Json
from tests.http.calls import assert_envelope
from tests.local.running import HttpAnswer, RunningStack

CH = {"X-Region": "CH"}
FENCE = re.compile(r"```svg\n(.*?)\n```", re.DOTALL)
MATH = "/v1/math/chat/completions"

needs_sandbox = pytest.mark.skipif(
    shutil.which("bwrap") is None or not VENV.exists(),
    reason="no sandbox on this machine: bubblewrap or the sandbox's libraries are missing",
)
needs_r = pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")


def asks(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def client(stack: RunningStack, key: str) -> Iterator[OpenAI]:
    """The SDK, whose base URL alone says that it is for math."""
    with OpenAI(base_url=f"{stack.url}/v1/math", api_key=key, max_retries=0) as made:
        yield made


@needs_sandbox
def test_an_integral_comes_back_as_a_number(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=asks("What is the integral of x^2*sin(x) from 0 to pi?"),
        extra_headers=CH,
        extra_body={"meta": True},
    )
    answer = raw.parse()
    assert "is -4 + pi**2." in str(answer.choices[0].message.content)
    assert raw.headers["x-phi-routed"] == "infomaniak-qwen3.5/CH/general"
    assert raw.headers["x-phi-sandbox-figures"] == "0"
    assert answer.usage is not None
    assert answer.usage.model_extra == {"server_tool_use": {"python_runs": 1, "r_runs": 0}}
    assert answer.model_extra is not None
    ((language, exit_code, _),) = answer.model_extra["meta"]["sandbox"]["runs"]
    assert (language, exit_code) == ("python", 0)


@needs_sandbox
@needs_r
def test_a_plot_in_python_and_the_same_in_r_come_back_as_two_svg_blocks(
    stack: RunningStack, client: OpenAI, key: str
) -> None:
    question = "Plot sin(x) from 0 to 6 in Python and then plot sin(x) from 0 to 6 in R."
    raw = client.chat.completions.with_raw_response.create(
        model="qwen3.5", messages=asks(question), extra_headers=CH
    )
    text = str(raw.parse().choices[0].message.content)
    python, r = FENCE.findall(text)
    for svg in (python, r):
        assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314
    assert text.index("[Figure 1]") < text.index(python) < text.index(r)
    assert raw.headers["x-phi-sandbox-figures"] == "2"
    path = f"/v1/receipts/{raw.headers['x-phi-receipt']}"
    record = stack.call("GET", path, key=key).json["record"]
    assert [run[:2] for run in record["sandbox"]["runs"]] == [["python", 0], ["r", 0]]
    assert record["sandbox"]["image"].startswith("local@sha256:")


@needs_sandbox
def test_a_program_that_fails_is_an_answer_and_variables_are_kept(client: OpenAI) -> None:
    question = "```python\nx = 41\n```\n```python\nx + 1\n```\n```python\n1 / 0\n```"
    answer = client.chat.completions.create(model="auto", messages=asks(question), extra_headers=CH)
    text = str(answer.choices[0].message.content)
    assert "ended with 0 and said 42" in text
    assert "ended with 1" in text


def test_a_stream_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="auto", messages=asks("Hello"), stream=True, extra_headers=CH
        )
    assert refused.value.param == "stream"


def test_phi_is_blocked(client: OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.chat.completions.create(
            model="auto", messages=asks("Hello"), extra_headers={**CH, "X-PHI": "true"}
        )
    assert refused.value.code == "phi_blocked"


def math(stack: RunningStack, key: str, body: Json, region: str) -> HttpAnswer:
    return stack.call("POST", MATH, body=body, key=key, headers=[("x-region", region)])


HELLO: Json = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.parametrize("region", ["CH", "EU", "UK", "US"])
def test_these_regions_have_a_sandbox(stack: RunningStack, key: str, region: str) -> None:
    told = math(stack, key, HELLO, region)
    assert told.status == 200
    assert "x-phi-dropped" not in told.headers


@pytest.mark.parametrize("region", ["ASIA", "ANZ", "LATAM", "MENA", "INDIA", "WORLD"])
def test_elsewhere_the_model_reasons_without_one(
    stack: RunningStack, key: str, region: str
) -> None:
    told = math(stack, key, HELLO, region)
    assert told.status == 200
    assert told.headers["x-phi-dropped"] == "sandbox"


def test_the_endpoint_takes_posts_alone(stack: RunningStack, key: str) -> None:
    assert_envelope(stack.call("GET", MATH, key=key), 405, "method_not_allowed")
