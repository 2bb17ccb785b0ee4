"""Forwarding without waiting: questions in flight to the upstreams, merged, failed over and bounded.

The first upstream is asked that is not shunned: their order is the school's, as the first may be the one that filters.
One that stays silent is asked last for a while; meanwhile copies of questions find out whether it is back.
"""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from gate_core.suffixes import registered
from gate_core.upstreams import Upstream
from gate_dns.forwarding.contact import Contact
from gate_dns.forwarding.exchange import DatagramPort
from gate_dns.forwarding.flight import Answered, Failure, Flight, Outcome
from gate_dns.forwarding.handed_out import HandedOut
from gate_dns.forwarding.health import UpstreamHealth
from gate_dns.forwarding.stream import tls_context
from gate_dns.messages.answer import parse_answer
from gate_dns.messages.codes import Ede, Rcode
from gate_dns.messages.render import question_frame
from gate_dns.messages.wire import MalformedMessageError, Query
from gate_dns.poll import Poll
from gate_dns.zones import Zones

__all__ = ["Answered", "Failure", "Forwarder", "Outcome"]

DEADLINE_S: Final = 2.0
"""How long one upstream may take."""
MAX_IN_FLIGHT: Final = 1024
"""Questions, each about a kilobyte; they share a few sockets."""
MAX_WAITING: Final = 4096
"""Queries that wait for an answer in flight."""
MAX_IN_FLIGHT_BELOW: Final = 128
"""Of those, below one registered name: its servers may be silent. Half of what all unknown devices together may have in
flight (``askers.MAX_FLIGHTS_OF_STRANGERS``), so that one of them does not fill even that."""
MAX_WAITING_BELOW: Final = 1024
"""The same of those who wait besides who asked first: more than a school has devices, as all may ask for the same at once."""
FOLLOW_S: Final = 1.0
"""How often is looked whether the network hands out other resolvers."""

_NO_ANSWERS: Final = (Rcode.SERVFAIL, Rcode.REFUSED)
"""Of these another upstream may know better..."""
_VERDICTS: Final = frozenset((*range(6, 13), 15, 16, 17, 18))
"""...but not where they come with these extended errors (RFC 8914, section 4): a validator's "bogus" and its kin, and
what a filter says. Whoever asks on until somebody answers has neither."""

_NOT_UNDERSTOOD: Final = (Rcode.FORMERR, Rcode.NOTIMP)

_Route = tuple[Contact, ...]


