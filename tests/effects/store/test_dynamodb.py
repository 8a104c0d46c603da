"""The DynamoDB client: signatures as AWS computes them, and every failure under its right name."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import botocore.session
import orjson
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from phigate.core.errors import InternalError, Overloaded
from phigate.core.limits import LEDGER_TRIES_MAX
from phigate.effects.aws.sigv4 import Credentials, RequestSigner
from phigate.effects.store.dynamodb import (
    CANCELLATIONS,
    ERRORS,
    ConditionFailed,
    Conflict,
    DynamoDB,
    DynamoError,
    NotAccepted,
    TableMissing,
    Throttled,
    TransactionCanceled,
    Unavailable,
    pages,
    repeat,
)
from tests.effects.raw_server import RawServer, answer, raw_server
from tests.fakes import FakeClock, Item

OPERATIONS = (
    "GetItem",
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "TransactWriteItems",
    "Query",
    "CreateTable",
)
PREFIX = "com.amazonaws.dynamodb.v20120810#"
KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"  # AWS's own example
ITEM = {"avail": {"N": "5"}}

# (host, region, token, now, target, body)
SIGNED: dict[str, tuple[str, str, str | None, float, str, bytes]] = {
    "on AWS": (
        "dynamodb.eu-central-2.amazonaws.com",
        "eu-central-2",
        None,
        1_790_000_000.0,
        "DynamoDB_20120810.UpdateItem",
        b'{"TableName":"phigate"}',
    ),
    "with a session token": (
        "dynamodb.us-east-1.amazonaws.com",
        "us-east-1",
        "IQoJb3JpZ2luX2VjEXAMPLE//////////token==",
        1_790_000_000.9,
        "DynamoDB_20120810.GetItem",
        b"{}",
    ),
    "a host with a port": (
        "127.0.0.1:8000",
        "local",
        None,
        0.0,
        "DynamoDB_20120810.PutItem",
        b"{}",
    ),
    "an empty body": ("h", "eu-west-1", None, 1.0, "DynamoDB_20120810.Query", b""),
    "a body that is not ASCII": (
        "h",
        "eu-west-1",
        None,
        1_767_225_599.0,
        "DynamoDB_20120810.Query",
        "Grüße, 你好".encode(),
    ),
}

# (status, error code, further members) -> what is raised
ANSWERS: dict[str, tuple[str, str, Item, type[DynamoError]]] = {
    "a condition": ("400 x", "ConditionalCheckFailedException", {}, ConditionFailed),
    "a busy item": ("400 x", "TransactionConflictException", {}, Conflict),
    "too many calls": ("400 x", "ThrottlingException", {}, Throttled),
    "too many writes": ("400 x", "ProvisionedThroughputExceededException", {}, Throttled),
    "an account's limit": ("400 x", "RequestLimitExceeded", {}, Throttled),
    "a wrong expression": ("400 x", "ValidationException", {}, NotAccepted),
    "a role without the action": ("400 x", "AccessDeniedException", {}, NotAccepted),
    "an error of next year": ("400 x", "TooSunnyException", {}, NotAccepted),
    "no table": ("400 x", "ResourceNotFoundException", {}, TableMissing),
    "an error without a name": ("400 x", "", {}, NotAccepted),
    "a redirect": ("307 x", "", {}, NotAccepted),
    "an internal error": ("500 x", "InternalServerError", {}, Unavailable),
    "not there": ("503 x", "ServiceUnavailable", {}, Unavailable),
    "a condition that comes with 500": (
        "500 x",
        "ConditionalCheckFailedException",
        {},
        Unavailable,
    ),
    "a transaction's condition": (
        "400 x",
        "TransactionCanceledException",
        {"CancellationReasons": [{"Code": "ConditionalCheckFailed"}, {"Code": "None"}]},
        TransactionCanceled,
    ),
    "a transaction's conflict": (
        "400 x",
        "TransactionCanceledException",
        {"CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}]},
        Conflict,
    ),
    "a condition beside a conflict": (
        "400 x",
        "TransactionCanceledException",
        {
            "CancellationReasons": [
                {"Code": "TransactionConflict"},
                {"Code": "ConditionalCheckFailed"},
            ]
        },
        TransactionCanceled,
    ),
    "a transaction that is throttled": (
        "400 x",
        "TransactionCanceledException",
        {"CancellationReasons": [{"Code": "ThrottlingError"}]},
        Throttled,
    ),
    "a transaction without a reason": ("400 x", "TransactionCanceledException", {}, NotAccepted),
}

NO_ANSWERS = {
    "no JSON": answer("200 OK", b"<html>"),
    "no object": answer("200 OK", b"[]"),
    "an error without JSON": answer("400 Bad Request", b"bad gateway"),
    "half an object": answer("200 OK", b'{"Item":'),
    "no HTTP": b"\x15\x03\x01\x00\x02\x02\x16\r\n\r\n",
    "nothing": None,
}


def client(server: RawServer) -> DynamoDB:
    """A client on the server."""
    return DynamoDB(
        table="phigate",
        endpoint=f"http://127.0.0.1:{server.port}",
        region="eu-central-2",
        credentials=lambda: Credentials(KEY, SECRET),
        clock=FakeClock(),
    )


def error(status: str, code: str, members: Item) -> bytes:
    """An error as DynamoDB words it."""
    return answer(status, orjson.dumps({"__type": PREFIX + code, "message": "x"} | members))


class Scripted:
    """A client whose calls end as the script says."""

    table = "phigate"

    def __init__(self, script: Sequence[Item | DynamoError]) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self._script = iter(script)

    async def call(self, operation: str, payload: Item) -> Item:
        """The next line of the script."""
        self.sent.append((operation, orjson.dumps(payload)))
        line = next(self._script)
        if isinstance(line, DynamoError):
            raise line
        return line


def by_botocore(case: tuple[str, str, str | None, float, str, bytes]) -> str:
    """The Authorization header that AWS's own library computes."""
    host, region, token, now_s, target, body = case
    stamp = datetime.fromtimestamp(int(now_s), UTC).strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Date": stamp,
        "X-Amz-Target": target,
    }
    if token is not None:
        headers["X-Amz-Security-Token"] = token
    request = AWSRequest("POST", f"https://{host}/", data=body, headers=headers)
    request.context["timestamp"] = stamp
    signer = SigV4Auth(BotoCredentials(KEY, SECRET, token), "dynamodb", region)
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    names = signer.signed_headers(signer.headers_to_sign(request))
    return (
        f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, "
        f"SignedHeaders={names}, Signature={signer.signature(to_sign, request)}"
    )


