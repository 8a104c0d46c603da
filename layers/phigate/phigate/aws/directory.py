"""The function that tells about the gateway, and signs texts for RedPill's verifiers."""

import functools

from phigate.aws.environment import Aws, Outside
from phigate.aws.server import Extras, Server
from phigate.effects.signing.text_signer import Eip191Signer
from phigate.http.app import build_app


def directory(outside: Outside | None = None) -> Server:
    """Every endpoint but the chats. Raises SettingsRefused."""
    return Server(
        "directory", outside or Outside(), functools.partial(build_app, tasks=()), _extras
    )


async def _extras(aws: Aws) -> Extras:
    signer = Eip191Signer(aws.kms(aws.settings.redpill_key), aws.journal)
    # Of the others it only tells whether there is a key: it is open without one of the caller's.
    return Extras(text_signer=signer, calls=lambda row: row.confidential)
