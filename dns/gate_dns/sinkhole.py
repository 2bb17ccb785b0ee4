"""The path of a query, from its octets to the octets of its answer; ``Sinkhole.handle`` reads top to bottom."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Final, assert_never

from gate_core.policy import Decision, Policy, decide
from gate_dns.askers import Asker, Askers
from gate_dns.cache import AnswerCache, Entry, Note
from gate_dns.journal import Journal
from gate_dns.respond import Forward, block, recheck, respond
from gate_dns.settings import DnsPorts, DnsSettings
from gate_dns.upstream import Failure, Forwarder, Outcome
from gate_dns.wire import (
    FAILURE_TTL_S,
    MAX_TTL_S,
    Answer,
    MalformedMessageError,
    Query,
    Rcode,
    Response,
    Transport,
    parse_query,
    refuse,
    render,
)

_log = logging.getLogger(__name__)

Reply = Callable[[bytes | None], None]
"""Takes the response back to whoever sent the query, or None for silence; called once, perhaps later."""
Take = Callable[[bytes, bytes, Reply], None]
"""Called with a message, the address it came from (4 or 16 octets), and the way back."""

CLOCK_STEP_S: Final = 2.0
"""How far the wall clock may move against the monotonic one before kept decisions are doubted."""


class Sinkhole:
    """What one worker knows, and how it answers."""

    def __init__(
        self, settings: DnsSettings, ports: DnsPorts, forwarder: Forwarder, journal: Journal
    ) -> None:
        """Begin with the policy that is in force."""
        self.policy = ports.policies.current()
        self._settings = settings
        self._ports = ports
        self._forwarder = forwarder
        self._journal = journal
        self._cache = AnswerCache()
        self.askers = Askers(self.policy, ports.neighbours, self._cache)
        self.faults: Counter[str] = Counter()
        """What went wrong, by kind; whoever reads it clears it."""
        self._offset_s = self._clock_offset_s(time.monotonic())

    def take_udp(self, message: bytes, source: bytes, reply: Reply) -> None:
        """Answer a ``message`` that came over UDP (``Take``)."""
        self._reply(message, reply, lambda: self.handle(message, source, Transport.UDP, reply))

    def take_tcp(self, message: bytes, source: bytes, reply: Reply) -> None:
        """Answer a ``message`` that came over TCP (``Take``)."""
        self._reply(message, reply, lambda: self.handle(message, source, Transport.TCP, reply))

    def handle(
        self, message: bytes, source: bytes, transport: Transport, reply: Reply
    ) -> bytes | Forward | None:
        """Return the response to ``message``; None for silence, or a ``Forward`` whose response ``reply`` gets later."""
        try:
            query = parse_query(message, transport)
        except MalformedMessageError as e:
            self.faults["malformed-query"] += 1
            return refuse(message, e)
        asker = self.askers.find(source, time.monotonic())
        # Below identity, as each view of the policy has answers of its own; before the decision, as they hold it.
        if kept := self._kept(query, asker):
            return kept
        at = self._ports.clock.now()
        decision = decide(self.policy, asker.client, query.qname, at)
        response = respond(query, decision, self.policy, self._settings)
        if isinstance(response, Forward):
            self._forwarder.ask(
                response.query,
                lambda outcome: self._reply(
                    message, reply, lambda: self.conclude(query, source, outcome)
                ),
            )
            return response
        return self._keep(query, asker, response, decision, at)

    def conclude(self, query: Query, source: bytes, outcome: Outcome) -> bytes:
        """Return the response to a forwarded ``query``.

        It is decided anew: by the policy in force when the answer leaves, not when the query came.
        """
        asker = self.askers.find(source, time.monotonic())
        if kept := self._kept(query, asker):
            return kept
        at = self._ports.clock.now()
        decision = decide(self.policy, asker.client, query.qname, at)
        response: Response | Forward | Answer = respond(
            query, decision, self.policy, self._settings
        )
        if isinstance(response, Forward):
            match outcome:
                case Failure():
                    response = Response(Rcode.SERVFAIL, edes=(outcome.ede,))
                case Answer():
                    response = outcome
                    stop = recheck(decision, outcome.targets, self.policy, asker.client, at)
                    if stop:
                        decision = stop
                        response = block(query, stop, self.policy, self._settings)
                case _:
                    assert_never(outcome)
        return self._keep(query, asker, response, decision, at)

    def _kept(self, query: Query, asker: Asker) -> bytes | None:
        now = time.monotonic()
        entry = self._cache.find((asker.view, query.transport), query, now)
        if not entry:
            return None
        self._journal.count(asker, entry.note, now)
        return entry.answer(query)

    def _keep(
        self,
        query: Query,
        asker: Asker,
        response: Response | Answer,
        decision: Decision,
        at: datetime | None,
    ) -> bytes:
        """Return ``response`` as octets, recorded, and kept for as long as it holds."""
        now = time.monotonic()
        note = Note(query.qname, query.kind, decision, self.policy.version)
        self._journal.count(asker, note, now)
        lasts_s = _lasts_s(decision, at)
        if isinstance(response, Answer):
            # A client's own cache ends with the decision, too.
            response = response.capped(math.floor(min(lasts_s, MAX_TTL_S)))
            lasts_s = min(lasts_s, response.ttl_s)
        elif response.rcode is Rcode.SERVFAIL:
            lasts_s = min(lasts_s, FAILURE_TTL_S)
        rendered = render(query, response)
        if lasts_s > 0:
            entry = Entry(query, rendered, note, now, lasts_s)
            self._cache.store((asker.view, query.transport), query, entry)
        return rendered.message

    def _reply(
        self, message: bytes, reply: Reply, answer: Callable[[], bytes | Forward | None]
    ) -> None:
        try:
            response = answer()
        except Exception:  # noqa: BLE001  # a fault of ours in one query must not stop the names of a whole school
            if not self.faults["fault"]:
                _log.exception("action=answer message=%s", message[:512].hex())
            self.faults["fault"] += 1
            response = refuse(message, MalformedMessageError(message, "fault", Rcode.SERVFAIL))
        if not isinstance(response, Forward):
            reply(response)

    def begin(self, policy: Policy) -> None:
        """Answer by ``policy`` from here on."""
        self.policy = policy
        self._cache.clear()
        self.askers.begin(policy)

    def tick(self, now: float) -> None:
        """Do what is due some times a second, at the monotonic time ``now``."""
        offset = self._clock_offset_s(now)
        # Kept answers end by the monotonic clock; what was decided by another wall clock is void.
        if (offset is None) != (self._offset_s is None) or (
            offset is not None
            and self._offset_s is not None
            and abs(offset - self._offset_s) > CLOCK_STEP_S
        ):
            self.begin(self.policy)
        self._offset_s = offset
        self.askers.sweep(now)

    def _clock_offset_s(self, now: float) -> float | None:
        at = self._ports.clock.now()
        return at.timestamp() - now if at else None


def _lasts_s(decision: Decision, at: datetime | None) -> float:
    """Return the seconds from ``at`` for which ``decision`` holds if nothing but time passes."""
    if decision.until is None or at is None:
        return math.inf
    # As instants: two aware times of one zone would be subtracted by wall clock.
    return decision.until.timestamp() - at.timestamp()
