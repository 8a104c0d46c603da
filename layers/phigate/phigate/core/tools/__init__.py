"""Tools that the gateway runs: which turn follows, what programs are told, what may be shown.

Text and drawings of a model are cleaned here by allow-lists.
"""
