"""A worker's way to the classifier, for what it gave to whom; never waits: what can't be sent is kept by whoever calls."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from gate_appliance.private_socket import open_private
from gate_core.given import (
    MAX_DATAGRAM_OCTETS,
    MalformedGivenError,
    News,
    Request,
    parse_request,
    render_news,
)


class GivenPost:
    """The socket of one worker (``gate_core.ports.GivenLink``); used by one thread."""

    def __init__(self, own: Path, firewall: Path) -> None:
        """Listen for requests at ``own``, in place of whatever lies there.

        Args:
            own: The worker's socket; only this process's user can send to it.
            firewall: The classifier's, which may come and go.

        Raises:
            OSError: It can't be made.
        """
        self._own = own
        self._firewall = str(firewall)
        self._socket = open_private(own)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MAX_DATAGRAM_OCTETS)

    def fileno(self) -> int:
        """Return the descriptor that turns readable when there is a request."""
        return self._socket.fileno()

    def send(self, news: News) -> bool:
        """Send ``news``; tell whether that was possible."""
        with suppress(OSError):
            self._socket.sendto(render_news(news), self._firewall)
            return True
        return False

    def requests(self) -> list[Request]:
        """Return the requests that have come."""
        found = []
        with suppress(BlockingIOError):
            while True:
                datagram = self._socket.recv(MAX_DATAGRAM_OCTETS)
                with suppress(MalformedGivenError):
                    found.append(parse_request(datagram))
        return found

    def close(self) -> None:
        """Free the socket."""
        self._socket.close()
        self._own.unlink(missing_ok=True)
