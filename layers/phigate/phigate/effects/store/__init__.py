"""The table: a lean DynamoDB client, and what stands in the table, a module a subject.

Nothing else of the package speaks to DynamoDB.
"""
