"""What an audit is tried on: a period of one account's calls, and what is planted among them."""

import asyncio
from dataclasses import dataclass, field

import orjson

from phigate.core.catalog.snapshot import canonical_bytes
from phigate.core.receipts.days import DAY_S, begins_at_s, day_at
from phigate.core.types import Json

PLANTS = ("gap", "region", "agreement", "cost", "signature")
# Whose agreement ends within the period: its rows go on to serve without PHI.
LAPSING_PROVIDER = "scaleway"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls of one account, `per_day` on each of so many days; `plants` are what is wrong."""

    account: str
    first_day: str
    days: int
    per_day: int
    plants: frozenset[str] = frozenset()
    seed: int = 1

    @property
    def first_s(self) -> int:
        """Its first midnight."""
        return begins_at_s(self.first_day)

    @property
    def last_day(self) -> str:
        """Its last day."""
        return day_at(self.first_s + (self.days - 1) * DAY_S)

    @property
    def numbers(self) -> int:
        """How many numbers were given out."""
        return self.days * self.per_day

    @property
    def lapses_on(self) -> int:
        """The day, counted from 0, on which the first catalog's agreement ends."""
        return self.days // 2

    @property
    def renewed_on(self) -> int:
        """The day from which on the second catalog is used."""
        return self.days * 3 // 4

    def plant_of(self, day: int, seq: int) -> str | None:
        """What is planted at a number: each plant on a day of its own, that of the agreement after
        it has ended."""
        days = {name: 1 + place for place, name in enumerate(PLANTS)}
        days["agreement"] = (self.lapses_on + self.renewed_on) // 2
        if seq != day * self.per_day + 1 + self.per_day // 2:
            return None
        return next((name for name in PLANTS if name in self.plants and days[name] == day), None)


class SetClock:
    """Time stands until it is set."""

    def __init__(self, time_s: float) -> None:
        self.time_s = time_s

    def now_s(self) -> float:
        """The time that was set."""
        return self.time_s

    async def sleep(self, seconds: float) -> None:
        """Nothing here waits."""
        await asyncio.sleep(0)

    async def back_off(self, at_most_s: float) -> None:
        """Nor here."""
        await self.sleep(at_most_s)


@dataclass(slots=True)
class Written:
    """What a generator has made so far: the micros it charged, and where its plants are."""

    charged_micros: int = 0
    planted: dict[str, tuple[str, str]] = field(default_factory=dict)  # (subject, rule) by plant


@dataclass(frozen=True, slots=True)
class Call:
    """One call before it is decided what becomes of it."""

    id: str
    seq: int
    time_s: int
    day: int


def catalogs(document: Json, traffic: Traffic) -> tuple[bytes, bytes]:
    """The two snapshots of a period: one whose agreement ends in its midst, and the renewed one."""
    lapsing = orjson.loads(orjson.dumps(document))
    ends = day_at(traffic.first_s + traffic.lapses_on * DAY_S)
    for agreement in lapsing["providers"][LAPSING_PROVIDER]["agreements"].values():
        agreement["expires"] = ends
    return canonical_bytes(lapsing), canonical_bytes(document)
