"""Questions to one upstream over TCP or TLS: one connection, kept and pipelined (RFC 7766, section 6.2.1)."""

from __future__ import annotations

import os
import secrets
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final

from gate_core.upstreams import Upstream
from gate_dns.forwarding.exchange import MAX_STRAYS, asks_the_same, connect
from gate_dns.forwarding.flight import Answers, Flight
from gate_dns.messages.wire import render_frame, take_message
from gate_dns.poll import READ, WRITE, Poll

IDLE_S: Final = 8.0
"""How long a connection is kept without a question: about as long as servers keep it (RFC 7766, section 6.2.3)."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 16.0
"""How long no connection is tried after one that gave no answer; doubled from the first to the longest."""

_READ_OCTETS: Final = 0xFFFF
_PADDING: Final = 12
_BLOCK_OCTETS: Final = 128


def tls_context(authorities: str) -> ssl.SSLContext:
    """Return what connections over TLS are made with: the name and the chain of a certificate are checked.

    Args:
        authorities: File of the certificates that are trusted, in PEM form; "" for the system's.

    Raises:
        OSError: The file can't be read, or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=authorities or None)
    except OSError as e:
        raise OSError(f"reading the certificates in {authorities!r}: {e}") from e
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["dot"])
    return context


def pad(message: bytes) -> bytes:
    """Return a question so long that its length tells little of the name (RFC 8467, section 4.1).

    Args:
        message: Ends with its OPT record, which has no options, or has no additional records.
    """
    if message[10:12] == b"\0\0":
        message = message[:10] + b"\0\1" + message[12:] + b"\0\0\x29\x04\xd0" + bytes(6)
    octets = -(len(message) + 4) % _BLOCK_OCTETS
    return b"".join(
        (
            message[:-2],
            (octets + 4).to_bytes(2),
            _PADDING.to_bytes(2),
            octets.to_bytes(2),
            bytes(octets),
        )
    )


class Stream:
    """The connection to one upstream: made when there is a question, closed when there has been none for a while."""

    def __init__(
        self,
        poll: Poll,
        upstream: Upstream,
        tls: ssl.SSLContext | None,
        answers: Answers,
        faults: Counter[str],
        now: Callable[[], float],
    ) -> None:
        """Connect to nobody yet.

        Args:
            poll: Where the socket waits.
            upstream: Whom to ask.
            tls: What TLS is made with; needed where ``upstream`` has a name for it.
            answers: Is told what becomes of questions.
            faults: Counts what came and was none.
            now: Monotonic time in seconds.

        Raises:
            ValueError: TLS is wanted and there is none: nothing goes out in clear text instead.
        """
        if upstream.tls_name and tls is None:
            raise ValueError(f"{upstream} can't be asked without TLS")
        self.poll, self.upstream, self.tls = poll, upstream, tls
        self.answers, self.faults, self.now = answers, faults, now
        self.connection: _Connection | None = None
        self._fault = OSError()
        self._pause_s = FIRST_PAUSE_S
        self._paused_until = 0.0

    def send(self, flight: Flight) -> None:
        """Have the question of ``flight`` sent.

        Raises:
            OSError: There is no way there, or was none a moment ago.
        """
        if self.connection is None:
            if self.now() < self._paused_until:
                raise self._fault
            try:
                self.connection = _Connection(self)
            except OSError as e:
                self._pause(e)
                raise
        self.connection.send(flight)

    def _pause(self, fault: OSError) -> None:
        self._fault = fault
        self._paused_until = self.now() + self._pause_s
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    def ended(self, connection: _Connection, fault: OSError) -> None:
        """Take note that ``connection`` is to be closed."""
        flights = connection.close()
        self.connection = None
        if not connection.answered:
            self._pause(fault)
        else:
            self._pause_s = FIRST_PAUSE_S
        for flight in flights:
            # A server may close a connection that it takes for idle while a question is on its way (RFC 7766, section
            # 6.2.4). Asking again ends, as a connection that gives no answer is the last.
            if connection.answered:
                try:
                    self.send(flight)
                except OSError as e:
                    self.answers.failed(flight, e)
            else:
                self.answers.failed(flight, fault)

    def silent(self, since: float) -> None:
        """Change the connection where nothing came by it ``since`` then: what it was lost by, TCP tells after minutes."""
        if self.connection and self.connection.heard_at < since:
            self.ended(self.connection, TimeoutError("the upstream is silent"))

    def expire(self) -> None:
        """Close the connection where nothing has been asked for a while."""
        connection = self.connection
        if connection and not connection.flights and connection.used_at + IDLE_S <= self.now():
            self.close()

    def close(self) -> None:
        """Close the connection; nobody is told."""
        if self.connection:
            self.connection.close()
            self.connection = None


