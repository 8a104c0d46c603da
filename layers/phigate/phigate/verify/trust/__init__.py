"""What anchors proofs outside the table: statements of roots, versions and freshness.

Pure. A statement is believed because of the key that a verifier has pinned, not of where it lay.
"""
