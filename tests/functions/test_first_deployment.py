"""The order of a first deployment: functions before a catalog, a catalog before secrets."""

import json
import time

from phigate.aws.buffered import Buffered
from phigate.aws.catalog_sync import CatalogSync
from phigate.aws.chat import chat
from phigate.effects.aws.provider_credentials import SECRETS_FRESH_S
from tests.fakes import FakeClock
from tests.functions.actions import items_of
from tests.functions.aws_stack import CONTEXT, INFOMANIAK, AwsStack, rest, sync_event

SECRET = "stack-ch/provider/infomaniak"
ASKED = {"model": "gemma-4", "messages": [{"role": "user", "content": "Hello"}]}


CALLS_MAX = 50  # a read of the secrets takes a few of them


def test_calls_are_refused_until_there_is_a_catalog_and_then_a_secret(bare: AwsStack) -> None:
    clock = FakeClock(time.time())
    handler = Buffered(lambda: chat(bare.lambda_environment("chat", clock)))

    def told() -> tuple[int, str]:
        answer = handler(rest("/v1/chat/completions", ASKED, bare.key), CONTEXT)
        error = json.loads(answer["body"]).get("error", {})
        return answer["statusCode"], error.get("code", "")

    del bare.aws.secrets[SECRET]
    assert told() == (503, "overloaded")
    bare.aws.items.clear()
    CatalogSync(bare.lambda_environment("catalog_sync", clock))(
        sync_event("Create", bare.aws.url), CONTEXT
    )
    assert bare.aws.items == items_of("catalog_sync")
    assert bare.aws.told[-1]["Status"] == "SUCCESS"
    clock.time_s += 6
    assert told() == (404, "no_route")
    bare.aws.secrets[SECRET] = INFOMANIAK
    clock.time_s += SECRETS_FRESH_S
    # The secrets are read again beside the calls, on the same event loop, so some calls are early.
    assert (200, "") in (told() for _ in range(CALLS_MAX))
    handler.close()
