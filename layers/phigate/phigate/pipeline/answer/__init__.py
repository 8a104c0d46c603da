"""What goes back to the caller: events of a stream, headers, what `meta` and `debug` tell.

It is the last stage and the only one that writes to the caller.
"""
