"""Cleans SVG by allow-lists: elements, attributes, styles, and what a renderer has to draw.

It takes text and gives text; who shows it is no matter here.
"""
