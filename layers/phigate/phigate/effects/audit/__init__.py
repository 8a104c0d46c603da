"""What is read and written for proofs over time: audits of a period, digests of days, their copies.

The rules stand in `verify`.
"""
