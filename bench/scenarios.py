"""What is measured: one row per scenario, with its load, its pace and its check.

A new scenario is a new row. Every cell of the run takes the same figures; which of them a
scenario is about is said in bench/README.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from bench.bodies import image_body, text_body
from bench.checks import Check, check_burst, check_json, check_paced
from bench.fake_upstream import Pace

# Enough that a time limit alone ends the load.
_UNLIMITED = 10_000_000
STREAMS_AT_ONCE = 500
_BURST = Pace(chunks=200)
# The first chunk comes 10 ms after the request, as from a near upstream; then one each ms.
_FIRST_CHUNK = Pace(chunks=10, first_ms=10, gap_ms=1)
# Five seconds a stream: all 500 stand open together for most of it.
_MANY_STREAMS = Pace(chunks=50, first_ms=100, gap_ms=100)


class When(Enum):
    """In which of the repeats a scenario runs."""

    EVERY = "every repeat"
    FIRST = "the first repeat, before anything else"
    LAST = "the last repeat, after everything else"


@dataclass(frozen=True, slots=True)
class Size:
    """How long a load runs: whichever limit comes first, after `warm` unmeasured requests."""

    seconds_max: float
    requests_max: int = _UNLIMITED
    warm: int = 50


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load; `needs_process` leaves out targets without a process of their own."""

    name: str
    clients: tuple[int, ...]
    body: Callable[[], bytes]
    check: Check
    full: Size
    quick: Size
    pace: Pace = _BURST
    when: When = When.EVERY
    needs_process: bool = False


def _json_body() -> bytes:
    return text_body(stream=False)


def _stream_body() -> bytes:
    return text_body(stream=True)


SCENARIOS = (
    Scenario(
        name="idle-rss",
        clients=(1,),
        body=_json_body,
        check=check_json,
        full=Size(seconds_max=10, requests_max=100, warm=0),
        quick=Size(seconds_max=10, requests_max=100, warm=0),
        when=When.FIRST,
        needs_process=True,
    ),
    Scenario(
        name="json-1k",
        clients=(1, 8),
        body=_json_body,
        check=check_json,
        full=Size(seconds_max=2.5),
        quick=Size(seconds_max=1.0),
    ),
    Scenario(
        name="stream-200",
        clients=(1, 8),
        body=_stream_body,
        check=check_burst(_BURST.chunks),
        full=Size(seconds_max=2.5, warm=20),
        quick=Size(seconds_max=1.0, warm=20),
        pace=_BURST,
    ),
    Scenario(
        name="first-chunk",
        clients=(1,),
        body=_stream_body,
        check=check_paced(_FIRST_CHUNK.chunks),
        full=Size(seconds_max=3.0, warm=5),
        quick=Size(seconds_max=1.5, warm=5),
        pace=_FIRST_CHUNK,
    ),
    Scenario(
        name="image-4m",
        clients=(1,),
        body=image_body,
        check=check_json,
        # No warm-up: the first image decides the peak.
        full=Size(seconds_max=2.0, warm=0),
        quick=Size(seconds_max=1.0, warm=0),
    ),
    Scenario(
        name="soak-20k",
        clients=(8,),
        body=_json_body,
        check=check_json,
        full=Size(seconds_max=120, requests_max=20_000, warm=2_000),
        quick=Size(seconds_max=30, requests_max=4_000, warm=1_000),
        when=When.LAST,
        needs_process=True,
    ),
    Scenario(
        name="streams-500",
        clients=(STREAMS_AT_ONCE,),
        body=_stream_body,
        check=check_paced(_MANY_STREAMS.chunks),
        full=Size(seconds_max=30, requests_max=STREAMS_AT_ONCE, warm=0),
        quick=Size(seconds_max=30, requests_max=STREAMS_AT_ONCE, warm=0),
        pace=_MANY_STREAMS,
        when=When.LAST,
    ),
)
