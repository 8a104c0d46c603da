"""Every socket, table, clock and key. A folder a subject.

An effect has the shape that a port of `core` states, and decides what no pure function can.
"""
