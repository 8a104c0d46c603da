"""The small version of `make audit-check`: what is planted is found, alone and together."""

import pytest

from bench.audit_check import CLEAN, DAYS, PER_DAY, PLANTED, found
from bench.audit_plan import PLANTS, Traffic
from tests.verify.account_fixture import AccountFixture

PER_DAY_SMALL = 30


def traffic(*plants: str) -> Traffic:
    """A dozen days with a few hundred calls."""
    return Traffic("clinic", "2026-07-01", 12, PER_DAY_SMALL, frozenset(plants))


def test_traffic_without_plants_is_clean() -> None:
    report = AccountFixture.kept(traffic()).audit()
    assert (report.found, report.receipts + report.tombstones) == ([], 12 * PER_DAY_SMALL)
    assert len(report.catalogs) == 2
    assert min(report.phi, report.tombstones, len(report.refusals), len(report.answers)) > 1


@pytest.mark.parametrize("plant", PLANTS)
def test_each_plant_alone_is_found_and_nothing_else(plant: str) -> None:
    assert [rule for _, rule in found(AccountFixture.kept(traffic(plant)).audit())] == [plant]


def test_all_plants_together_are_found_and_nothing_else() -> None:
    rules = [rule for _, rule in found(AccountFixture.kept(traffic(*PLANTS)).audit())]
    assert sorted(rules) == sorted(PLANTS)


def test_the_large_version_is_a_quarter_with_every_plant() -> None:
    assert DAYS * PER_DAY >= 100_000
    assert (PLANTED.plants, CLEAN.plants) == (frozenset(PLANTS), frozenset())
    days = {PLANTED.plant_of(day, day * PER_DAY + 1 + PER_DAY // 2) for day in range(DAYS)}
    assert days == {None, *PLANTS}
