"""Puts the first octets of one direction of a TCP connection in order."""

from __future__ import annotations

from gate_firewall.host import MAX_OCTETS


class ConflictError(ValueError):
    """Two segments say different things of the same place, or lie beyond what is kept.

    Which of them the server will believe can't be known, so neither is.
    """


class Stream:
    """The first 16 KiB of a direction, in the order of sequence numbers."""

    __slots__ = ("_octets", "_present", "first")

    def __init__(self, first: int) -> None:
        self.first = first
        """Sequence number of the first octet."""
        self._octets = bytearray()
        self._present = bytearray()
        """A 1 for each octet that has arrived."""

    def add(self, sequence: int, octets: bytes) -> None:
        """Take a segment; one that arrives again is fine.

        Raises:
            ConflictError: It contradicts an earlier one, or does not lie within the first 16 KiB.
        """
        start = (sequence - self.first) % 2**32
        if start >= 2**31:
            # Before the first octet, where the server looks at nothing: a keep-alive, by RFC 9293, section 3.8.4.
            octets = octets[2**32 - start :]
            start = 0
        end = start + len(octets)
        if end > MAX_OCTETS:
            raise ConflictError(f"a segment from {start} to {end}; at most {MAX_OCTETS} are kept")
        if end > len(self._octets):
            missing = bytes(end - len(self._octets))
            self._octets += missing
            self._present += missing
        known = self._present[start:end]
        if 1 in known and any(
            there and old != new
            for there, old, new in zip(known, self._octets[start:end], octets, strict=True)
        ):
            raise ConflictError(f"a segment from {start} to {end} that differs from an earlier one")
        self._octets[start:end] = octets
        self._present[start:end] = b"\x01" * len(octets)

    def is_empty(self) -> bool:
        """Tell whether nothing has arrived."""
        return not self._octets

    def prefix(self) -> bytes:
        """Return what has arrived without a hole."""
        hole = self._present.find(0)
        return bytes(self._octets if hole < 0 else self._octets[:hole])
