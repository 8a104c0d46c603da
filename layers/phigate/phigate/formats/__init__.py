"""What callers speak, a module a format: how its requests are read, how its answers are written.

It may touch wire formats and core, and no other format; the pipeline is handed one value of each.
"""
