"""The record that every answer and refusal leaves: its members, its id and its day.

Who checks one is `verify`; who signs and stores one is in `effects`.
"""
