"""Credentials, region and endpoint by AWS's own rules. Only commands on AWS load this module."""

from botocore.exceptions import BotoCoreError
from botocore.session import get_session

from phigate.cli.command import CommandFailed

KeyAndToken = tuple[str, str, str | None]


def reach(region: str | None) -> tuple[KeyAndToken, str, str]:
    """The credentials of the usual chain, the region, and DynamoDB's URL there.

    `region` is AWS_REGION, which botocore itself does not read; None leaves it to the profile.

    Raises CommandFailed.
    """
    session = get_session()
    try:
        found = session.get_credentials()
        if found is None:
            raise CommandFailed("there are no AWS credentials; set AWS_PROFILE or log in")
        frozen = found.get_frozen_credentials()
        if frozen.access_key is None or frozen.secret_key is None:
            raise CommandFailed("the AWS credentials are not complete")
        client = session.create_client("dynamodb", region_name=region)
    except BotoCoreError as exc:
        raise CommandFailed(f"AWS cannot be reached: {exc}") from exc
    place = (client.meta.region_name, client.meta.endpoint_url)
    client.close()
    return (frozen.access_key, frozen.secret_key, frozen.token), *place
