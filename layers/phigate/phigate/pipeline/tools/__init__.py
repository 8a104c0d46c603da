"""The gateway's own tools: further turns, programs in a sandbox, and the figures that they draw.

It decides what follows after a turn; `pipeline.answer` and `pipeline.serve` ask it.
"""
