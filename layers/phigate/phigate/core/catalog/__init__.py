"""The catalog: its files' fields and rules, the snapshot that is read of them, and the rate card.

What it says is data of `catalog/` in the repository; effects store and sign it.
"""
