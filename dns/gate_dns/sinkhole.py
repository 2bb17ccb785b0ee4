"""The path of a query, from its octets to the octets of its response; ``Sinkhole.handle`` reads top to bottom."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from gate_core.given import LEARNT_S
from gate_core.policy import Decision, Policy, decide, decide_rebinding, decide_tunnel
from gate_core.safesearch import TARGETS, SafeName
from gate_dns.askers import Asker, Askers, Flights, Limits
from gate_dns.cache import Answers, Entries, Entry, Kept, Room
from gate_dns.forwarding.flight import Failure, Outcome
from gate_dns.forwarding.upstream import Forwarder
from gate_dns.given import GivenRecord
from gate_dns.journal import Journal
from gate_dns.messages.alterations import (
    NOTHING_PUBLIC,
    private,
    rewritten,
    stale,
    without_addresses,
    without_ech,
)
from gate_dns.messages.answer import FAILURE_TTL_S, MAX_TTL_S, Answer, failed
from gate_dns.messages.codes import Ede, Qtype, Rcode
from gate_dns.messages.cookies import ServerCookies
from gate_dns.messages.render import Response, refuse, render
from gate_dns.messages.wire import (
    TCP,
    UDP,
    Edns,
    MalformedMessageError,
    Query,
    Transport,
    parse_query,
    question_of,
)
from gate_dns.respond import FORWARD, block, recheck, respond
from gate_dns.settings import DnsPorts, DnsSettings
from gate_dns.strangers import Strangers
from gate_dns.tap import Tap
from gate_dns.tunnels import Tunnels

_log = logging.getLogger(__name__)

Reply = Callable[[bytes | None], None]
"""Takes the response back to whoever sent the query, or None for silence; called once, perhaps later."""
Take = Callable[[bytes, bytes, Reply], None]
"""Called with a message, the address it came from (4 or 16 octets), and the way back."""

LATER: Final = b""
"""Stands for a response that comes later."""

CLOCK_STEP_S: Final = 2.0
"""How far the wall clock may move against the monotonic one before kept decisions are doubted."""
CLOCK_READ_S: Final = 0.01
"""How long a reading of the wall clock serves: reading it in the school's zone costs as much as a decision."""
TRUNCATED_EVERY: Final = 4
"""Of so many queries beyond the limit one is answered, by a truncated response no longer than the query."""
STALE_AFTER_S: Final = 1.8
"""How long a client waits where there is an old answer: RFC 8767, section 5."""
MAX_PREFETCHES: Final = 20
"""Answers that are fetched anew at a time."""
TELL_S: Final = 60.0
"""How often a fault of ours is logged whole."""

_FAILED: Final = (Rcode.SERVFAIL, Rcode.REFUSED)
"""Of an upstream: an old answer is better (RFC 8767, section 5)."""

_LEADS_THERE: Final = frozenset((Qtype.A, Qtype.AAAA, Qtype.CNAME, Qtype.HTTPS, Qtype.SVCB))
"""Types by which a browser finds a search engine; mail to it, for one, has no safe version."""


class _Asked:
    """A query on its way, and what is known of it."""

    __slots__ = (
        "asked_at",
        "asker",
        "decision",
        "era",
        "flights",
        "kept",
        "key",
        "query",
        "question",
        "reply",
        "room",
        "safe",
        "sinkhole",
        "source",
    )

    flights: Flights
    """Counts it while it waits for an upstream."""
    reply: Reply | None
    """None once it has been answered."""
    decision: Decision
    question: Query
    """What an upstream is asked: ``query``, or the same about the ``safe`` name."""
    key: bytes
    """By which the answer to ``question`` is kept."""
    safe: SafeName | None
    kept: Kept | None
    """An answer that has ended."""

    def __init__(  # a row of values, made for each query that the batch loop does not answer
        self,
        sinkhole: Sinkhole,
        query: Query,
        asker: Asker,
        room: Room,
        source: bytes,
        asked_at: float,
    ) -> None:
        self.sinkhole = sinkhole
        self.query = query
        self.asker = asker
        self.room = room
        """Where its response may be kept."""
        self.source = source
        """4 or 16 octets."""
        self.asked_at = asked_at
        """Monotonic time in seconds."""
        self.era = sinkhole.era
        """When it was decided: see ``Sinkhole.era``."""

    def answered(self, outcome: Outcome, upstream: str) -> None:
        """Take what came of ``question`` (``flight.Answered``)."""
        self.flights.count -= 1
        self.sinkhole.answered(self, outcome, upstream)


