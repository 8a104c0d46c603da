"""Providers: how one is reached, with which credential, and the exchange over HTTP.

No redirect is followed and no proxy is used.
"""
