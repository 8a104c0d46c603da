"""Simulated providers for demos and tests: real wire formats, no model, and answers
that say so.
"""
