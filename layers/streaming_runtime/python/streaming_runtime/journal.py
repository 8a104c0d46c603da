"""The runtime's own lines: one JSON object each, on standard error, which Lambda logs."""

import json
import sys


class StderrJournal:
    """Writes lines."""

    def note(self, event: str, **fields: object) -> None:
        """See types.Journal."""
        sys.stderr.write(json.dumps({"streaming_runtime": event, **fields}) + "\n")
        sys.stderr.flush()
