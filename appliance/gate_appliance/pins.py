"""Sends the addresses of safe versions to the firewall; never waits: what is lost is said again."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from gate_core.pins import Pin, render_pins


class PinPost:
    """Tells the firewall what one worker learns (``gate_core.ports.PinSink``); used by one thread."""

    def __init__(self, firewalls: Iterable[Path]) -> None:
        """Begin with nothing learnt.

        Args:
            firewalls: The sockets of its processes, which may come and go.
        """
        self._firewalls = tuple(map(str, firewalls))
        self._held: dict[str, tuple[tuple[bytes, ...], float]] = {}
        """Safe version to its addresses, and until when they hold."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def put(self, target: str, addresses: Sequence[bytes], lasts_s: float) -> None:
        """Take and send the ``addresses`` of a safe ``target``."""
        pin = Pin(target, tuple(addresses), lasts_s)
        self._held[target] = (pin.addresses, time.monotonic() + lasts_s)
        self._send((pin,))

    def renew(self) -> None:
        """Send what still holds: the firewall may have been away."""
        now = time.monotonic()
        self._held = {target: held for target, held in self._held.items() if held[1] > now}
        if self._held:
            self._send(Pin(target, its, ends - now) for target, (its, ends) in self._held.items())

    def close(self) -> None:
        """Free the socket."""
        self._socket.close()

    def _send(self, pins: Iterable[Pin]) -> None:
        datagram = render_pins(pins)
        for firewall in self._firewalls:
            with suppress(OSError):
                self._socket.sendto(datagram, firewall)
