"""The template as it is written: every check finds nothing, and finds its mutants."""

import pytest

from phigate.aws.settings import FUNCTIONS
from tests.functions.actions import KINDS
from tests.template.checks import CHECKS, Check
from tests.template.cloudformation import read
from tests.template.item_mutants import ITEM_MUTANTS, KIND_MUTANTS, slim
from tests.template.items import ACTIONS, item_problems
from tests.template.log_mutants import LOG_MUTANTS
from tests.template.mutants import MUTANTS, Mutant

TEMPLATE = read()
SLIM = slim(TEMPLATE)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_template_has_no_problem(check: Check) -> None:
    assert check(TEMPLATE) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_seen_by_its_check_alone(mutant: Mutant) -> None:
    changed = mutant.of(TEMPLATE)
    assert {check.__name__ for check in CHECKS if check(changed)} == mutant.seers


def test_every_check_has_a_mutant() -> None:
    mutants = (*MUTANTS, *ITEM_MUTANTS, *LOG_MUTANTS)
    assert {mutant.seen_by for mutant in mutants} == set(CHECKS)
    assert len({mutant.name for mutant in mutants}) == len(mutants)


@pytest.mark.parametrize("mutant", ITEM_MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_of_items_is_seen(mutant: Mutant) -> None:
    assert mutant.seen_by(mutant.of(SLIM))


def test_mutants_of_items_begin_with_what_has_no_problem() -> None:
    assert item_problems(SLIM) == []


def test_every_kind_of_every_role_has_a_mutant() -> None:
    """For each role, action and kind: one that allows it where it was not recorded, or lacks it."""
    assert len(KIND_MUTANTS) == len(FUNCTIONS) * len(ACTIONS) * len(KINDS)


@pytest.mark.parametrize("mutant", LOG_MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_of_logs_is_seen(mutant: Mutant) -> None:
    assert mutant.seen_by(mutant.of(TEMPLATE))
