"""What a check says when it does not hold."""


class VerificationError(ValueError):
    """Something that was to be checked does not hold; the message says what, for a person."""
