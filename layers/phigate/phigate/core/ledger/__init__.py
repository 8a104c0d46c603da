"""Prepaid credit: accounts, keys, holds and their writes, and what a call costs.

The states of a hold are one table; every condition of a write has a name.
"""