@pytest.mark.parametrize("name", SIGNED)
def test_a_call_is_signed_as_aws_signs_it(name: str) -> None:
    host, region, token, now_s, target, body = SIGNED[name]
    signer = RequestSigner(
        host=host,
        region=region,
        service="dynamodb",
        source=lambda: Credentials(KEY, SECRET, token),
    )
    for _ in range(2):
        headers = signer.headers(now_s=now_s, target=target, body=body)
        assert headers["Authorization"] == by_botocore(SIGNED[name])
        assert headers["Host"] == host
        assert headers.get("X-Amz-Security-Token") == token


def test_the_kept_signing_key_is_of_the_day_and_the_secret() -> None:
    held = [Credentials("AKID1", "one"), Credentials("AKID2", "two")]
    now = {"credentials": held[0]}
    shared = RequestSigner(host="h", region="r", service="s", source=lambda: now["credentials"])
    for now_s in (86_399.0, 86_400.0, 86_399.0):
        for credentials in held:
            now["credentials"] = credentials
            fresh = RequestSigner(
                host="h", region="r", service="s", source=lambda: now["credentials"]
            )
            assert shared.headers(now_s=now_s, target="t", body=b"") == fresh.headers(
                now_s=now_s, target="t", body=b""
            )


def test_credentials_do_not_print_their_secret() -> None:
    assert SECRET not in repr(Credentials(KEY, SECRET, "token"))
    assert "token" not in repr(Credentials(KEY, SECRET, "token"))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_error_that_dynamodb_documents_has_a_name(operation: str) -> None:
    model = botocore.session.get_session().get_service_model("dynamodb")
    documented = {shape.name for shape in model.operation_model(operation).error_shapes}
    assert documented
    assert documented - {"TransactionCanceledException"} <= set(ERRORS)


def test_every_documented_reason_of_a_cancelled_transaction_has_a_name() -> None:
    model = botocore.session.get_session().get_service_model("dynamodb")
    text = model.shape_for("TransactionCanceledException").documentation
    documented = {code for code, _ in CANCELLATIONS if code in text}
    assert documented == {code for code, _ in CANCELLATIONS}


@pytest.mark.anyio
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_error_is_named_by_its_outcome(name: str) -> None:
    status, code, members, expected = ANSWERS[name]
    async with raw_server([error(status, code, members)]) as server:
        dynamo = client(server)
        with pytest.raises(DynamoError) as raised:
            await dynamo.call("UpdateItem", {})
        assert type(raised.value) is expected
        await dynamo.close()


@pytest.mark.anyio
@pytest.mark.parametrize("name", NO_ANSWERS)
async def test_without_an_answer_the_outcome_is_unknown(name: str) -> None:
    async with raw_server([NO_ANSWERS[name]]) as server:
        dynamo = client(server)
        with pytest.raises(Unavailable):
            await dynamo.call("UpdateItem", {})
        await dynamo.close()


