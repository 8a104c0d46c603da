"""Sandboxes as values: runs, slots and tasks, and the port through which programs are run.

What a jail allows is `sandbox_fargate`'s matter.
"""
