"""`phigate`: one module a group of commands, on a local state directory or a table on AWS.

Results go to standard output, remarks to standard error.
"""
