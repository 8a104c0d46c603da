"""Anthropic's messages: requests, answers, streams and schemas, to and from the canonical form.

https://docs.anthropic.com/en/api/messages
"""
