"""What a request may cost, what it has used, its receipt and its settle.

It knows the plan of a request and no upstream: whoever calls one tells it what came of that.
"""
