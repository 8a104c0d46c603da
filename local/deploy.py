"""`make deploy ENV=ch`: the sandbox's image, then the stack of one environment of samconfig.toml.

Laws: a stack never names an image that its repository may not have, except in its first deploy,
which makes the repository; every deploy is another release, so that aliases move on.
"""

import argparse
import base64
import hashlib
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import boto3
from botocore.exceptions import ClientError

ROOT = Path(__file__).parents[1]
IMAGE_FOLDER = ROOT / "sandbox_fargate"
TAG_CHARACTERS = 16
PLATFORMS = {"X86_64": "linux/amd64", "ARM64": "linux/arm64"}


def environment(config: Mapping[str, Any], name: str) -> tuple[str, str, dict[str, str]]:
    """Stack, AWS region and parameters. KeyError for an environment that is not there."""
    facts = config[name]["deploy"]["parameters"]
    pairs = (each.partition("=") for each in facts["parameter_overrides"])
    return facts["stack_name"], facts["region"], {key: value for key, _, value in pairs}


def image_tag(folder: Path, architecture: str) -> str:
    """The image's name by what it is built from and for: names and contents of all files."""
    found = hashlib.sha256(architecture.encode())
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return found.hexdigest()[:TAG_CHARACTERS]


def release(now: datetime) -> str:
    """Another one every second."""
    return now.strftime("%Y%m%dT%H%M%SZ")


def deploy_command(sam: str, name: str, parameters: Mapping[str, str]) -> list[str]:
    """`sam deploy`; overrides on the command line take the place of all those in the file."""
    overrides = [f"{key}={value}" for key, value in sorted(parameters.items())]
    return [
        sam,
        "deploy",
        "--config-env",
        name,
        "--no-fail-on-empty-changeset",
        "--parameter-overrides",
        *overrides,
    ]


class Registry:
    """The stack's repository of images. `client` is boto3's for ECR."""

    def __init__(self, client: Any, repository: str) -> None:
        self._client = client
        self._repository = repository

    def address(self) -> str | None:
        """Where the repository is; None before the first deploy."""
        call = {"repositoryNames": [self._repository]}
        try:
            found = self._client.describe_repositories(**call)["repositories"]
        except ClientError as exc:
            if exc.response["Error"]["Code"] != "RepositoryNotFoundException":
                raise
            return None
        return str(found[0]["repositoryUri"])

    def has(self, tag: str) -> bool:
        """Whether the image is there."""
        call = {"repositoryName": self._repository, "imageIds": [{"imageTag": tag}]}
        try:
            self._client.describe_images(**call)
        except ClientError as exc:
            if exc.response["Error"]["Code"] != "ImageNotFoundException":
                raise
            return False
        return True

    def password(self) -> str:
        """For `docker login`; twelve hours."""
        (token,) = self._client.get_authorization_token()["authorizationData"]
        return base64.b64decode(token["authorizationToken"]).decode().partition(":")[2]


def s3_prefix_list(client: Any, aws_region: str) -> str:
    """S3's addresses in a region, as a security group names them. `client` is boto3's for EC2."""
    wanted = [{"Name": "prefix-list-name", "Values": [f"com.amazonaws.{aws_region}.s3"]}]
    (found,) = client.describe_managed_prefix_lists(Filters=wanted)["PrefixLists"]
    return str(found["PrefixListId"])


class Run(Protocol):
    """Runs a command, with a text on its standard input. Raises CalledProcessError."""

    def __call__(self, command: Sequence[str], text: str | None = None) -> None: ...


def push(registry: Registry, tag: str, architecture: str, run: Run) -> bool:
    """Build and push the image where it is missing; False where there is no repository yet."""
    address = registry.address()
    if address is None:
        return False
    if not registry.has(tag):
        image = f"{address}:{tag}"
        platform = PLATFORMS[architecture]
        run(["docker", "build", "--platform", platform, "-t", image, str(IMAGE_FOLDER)])
        login = ["docker", "login", "--username", "AWS", "--password-stdin", address.split("/")[0]]
        run(login, registry.password())
        run(["docker", "push", image])
    return True


def carry_out(
    command: Sequence[str], registry: Registry, tag: str, architecture: str, run: Run
) -> None:
    """The image, where there is a `tag`, and then the stack; in a first deploy the other way."""
    is_pushed = not tag or push(registry, tag, architecture, run)
    run(command)
    if not is_pushed:
        push(registry, tag, architecture, run)


def main(arguments: Sequence[str]) -> None:
    """See above."""
    parser = argparse.ArgumentParser(prog="make deploy")
    parser.add_argument("name", help="an environment of samconfig.toml")
    parser.add_argument("--sam", required=True)
    given = parser.parse_args(arguments)
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    stack, aws_region, parameters = environment(config, given.name)
    parameters["Release"] = release(datetime.now(UTC))
    registry, tag = Registry(boto3.client("ecr", aws_region), f"{stack}-sandbox"), ""
    architecture = parameters.get("SandboxArchitecture", "X86_64")
    if parameters.get("MathEnabled") == "true":
        tag = parameters["SandboxImage"] = image_tag(IMAGE_FOLDER, architecture)
        parameters["S3PrefixList"] = s3_prefix_list(boto3.client("ec2", aws_region), aws_region)
    command = deploy_command(given.sam, given.name, parameters)
    carry_out(command, registry, tag, architecture, _run)


def _run(command: Sequence[str], text: str | None = None) -> None:
    subprocess.run(command, input=text, check=True, text=True, cwd=ROOT)


if __name__ == "__main__":
    main(sys.argv[1:])
