"""The OpenAI SDK for Node, with nothing set but its base URL and key, on a real local stack.

Run by `make test-node`. The pinned package of package-lock.json is installed in a temporary folder.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from phigate.core.types import Json
from tests.local.running import environment, started

HERE = Path(__file__).parent
FILES = ("package.json", "package-lock.json", "story.mjs")
INSTALL = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
INSTALL_TIMEOUT_S = 300
STORY_TIMEOUT_S = 60


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Json:
    """What the story printed."""
    folder = tmp_path_factory.mktemp("node")
    for name in FILES:
        shutil.copy(HERE / name, folder)
    subprocess.run(INSTALL, cwd=folder, check=True, timeout=INSTALL_TIMEOUT_S)
    with started(folder / "state") as stack:
        variables = environment(
            {"OPENAI_BASE_URL": stack.base_url, "OPENAI_API_KEY": stack.new_key("node")}
        )
        ran = subprocess.run(
            ["node", "story.mjs"],
            cwd=folder,
            env=variables,
            stdout=subprocess.PIPE,
            check=True,
            timeout=STORY_TIMEOUT_S,
        )
    value: Json = json.loads(ran.stdout)
    return value


def test_phi_chat_in_switzerland_says_where_it_ran(told: Json) -> None:
    answer = told["phi_chat"]
    assert answer["headers"]["x-phi-routed"] == "infomaniak-gemma-4-31b/CH/phi"
    assert answer["headers"]["x-phi-usage"] == "verified"
    assert answer["data"]["id"] == f"chatcmpl-{answer['headers']['x-phi-receipt']}"
    assert answer["request_id"] == answer["headers"]["x-phi-receipt"]
    assert answer["data"]["choices"][0]["message"]["content"]


def test_a_stream_in_europe_comes_in_chunks_and_ends_with_usage(told: Json) -> None:
    stream = told["stream"]
    assert len(stream["texts"]) > 1
    assert len(stream["ids"]) == 1
    assert stream["usage"]["total_tokens"] > 0


def test_phi_in_the_us_is_refused_as_the_sdk_knows_refusals(told: Json) -> None:
    refused = told["phi_blocked"]
    assert (refused["kind"], refused["status"]) == ("PermissionDeniedError", 403)
    assert (refused["code"], refused["type"]) == ("phi_blocked", "permission_error")
    assert refused["requestID"]
    assert (told["no_route"]["kind"], told["no_route"]["code"]) == ("NotFoundError", "no_route")


def test_a_tool_is_called(told: Json) -> None:
    answer = told["tool"]
    assert answer["headers"]["x-phi-tools"] == "supported"
    (call,) = answer["data"]["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert set(json.loads(call["function"]["arguments"])) == {"place"}


def test_claude_streams_two_tool_calls(told: Json) -> None:
    answer = told["claude"]
    assert answer["model"] == "anthropic-claude-sonnet-4-6"
    assert answer["choice"]["finish_reason"] == "tool_calls"
    calls = [call["function"] for call in answer["choice"]["message"]["tool_calls"]]
    assert [call["name"] for call in calls] == ["weather", "sunrise"]
    assert [json.loads(call["arguments"]) for call in calls] == [{"place": "simulated"}] * 2
    assert [delta["index"] for delta in answer["deltas"] if "id" in delta] == [0, 1]
    assert len(answer["deltas"]) > 4
    assert answer["usage"]["total_tokens"] > 0


@pytest.mark.parametrize("step", ["datetime_printed", "datetime"])
def test_the_datetime_example_is_answered_with_the_time(told: Json, step: str) -> None:
    answer = told[step]["data"]
    assert answer["usage"]["server_tool_use"] == {"datetime_requests": 1}
    assert '"timezone": "Europe/London"' in answer["choices"][0]["message"]["content"]
    assert "tool_calls" not in answer["choices"][0]["message"]


def test_the_datetime_example_says_where_it_ran(told: Json) -> None:
    assert told["datetime_printed"]["status"] == 200
    assert told["datetime"]["headers"]["x-phi-routed"] == "openai-gpt-5-nano/WORLD/general"


def test_an_image_is_seen(told: Json) -> None:
    answer = told["vision"]
    assert answer["headers"]["x-phi-routed"] == "infomaniak-gemma-4-31b/CH/phi"
    assert "1x1" in answer["data"]["choices"][0]["message"]["content"].replace(" x ", "x")


def test_models_are_listed(told: Json) -> None:
    assert "infomaniak-gemma-4-31b" in told["models"]
