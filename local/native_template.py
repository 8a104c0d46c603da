"""`python -m local.native_template`: template.yaml for the processor of this machine, printed.

What is deployed is for arm64. Nothing else differs, so what runs here is what is deployed.
"""

import platform
import sys
from pathlib import Path

TEMPLATE = Path(__file__).parents[1] / "template.yaml"
# What SAM calls a processor, by what the kernel calls it. Lambda has no others.
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def here(text: str, machine: str) -> str:
    """The template for a machine. Raises KeyError for one whose processor Lambda has not."""
    return text.replace("[arm64]", f"[{ARCHITECTURES[machine]}]").replace(
        "BuildArchitecture: arm64", f"BuildArchitecture: {ARCHITECTURES[machine]}"
    )


if __name__ == "__main__":
    sys.stdout.write(here(TEMPLATE.read_text(), platform.machine()))
