"""Writes the Rules of template.yaml: which jurisdiction may run where, from catalog/regions.toml.

Law: between its two marks the template holds what this module makes, and a test compares them.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "template.yaml"
REGIONS = ROOT / "catalog" / "regions.toml"
BEGIN, END = "# rules begin\n", "# rules end\n"


def jurisdictions_by_aws_region(regions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The other way round, in alphabetical order of AWS regions."""
    names = sorted({name for allowed in regions.values() for name in allowed})
    return {name: [j for j, allowed in regions.items() if name in allowed] for name in names}


def rules(regions: Mapping[str, Sequence[str]]) -> str:
    """The section as YAML."""
    allowed = jurisdictions_by_aws_region(regions)
    lines = [
        "Rules:",
        "  TheDefaultIsServed:",
        "    Assertions:",
        "      - Assert: !Contains [!Ref Jurisdictions, !Ref Jurisdiction]",
        "        AssertDescription: Jurisdiction must be one of Jurisdictions",
        "  MathIsDeployedByMake:",
        '    RuleCondition: !Equals [!Ref MathEnabled, "true"]',
        "    Assertions:",
        '      - Assert: !Not [!Equals [!Ref S3PrefixList, ""]]',
        "        AssertDescription: MathEnabled needs S3PrefixList, which make deploy looks up",
        "      - Assert: !Not [!Equals [!Ref SandboxImage, none]]",
        "        AssertDescription: MathEnabled needs SandboxImage, which make deploy builds",
        "  AnAwsRegionOfRegionsToml:",
        "    Assertions:",
        f"      - Assert: !Contains [[{', '.join(allowed)}], !Ref AWS::Region]",
        "        AssertDescription: No jurisdiction may run in this AWS region",
    ]
    for name, served in allowed.items():
        lines += [
            f"  In{name.title().replace('-', '')}:",
            f"    RuleCondition: !Equals [!Ref AWS::Region, {name}]",
            "    Assertions:",
            f"      - Assert: !EachMemberIn [!Ref Jurisdictions, [{', '.join(served)}]]",
            f"        AssertDescription: Only {', '.join(served)} may run in {name}",
        ]
    return "\n".join(lines) + "\n"


def with_rules(template: str, section: str) -> str:
    """The template with the section between its marks."""
    before, _, rest = template.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError("the template has lost the marks of its rules")
    return before + BEGIN + section + END + after


def read_regions(path: Path) -> dict[str, list[str]]:
    """The AWS regions of every jurisdiction."""
    table = tomllib.loads(path.read_text())
    return {name: list(facts["aws_regions"]) for name, facts in table.items()}


if __name__ == "__main__":
    TEMPLATE.write_text(with_rules(TEMPLATE.read_text(), rules(read_regions(REGIONS))))