class Forwarder:
    """The upstreams of a worker."""

    def __init__(
        self,
        upstreams: tuple[Upstream, ...],
        poll: Poll,
        now: Callable[[], float],
        *,
        zones: Zones | None = None,
        tls: ssl.SSLContext | None = None,
        handed_out: HandedOut | None = None,
    ) -> None:
        """Ask nobody yet.

        Args:
            upstreams: Best first; empty where they are ``handed_out``.
            poll: Where the sockets wait.
            now: Monotonic time in seconds.
            zones: The names that have servers of their own, which are asked instead.
            tls: What TLS is made with; needed where an upstream wants it.
            handed_out: The resolvers of the network, where they are to be followed.
        """
        self._poll = poll
        self._now = now
        self._tls = tls
        self._flights: dict[bytes, Flight] = {}
        self._waiting = 0
        self._below: dict[str, int] = {}
        """Registered name to flights below it."""
        self._others_below: dict[str, int] = {}
        """The same to those who wait besides who asked first."""
        self._contacts: dict[Upstream, Contact] = {}
        self._shunned: set[Contact] = set()
        self.faults: Counter[str] = Counter()
        """What went wrong since the start, by kind."""
        self._zones = zones or Zones()
        self._of_zone = {z.name: self._route(z.servers) for z in self._zones if z.servers}
        self._handed_out = handed_out
        self._follow_at = 0.0
        self._upstreams: _Route = ()
        self.use((handed_out.read() if handed_out else None) or upstreams)

    @classmethod
    def of(
        cls,
        upstreams: tuple[Upstream, ...],
        zones: Zones,
        tls_authorities: str,
        poll: Poll,
        now: Callable[[], float],
    ) -> Forwarder:
        """Return a forwarder with all that these upstreams and zones need.

        Args:
            upstreams: Best first; empty to follow the resolvers that the network hands out.
            zones: As for the class.
            tls_authorities: File of the authorities that vouch for servers over TLS; "" for the system's.
            poll: As for the class.
            now: As for the class.

        Raises:
            OSError: The certificates of authorities can't be read.
        """
        servers = {server for zone in zones for server in zone.servers}
        encrypted = any(upstream.tls_name for upstream in servers.union(upstreams))
        return cls(
            upstreams,
            poll,
            now,
            zones=zones,
            tls=tls_context(tls_authorities) if encrypted else None,
            handed_out=None if upstreams else HandedOut(),
        )

    @property
    def in_flight(self) -> int:
        """How many questions are in flight."""
        return len(self._flights)

    def health(self) -> tuple[UpstreamHealth, ...]:
        """Return how each upstream does."""
        return tuple(contact.shown() for contact in self._contacts.values())

    def use(self, upstreams: tuple[Upstream, ...]) -> None:
        """Ask ``upstreams`` from here on, best first, for all names but those of the zones."""
        self._upstreams = self._route(upstreams)
        used = {c for route in (self._upstreams, *self._of_zone.values()) for c in route}
        gone = [c for c in self._contacts.values() if c not in used]
        for flight in tuple(self._flights.values()):
            flight.route = self._route_of(flight.query)
            if flight.contact in gone:
                self._drop(flight)
                self._try_next(flight)
        for contact in gone:
            contact.close()
            self._shunned.discard(contact)
            del self._contacts[contact.upstream]

    def _route(self, upstreams: tuple[Upstream, ...]) -> _Route:
        return tuple(self._contact(upstream) for upstream in upstreams)

    def _contact(self, upstream: Upstream) -> Contact:
        if upstream not in self._contacts:
            self._contacts[upstream] = Contact(
                self._poll, upstream, self._tls, self, self.faults, self._now
            )
        return self._contacts[upstream]

    def _route_of(self, query: Query) -> _Route:
        if self._of_zone:
            zone = self._zones.of(query.qname)
            if zone and zone.servers:
                # No other is asked where they are silent: it would say that the names do not exist, and learn them.
                return self._of_zone[zone.name]
        return self._upstreams

    def ask(self, query: Query, answered: Answered, key: bytes = b"") -> None:
        """Get an answer to ``query``, once ``flush`` is called; ``answered`` is called once, perhaps before this returns.

        Args:
            query: What is asked.
            answered: Takes what comes of it.
            key: ``query.upstream_key``, where it is known.
        """
        key = key or query.upstream_key
        flights = self._flights
        flight = flights.get(key)
        if flight is None:
            name, counts, most = registered(query.qname), self._below, MAX_IN_FLIGHT_BELOW
        else:
            name, counts, most = flight.registered, self._others_below, MAX_WAITING_BELOW
        below = counts.get(name, 0)
        if (
            below >= most
            or self._waiting >= MAX_WAITING
            or (flight is None and len(flights) >= MAX_IN_FLIGHT)
        ):
            self.faults["overload"] += 1
            answered(Failure(Ede.NO_REACHABLE_AUTHORITY), "")
            return
        counts[name] = below + 1
        self._waiting += 1
        if flight is None:
            route = self._route_of(query) if self._of_zone else self._upstreams
            flight = flights[key] = Flight(query, key, answered, route, name)
            self._try_next(flight)
            if self._shunned:
                self._probe(flight)
        elif flight.others is None:
            flight.others = [answered]
        else:
            flight.others.append(answered)

    def _try_next(self, flight: Flight) -> None:
        """Ask the best upstream that has not been asked, or give up."""
        now = self._now()
        # Nearly always the first of all is to be asked.
        route = () if self._shunned or flight.tried else flight.route
        while contact := route[0] if route else self._next(flight):
            route = ()
            flight.contact = contact
            edns = contact.edns.off_until <= now and contact not in flight.edns_refused
            if edns is not flight.edns:
                flight.edns = edns
                flight.frame = question_frame(flight.query, edns=edns)
            flight.asked_at = now
            flight.resent = False
            datagrams = contact.datagrams
            try:
                if datagrams is None:
                    flight.due = now + DEADLINE_S
                    contact.stream.send(flight)
                else:
                    flight.due = now + contact.health.resend_s
                    datagrams.send(flight, now)
            except OSError as e:
                self._note_failure(flight, e)
            else:
                return
        self._finish(flight, *(flight.last_answer or (Failure(flight.fault), "")))

    def _next(self, flight: Flight) -> Contact | None:
        left = [contact for contact in flight.route if contact not in flight.tried]
        return next((c for c in left if c not in self._shunned), left[0] if left else None)

    def _probe(self, flight: Flight) -> None:
        """Send a copy of a question to who is shunned and due: nobody waits to find out whether they are back."""
        now = self._now()
        for contact in self._shunned.intersection(flight.route):
            if contact.probe is None and contact is not flight.contact and contact.health.due(now):
                probe = Flight(flight.query, b"", None, (contact,), flight.registered)
                contact.probe = probe
                self._try_next(probe)

    def received(self, flight: Flight, message: bytes) -> None:
        """Take a ``message`` that answers the question (``Answers``)."""
        try:
            answer = parse_answer(message, flight.query, message[0] << 8 | message[1], flight.asked)
        except MalformedMessageError:
            # Forged or broken: the right one may still come.
            self.faults["upstream-message"] += 1
            return
        now = self._now()
        contact = flight.contact
        # Which of two the answer is to is not known (RFC 6298, section 3).
        contact.health.heard(None if flight.resent else now - flight.asked_at, now)
        if self._shunned:
            self._shunned.discard(contact)
        rcode = answer.rcode
        if rcode in _NOT_UNDERSTOOD:
            if flight.edns:
                # RFC 6891, section 7: it may be EDNS that it does not know.
                flight.edns_refused += (contact,)
                self._drop(flight)
                self._try_next(flight)
                return
            # The same comes without: it was not that.
        elif flight.edns:
            contact.edns.understood()
        elif contact in flight.edns_refused:
            contact.edns.refused(flight.registered, now)
        if flight.answered is None:
            self._finish(flight, answer, contact.name)
        elif answer.truncated and flight.carrier is not contact.stream.connection:
            self._drop(flight)
            self._ask_over_tcp(flight)
        elif rcode in _NO_ANSWERS and _VERDICTS.isdisjoint(answer.edes):
            self._drop(flight)
            flight.last_answer = (answer, contact.name)
            flight.tried += (contact,)
            self._try_next(flight)
        else:
            self._finish(flight, answer, contact.name)

    def doubtful(self, flight: Flight) -> None:
        """Ask again in a way that can't be forged (``Answers``)."""
        self._ask_over_tcp(flight)

    def _ask_over_tcp(self, flight: Flight) -> None:
        flight.resent = True
        flight.due = flight.asked_at + DEADLINE_S
        try:
            flight.contact.stream.send(flight)
        except OSError as e:
            self.failed(flight, e)

    def failed(self, flight: Flight, fault: OSError) -> None:
        """Go on to the next upstream (``Answers``)."""
        self._note_failure(flight, fault)
        self._try_next(flight)

    def _note_failure(self, flight: Flight, fault: OSError) -> None:
        contact = flight.contact
        silent = isinstance(fault, TimeoutError)
        flight.fault = Ede.NO_REACHABLE_AUTHORITY if silent else Ede.NETWORK_ERROR
        flight.tried += (contact,)
        self.faults[_kind(fault)] += 1
        if contact.health.failed(_words(fault), flight.asked_at, self._now()):
            self._shunned.add(contact)

    def flush(self) -> None:
        """Send the questions that have been asked; to be called before each wait."""
        for contact in self._contacts.values():
            if contact.datagrams and contact.datagrams.unsent:
                contact.datagrams.flush()

    def expire(self) -> None:
        """Do what is due: send again, go on to the next upstream, close what is idle; to be called often."""
        now = self._now()
        flights = [flight for flight in self._flights.values() if flight.due <= now]
        contacts = tuple(self._contacts.values())
        flights += [c.probe for c in contacts if c.probe and c.probe.due <= now]
        self._expire(flights)
        for contact in contacts:
            contact.expire()
        if self._handed_out and now >= self._follow_at:
            self._follow_at = now + FOLLOW_S
            if found := self._handed_out.read():
                self.use(found)

    def _expire(self, flights: Iterable[Flight]) -> None:
        """Send again, or go on with the next upstream."""
        silent: dict[Contact, float] = {}
        lost = []
        for flight in flights:
            carrier, contact = flight.carrier, flight.contact
            if not flight.resent and isinstance(carrier, DatagramPort):
                flight.resent = True
                flight.due = flight.asked_at + DEADLINE_S
                carrier.send_again(flight)
                continue
            if carrier is not None and carrier is contact.stream.connection:
                silent[contact] = min(flight.asked_at, silent.get(contact, flight.asked_at))
            self._drop(flight)
            lost.append(flight)
        # Only now that none of these is carried any more: a connection that ends takes all others with it.
        for contact, since in silent.items():
            contact.stream.silent(since)
        for flight in lost:
            self.failed(flight, TimeoutError("the upstream is silent"))

    def _finish(self, flight: Flight, outcome: Outcome, name: str) -> None:
        if flight.carrier:
            flight.carrier.drop(flight)
        if flight.answered is None:
            flight.contact.probe = None
            return
        del self._flights[flight.key]
        self._waiting -= 1
        _less(self._below, flight.registered, 1)
        others = flight.others
        if others:
            self._waiting -= len(others)
            _less(self._others_below, flight.registered, len(others))
        flight.answered(outcome, name)
        for answered in others or ():
            answered(outcome, name)

    def _drop(self, flight: Flight) -> None:
        if flight.carrier:
            flight.carrier.drop(flight)

    def close(self) -> None:
        """Give up all that is in flight; nobody is told."""
        self._flights.clear()
        self._below.clear()
        self._others_below.clear()
        self._waiting = 0
        for contact in self._contacts.values():
            contact.close()


def _less(counts: dict[str, int], name: str, by: int) -> None:
    if left := counts[name] - by:
        counts[name] = left
    else:
        del counts[name]


def _kind(fault: OSError) -> str:
    """Return what a fault is counted as."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return "upstream-certificate"
    return "upstream-silent" if isinstance(fault, TimeoutError) else "upstream-unreachable"


def _words(fault: OSError) -> str:
    """Return what is said of a fault."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {fault.verify_message}"
    return fault.strerror or str(fault)
