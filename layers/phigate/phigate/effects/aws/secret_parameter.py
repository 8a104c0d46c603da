"""One secret by Powertools' Parameters, for functions that have boto3 loaded anyway.

Law: no text of a secret, nor of a library's exception, reaches an error or a log line.
"""

import asyncio
from typing import Any

import boto3
from aws_lambda_powertools.utilities.parameters import GetParameterError, SecretsProvider
from botocore.config import Config
from botocore.exceptions import ClientError

from phigate.effects.aws.secrets_manager import SecretUnread

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 5.0
_MISSING = "ResourceNotFoundException"  # also a secret that has no value yet


async def secret_parameter(name: str, *, aws_region: str, endpoint: str) -> str | None:
    """The secret's text; None where there is none. Raises SecretUnread."""
    return await asyncio.to_thread(_read, name, aws_region, endpoint)


def _read(name: str, aws_region: str, endpoint: str) -> str | None:
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": 2, "mode": "standard"},
    )
    client: Any = boto3.client(
        "secretsmanager", region_name=aws_region, endpoint_url=endpoint, config=config
    )
    try:
        # What is kept would outlive a change of the secret.
        found = SecretsProvider(boto3_client=client).get(name, force_fetch=True, max_age=0)
    except GetParameterError as exc:
        outcome = _outcome(exc.__context__)
        if outcome == _MISSING:
            return None
        raise SecretUnread(outcome) from None
    finally:
        client.close()
    return found.strip() or None if isinstance(found, str) else None


def _outcome(cause: BaseException | None) -> str:
    """AWS's word for it, where there is one."""
    if not isinstance(cause, ClientError):
        return "unreachable"
    if cause.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
        return "unreachable"
    return cause.response["Error"].get("Code") or "refused"
