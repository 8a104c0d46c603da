"""Values and decisions: the standard library alone, no I/O, no clock, no randomness. One
module stands on pydantic too: the models of the catalog's files (`core.catalog.files`).

Each subject has a folder, and in it the port through which the pipeline reaches its effects.
"""
