"""docs/costs.md is what its script computes."""

from decimal import Decimal

from bench import costs
from tests.template.cloudformation import of_type, read, resolve


def test_page_is_the_computed_one() -> None:
    assert costs.PAGE.read_text() == costs.page()


def test_alarms_are_those_of_the_template() -> None:
    alarms = of_type(resolve(read(), MathEnabled="false"), "AWS::CloudWatch::Alarm")
    assert len(alarms) == costs.ALARMS


def test_ledger_of_a_million_calls_is_by_hand_four_writes() -> None:
    (ledger,) = (usd for name, _, usd in costs.chat(Decimal(3)) if name.startswith("Ledger"))
    assert ledger == Decimal("2.5")


def test_sandbox_of_a_million_calls_by_hand() -> None:
    fargate = sum(usd for name, _, usd in costs.math() if name.startswith("Fargate"))
    # 1/60 of an hour: (0.04048 + 4 x 0.004445) / 60 = 0.000971 USD a call.
    assert round(fargate, 2) == Decimal("971.00")


def test_every_price_has_a_name_of_its_own() -> None:
    names = [price.name for price in costs.PRICES]
    assert len(names) == len(set(names))
