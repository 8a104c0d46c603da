"""phigate: an OpenAI-compatible gateway with residency, a PHI gate, exact credit, signed receipts.

Read `pipeline.serve` first. ARCHITECTURE.md draws the rooms and the arrows between them.
"""
