"""A secret by Parameters: what is there, what counts as none, and every failure's name."""

import json
import logging

import boto3
import pytest
from moto import mock_aws

from phigate.effects.aws.secret_parameter import secret_parameter
from phigate.effects.aws.secrets_manager import SecretUnread
from tests.effects.aws.test_secrets_manager import ANSWERS, FAILURES, REGION, SECRET
from tests.effects.raw_server import answer, raw_server

# boto3 reads no answer that is no JSON, and says so as of one that did not come.
OUTCOMES = {"no JSON": "unreachable", "no object": "unreachable", "no name": "400"}


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "made-up")


async def read(port: int) -> str | None:
    endpoint = f"http://127.0.0.1:{port}"
    return await secret_parameter("stack/sandbox", aws_region=REGION, endpoint=endpoint)


@pytest.mark.parametrize("status, body, text", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.anyio
async def test_a_secret_is_read(status: str, body: bytes, text: str | None) -> None:
    async with raw_server([answer(status, body)]) as server:
        assert await read(server.port) == text
    (asked,) = server.requests
    assert b"X-Amz-Target: secretsmanager.GetSecretValue\r\n" in asked


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.anyio
async def test_a_failure_is_named_by_its_outcome_alone(name: str) -> None:
    status, body, outcome = FAILURES[name]
    async with raw_server([answer(status, body)]) as server:  # also when it is asked again
        with pytest.raises(SecretUnread) as unread:
            await read(server.port)
    assert str(unread.value) == OUTCOMES.get(name, outcome)
    assert unread.value.__suppress_context__


@pytest.mark.anyio
async def test_a_service_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(SecretUnread, match=r"^unreachable$"):
        await read(1)


@pytest.mark.anyio
async def test_a_changed_secret_is_seen_whatever_age_a_variable_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POWERTOOLS_PARAMETERS_MAX_AGE", "86400")
    texts = [SECRET, SECRET + "-changed"]
    bodies = [json.dumps({"SecretString": text}).encode() for text in texts]
    async with raw_server(*([answer("200 OK", body)] for body in bodies)) as server:
        assert [await read(server.port) for _ in texts] == texts


@pytest.mark.anyio
async def test_secrets_manager_takes_the_call() -> None:
    with mock_aws():
        boto3.client("secretsmanager", region_name=REGION).create_secret(
            Name="stack/sandbox", SecretString=SECRET
        )
        endpoint = f"https://secretsmanager.{REGION}.amazonaws.com"
        found = await secret_parameter("stack/sandbox", aws_region=REGION, endpoint=endpoint)
    assert found == SECRET


@pytest.mark.anyio
async def test_nothing_of_it_is_logged_where_libraries_write_warnings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    body = json.dumps({"SecretString": SECRET}).encode()
    async with raw_server([answer("200 OK", body)]) as server:
        assert await read(server.port) == SECRET
    assert SECRET not in caplog.text