@pytest.mark.anyio
async def test_a_condition_that_failed_shows_what_stood_there() -> None:
    members = {"Item": ITEM}
    async with raw_server([error("400 x", "ConditionalCheckFailedException", members)]) as server:
        dynamo = client(server)
        with pytest.raises(ConditionFailed) as raised:
            await dynamo.call("UpdateItem", {})
        assert raised.value.item == ITEM
        await dynamo.close()


@pytest.mark.anyio
async def test_a_cancelled_transaction_says_which_write_failed_and_what_stood_there() -> None:
    reasons = [{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Item": ITEM}]
    body = error("400 x", "TransactionCanceledException", {"CancellationReasons": reasons})
    async with raw_server([body]) as server:
        dynamo = client(server)
        with pytest.raises(TransactionCanceled) as raised:
            await dynamo.call("TransactWriteItems", {})
        assert [raised.value.failed(0), raised.value.failed(1)] == [False, True]
        assert raised.value.reasons[1][1] == ITEM
        await dynamo.close()


@pytest.mark.anyio
async def test_a_call_is_one_post_and_is_counted() -> None:
    async with raw_server([answer("200 OK", b'{"Item":{}}')] * 2) as server:
        dynamo = client(server)
        for _ in range(2):
            assert await dynamo.call("GetItem", {"TableName": "phigate"}) == {"Item": {}}
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST / HTTP/1.1\r\nHost: 127.0.0.1:")
        assert b"\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\n" in head
        assert body == b'{"TableName":"phigate"}'
        assert dynamo.calls == {"GetItem": 2}
        await dynamo.close()


@pytest.mark.anyio
async def test_no_error_shows_what_was_sent_or_stored() -> None:
    members = {"Item": {"canary": {"S": "canary"}}}
    async with raw_server([error("400 x", "ConditionalCheckFailedException", members)]) as server:
        dynamo = client(server)
        with pytest.raises(ConditionFailed) as raised:
            await dynamo.call("UpdateItem", {"canary": "canary"})
        assert "canary" not in f"{raised.value!s}{raised.value!r}{raised.value.args}"
        await dynamo.close()


TRANSIENT: dict[str, DynamoError] = {
    "throttled": Throttled("x"),
    "in conflict": Conflict("x"),
    "unavailable": Unavailable("x"),
}
FINAL: dict[str, tuple[DynamoError, type[Exception]]] = {
    "a condition": (ConditionFailed(None), ConditionFailed),
    "a transaction's condition": (TransactionCanceled([]), TransactionCanceled),
    "a wrong call": (NotAccepted("x"), InternalError),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", TRANSIENT)
async def test_a_transient_failure_is_sent_again_as_it_was(name: str) -> None:
    dynamo = Scripted([TRANSIENT[name], TRANSIENT[name], {"Item": {}}])
    payload: Item = {"b": 1, "a": [2]}
    assert await repeat(dynamo, FakeClock(), "PutItem", payload) == {"Item": {}}
    assert dynamo.sent == [("PutItem", b'{"b":1,"a":[2]}')] * 3


@pytest.mark.anyio
@pytest.mark.parametrize("name", TRANSIENT)
async def test_a_failure_that_stays_is_overloaded(name: str) -> None:
    dynamo = Scripted([TRANSIENT[name]] * 99)
    with pytest.raises(Overloaded):
        await repeat(dynamo, FakeClock(), "PutItem", {})
    assert len(dynamo.sent) == LEDGER_TRIES_MAX


@pytest.mark.anyio
@pytest.mark.parametrize("name", FINAL)
async def test_a_known_failure_is_not_repeated(name: str) -> None:
    raised, expected = FINAL[name]
    dynamo = Scripted([raised] * 99)
    with pytest.raises(expected):
        await repeat(dynamo, FakeClock(), "PutItem", {})
    assert len(dynamo.sent) == 1


@pytest.mark.anyio
async def test_a_query_is_read_to_its_last_page() -> None:
    script: list[Any] = [
        {"Items": [{"sk": {"S": "a"}}], "LastEvaluatedKey": {"sk": {"S": "a"}}},
        {"Items": [], "LastEvaluatedKey": {"sk": {"S": "b"}}},
        {"Items": [{"sk": {"S": "c"}}]},
    ]
    dynamo = Scripted(script)
    found = [item async for item in pages(dynamo, FakeClock(), {"TableName": "phigate"})]
    assert found == [{"sk": {"S": "a"}}, {"sk": {"S": "c"}}]
    assert dynamo.sent[2][1] == orjson.dumps(
        {"TableName": "phigate", "ExclusiveStartKey": {"sk": {"S": "b"}}}
    )
