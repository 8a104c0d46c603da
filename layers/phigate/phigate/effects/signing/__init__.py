"""Keys that sign: files of a local stack, KMS on AWS, and the short-lived keys of receipts.

A private key never leaves the module that holds it.
"""
