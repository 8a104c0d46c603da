"""The template as CloudFormation gets it: the checks of tests/template on what SAM renders.

`make validate` sets PHIGATE_SAM_PYTHON to the interpreter that has SAM's translator.
"""

import json
import os
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tests.template.checks import CHECKS, Check, streaming_problems
from tests.template.cloudformation import Json, of_type, read, resolve
from tests.template.item_mutants import ITEM_MUTANTS, slim
from tests.template.log_mutants import LOG_MUTANTS
from tests.template.mutants import MUTANTS, Mutant

RENDER = Path(__file__).with_name("render_template.py")
TEMPLATE = read()
STREAM_URI = (
    "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2021-11-15/functions/"
    "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:"
    "${AWS::StackName}-%s:live/response-streaming-invocations"
)


def render(templates: list[Json]) -> list[Json]:
    done = subprocess.run(
        [os.environ["PHIGATE_SAM_PYTHON"], str(RENDER)],
        input=json.dumps(templates),
        capture_output=True,
        check=True,
        text=True,
    )
    rendered: list[Json] = json.loads(done.stdout)
    return rendered


def event_template(mode: str) -> Json:
    """The smallest API that SAM makes from an event, with the mode in its words."""
    event = {
        "Type": "Api",
        "Properties": {
            "Path": "/chat",
            "Method": "POST",
            "RestApiId": {"Ref": "Api"},
            "ResponseTransferMode": mode,
            "TimeoutInMillis": 900_000,
        },
    }
    function = {
        "Runtime": "python3.13",
        "Handler": "app.application",
        "CodeUri": "x",
        "Role": "arn:aws:iam::1:role/x",
        "Events": {"Call": event},
    }
    return {
        "Transform": "AWS::Serverless-2016-10-31",
        "Resources": {
            "Api": {"Type": "AWS::Serverless::Api", "Properties": {"StageName": "api"}},
            "Chat": {"Type": "AWS::Serverless::Function", "Properties": function},
        },
    }


@pytest.fixture(scope="module")
def rendered() -> list[Json]:
    """The template, its mutants, then two APIs made from an event."""
    mutants = [mutant.of(TEMPLATE) for mutant in MUTANTS]
    events = [event_template(mode) for mode in ("RESPONSE_STREAM", "STREAM")]
    return render([deepcopy(TEMPLATE), *mutants, *events])


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_rendered_template_has_no_problem(check: Check, rendered: list[Json]) -> None:
    assert check(rendered[0]) == []


@pytest.mark.parametrize("place", range(len(MUTANTS)), ids=lambda place: MUTANTS[place].name)
def test_rendered_mutant_is_seen_by_its_check_alone(place: int, rendered: list[Json]) -> None:
    changed = rendered[1 + place]
    assert {check.__name__ for check in CHECKS if check(changed)} == MUTANTS[place].seers


# SAM leaves policies and logs as they are, so what it has rendered is changed itself.
@pytest.mark.parametrize("mutant", ITEM_MUTANTS, ids=lambda mutant: mutant.name)
def test_rendered_mutant_of_items_is_seen(mutant: Mutant, rendered: list[Json]) -> None:
    assert mutant.seen_by(mutant.of(slim(rendered[0])))


@pytest.mark.parametrize("mutant", LOG_MUTANTS, ids=lambda mutant: mutant.name)
def test_rendered_mutant_of_logs_is_seen(mutant: Mutant, rendered: list[Json]) -> None:
    assert mutant.seen_by(mutant.of(rendered[0]))


def _api(template: Json) -> Any:
    (api,) = of_type(template, "AWS::ApiGateway::RestApi").values()
    return api


def test_streaming_integration_is_what_sam_renders_for_response_stream(
    rendered: list[Json],
) -> None:
    """What is written out in the template has the members that SAM's own event gets."""
    chat = _api(resolve(rendered[0]))["Body"]["paths"]["/v1/chat/completions"]
    ours = chat["x-amazon-apigateway-any-method"]["x-amazon-apigateway-integration"]
    sams = _api(rendered[-2])["Body"]["paths"]["/chat"]["post"]["x-amazon-apigateway-integration"]
    assert ours["uri"]["Fn::Sub"] == STREAM_URI % "chat"
    assert ":lambda:path/2021-11-15/functions/" in sams["uri"]["Fn::Sub"]
    assert sams["uri"]["Fn::Sub"].endswith("/response-streaming-invocations")
    assert ours["responseTransferMode"] == sams["responseTransferMode"] == "STREAM"
    assert {**ours, "uri": None, "timeoutInMillis": None} == {
        **sams,
        "uri": None,
        "timeoutInMillis": None,
    }


def test_stream_in_an_event_would_have_been_buffered_in_silence(rendered: list[Json]) -> None:
    """Why the mode stands in the API's own document."""
    sams = _api(rendered[-1])["Body"]["paths"]["/chat"]["post"]["x-amazon-apigateway-integration"]
    assert "responseTransferMode" not in sams
    assert sams["uri"]["Fn::Sub"].endswith(
        ":lambda:path/2015-03-31/functions/${Chat.Arn}/invocations"
    )


def test_buffered_stack_renders_no_stream(rendered: list[Json]) -> None:
    assert "STREAM" not in json.dumps(_api(resolve(rendered[0], Streaming="off")))
    assert streaming_problems(rendered[0]) == []


def test_roles_are_the_templates_own(rendered: list[Json]) -> None:
    """SAM adds the schedule's permission and versions; no role."""
    assert set(of_type(rendered[0], "AWS::IAM::Role")) == set(of_type(TEMPLATE, "AWS::IAM::Role"))


def test_stage_is_api_and_the_only_one(rendered: list[Json]) -> None:
    (stage,) = of_type(rendered[0], "AWS::ApiGateway::Stage").values()
    assert stage["StageName"] == "api"


def test_catalogs_layer_is_named_by_its_content(rendered: list[Json]) -> None:
    """So another catalog is another property of the custom resource."""
    (custom,) = of_type(rendered[0], "Custom::Catalog").values()
    name = custom["CatalogLayer"]["Ref"]
    assert name != "Catalog"
    assert name in of_type(rendered[0], "AWS::Lambda::LayerVersion")


def test_layer_that_is_replaced_is_kept(rendered: list[Json]) -> None:
    for facts in rendered[0]["Resources"].values():
        if facts["Type"] == "AWS::Lambda::LayerVersion":
            assert facts["DeletionPolicy"] == "Retain"
