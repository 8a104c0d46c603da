"""HTTP: plain ASGI for the hot path, FastAPI for what tells about the gateway. No decisions.

Every error leaves in our envelope.
"""
