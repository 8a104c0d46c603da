"""What a program writes, kept up to a cap; the rest is read and dropped, and the cut is said.

Law: reading never stops for a program that writes without end; only keeping does.
"""


class Kept:
    """One stream of a program: its head, or with `tail` its end, where a traceback stands."""

    def __init__(self, bytes_max: int, *, tail: bool) -> None:
        """Nothing yet."""
        self._bytes_max = bytes_max
        self._tail = tail
        self._held = bytearray()
        self._seen = 0

    @property
    def cut(self) -> bool:
        """Whether more was written than is kept."""
        return self._seen > self._bytes_max

    def feed(self, piece: bytes) -> None:
        """Take a piece."""
        self._seen += len(piece)
        self._held += piece if self._tail else piece[: self._bytes_max - len(self._held)]
        if self._tail and len(self._held) > 2 * self._bytes_max:
            del self._held[: -self._bytes_max]

    def text(self) -> str:
        """What is kept, as text that says what is missing."""
        if not self.cut:
            return self._held.decode("utf-8", "replace")
        note = f"[{self._seen - self._bytes_max} bytes left out: output is cut at "
        note += f"{self._bytes_max} bytes]"
        if self._tail:
            kept = self._held[-self._bytes_max :].decode("utf-8", "replace")
            return f"{note}\n{kept}"
        return f"{self._held.decode('utf-8', 'replace')}\n{note}\n"
