"""The function that tells about the gateway, and signs texts for RedPill's verifiers."""

import functools

from phigate.aws.environment import AwsClients, LambdaEnvironment
from phigate.aws.server import FunctionParts, FunctionServer
from phigate.aws.settings import DirectorySettings
from phigate.effects.signing.text_signer import Eip191Signer
from phigate.http.app import build_app


def directory(lambda_environment: LambdaEnvironment | None = None) -> FunctionServer:
    """Every endpoint but the chats. Raises SettingsRefused."""
    return FunctionServer(
        DirectorySettings,
        lambda_environment or LambdaEnvironment(),
        functools.partial(build_app, tasks=()),
        _function_parts,
    )


async def _function_parts(aws: AwsClients[DirectorySettings]) -> FunctionParts:
    signer = Eip191Signer(aws.kms(aws.settings.redpill_key), aws.event_log)
    # Of the others it only tells whether there is a key: it is open without one of the caller's.
    return FunctionParts(text_signer=signer, calls=lambda row: row.confidential)
