"""Which rows may serve a request, and in which order they are tried.

The gate removes, the route orders, the breaker moves rows last; none of them adds a row.
"""
