"""One question to one upstream, over UDP or TCP, without waiting."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Final

from gate_core.clients import Address
from gate_dns.poll import READ, WRITE, Poll
from gate_dns.wire import render_frame, take_message

Endpoint = tuple[Address, int]
"""Address and port of an upstream."""
Received = Callable[[bytes], None]
"""Called with each message from the upstream, ours or not; may close the exchange."""
Failed = Callable[[OSError], None]
"""Called once, where nothing more will come; is to close the exchange."""

_READ_OCTETS: Final = 0xFFFF


def _connect(to: Endpoint, kind: socket.SocketKind) -> socket.socket:
    """Return a connected socket: the kernel picks a random source port, and lets in nothing from anyone else."""
    family = socket.AF_INET if to[0].version == 4 else socket.AF_INET6
    opened = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        opened.connect((str(to[0]), to[1]))
    except BlockingIOError:
        pass  # TCP: under way.
    except BaseException:
        opened.close()
        raise
    return opened


class DatagramExchange:
    """A question over UDP, from a socket of its own (RFC 5452, section 9.2)."""

    def __init__(
        self,
        poll: Poll,
        to: Endpoint,
        message: bytes,
        received: Received,
        failed: Failed,
    ) -> None:
        """Send ``message``.

        Raises:
            OSError: It can't be sent.
        """
        self._poll, self._received, self._failed = poll, received, failed
        self._message = message
        self._socket = _connect(to, socket.SOCK_DGRAM)
        try:
            self._socket.send(message)
        except BaseException:
            self._socket.close()
            raise
        poll.watch(self._socket.fileno(), self._ready)

    def send_again(self) -> None:
        """Send the message once more; a fault shows as one of the exchange."""
        try:
            self._socket.send(self._message)
        except OSError as e:
            self._failed(e)

    def _ready(self, _events: int) -> None:
        try:
            message = self._socket.recv(_READ_OCTETS)
        except BlockingIOError:
            return
        except OSError as e:  # ICMP, such as "port unreachable".
            self._failed(e)
            return
        self._received(message)

    def close(self) -> None:
        """Give the exchange up."""
        self._poll.forget(self._socket.fileno())
        self._socket.close()


class StreamExchange:
    """A question over TCP, as follows an answer that was truncated."""

    def __init__(
        self,
        poll: Poll,
        to: Endpoint,
        message: bytes,
        received: Received,
        failed: Failed,
    ) -> None:
        """Connect, to send ``message``.

        Raises:
            OSError: There is no way there.
        """
        self._poll, self._received, self._failed = poll, received, failed
        self._unsent = render_frame(message)
        self._buffer = bytearray()
        self._socket = _connect(to, socket.SOCK_STREAM)
        poll.watch(self._socket.fileno(), self._ready, WRITE)

    def _ready(self, events: int) -> None:
        try:
            if self._unsent and events & (WRITE | select.EPOLLERR):
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
                if not self._unsent:
                    self._poll.change(self._socket.fileno(), READ)
                return
            octets = self._socket.recv(_READ_OCTETS)
            if not octets:
                raise ConnectionResetError("the upstream closed the connection")
        except BlockingIOError:
            return
        except OSError as e:
            self._failed(e)
            return
        self._buffer += octets
        # One question was asked: whatever follows its answer does not matter.
        if message := take_message(self._buffer):
            self._received(message)

    def close(self) -> None:
        """Give the exchange up."""
        self._poll.forget(self._socket.fileno())
        self._socket.close()
