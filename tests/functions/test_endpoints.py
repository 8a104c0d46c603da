"""Where a function reaches AWS: the names that AWS's own resolver gives."""

import io
from pathlib import Path
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.config import Config

from phigate.aws.environment import AwsClients, LambdaEnvironment, aws_endpoint
from phigate.aws.settings import ChatSettings, SettingsRefused
from tests.functions.aws_stack import ENVIRONMENT

SERVICES = ("dynamodb", "kms", "secretsmanager")
REGIONS = ("eu-central-2", "eu-central-1", "eu-west-2", "us-east-1", "us-west-2", "us-gov-west-1")

# What is set -> which endpoints; None refuses the start.
SAID: dict[str, bool | None] = {
    "": False,
    "false": False,
    "true": True,
    "True": True,
    "1": None,
    "yes": None,
    "on": None,
}


@pytest.mark.parametrize("fips", [False, True], ids=["usual", "fips"])
@pytest.mark.parametrize("region", REGIONS)
def test_every_service_is_reached_where_aws_says(
    region: str, fips: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    session = botocore.session.get_session()
    for service in SERVICES:
        client = session.create_client(
            service,
            region_name=region,
            aws_access_key_id="made",
            aws_secret_access_key="up",
            config=Config(use_fips_endpoint=fips),
        )
        assert aws_endpoint(service, region, fips) == client.meta.endpoint_url
        client.close()


@pytest.mark.parametrize("said", SAID)
def test_a_function_believes_the_variable_or_does_not_start(said: str) -> None:
    asked: list[tuple[str, bool]] = []

    def endpoint(service: str, region: str, fips: bool) -> str:
        asked.append((service, fips))
        return aws_endpoint(service, region, fips)

    environ = {**ENVIRONMENT, "AWS_USE_FIPS_ENDPOINT": said}
    lambda_environment = LambdaEnvironment(
        environ=lambda: environ, endpoint=endpoint, log=io.StringIO()
    )
    if SAID[said] is None:
        with pytest.raises(SettingsRefused, match="AWS_USE_FIPS_ENDPOINT"):
            AwsClients(ChatSettings, lambda_environment)
        return
    clients = AwsClients(ChatSettings, lambda_environment)
    clients.kms("key")
    clients.secrets()
    assert asked == [(service, SAID[said]) for service in SERVICES]


def test_boto3s_own_clients_follow_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of sandboxes' tasks and of the digests' bucket."""
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    session = botocore.session.get_session()
    for service in ("ecs", "s3"):
        client = session.create_client(
            service,
            region_name="us-east-1",
            aws_access_key_id="made",
            aws_secret_access_key="up",
        )
        assert str(urlsplit(client.meta.endpoint_url).hostname).startswith(f"{service}-fips.")
        client.close()
