"""The Rules allow a jurisdiction in an AWS region exactly where catalog/regions.toml does."""

from itertools import product

import pytest

from local.template_rules import REGIONS, read_regions, rules, with_rules
from tests.template.cloudformation import TEMPLATE, load, read, refusals

ALLOWED = read_regions(REGIONS)
AWS_REGIONS = sorted({name for names in ALLOWED.values() for name in names})
# Where AWS has data centres and no jurisdiction may run.
ELSEWHERE = ["ap-northeast-1", "ca-central-1", "cn-north-1", "il-central-1", "me-south-1"]
RULES = read()


def refused(aws_region: str, jurisdiction: str, served: list[str]) -> bool:
    values = {"AWS::Region": aws_region, "Jurisdiction": jurisdiction, "Jurisdictions": served}
    return bool(refusals(RULES, **values, MathEnabled="false"))


@pytest.mark.parametrize(("name", "place"), list(product(ALLOWED, AWS_REGIONS + ELSEWHERE)))
def test_jurisdiction_runs_where_regions_toml_says(name: str, place: str) -> None:
    assert refused(place, name, [name]) == (place not in ALLOWED[name])


@pytest.mark.parametrize(("first", "second"), list(product(ALLOWED, ALLOWED)))
def test_two_jurisdictions_run_where_both_may(first: str, second: str) -> None:
    for place in AWS_REGIONS:
        both_may = place in ALLOWED[first] and place in ALLOWED[second]
        assert refused(place, first, [first, second]) != both_may


def test_default_jurisdiction_must_be_served() -> None:
    assert refused("us-east-1", "US", ["WORLD"])
    assert not refused("us-east-1", "US", ["US", "WORLD"])


def test_rules_in_the_template_are_the_ones_that_are_made() -> None:
    text = TEMPLATE.read_text()
    assert with_rules(text, rules(ALLOWED)) == text


def test_rule_for_another_place_is_noticed() -> None:
    other = load(with_rules(TEMPLATE.read_text(), rules(ALLOWED | {"CH": ["eu-central-1"]})))
    swiss = {"AWS::Region": "eu-central-1", "Jurisdiction": "CH", "Jurisdictions": ["CH"]}
    swiss |= {"MathEnabled": "false"}
    assert refusals(RULES, **swiss)
    assert not refusals(other, **swiss)


def test_template_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="marks"):
        with_rules("Rules: {}\n", rules(ALLOWED))


def test_parameter_takes_every_jurisdiction_and_no_other() -> None:
    assert RULES["Parameters"]["Jurisdiction"]["AllowedValues"] == list(ALLOWED)
