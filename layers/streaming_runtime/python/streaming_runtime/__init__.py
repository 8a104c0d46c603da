"""Runs an ASGI application on AWS Lambda with response streaming. Standard library only.

Read `loop.py` first, then `invocation.py`; everything that only takes and returns values stands in
`event.py` (in) and `prelude.py` (out).
"""
