"""A service of AWS that takes JSON in signed POSTs: KMS, Secrets Manager. One pool a service.

Law 1: nothing is asked at init: a snapshot of the process must hold no connection.
Law 2: an error names its outcome, never what was sent or came back.
https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from phigate.core.clock import Clock
from phigate.core.limits import SOCKET_UNUSED_MAX_S
from phigate.effects.aws.signed_posts import SignedPosts
from phigate.effects.aws.sigv4 import CredentialsSource
from phigate.effects.posts import Bounds

CONNECT_TIMEOUT_S = 1.0  # in the same region it connects in a few milliseconds
CALL_TIMEOUT_S = 2.0  # a call takes 10 to 20 ms; with the connection under CERTIFY_TIMEOUT_S
CONNECTIONS_MAX = 8  # a secret for each provider; a certificate an hour, and RedPill's signatures
BOUNDS = Bounds(
    connections_max=CONNECTIONS_MAX,
    connect_timeout_s=CONNECT_TIMEOUT_S,
    unused_max_s=SOCKET_UNUSED_MAX_S,
    answer_timeout_s=CALL_TIMEOUT_S,
)
_CONTENT_TYPE = "application/x-amz-json-1.1"


class NoAnswer(Exception):
    """Nothing came that could be read: `timeout`, `unreachable` or `malformed`."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said. `error` is its name of an error; empty where there is none."""

    members: Mapping[str, Any]
    status: int

    @property
    def error(self) -> str:
        """Without the namespace that some services put before it."""
        return "" if self.status == 200 else str(self.members.get("__type", "")).rpartition("#")[2]


class AwsJson:
    """The client. `close` it at the end."""

    def __init__(
        self,
        *,
        service: str,
        endpoint: str,
        region: str,
        credentials: CredentialsSource,
        clock: Clock,
    ) -> None:
        self._posts = SignedPosts(
            service=service,
            endpoint=endpoint,
            region=region,
            credentials=credentials,
            clock=clock,
            bounds=BOUNDS,
            content_type=_CONTENT_TYPE,
        )

    async def call(self, target: str, payload: Mapping[str, str]) -> Answer:
        """One operation, by its whole name. Raises NoAnswer."""
        try:
            reply = await self._posts.post(target, orjson.dumps(payload))
            members = orjson.loads(reply.body)
        except TimeoutError:
            raise NoAnswer("timeout") from None
        except OSError:
            raise NoAnswer("unreachable") from None
        except ValueError:
            raise NoAnswer("malformed") from None
        if not isinstance(members, dict):
            raise NoAnswer("malformed")
        return Answer(members, reply.status)

    async def close(self) -> None:
        """Close the sockets; a later call opens new ones."""
        await self._posts.close()
