"""Checks what a stack claims: receipts, certificates, days. Pure: values in, findings out.

Nothing here trusts a stack, its table or its clock; what anchors a check is the keys handed in.
"""
