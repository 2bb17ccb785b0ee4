"""Questions to one upstream over UDP: a pool of connected sockets, each question with secrets of its own.

What is sent and what comes back are matched here, by socket, ID and the question's letter case; nothing else gets through.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final

from gate_core.upstreams import Upstream
from gate_dns.forwarding.flight import Answers, Flight
from gate_dns.messages.wire import HEADER_OCTETS
from gate_dns.mmsg import BATCH, Vector
from gate_dns.poll import Poll

PORTS: Final = 8
"""Sockets of an upstream that are used in turn, by lot."""
QUESTIONS_A_PORT: Final = 128
PORT_S: Final = 5.0
"""How long a socket is given new questions.

What a forger pays (RFC 5452, section 9.2): a datagram counts only if it has the upstream's address and port, the port of
the very socket its question left from (one of 28,232 by Linux' default), its ID (one of 65,536, never twice from one
socket) and its letter case (one of two for each letter). For a blind forger a shared socket is as good as one of its own,
as he can't tell which port is open; who finds one out, say by the rate of ICMP errors, has five seconds or 128 questions
to guess ID and case, and ``MAX_STRAYS`` wrong guesses. 128 questions share what opening a socket costs.
"""
MAX_STRAYS: Final = 20
"""Wrong guesses that a socket takes: more are no accident, and its questions are asked again over TCP, as RFC 5452,
section 9.3, allows who is being spoofed."""

_QUESTION_OCTETS: Final = 512
"""Longest question sent: a header, a name of 255 octets, and an OPT record of ours."""
_READ_OCTETS: Final = 4096
_sent: Final = Vector(_QUESTION_OCTETS)
_received: Final = Vector(_READ_OCTETS)
"""For all sockets, as a worker has one thread."""
_RANDOM_OCTETS: Final = 1 << 14
_LETTERS: Final = bytes(0x20 if chr(o).isascii() and chr(o).isalpha() else 0 for o in range(256))
"""The bit that tells upper from lower case, for each octet that has one; lengths of labels (up to 63) have none."""


def connect(upstream: Upstream, kind: socket.SocketKind) -> socket.socket:
    """Return a connected socket: the kernel picks a random source port, and lets in nothing from anyone else.

    Raises:
        OSError: There is no way there.
    """
    family = socket.AF_INET if upstream.address.version == 4 else socket.AF_INET6
    opened = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        opened.connect((str(upstream.address), upstream.port))
    except BlockingIOError:
        pass  # TCP: under way.
    except BaseException:
        opened.close()
        raise
    return opened


def asks_the_same(message: bytes, question: bytes) -> bool:
    """Tell whether ``message`` is about ``question``: letter case counts in type and class only.

    A server that does not understand may leave the question out; such an answer has no records. Over a connection its
    ID vouches for it, which over UDP is too little.
    """
    said = message[HEADER_OCTETS : HEADER_OCTETS + len(question)]
    same = said[-4:] == question[-4:] and said[:-4].lower() == question[:-4].lower()
    return same or message[4:6] == b"\0\0"


class DatagramPool:
    """The sockets to one upstream."""

    def __init__(
        self,
        poll: Poll,
        upstream: Upstream,
        answers: Answers,
        faults: Counter[str],
        now: Callable[[], float],
    ) -> None:
        """Open no socket yet.

        Args:
            poll: Where the sockets wait.
            upstream: Whom to ask.
            answers: Is told what becomes of questions.
            faults: Counts what came and was none.
            now: Monotonic time in seconds.
        """
        self.poll, self.answers, self.faults = poll, answers, faults
        self.case = LetterCase()
        self._upstream, self._now = upstream, now
        self._ports: list[DatagramPort | None] = [None] * PORTS
        self._all: set[DatagramPort] = set()
        self.unsent: list[DatagramPort] = []
        """Sockets with questions to be sent."""
        self._port: DatagramPort | None = None
        """The socket of this round: what goes out together leaves by one call."""
        self._random = b""
        self._at = 0

    @property
    def ports(self) -> int:
        """How many sockets are open."""
        return len(self._all)

    def send(self, flight: Flight, now: float) -> None:
        """Take the question of ``flight``, to be sent by ``flush``.

        Raises:
            OSError: There is no way there.
        """
        question = flight.query.question
        # The name with its last, empty label; type and class follow it.
        end = len(question) - 4
        at = self._at
        self._at = at + 3 + end
        if self._at > len(self._random):
            self._random = os.urandom(_RANDOM_OCTETS)
            at, self._at = 0, 3 + end
        random = self._random
        message_id = random[at : at + 2]
        port = self._port
        if port is None or not port.left:
            place = random[at + 2] % PORTS
            port = self._ports[place]
            if port is None or not port.left or port.closes_at <= now:
                port = self._open(place, now)
            self._port = port
        while message_id in port.flights:
            message_id = secrets.token_bytes(2)
        if self.case.mixed:
            name = question[:end]
            letters = int.from_bytes(name.translate(_LETTERS))
            changed = int.from_bytes(name) ^ letters & int.from_bytes(random[at + 3 : self._at])
            question = changed.to_bytes(end) + question[end:]
        flight.asked = question
        head, opt = flight.frame
        flight.sent = message_id + head + question + opt
        port.put(flight)
        port.flights[message_id] = flight
        port.left -= 1
        port.waiting += 1

    def flush(self) -> None:
        """Send the questions of this round."""
        self._port = None
        ports, self.unsent = self.unsent, []
        for port in ports:
            port.flush()

    def _open(self, place: int, now: float) -> DatagramPort:
        if old := self._ports[place]:
            self.retire(old)
        port = self._ports[place] = DatagramPort(self, self._upstream, now + PORT_S)
        self._all.add(port)
        return port

    def retire(self, port: DatagramPort) -> None:
        """Give ``port`` no more questions, and close it once those it has are over."""
        port.left = 0
        if not port.waiting:
            self._all.discard(port)
            port.close()
            if port in self._ports:
                self._ports[self._ports.index(port)] = None

    def expire(self) -> None:
        """Close the sockets whose time is over."""
        now = self._now()
        for port in [p for p in self._all if p.closes_at <= now]:
            self.retire(port)

    def close(self) -> None:
        """Close all sockets; nobody is told."""
        for port in self._all:
            port.close()
        self._all.clear()
        self._ports = [None] * PORTS


class LetterCase:
    """Whether questions go out in mixed case (draft-vixie-dnsext-dns0x20), which a few upstreams do not give back."""

    TRIES: Final = 3
    """Answers in another case in a row, each of them asked for again over TCP, until an upstream is spared it."""

    def __init__(self) -> None:
        self.mixed = True
        self.lost_in_a_row = 0

    def kept(self) -> None:
        """Take note of an answer in the case of its question."""
        self.lost_in_a_row = 0

    def lost(self) -> None:
        """Take note of an answer in another case."""
        self.lost_in_a_row += 1
        self.mixed = self.lost_in_a_row < self.TRIES


class DatagramPort:
    """One socket and the questions that left from it."""

    __slots__ = ("_pool", "closes_at", "flights", "left", "socket", "strays", "unsent", "waiting")

    def __init__(self, pool: DatagramPool, upstream: Upstream, closes_at: float) -> None:
        self._pool = pool
        self.socket = connect(upstream, socket.SOCK_DGRAM)
        self.flights: dict[bytes, Flight | None] = {}
        """By ID; None where the question is over, so that no ID is used twice and a late answer is told from a guess."""
        self.unsent: list[Flight] = []
        self.left = QUESTIONS_A_PORT
        self.waiting = 0
        """Questions that are not over."""
        self.strays = 0
        self.closes_at = closes_at
        pool.poll.watch(self.socket.fileno(), self._ready)

    def put(self, flight: Flight) -> None:
        """Take a question, to be sent by the pool's ``flush``."""
        if not self.unsent:
            self._pool.unsent.append(self)
        self.unsent.append(flight)
        flight.carrier = self

    def flush(self) -> None:
        """Send what is to be sent."""
        flights, self.unsent = self.unsent, []
        for first in range(0, len(flights), BATCH):
            some = flights[first : first + BATCH]
            _sent.put([flight.sent for flight in some])
            for place, fault in tuple(_sent.send(self.socket.fileno(), len(some))):
                failed = some[place]
                # It may be over by now, as another one's fault may have ended all that this socket has.
                if failed.carrier is self:
                    self.drop(failed)
                    self._pool.answers.failed(failed, fault)

    def _ready(self, _events: int) -> None:
        flights, answers = self.flights, self._pool.answers
        try:
            messages = _received.receive(self.socket.fileno())
        except BlockingIOError:
            return
        except OSError as e:  # ICMP, such as "port unreachable".
            for given_up in self._give_up():
                answers.failed(given_up, e)
            return
        case = self._pool.case
        for message in messages:
            flight = flights.get(message[:2])
            if flight is not None and message.startswith(flight.asked, HEADER_OCTETS):
                if case.lost_in_a_row:
                    case.kept()
                answers.received(flight, message)
            else:
                self._doubt(flight, message)
            if not self.waiting:
                return  # Perhaps closed by now; what is late can wait.

    def _doubt(self, flight: Flight | None, message: bytes) -> None:
        """Look at what is no answer to a question of ours, letter for letter."""
        pool = self._pool
        if flight is not None and asks_the_same(message, flight.query.question):
            if message[4:6] == b"\0\0":
                pool.faults["upstream-message"] += 1
            elif pool.case.mixed:
                pool.case.lost()
                pool.faults["upstream-case"] += 1
            else:
                pool.answers.received(flight, message)
                return
            self.drop(flight)
            pool.answers.doubtful(flight)
            return
        pool.faults["upstream-message"] += 1
        if message[:2] in self.flights and flight is None:
            return  # Late, or twice.
        self.strays += 1
        if self.strays > MAX_STRAYS:
            pool.faults["upstream-spoofed"] += 1
            for doubted in self._give_up():
                pool.answers.doubtful(doubted)

    def _give_up(self) -> list[Flight]:
        """Take no more questions, and return those that were not over."""
        flights = [flight for flight in self.flights.values() if flight]
        self.left = 0
        for flight in flights:
            self.drop(flight)
        if not flights:
            self._pool.retire(self)
        return flights

    def send_again(self, flight: Flight) -> None:
        """Send the question once more."""
        self.put(flight)

    def drop(self, flight: Flight) -> None:
        """Wait for its answer no longer (``Carrier``)."""
        self.flights[flight.sent[:2]] = None
        flight.carrier = None
        self.waiting -= 1
        if not self.left and not self.waiting:
            self._pool.retire(self)

    def close(self) -> None:
        """Close the socket."""
        self._pool.poll.forget(self.socket.fileno())
        self.socket.close()
