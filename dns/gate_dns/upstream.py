"""Forwarding without waiting: questions in flight to the upstreams, merged, failed over and bounded.

The best upstream is asked first. One that stays silent is asked last for a while, after which a single question finds
out whether it is back.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gate_core.clients import Address
from gate_dns.exchange import DatagramExchange, StreamExchange
from gate_dns.poll import Poll
from gate_dns.wire import (
    Answer,
    Ede,
    MalformedMessageError,
    Query,
    Rcode,
    parse_answer,
    render_question,
)

DEADLINE_S: Final = 2.0
"""How long one upstream may take."""
RESEND_S: Final = 0.7
"""When a question is sent once more: on a school's line a lost datagram is likelier than a dead resolver."""
SHUN_S: Final = 10.0
"""How long a silent upstream is asked last."""
MAX_IN_FLIGHT: Final = 400
"""Sockets: a process may have 1024 descriptors."""
MAX_WAITING: Final = 4096
"""Queries that wait for an answer in flight."""


@dataclass(frozen=True, slots=True)
class Failure:
    """No upstream gave an answer."""

    ede: Ede


Outcome = Answer | Failure
Answered = Callable[[Outcome], None]


class _Flight:
    """One question and all who wait for its answer."""

    __slots__ = (
        "deadline",
        "exchange",
        "fault",
        "last_answer",
        "message_id",
        "query",
        "resend_at",
        "untried",
        "upstream",
        "waiting",
    )

    def __init__(self, query: Query, upstreams: list[Address]) -> None:
        self.query = query
        self.untried = upstreams
        self.waiting: list[Answered] = []
        self.exchange: DatagramExchange | StreamExchange | None = None
        self.upstream = upstreams[0]
        self.message_id = 0
        self.deadline = 0.0
        self.resend_at: float | None = None
        self.last_answer: Answer | None = None
        """An upstream's own SERVFAIL or REFUSED, given where no other does better."""
        self.fault = Ede.NETWORK_ERROR


class Forwarder:
    """The upstreams of a worker."""

    def __init__(
        self, upstreams: tuple[Address, ...], port: int, poll: Poll, now: Callable[[], float]
    ) -> None:
        """Ask nobody yet.

        Args:
            upstreams: Best first, at least one.
            port: Theirs.
            poll: Where the sockets wait.
            now: Monotonic time in seconds.
        """
        self._upstreams = upstreams
        self._port = port
        self._poll = poll
        self._now = now
        self._flights: dict[bytes, _Flight] = {}
        self._waiting = 0
        self._shunned: dict[Address, float] = {}
        self.faults: Counter[str] = Counter()
        """What went wrong, by kind; whoever reads it clears it."""

    @property
    def in_flight(self) -> int:
        """How many questions are in flight."""
        return len(self._flights)

    def ask(self, query: Query, answered: Answered) -> None:
        """Get an answer to ``query``; ``answered`` is called once, perhaps before this returns."""
        # All that the upstream sees, so that queries with the same key are content with the same answer.
        key = render_question(query, 0).lower() + query.question[-4:]
        flight = self._flights.get(key)
        full = len(self._flights) >= MAX_IN_FLIGHT and flight is None
        if full or self._waiting >= MAX_WAITING:
            self.faults["overload"] += 1
            answered(Failure(Ede.NO_REACHABLE_AUTHORITY))
            return
        self._waiting += 1
        if flight:
            flight.waiting.append(answered)
            return
        flight = self._flights[key] = _Flight(query, self._order())
        flight.waiting.append(answered)
        self._try_next(key, flight)

    def _order(self) -> list[Address]:
        now = self._now()
        good = [u for u in self._upstreams if self._shunned.get(u, now) <= now]
        for upstream in good:
            if upstream in self._shunned:
                # This question finds out; those that follow before its answer go to the others.
                self._shunned[upstream] = now + SHUN_S
        return good + [u for u in self._upstreams if u not in good]

    def _try_next(self, key: bytes, flight: _Flight) -> None:
        while flight.untried:
            flight.upstream = flight.untried.pop(0)
            # A new ID for each, from the system's generator (RFC 5452, section 9.2).
            flight.message_id = secrets.randbelow(1 << 16)
            flight.deadline = self._now() + DEADLINE_S
            flight.resend_at = self._now() + RESEND_S
            try:
                self._open(DatagramExchange, key, flight)
            except OSError as e:
                self._shun(flight, e)
            else:
                return
        self._finish(key, flight, flight.last_answer or Failure(flight.fault))

    def _open(
        self, kind: type[DatagramExchange | StreamExchange], key: bytes, flight: _Flight
    ) -> None:
        def received(message: bytes) -> None:
            self._received(key, flight, message)

        def failed(fault: OSError) -> None:
            self._failed(key, flight, fault)

        message = render_question(flight.query, flight.message_id)
        flight.exchange = kind(self._poll, (flight.upstream, self._port), message, received, failed)

    def _received(self, key: bytes, flight: _Flight, message: bytes) -> None:
        try:
            answer = parse_answer(message, flight.query, flight.message_id)
        except MalformedMessageError:
            # Forged or broken: the right one may still come.
            self.faults["upstream-message"] += 1
            return
        self._shunned.pop(flight.upstream, None)
        if answer.truncated and isinstance(flight.exchange, DatagramExchange):
            flight.exchange.close()
            flight.exchange = flight.resend_at = None
            try:
                self._open(StreamExchange, key, flight)
            except OSError as e:
                self._failed(key, flight, e)
        elif answer.rcode in (Rcode.SERVFAIL, Rcode.REFUSED) and flight.untried:
            flight.last_answer = answer
            self._close(flight)
            self._try_next(key, flight)
        else:
            self._finish(key, flight, answer)

    def _failed(self, key: bytes, flight: _Flight, fault: OSError) -> None:
        self._close(flight)
        self._shun(flight, fault)
        self._try_next(key, flight)

    def _shun(self, flight: _Flight, fault: OSError) -> None:
        silent = isinstance(fault, TimeoutError)
        flight.fault = Ede.NO_REACHABLE_AUTHORITY if silent else Ede.NETWORK_ERROR
        self.faults["upstream-silent" if silent else "upstream-unreachable"] += 1
        self._shunned[flight.upstream] = self._now() + SHUN_S

    def expire(self) -> None:
        """Send again what may be lost, and go on to the next upstream where one is silent; to be called often."""
        now = self._now()
        for key, flight in tuple(self._flights.items()):
            if flight.deadline <= now:
                self._failed(key, flight, TimeoutError("the upstream is silent"))
            elif flight.resend_at and flight.resend_at <= now:
                flight.resend_at = None
                if isinstance(flight.exchange, DatagramExchange):
                    flight.exchange.send_again()

    def _finish(self, key: bytes, flight: _Flight, outcome: Outcome) -> None:
        self._close(flight)
        del self._flights[key]
        self._waiting -= len(flight.waiting)
        for answered in flight.waiting:
            answered(outcome)

    def _close(self, flight: _Flight) -> None:
        if flight.exchange:
            flight.exchange.close()
            flight.exchange = None

    def close(self) -> None:
        """Give up all that is in flight; nobody is told."""
        for flight in self._flights.values():
            self._close(flight)
        self._flights.clear()
