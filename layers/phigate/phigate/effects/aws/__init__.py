"""What only a stack on AWS needs: its services, its credentials, its log lines.

A local stack loads nothing of it but the HTTP client and the signer that its table needs.
"""
