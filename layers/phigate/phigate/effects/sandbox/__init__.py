"""Where programs run: warm servers on this machine, tasks on Fargate, and how many at once.

A sandbox is of one request; whatever was started is ended.
"""
