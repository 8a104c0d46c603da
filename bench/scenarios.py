"""What is measured: one row per scenario, with its load, its pace and its check.

A new scenario is a new row. Every cell of the run takes the same figures; which of them a
scenario is about is said in bench/README.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from bench.bodies import CLAUDE, anthropic_body, image_body, text_body
from bench.checks import ANTHROPIC, Check, check_burst, check_json, check_paced
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
class Native:
    """What the upstream itself is sent, in its own dialect, and how its answer is checked."""

    path: str
    body: Callable[[], bytes]
    check: Check


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of load; `needs_process` leaves out targets without a process of their own.

    With `native`, the target `direct` is sent that instead, and `floor`, which translates nothing,
    is left out. `headers` stand over those of the target.
    """

    name: str
    clients: tuple[int, ...]
    body: Callable[[], bytes]
    check: Check
    full: Size
    quick: Size
    pace: Pace = _BURST
    when: When = When.EVERY
    needs_process: bool = False
    native: Native | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


_json_body = partial(text_body, stream=False)
_stream_body = partial(text_body, stream=True)
_MESSAGES = "/v1/messages"
_US = {"x-region": "US"}


def _native(check: Check, *, stream: bool) -> Native:
    return Native(_MESSAGES, partial(anthropic_body, stream=stream), check)


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
        name="anthropic-json-1k",
        clients=(1, 8),
        body=partial(text_body, stream=False, model=CLAUDE),
        check=check_json,
        full=Size(seconds_max=2.5),
        quick=Size(seconds_max=1.0),
        native=_native(partial(check_json, wording=ANTHROPIC), stream=False),
        headers=_US,
    ),
    Scenario(
        name="anthropic-stream-200",
        clients=(1, 8),
        body=partial(text_body, stream=True, model=CLAUDE),
        check=check_burst(_BURST.chunks),
        full=Size(seconds_max=2.5, warm=20),
        quick=Size(seconds_max=1.0, warm=20),
        pace=_BURST,
        native=_native(check_burst(_BURST.chunks, ANTHROPIC), stream=True),
        headers=_US,
    ),
    Scenario(
        name="anthropic-first-chunk",
        clients=(1,),
        body=partial(text_body, stream=True, model=CLAUDE),
        check=check_paced(_FIRST_CHUNK.chunks),
        full=Size(seconds_max=3.0, warm=5),
        quick=Size(seconds_max=1.5, warm=5),
        pace=_FIRST_CHUNK,
        native=_native(check_paced(_FIRST_CHUNK.chunks, ANTHROPIC), stream=True),
        headers=_US,
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
