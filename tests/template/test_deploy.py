"""samconfig.toml, what the layers take, and the steps of `make deploy` that need no AWS."""

import re
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.deploy import (
    Registry,
    carry_out,
    deploy_command,
    environment,
    image_tag,
    release,
    s3_prefix_list,
)
from tests.template.cloudformation import ROOT, defaults, read, refusals

TEMPLATE = read()
CONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text())
ENVIRONMENTS = {
    "ch": "eu-central-2",
    "eu": "eu-central-1",
    "us": "us-east-1",
    "uk": "eu-west-2",
    "asia": "ap-southeast-1",
    "anz": "ap-southeast-2",
    "latam": "sa-east-1",
    "mena": "me-central-1",
    "india": "ap-south-1",
    "world": "us-east-1",
}
REGIONS = tomllib.loads((ROOT / "catalog" / "regions.toml").read_text())


def test_there_is_one_environment_a_jurisdiction() -> None:
    assert set(CONFIG) - {"version", "default"} == set(ENVIRONMENTS)
    assert {name.upper() for name in ENVIRONMENTS} == set(REGIONS)


@pytest.mark.parametrize(("name", "aws_region"), ENVIRONMENTS.items())
def test_environment_is_accepted_by_the_template(name: str, aws_region: str) -> None:
    stack, region, parameters = environment(CONFIG, name)
    assert (stack, region) == (f"phigate-{name}", aws_region)
    assert set(parameters) <= set(TEMPLATE["Parameters"])
    assert parameters["Jurisdiction"] == parameters["Jurisdictions"] == name.upper()
    given = parameters | {"Jurisdictions": [parameters["Jurisdictions"]]}
    if parameters["MathEnabled"] == "true":
        assert refusals(TEMPLATE, **{"AWS::Region": region}, **given) == [
            "MathEnabled needs S3PrefixList, which make deploy looks up",
            "MathEnabled needs SandboxImage, which make deploy builds",
        ]
        given |= {"S3PrefixList": "pl-1", "SandboxImage": "0123456789abcdef"}
    assert not refusals(TEMPLATE, **{"AWS::Region": region}, **given)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_math_is_where_the_jurisdiction_has_a_sandbox(name: str) -> None:
    _, _, parameters = environment(CONFIG, name)
    assert (parameters["MathEnabled"] == "true") == REGIONS[name.upper()].get("sandbox", False)


def test_no_two_environments_share_a_stack() -> None:
    stacks = {CONFIG[name]["deploy"]["parameters"]["stack_name"] for name in ENVIRONMENTS}
    assert len(stacks) == len(ENVIRONMENTS)


def _pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", path.read_text(), re.MULTILINE))


def test_layer_takes_the_locks_versions_and_nothing_of_local_runs() -> None:
    layer = _pins(ROOT / "layers" / "dependencies" / "requirements.txt")
    lock = _pins(ROOT / "requirements.lock")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {each.partition("==")[0] for each in project["dependencies"]}
    assert layer.items() <= lock.items()
    assert wanted <= set(layer)
    assert not {"moto", "uvicorn", "uvloop", "httptools", "setuptools"} & set(layer)


def test_image_is_named_by_its_files_and_its_processor(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = image_tag(tmp_path, "X86_64")
    assert image_tag(tmp_path, "ARM64") != first
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("x")
    assert image_tag(tmp_path, "X86_64") == first
    (tmp_path / "a").write_text("2")
    assert image_tag(tmp_path, "X86_64") != first
    (tmp_path / "a").rename(tmp_path / "b")
    pattern = TEMPLATE["Parameters"]["SandboxImage"]["AllowedPattern"]
    assert re.fullmatch(pattern, image_tag(tmp_path, "X86_64"))


def test_two_deploys_are_two_releases() -> None:
    now = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)
    assert release(now) == "20261126T120000Z" != release(now + timedelta(seconds=1))
    assert re.fullmatch(TEMPLATE["Parameters"]["Release"]["AllowedPattern"], release(now))
    assert defaults(TEMPLATE)["Release"] == "0"


