"""The table of errors is that of docs/api.md, and every error is rendered in the same envelope."""

import pytest

from phigate.core import errors
from phigate.core.errors import PhigateError

# docs/api.md, in its order: code, status. The type is OpenAI's family of the error.
TABLE = {
    "invalid_api_key": (401, "authentication_error"),
    "not_found": (404, "invalid_request_error"),
    "method_not_allowed": (405, "invalid_request_error"),
    "unsupported_encoding": (415, "invalid_request_error"),
    "request_too_large": (413, "invalid_request_error"),
    "request_timeout": (408, "invalid_request_error"),
    "invalid_request": (400, "invalid_request_error"),
    "key_policy": (403, "permission_error"),
    "region_not_served": (421, "invalid_request_error"),
    "model_not_found": (404, "invalid_request_error"),
    "no_route": (404, "invalid_request_error"),
    "phi_blocked": (403, "permission_error"),
    "insufficient_credit": (402, "insufficient_quota"),
    "rate_limited": (429, "rate_limit_error"),
    "server_tool_limit": (400, "invalid_request_error"),
    "server_tool_error": (502, "upstream_error"),
    "sandbox_error": (503, "upstream_error"),
    "upstream_error": (502, "upstream_error"),
    "upstream_timeout": (504, "upstream_error"),
    "overloaded": (503, "server_error"),
    "internal_error": (500, "server_error"),
}


def kinds(parent: type[PhigateError]) -> list[type[PhigateError]]:
    """The tree of core.errors. Other modules name their bugs under InternalError."""
    children = [kind for kind in parent.__subclasses__() if kind.__module__ == parent.__module__]
    return [kind for child in children for kind in (child, *kinds(child))]


def test_the_errors_are_the_promised_table_and_nothing_else() -> None:
    assert {kind.code: (kind.status, kind.type) for kind in kinds(PhigateError)} == TABLE


def test_each_code_has_one_class() -> None:
    """The families CallerError and GatewayError bear the code of one of their members."""
    families = {"CallerError", "GatewayError"}
    named = [kind.code for kind in kinds(PhigateError) if kind.__name__ not in families]
    assert sorted(named) == sorted(TABLE)


@pytest.mark.parametrize("kind", kinds(PhigateError), ids=lambda kind: kind.__name__)
def test_the_envelope_is_openais(kind: type[PhigateError]) -> None:
    assert kind("What was wrong.", param="messages.0").envelope() == {
        "error": {
            "message": "What was wrong.",
            "type": kind.type,
            "code": kind.code,
            "param": "messages.0",
        }
    }


def test_param_is_null_where_no_member_is_to_blame() -> None:
    assert errors.NoRoute("None.").envelope()["error"]["param"] is None


def test_further_members_stand_in_the_envelope_and_headers_beside_it() -> None:
    error = errors.InsufficientCredit(
        "Too little.", extra={"needed_micro": 2}, headers={"retry-after": "1"}
    )
    assert error.envelope()["error"]["needed_micro"] == 2
    assert error.headers == {"retry-after": "1"}


def test_a_failed_attempt_is_no_answer() -> None:
    assert not issubclass(errors.UpstreamFailed, PhigateError)
    assert errors.UpstreamFailed("timeout").outcome == "timeout"
