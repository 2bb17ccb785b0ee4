"""Puts the first octets of one direction of a TCP connection in order."""

from __future__ import annotations

from gate_firewall.host import MAX_OCTETS


class ConflictError(ValueError):
    """Two segments say different things of the same place, or lie beyond what is kept.

    Which of them the server will believe can't be known, so neither is.
    """


class Stream:
    """The first 16 KiB of a direction, in the order of sequence numbers."""

    __slots__ = ("_kept", "_known", "_prefix", "first")

    def __init__(self, first: int) -> None:
        self.first = first
        """Sequence number of the first octet."""
        self._prefix = b""
        """What has arrived without a hole."""
        self._kept = bytearray()
        """All that has arrived, with zeros in the holes; empty while everything came in order."""
        self._known = bytearray()
        """As long as ``_kept``: 255 for each octet that has arrived, 0 in the holes."""

    def add(self, sequence: int, octets: bytes) -> None:
        """Take a segment; one that arrives again is fine.

        Raises:
            ConflictError: It contradicts an earlier one, or does not lie within the first 16 KiB.
        """
        start = (sequence - self.first) % 2**32
        if start >= 2**31:
            # Before the first octet, where the server looks at nothing: a keep-alive, by RFC 9293, section 3.8.4. All
            # else there says that the server may have begun elsewhere.
            if start != 2**32 - 1 or len(octets) > 1:
                raise ConflictError("octets before the first one")
            return
        end = start + len(octets)
        if end > MAX_OCTETS:
            raise ConflictError(f"a segment from {start} to {end}; at most {MAX_OCTETS} are kept")
        if start == len(self._prefix) and not self._kept:
            self._prefix += octets  # in order, as nearly always
        else:
            self._put(start, end, octets)

    def _put(self, start: int, end: int, octets: bytes) -> None:
        if not self._kept:
            self._kept += self._prefix
            self._known += b"\xff" * len(self._prefix)
        if end > len(self._kept):
            missing = bytes(end - len(self._kept))
            self._kept += missing
            self._known += missing
        known = self._known[start:end]
        if 255 in known and int.from_bytes(known) & (
            int.from_bytes(self._kept[start:end]) ^ int.from_bytes(octets)
        ):
            raise ConflictError(f"a segment from {start} to {end} that differs from an earlier one")
        self._kept[start:end] = octets
        self._known[start:end] = b"\xff" * len(octets)
        hole = self._known.find(0)
        self._prefix = bytes(self._kept if hole < 0 else self._kept[:hole])

    def is_empty(self) -> bool:
        """Tell whether nothing has arrived."""
        return not self._prefix and not self._kept

    @property
    def size(self) -> int:
        """Octets of memory that it takes, about."""
        return len(self._prefix) + 2 * len(self._kept)

    @property
    def has_hole(self) -> bool:
        """Whether something has arrived that follows what has not."""
        return len(self._kept) > len(self._prefix)

    def prefix(self) -> bytes:
        """Return what has arrived without a hole."""
        return self._prefix
