"""Where the safe versions of search engines answer, as the sinkhole tells.

Whoever asks for a search engine by another address than these goes round the safe version.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

from gate_core.pins import MAX_DATAGRAM_OCTETS, MalformedPinsError, Pin, parse_pins
from gate_core.safesearch import TARGETS

GRACE_S: Final = 3600.0
"""How long an address stays good after the sinkhole has given it last: programs use addresses for longer than they may."""

MAX_HELD: Final = 64
"""Addresses held for one safe version; those that end first make room."""


class Pins:
    """The addresses of each safe version; bounded."""

    def __init__(self) -> None:
        self._ends: dict[str, dict[bytes, float]] = {}
        """Safe version to its addresses, each with the monotonic time when it ends."""
        self.malformed = 0
        """Datagrams that held no pins."""

    def take(self, datagram: bytes, now: float) -> None:
        """Take what the sinkhole has sent at the monotonic time ``now``."""
        try:
            pins = parse_pins(datagram)
        except MalformedPinsError:
            self.malformed += 1
            return
        for pin in pins:
            if pin.target in TARGETS:
                self._hold(pin, now)

    def _hold(self, pin: Pin, now: float) -> None:
        ends = {a: end for a, end in self._ends.get(pin.target, {}).items() if end > now}
        for address in pin.addresses:
            ends[address] = max(ends.get(address, 0.0), now + pin.lasts_s + GRACE_S)
        latest = sorted(ends.items(), key=lambda pair: pair[1])[-MAX_HELD:]
        self._ends[pin.target] = dict(latest)

    def addresses(self, target: str, now: float) -> frozenset[bytes]:
        """Return the addresses (4 or 16 octets) at which the safe version ``target`` answers; none where it is unknown."""
        ends = self._ends.get(target, {})
        return frozenset(address for address, end in ends.items() if end > now)

    def has(self, target: str, address: bytes, now: float) -> bool:
        """Tell whether the safe version ``target`` answers at ``address``."""
        return address in self.addresses(target, now)


class PinSocket:
    """Where the workers of the sinkhole send their pins; only this process's user can."""

    def __init__(self, private: socket.socket) -> None:
        """Listen at ``private``, a Unix datagram socket that never waits; it is closed by whoever opened it."""
        self.pins = Pins()
        self._socket = private

    def fileno(self) -> int:
        """Return the descriptor that turns readable when there is something to take."""
        return self._socket.fileno()

    def serve(self, now: float) -> None:
        """Take what has come; never waits."""
        with suppress(BlockingIOError):
            self.pins.take(self._socket.recv(MAX_DATAGRAM_OCTETS), now)
