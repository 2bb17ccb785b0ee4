"""DNS over TCP (RFC 7766): several queries a connection, answered as their answers come; bounded on every side."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from typing import Final

from gate_dns.messages.wire import render_frame, take_message
from gate_dns.poll import READ, WRITE, Poll
from gate_dns.sinkhole import Take

IDLE_S: Final = 10.0
"""How long a connection may be open without a whole query or an answer taken (RFC 7766, section 6.2.3)."""
MAX_CONNECTIONS: Final = 256
"""Of one listening socket: with two of them and the questions in flight below the 1024 descriptors of a process."""
MAX_FOR_ADDRESS: Final = 16
"""Connections of one address."""
MAX_PENDING: Final = 32
"""Queries of one connection that wait for their answers; more stay unread."""
MAX_UNSENT_OCTETS: Final = 1 << 17
"""Answers that a client has not taken; with more, its queries stay unread."""
_READ_OCTETS: Final = 4096


def listen(address: str, port: int, family: socket.AddressFamily) -> socket.socket:
    """Return a TCP socket that listens, sharing its port with the other workers'."""
    opened = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((address, port))
        opened.listen(128)
    except OSError as e:
        opened.close()
        raise OSError(e.errno, f"{e.strerror}: listening on {address} port {port}") from e
    return opened


class _Connection:
    """One client's connection."""

    def __init__(self, server: StreamServer, accepted: socket.socket, source: bytes) -> None:
        self.source = source
        self.active_at = server.now()
        """Monotonic time in seconds of the last whole query, or answer taken."""
        self._server = server
        self._socket = accepted
        self._received = bytearray()
        self._unsent = bytearray()
        self._pending = 0
        self._ended = False
        """Whether the client sends no more; it may still read."""
        self._busy = False
        self._events = READ
        server.poll.watch(accepted.fileno(), self._ready, READ)

    def _ready(self, events: int) -> None:
        if events & ~WRITE:
            try:
                octets = self._socket.recv(_READ_OCTETS)
            except BlockingIOError:
                octets = None
            except OSError:
                self.close()  # Reset by the client.
                return
            self._ended = octets == b""
            self._received += octets or b""
        self._go_on()

    def _reply(self, response: bytes | None) -> None:
        if self._socket.fileno() < 0:
            return
        if response is None:
            # What gets silence is no query, and what follows it in the stream is not to be trusted either.
            self.close()
            return
        self._pending -= 1
        self._unsent += render_frame(response)
        self._go_on()

    def _go_on(self) -> None:
        """Take what may be taken, send what can be sent, and wait for what is then possible."""
        if self._busy:
            return  # Called by an answer that came at once: the call below goes on.
        self._busy = True
        while self._open_for_more() and (message := take_message(self._received)) is not None:
            self.active_at = self._server.now()
            self._pending += 1
            self._server.take(message, self.source, self._reply)
        self._busy = False
        if self._socket.fileno() < 0:
            return
        try:
            self._write()
        except OSError:
            self.close()
            return
        if self._ended and not self._pending and not self._unsent:
            self.close()
            return
        reading = READ if self._open_for_more() and not self._ended else 0
        events = reading | (WRITE if self._unsent else 0)
        if events != self._events:
            self._events = events
            self._server.poll.change(self._socket.fileno(), events)

    def _open_for_more(self) -> bool:
        """Tell whether more queries are taken; an answer that came at once may have ended the connection."""
        if self._socket.fileno() < 0:
            return False
        return self._pending < MAX_PENDING and len(self._unsent) < MAX_UNSENT_OCTETS

    def _write(self) -> None:
        if self._unsent:
            try:
                del self._unsent[: self._socket.send(self._unsent)]
            except BlockingIOError:
                return
            self.active_at = self._server.now()

    def close(self) -> None:
        """End the connection; answers that come later go nowhere."""
        self._server.poll.forget(self._socket.fileno())
        self._socket.close()
        self._server.forget(self)


class StreamServer:
    """One listening socket and its connections."""

    def __init__(
        self, listening: socket.socket, poll: Poll, take: Take, now: Callable[[], float]
    ) -> None:
        """Accept connections on ``listening``.

        Args:
            listening: Stays the caller's to close.
            poll: Where the sockets wait.
            take: Gets each message.
            now: Monotonic time in seconds.
        """
        self.poll = poll
        self.take = take
        self.now = now
        self._listening = listening
        self._connections: set[_Connection] = set()
        self._of_address: Counter[bytes] = Counter()
        poll.watch(listening.fileno(), self._accept)

    def _accept(self, _events: int) -> None:
        try:
            accepted, peer = self._listening.accept()
        except OSError:
            return  # It has gone again, or another worker has it.
        accepted.setblocking(False)
        # The address of a neighbour on the link carries its interface, as in fe80::1%br0.
        source = socket.inet_pton(accepted.family, peer[0].partition("%")[0])
        if self._of_address[source] >= MAX_FOR_ADDRESS:
            accepted.close()
            return
        if len(self._connections) >= MAX_CONNECTIONS:
            min(self._connections, key=lambda c: c.active_at).close()
        self._of_address[source] += 1
        self._connections.add(_Connection(self, accepted, source))

    def forget(self, connection: _Connection) -> None:
        """Take note that ``connection`` is closed."""
        self._connections.discard(connection)
        self._of_address[connection.source] -= 1
        if not self._of_address[connection.source]:
            del self._of_address[connection.source]

    def expire(self) -> None:
        """Close the connections on which nothing happens."""
        limit = self.now() - IDLE_S
        for connection in [c for c in self._connections if c.active_at <= limit]:
            connection.close()

    def close(self) -> None:
        """Close all connections."""
        for connection in tuple(self._connections):
            connection.close()
