"""Tests of the sandbox; harness.py starts servers, attacks.py is the table of hostile programs."""
