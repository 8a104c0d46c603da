"""Values and decisions: the standard library alone, no I/O, no clock, no randomness.

Each subject has a folder, and in it the port through which the pipeline reaches its effects.
"""