def test_command_repeats_what_the_file_says() -> None:
    _, _, parameters = environment(CONFIG, "ch")
    command = deploy_command("sam", "ch", parameters | {"Release": "r"})
    assert command[:4] == ["sam", "deploy", "--config-env", "ch"]
    assert set(CONFIG["ch"]["deploy"]["parameters"]["parameter_overrides"]) <= set(command)
    assert "Release=r" in command


class Ecr:
    """A registry with one repository, or none, and its tags."""

    def __init__(self, tags: set[str] | None) -> None:
        self.tags = tags

    def describe_repositories(self, **call: Any) -> dict[str, Any]:
        if self.tags is None:
            raise _error("RepositoryNotFoundException")
        return {"repositories": [{"repositoryUri": f"1.dkr/{call['repositoryNames'][0]}"}]}

    def describe_images(self, **call: Any) -> dict[str, Any]:
        if call["imageIds"][0]["imageTag"] not in (self.tags or ()):
            raise _error("ImageNotFoundException")
        return {"imageDetails": [{}]}

    def get_authorization_token(self) -> dict[str, Any]:
        return {"authorizationData": [{"authorizationToken": "QVdTOnBhc3M6d29yZA=="}]}


def _error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "Describe")


def test_first_deploy_finds_no_repository() -> None:
    assert Registry(Ecr(None), "phigate-ch-sandbox").address() is None


# By what the registry knows and whether there is math, what is run.
PUSHED = ["docker build", "docker login", "docker push"]
ORDERS: dict[str, tuple[set[str] | None, str, list[str]]] = {
    "no math": (None, "", ["sam deploy"]),
    "the image is there": ({"abc"}, "abc", ["sam deploy"]),
    "the image is new": (set(), "abc", [*PUSHED, "sam deploy"]),
    "the first deploy": (None, "abc", ["sam deploy", *PUSHED]),
}


@pytest.mark.parametrize("tags, tag, order", ORDERS.values(), ids=ORDERS)
def test_a_stack_names_no_image_that_is_not_there(
    tags: set[str] | None, tag: str, order: list[str]
) -> None:
    ecr = Ecr(tags)
    ran: list[tuple[str, str | None]] = []

    def run(command: Sequence[str], text: str | None = None) -> None:
        ran.append((" ".join(command[:2]), text))
        if command[0] == "sam" and ecr.tags is None:
            ecr.tags = set()  # the stack has made the repository

    carry_out(["sam", "deploy"], Registry(ecr, "phigate-ch-sandbox"), tag, "ARM64", run)
    assert [command for command, _ in ran] == order
    # The password is on no command line.
    assert {text for command, text in ran if text} <= {"pass:word"}


def test_an_image_that_cannot_be_built_stops_the_deploy() -> None:
    def run(command: Sequence[str], text: str | None = None) -> None:
        assert command[:2] == ["docker", "build"]
        raise CalledProcessError(1, command)

    with pytest.raises(CalledProcessError):
        carry_out(["sam", "deploy"], Registry(Ecr(set()), "phigate-ch-sandbox"), "a", "ARM64", run)


def test_registry_knows_its_images_and_the_password() -> None:
    registry = Registry(Ecr({"abc"}), "phigate-ch-sandbox")
    assert registry.address() == "1.dkr/phigate-ch-sandbox"
    assert registry.has("abc")
    assert not registry.has("abd")
    assert registry.password() == "pass:word"


@pytest.mark.parametrize("call", [Registry.address, lambda registry: registry.has("abc")])
def test_another_error_of_the_registry_is_not_hidden(call: Any) -> None:
    class Denied(Ecr):
        def describe_repositories(self, **call: Any) -> dict[str, Any]:
            raise _error("AccessDeniedException")

        describe_images = describe_repositories

    with pytest.raises(ClientError, match="AccessDenied"):
        call(Registry(Denied(set()), "x"))


def test_prefix_list_is_the_regions() -> None:
    class Ec2:
        def describe_managed_prefix_lists(self, **call: Any) -> dict[str, Any]:
            (wanted,) = call["Filters"]
            assert wanted["Values"] == ["com.amazonaws.eu-central-2.s3"]
            return {"PrefixLists": [{"PrefixListId": "pl-1a2b"}]}

    found = s3_prefix_list(Ec2(), "eu-central-2")
    assert re.fullmatch(TEMPLATE["Parameters"]["S3PrefixList"]["AllowedPattern"], found)
