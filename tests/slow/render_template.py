"""Renders SAM templates as CloudFormation does; run by the interpreter that has SAM's translator.

Reads a JSON list of templates from stdin, writes the list of what they become.
"""

import json
import os
import sys
from typing import Any

from samtranslator.translator.transform import transform  # type: ignore[import-not-found]


class NoPolicies:
    """AWS's managed policies, of which no role of ours has one."""

    def load(self) -> dict[str, str]:
        """Their names and ARNs."""
        return {}


def render(template: dict[str, Any]) -> Any:
    """As if its code had been uploaded."""
    for facts in template["Resources"].values():
        for member in ("CodeUri", "ContentUri"):
            if member in facts.get("Properties", {}):
                facts["Properties"][member] = "s3://bucket/key"
    return transform(template, {}, NoPolicies())


if __name__ == "__main__":
    # The translator asks the SDK for the partition of this region, and nothing of AWS.
    os.environ["AWS_DEFAULT_REGION"] = "eu-central-2"
    json.dump([render(template) for template in json.load(sys.stdin)], sys.stdout)
