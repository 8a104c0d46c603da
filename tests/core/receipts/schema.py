"""`python -m tests.core.receipts.schema` writes docs/receipt.schema.json from the table."""

import json
from pathlib import Path

from phigate.core.receipts.members import record_schema

PATH = Path(__file__).parents[3] / "docs" / "receipt.schema.json"


def written() -> str:
    """The file's text."""
    return json.dumps(record_schema(), indent=2) + "\n"


if __name__ == "__main__":
    PATH.write_text(written())
