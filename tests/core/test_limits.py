"""The limits that callers and operators were promised."""

from phigate.core import limits

# The limits that callers and operators were promised (decision 91), by hand.
PROMISED_LIMITS = {
    "BODY_BYTES_MAX": 5_000_000,
    "MESSAGES_MAX": 2_000,
    "PARTS_MAX": 500,
    "IMAGES_MAX": 20,
    "TOOLS_MAX": 128,
    "SCHEMA_BYTES_MAX": 65_536,
    "JSON_DEPTH_MAX": 64,
    "JSON_MEMBERS_MAX": 100_000,
    "OBJECT_MEMBERS_MAX": 1_000,
    "MEMBER_NAME_BYTES_MAX": 256,
    "HEADER_BYTES_MAX": 8_192,
    "KEY_BYTES_MAX": 128,
    "STOP_MAX": 16,
    "CONNECT_TIMEOUT_S": 3,
    "FIRST_BYTE_TIMEOUT_S": 120,
    "JSON_TIMEOUT_S": 280,
    "IDLE_TIMEOUT_S": 60,
    "STREAM_TIMEOUT_S": 840,
    "UPSTREAM_BODY_BYTES_MAX": 33_554_432,
    "EVENT_BYTES_MAX": 1_048_576,
    "CATALOG_FRESH_S": 300,
    "CATALOG_PHI_AGE_MAX_S": 3_600,
    "KEY_CACHE_S": 60,
    "RPM_DEFAULT": 600,
    "HOLDS_MAX": 200,
    "ATTEMPTS_MAX": 4,
    "RETRY_PAUSE_S": 0.25,
    "DRAIN_TIMEOUT_S": 30,
    "PING_INTERVAL_S": 15,
    "BREAKER_FAILURES": 5,
    "BREAKER_WINDOW_S": 60,
    "BREAKER_OPEN_S": 30,
    "REFUSALS_PER_MINUTE_MAX": 60,
    "HOLD_GRACE_S": 120,
    "SOCKET_UNUSED_MAX_S": 20,
}


def test_the_limits_are_those_that_were_promised() -> None:
    assert {name: getattr(limits, name) for name in PROMISED_LIMITS} == PROMISED_LIMITS