class Sinkhole:
    """What one worker knows, and how it answers."""

    def __init__(
        self,
        settings: DnsSettings,
        ports: DnsPorts,
        forwarder: Forwarder,
        journal: Journal,
        tap: Tap | None = None,
        given: Sequence[GivenRecord] = (),
    ) -> None:
        """Begin with the policy in force; ``tap`` gets a copy of each query and its response, ``given`` what devices got."""
        self.policy = ports.policies.current()
        self._settings = settings
        self._ports = ports
        self._forwarder = forwarder
        self._journal = journal
        self._tap = tap
        self._given = given
        self._entries = Entries()
        self._answers = Answers()
        self._cookies = ServerCookies()
        self._tunnels = Tunnels(frozenset(zone.name for zone in settings.zones))
        limits = Limits(settings.rate_limit, settings.rate_burst, settings.unlimited)
        self.askers = Askers(self.policy, ports.neighbours, self._entries, limits)
        self._strangers = Strangers(ports.neighbours)
        self.faults: Counter[str] = Counter()
        """What went wrong since the start, by kind."""
        self.era = 0
        """Another number whenever decisions made before may be void."""
        self._impatient: list[_Asked] = []
        """Those for whom there is an old answer."""
        self._prefetches = 0
        self._tell_at = -math.inf
        self._read_at = -math.inf
        self._at: datetime | None = None
        self._at_s = 0.0
        self._until: datetime | None = None
        self._until_s = 0.0
        self._offset_s = self._clock_offset_s(time.monotonic())

    def take_udp(self, message: bytes, source: bytes, reply: Reply) -> None:
        """Answer a ``message`` that came over UDP (``Take``); its token is spent by whoever reads the socket."""
        self._take(message, source, UDP, reply)

    def take_tcp(self, message: bytes, source: bytes, reply: Reply) -> None:
        """Answer a ``message`` that came over TCP (``Take``)."""
        self._take(message, source, TCP, reply)

    def _take(
        self,
        message: bytes,
        source: bytes,
        transport: Transport,
        reply: Reply,
        came: float | None = None,
    ) -> None:
        """Answer a message, which ``came`` some time ago if it had to wait until its sender was known."""
        now = time.monotonic()
        try:
            asker = self.askers.known(source, now)
            if asker is None:
                again = partial(self._take, message, source, transport, reply, now)
                drop = partial(reply, None)
                if came is None and self._strangers.wait(source, again, drop, now):
                    return
                asker = self.askers.find(source, now)
            spent = asker.bucket.tokens <= 0
            if transport is TCP:
                spent = asker.streams.tokens <= 0
                asker.streams.tokens -= 1
            if spent:
                response = self._refuse(message, asker, transport)
            else:
                query = parse_query(message, transport)
                asked_at = now if came is None else came
                room = asker.rooms[transport is TCP]
                asked = _Asked(self, query, asker, room, source, asked_at)
                if self._tap is not None:
                    reply = _tapped(self._tap, asked, message, reply)
                response = self.handle(asked, reply, now)
        except MalformedMessageError as e:
            self.faults["malformed-query"] += 1
            response = refuse(message, e, self._cookie(e.edns, source, now))
        except Exception:  # noqa: BLE001  # a fault of ours in one query must not stop the names of a whole school
            response = self._fault(message)
        if response is not LATER:
            reply(response)

    def _refuse(self, message: bytes, asker: Asker, transport: Transport) -> bytes | None:
        """Return what a query gets that is one too many: mostly silence.

        Now and then TC over UDP: whoever is silenced by datagrams that another sends with its address asks over TCP.
        """
        asker.refused += 1
        if transport is TCP or asker.refused % TRUNCATED_EVERY:
            return None
        return render(parse_query(message), failed(Rcode.NOERROR)._replace(truncated=True)).message

    def _fault(self, message: bytes) -> bytes | None:
        self.faults["fault"] += 1
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + TELL_S
            _log.exception("action=answer message=%s", message[:512].hex())
        return refuse(message, MalformedMessageError(message, "fault", Rcode.SERVFAIL))

    def handle(self, asked: _Asked, reply: Reply, now: float) -> bytes | None:
        """Return the response to a query; None for silence, or ``LATER`` where ``reply`` gets it later."""
        query = asked.query
        # Below identity, as each view of the policy has responses of its own; before the decision, as they hold it.
        entry = self._entries.find(asked.room, query, now)
        if entry is not None:
            asked.decision = entry.note.decision
            self._journal.hits[asked.asker].append(entry)
            return entry.answer(query.id.to_bytes(2, "big"), query.question)
        own = self._decide(asked, now) or self._locally(asked, now)
        if own is not None:
            return own
        kept = self._answers.find(asked.key)
        if kept is not None and kept.ends > now:
            return self._conclude(asked, kept, now, lasting=True)
        flights = asked.asker.flights
        if flights.count >= flights.most:
            asked.asker.refused += 1
            return None
        flights.count += 1
        asked.flights = flights
        asked.reply = reply
        asked.kept = kept
        if kept is not None and kept.stale_until > now:
            self._impatient.append(asked)
        self._forwarder.ask(asked.question, asked.answered, asked.key)
        return LATER

    def _decide(self, asked: _Asked, now: float) -> bytes | None:
        """Decide by the policy in force; return the response if it is our own, None where an upstream is to be asked."""
        query, client = asked.query, asked.asker.client
        policy = self.policy
        decision = asked.decision = decide(policy, client, query.qname, self._now(now))
        response = respond(query, decision, policy, self._settings)
        if response is not FORWARD:
            return self._own(asked, response, now)
        leads = query.qtype in _LEADS_THERE
        safe = asked.safe = policy.safe_name(client, query.qname) if leads else None
        asked.question = query.about(safe.target) if safe else query
        asked.key = asked.question.upstream_key
        return None

    def _locally(self, asked: _Asked, now: float) -> bytes | None:
        """Return the response to an allowed query that no upstream is to hear of, as of a tunnel; None for all others."""
        query, client = asked.query, asked.asker.client
        if (local := self._settings.locally(query)) is not None:
            return self._own(asked, local, now)
        parent = self._tunnels.noticed(query.qname, query.qtype, asked.source, now)
        if parent is None:
            return None
        decision = decide_tunnel(self.policy, client, query.qname, parent, self._now(now))
        if not decision.blocked:
            return None
        asked.decision = decision
        response = block(query, decision, self.policy, self._settings)
        # It is about this client alone, and so not for the entries of its view.
        return self._own(asked, response, now, longest_s=0.0)

    def answered(self, asked: _Asked, outcome: Outcome, upstream: str) -> None:
        """Take what came of a question."""
        now = time.monotonic()
        kept = self._learn(asked.question, asked.key, asked.asked_at, outcome, upstream, now)
        self._reply(asked, kept, outcome.ede if isinstance(outcome, Failure) else None, now)

    def _learn(  # what came of which question
        self,
        question: Query,
        key: bytes,
        asked_at: float,
        outcome: Outcome,
        upstream: str,
        now: float,
    ) -> Kept | None:
        """Keep what an upstream said; where it failed, go on with what it said before. None where there is nothing."""
        kept = self._answers.find(key)
        if isinstance(outcome, Failure) or outcome.rcode in _FAILED:
            if kept is not None and kept.stale_until > now:
                return self._stale(key, kept, now)
            if isinstance(outcome, Failure):
                return None
        # Of several who waited for it the first has kept it.
        if kept is None or kept.stored < asked_at:
            answer = self._cleaned(question, outcome)
            kept = self._answers.store(key, answer, upstream, now)
            if question.qname in TARGETS and answer.addresses:
                self._ports.pins.put(question.qname, answer.addresses, answer.ttl_s)
        return kept

    def _stale(self, key: bytes, kept: Kept, now: float) -> Kept:
        """Return the old answer, to be given for some seconds, within which nobody asks again."""
        if kept.ends > now:
            return kept
        again = self._answers.store(key, stale(kept.answer), kept.upstream, now)
        again.repeats_until = kept.stale_until
        return again

    def _cleaned(self, question: Query, answer: Answer) -> Answer:
        """Return an upstream's answer without what opens a way round: keys for hidden names, addresses inside the school."""
        if answer.has_ech:
            answer = without_ech(question, answer)
        if (
            (addresses := answer.addresses)
            and (inside := private(addresses))
            and self._settings.zone_of(question.qname) is None
        ):
            self.faults["rebinding"] += 1
            answer = without_addresses(question, answer, inside)
        return answer

    def _reply(self, asked: _Asked, kept: Kept | None, failure: Ede | None, now: float) -> None:
        """Answer who waits, once; by the policy in force when the response leaves, not when the query came."""
        if asked.reply is None:
            return
        reply, asked.reply = asked.reply, None
        try:
            response = None if self._stands(asked, now) else self._decide_again(asked, now)
            if response is None:
                if kept is None:
                    edes = (failure,) if failure else ()
                    response = self._own(asked, Response(Rcode.SERVFAIL, edes=edes), now)
                else:
                    # Many names are asked for once: whoever asks again gets an entry.
                    response = self._conclude(asked, kept, now, lasting=False)
        except Exception:  # noqa: BLE001  # as in _take
            query = asked.query
            header = query.id.to_bytes(2, "big") + query.flags.to_bytes(2, "big") + bytes(8)
            response = self._fault(header + query.question)
        reply(response)

    def _stands(self, asked: _Asked, now: float) -> bool:
        """Tell whether a query would be decided alike now: by the same policy, for the same client, in the same stretch of time."""
        if asked.era != self.era or asked.asker.until <= now:
            return False
        until = asked.decision.until
        return until is None or ((at := self._now(now)) is not None and at < until)

    def _decide_again(self, asked: _Asked, now: float) -> bytes | None:
        """As ``_decide``; where another question is to be asked by now, SERVFAIL: the client asks again."""
        key = asked.key
        asked.asker = self.askers.find(asked.source, now)
        asked.room = asked.asker.rooms[asked.query.transport is TCP]
        own = self._decide(asked, now)
        if own is None and asked.key != key:
            own = self._own(asked, Response(Rcode.SERVFAIL), now)
        return own

    def _conclude(self, asked: _Asked, kept: Kept, now: float, *, lasting: bool) -> bytes:
        """Return the response to a query that an upstream has answered; an entry is made of it if it is ``lasting``."""
        query, decision, answer = asked.query, asked.decision, kept.answer
        self._tunnels.learn(query.qname, query.qtype, answer, asked.source, now)
        if answer.targets or self.policy.index.lists_addresses:
            stop = self._recheck(asked, kept, now)
            if stop:
                asked.decision = stop
                response = block(query, stop, self.policy, self._settings)
                # What the name leads to may be another tomorrow.
                return self._own(asked, response, now, longest_s=kept.ends - now)
        if answer.text == NOTHING_PUBLIC:
            decision = asked.decision = decide_rebinding(decision)
        if asked.safe:
            decision = replace(decision, rule_id=asked.safe.rule_id)
            answer = rewritten(query, asked.safe.target, answer)
        most_s = MAX_TTL_S
        for given in self._given:
            # For all: a group may be held to names from one moment to the next.
            most_s = int(LEARNT_S)
            given.put(asked.asker, query.qname, kept.answer.addresses, now)
        age = now - kept.stored
        # Not ``kept.ends - now``, which rounding makes less than the whole TTL of a moment ago.
        lasts_s = min(self._lasts_s(decision), kept.answer.ttl_s - age, most_s)
        # A client's own cache ends with the decision, too.
        if age or answer.longest_s > lasts_s:
            answer = answer.aged(math.ceil(age), max(0, math.floor(lasts_s)))
        rendered = render(query, answer, self._cookie(query.edns, asked.source, now))
        note = self._journal.note(decision, query.qtype, self.policy.version, kept.upstream)
        self._journal.count(asked.asker, query.qname, note, now, now - asked.asked_at)
        if lasting and lasts_s > 0:
            self._keep(asked, Entry(query, rendered, note, now, lasts_s, kept))
        return rendered.message

    def _recheck(self, asked: _Asked, kept: Kept, now: float) -> Decision | None:
        """Return what stops an upstream's answer; looked at once for a view, a decision and its stretch of time."""
        decision = asked.decision
        checked = kept.checked
        # A room ends with its policy, and a decision is another object in another stretch of time.
        if checked is None or checked[0] is not asked.room or checked[1] is not decision:
            client, at = asked.asker.client, self._now(now)
            stop = recheck(decision, kept.answer, self.policy, client, at)
            checked = kept.checked = (asked.room, decision, stop)
        return checked[2]

    def _own(
        self, asked: _Asked, response: Response, now: float, *, longest_s: float = math.inf
    ) -> bytes:
        """Return a ``response`` of our own making, kept for as long as the decision holds, or so many seconds."""
        query, decision = asked.query, asked.decision
        rendered = render(query, response, self._cookie(query.edns, asked.source, now))
        note = self._journal.note(decision, query.qtype, self.policy.version)
        self._journal.count(asked.asker, query.qname, note, now, now - asked.asked_at)
        lasts_s = min(self._lasts_s(decision), longest_s)
        if response.rcode is Rcode.SERVFAIL:
            lasts_s = min(lasts_s, FAILURE_TTL_S)
        if lasts_s > 0:
            self._keep(asked, Entry(query, rendered, note, now, lasts_s))
        return rendered.message

    def _keep(self, asked: _Asked, entry: Entry) -> None:
        query = asked.query
        # A cookie is another each time.
        if not (query.edns and query.edns.cookie):
            self._entries.store(asked.room, query, entry)

    def _cookie(self, edns: Edns | None, source: bytes, now: float) -> bytes:
        return self._cookies.of(edns.cookie, source, now) if edns and edns.cookie else b""

    def begin(self, policy: Policy) -> None:
        """Answer by ``policy`` from here on."""
        self.policy = policy
        self.era += 1
        self._entries.clear()
        self.askers.begin(policy)

    def meet(self, now: float) -> bool:
        """Take up queries whose sender is known by now, or waited for in vain; tell whether more wait.

        To be called after queries have been taken, and every millisecond or two while it is true.
        """
        if self._strangers:
            self._strangers.look(now)
        return bool(self._strangers)

    def expire(self, now: float) -> None:
        """Give an old answer to who has waited too long for a new one; to be called often."""
        if not self._impatient:
            return
        limit = now - STALE_AFTER_S
        due = [asked for asked in self._impatient if asked.asked_at <= limit]
        self._impatient = [a for a in self._impatient if a.reply and a.asked_at > limit]
        for asked in due:
            if asked.reply and asked.kept:
                self._reply(asked, self._stale(asked.key, asked.kept, now), None, now)

    def _prefetch(self, now: float) -> None:
        """Ask anew for what ends soon and is still asked for."""
        wanted = self._answers.wanted
        while wanted and self._prefetches < MAX_PREFETCHES:
            question = question_of(wanted.pop())
            self._prefetches += 1
            self._forwarder.ask(question, partial(self._prefetched, question, now))

    def _prefetched(
        self, question: Query, asked_at: float, outcome: Outcome, upstream: str
    ) -> None:
        self._prefetches -= 1
        key, now = question.upstream_key, time.monotonic()
        self._learn(question, key, asked_at, outcome, upstream, now)

    def free(self) -> bool:
        """Free a part of what is forgotten; tell whether there is more."""
        return self._entries.free()

    def sizes(self) -> dict[str, int]:
        """Return how much is kept, by room."""
        return {"entries": len(self._entries), "answers": len(self._answers)}

    def tick(self, now: float) -> None:
        """Do what is due some times a second, at the monotonic time ``now``."""
        offset = self._clock_offset_s(now)
        # Kept responses end by the monotonic clock; what was decided by another wall clock is void.
        if (offset is None) != (self._offset_s is None) or (
            offset is not None
            and self._offset_s is not None
            and abs(offset - self._offset_s) > CLOCK_STEP_S
        ):
            self.begin(self.policy)
        self._offset_s = offset
        for asker, count in self.askers.take_refused():
            self._journal.refused(asker, count, now)
        self.askers.sweep(now)
        self.askers.refill(now)
        self._prefetch(now)

    def _now(self, now: float) -> datetime | None:
        """Return the wall clock's time at about the monotonic time ``now``."""
        if not 0 <= now - self._read_at < CLOCK_READ_S:
            self._at, self._read_at = self._ports.clock.now(), now
            self._at_s = self._at.timestamp() if self._at else 0.0
        return self._at

    def _lasts_s(self, decision: Decision) -> float:
        """Return the seconds for which a ``decision`` of just now holds if nothing but time passes."""
        until = decision.until
        if until is None or self._at is None:
            return math.inf
        if until is not self._until:
            self._until, self._until_s = until, until.timestamp()
        # As instants: two aware times of one zone would be subtracted by wall clock.
        return self._until_s - self._at_s

    def _clock_offset_s(self, now: float) -> float | None:
        at = self._ports.clock.now()
        return at.timestamp() - now if at else None


def _tapped(tap: Tap, asked: _Asked, message: bytes, reply: Reply) -> Reply:
    """Return the way back past ``tap``."""

    def tapped(response: bytes | None) -> None:
        if response is not None:
            now = time.monotonic()
            # Where we are at fault, nothing was decided.
            decision = getattr(asked, "decision", None)
            tcp = asked.query.transport is TCP
            took_s = now - asked.asked_at
            tap.put(message, asked.source, response, now, decision, took_s, tcp=tcp)
        reply(response)

    return tapped
