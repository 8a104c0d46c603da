"""What goes back to the caller: an answer, told once in `loop` and written whole (`json`) or as it
comes (`sse`), or a refusal.

It is the last stage and the only one that writes to the caller.
"""
