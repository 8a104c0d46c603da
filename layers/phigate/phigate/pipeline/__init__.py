"""One request, a folder a stage, in the order in which a request passes them.

It may touch the values of `core`, adapters and formats; everything that does I/O is handed to
it by the gateway. `serve` is the story.
"""