class _Connection:
    """One connection and the questions on it."""

    def __init__(self, stream: Stream) -> None:
        """Connect.

        Raises:
            OSError: There is no way there.
        """
        self._stream = stream
        upstream = stream.upstream
        self.flights: dict[bytes, Flight] = {}
        """By ID."""
        self.answered = False
        """Whether any question got an answer."""
        self.used_at = stream.now()
        self.heard_at = 0.0
        """Monotonic time in seconds at which something came; 0 before."""
        self._strays = 0
        self._received = bytearray()
        self._unsent = bytearray()
        self._connecting = True
        self._shaking_hands = bool(upstream.tls_name)
        self._events = READ | WRITE
        self._socket = connect(upstream, socket.SOCK_STREAM)
        stream.poll.watch(self._socket.fileno(), self._ready, self._events)

    def send(self, flight: Flight) -> None:
        """Have the question of ``flight`` sent in the next round, together with all others of this one."""
        message_id = secrets.token_bytes(2)
        while message_id in self.flights:
            message_id = secrets.token_bytes(2)
        question = flight.asked = flight.query.question
        head, opt = flight.frame
        message = message_id + head + question + opt
        flight.sent = pad(message) if self._stream.upstream.tls_name else message
        flight.carrier = self
        self.flights[message_id] = flight
        self.used_at = self._stream.now()
        self._unsent += render_frame(flight.sent)
        self._wait_for(self._events | WRITE)

    def drop(self, flight: Flight) -> None:
        """Wait for its answer no longer (``Carrier``)."""
        del self.flights[flight.sent[:2]]
        flight.carrier = None
        self.used_at = self._stream.now()

    def _wait_for(self, events: int) -> None:
        if events != self._events:
            self._events = events
            self._stream.poll.change(self._socket.fileno(), events)

    def _ready(self, _events: int) -> None:
        try:
            self._wait_for(self._go_on())
        except OSError as e:
            self._stream.ended(self, e)

    def _go_on(self) -> int:
        """Do what can be done, and return the events to wait for."""
        if self._connecting:
            self._finish_connecting()
        try:
            if self._shaking_hands and isinstance(self._socket, ssl.SSLSocket):
                self._socket.do_handshake()
                self._shaking_hands = False
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except (BlockingIOError, ssl.SSLWantWriteError):
            if self._shaking_hands:
                return WRITE
        except ssl.SSLWantReadError:
            return READ
        self._read()
        # Answers may have led to more questions.
        return READ | WRITE if self._unsent else READ

    def _finish_connecting(self) -> None:
        if fault := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(fault, os.strerror(fault))
        self._connecting = False
        if self._shaking_hands and self._stream.tls:
            self._socket = self._stream.tls.wrap_socket(
                self._socket,
                server_hostname=self._stream.upstream.tls_name,
                do_handshake_on_connect=False,
            )

    def _read(self) -> None:
        while True:
            try:
                octets = self._socket.recv(_READ_OCTETS)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if not octets:
                raise ConnectionResetError("the upstream closed the connection")
            self.heard_at = self._stream.now()
            self._received += octets
            while (message := take_message(self._received)) is not None:
                self._take(message)

    def _take(self, message: bytes) -> None:
        flight = self.flights.get(message[:2])
        if flight is not None and asks_the_same(message, flight.query.question):
            self.answered = True
            self._stream.answers.received(flight, message)
            return
        self._stream.faults["upstream-message"] += 1
        self._strays += 1
        if self._strays > MAX_STRAYS:
            raise ConnectionAbortedError("the upstream answers what was not asked")

    def close(self) -> list[Flight]:
        """Close the connection; return the questions that were not over."""
        self._stream.poll.forget(self._socket.fileno())
        self._socket.close()
        flights = list(self.flights.values())
        for flight in flights:
            self.drop(flight)
        return flights
