"""What a caller's request says: its headers and members, which may pass, and under which name.

It knows no row, no price and no upstream.
"""
