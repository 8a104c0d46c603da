"""The sandbox that runs a model's Python and R programs; imports nothing of the gateway.

Law: outside the jail everything that comes out of it is data to be checked, never trusted.
"""
