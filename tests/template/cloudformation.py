"""Reads template.yaml as CloudFormation does: short forms, parameters, conditions, Rules.

What only AWS knows (an ARN, an attribute) stays the intrinsic function that it is.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "template.yaml"
NO_VALUE = {"Ref": "AWS::NoValue"}

Json = dict[str, Any]


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """With the short forms, and with `on` and `off` as the texts that they are."""


def _short_form(loader: Any, suffix: str, node: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix in ("Ref", "Condition"):
        return {suffix: value}
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


def load(text: str) -> Json:
    """A template's text, with every short form written long."""
    template: Json = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    return template


def read() -> Json:
    """The template of this repository, new each time."""
    return load(TEMPLATE.read_text())


def defaults(template: Json) -> dict[str, Any]:
    """What the parameters are when nobody says otherwise."""
    values = {name: facts.get("Default") for name, facts in template["Parameters"].items()}
    for name, facts in template["Parameters"].items():
        if facts["Type"] == "CommaDelimitedList":
            values[name] = [part for part in str(values[name] or "").split(",") if part]
    return values


def resolve(template: Json, **parameters: Any) -> Json:
    """The template with conditions decided: what is left out is not there any more."""
    values = defaults(template) | {"Jurisdiction": "CH", "Jurisdictions": ["CH"]} | parameters
    decided: dict[str, bool] = {}

    def holds(name: str) -> bool:
        if name not in decided:
            decided[name] = bool(evaluate(template["Conditions"][name], values, holds))
        return decided[name]

    resources = {
        name: _without_ifs(facts, holds)
        for name, facts in template["Resources"].items()
        if "Condition" not in facts or holds(facts["Condition"])
    }
    return template | {"Resources": resources}


def _without_ifs(value: Any, holds: Callable[[str], bool]) -> Any:
    if isinstance(value, dict):
        if list(value) == ["Fn::If"]:
            name, yes, no = value["Fn::If"]
            return _without_ifs(yes if holds(name) else no, holds)
        members = {name: _without_ifs(each, holds) for name, each in value.items()}
        return {name: each for name, each in members.items() if each != NO_VALUE}
    if isinstance(value, list):
        items = [_without_ifs(each, holds) for each in value]
        return [each for each in items if each != NO_VALUE]
    return value


def evaluate(value: Any, values: Mapping[str, Any], holds: Callable[[str], bool]) -> Any:
    """A condition's or a rule's expression. KeyError for a function that is not known here."""
    if isinstance(value, list):
        return [evaluate(each, values, holds) for each in value]
    if not isinstance(value, dict):
        return value
    ((function, argument),) = value.items()
    if function == "Ref":
        return values[argument]
    if function == "Condition":
        return holds(argument)
    return _FUNCTIONS[function](evaluate(argument, values, holds))


def refusals(template: Json, **values: Any) -> list[str]:
    """What the Rules say against these parameters (and `AWS::Region`), by their descriptions."""

    def no_conditions(name: str) -> bool:
        raise KeyError(name)

    values = defaults(template) | values
    said = []
    for rule in template["Rules"].values():
        if "RuleCondition" in rule and not evaluate(rule["RuleCondition"], values, no_conditions):
            continue
        said += [
            each["AssertDescription"]
            for each in rule["Assertions"]
            if not evaluate(each["Assert"], values, no_conditions)
        ]
    return said


def of_type(template: Json, *types: str) -> dict[str, Json]:
    """The properties of every resource of these types."""
    return {
        name: facts.get("Properties", {})
        for name, facts in template["Resources"].items()
        if facts["Type"] in types
    }


def listed(value: Any) -> list[Any]:
    """A member that may be one or many."""
    return value if isinstance(value, list) else [value]


_FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "Fn::Equals": lambda pair: pair[0] == pair[1],
    "Fn::Not": lambda one: not one[0],
    "Fn::And": all,
    "Fn::Or": any,
    "Fn::Join": lambda argument: argument[0].join(argument[1]),
    "Fn::Contains": lambda argument: argument[1] in argument[0],
    "Fn::EachMemberIn": lambda argument: set(argument[0]) <= set(argument[1]),
}
