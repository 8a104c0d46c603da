"""Simulated providers for demos and tests: real wire formats, no model, and every answer says so."""
