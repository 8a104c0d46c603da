"""Codecs and shapes of the wire, which callers' formats and providers' dialects both use.

Pure: bytes and plain JSON in and out. Nothing here decides where a request goes.
"""
