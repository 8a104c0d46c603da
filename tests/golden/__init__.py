"""What callers got from the version before, request by request: answers.jsonl is compared with what
this version answers. `python -m tests.golden.record` writes it anew; the difference is reviewed."""
