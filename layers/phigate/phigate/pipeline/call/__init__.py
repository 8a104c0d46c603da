"""Attempts at upstreams: one request to one row, failover, and what becomes of a row's health.

It charges through `pipeline.charge` and never writes to the caller.
"""
