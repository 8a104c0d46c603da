"""The speed and memory benchmark: `python -m bench` (see bench/README.md)."""
