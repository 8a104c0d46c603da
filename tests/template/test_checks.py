"""The template as it is written: every check finds nothing, and finds its mutants."""

import pytest

from tests.template.checks import CHECKS, Check
from tests.template.cloudformation import read
from tests.template.mutants import MUTANTS, Mutant

TEMPLATE = read()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_template_has_no_problem(check: Check) -> None:
    assert check(TEMPLATE) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_seen_by_its_check_alone(mutant: Mutant) -> None:
    changed = mutant.of(TEMPLATE)
    assert [check.__name__ for check in CHECKS if check(changed)] == [mutant.seen_by.__name__]


def test_every_check_has_a_mutant() -> None:
    assert {mutant.seen_by for mutant in MUTANTS} == set(CHECKS)
