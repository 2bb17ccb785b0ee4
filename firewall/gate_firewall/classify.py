"""Judges packets: reads a flow until it is known what it is, then asks what the policy says of it.

No I/O and no clock: the same packets in the same order, under the same policy and after the same news of the sinkhole, get
the same verdicts.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, NamedTuple

from gate_core.clients import Address, Client, OnFault
from gate_core.events import ALLOW, Event, Source
from gate_core.policy import Action, Policy
from gate_firewall import quic, signatures
from gate_firewall.flows import FlowKey, Judged, SharedTable, render_address
from gate_firewall.given import is_inside
from gate_firewall.marks import Answer, Request, render_answer
from gate_firewall.opening import NAMELESS, Opening, OutOfTurnError, Reading, UnreadableError
from gate_firewall.packet import ACK, SYN, TCP, UDP, Packet
from gate_firewall.quic import Initials, MalformedQuicError
from gate_firewall.readable import Readable
from gate_firewall.ruling import Fault, Learnt, Moment, Ruling, Rulings
from gate_firewall.watch import Watched

__all__ = ["Classifier", "Learnt", "Moment", "Sighting", "Verdict"]

WEB_PORTS: Final = (80, 443)
"""TCP ports on which a closed group may speak nothing but HTTP and TLS."""

MAX_DATAGRAMS: Final = 3
"""Datagrams looked at for a protocol, before a flow of an open group counts as one of none."""

MAX_OCTETS: Final = 64 << 20
"""Kept of all flows that are not read to the end: a quarter over TCP, a quarter of QUIC, and half where requests are watched.
A device may fill a quarter of each."""

_SYN_ACK: Final = SYN | ACK
_PLAIN: Final = ("http", "websocket")
"""Kinds whose names are always there to be read."""
_WHAT: Final = 4
"""Fields of ``Judged`` that say what a flow is and what it gets."""
_TRANSPORTS: Final = {TCP: "tcp", UDP: "udp"}
_FORGOTTEN_S: Final = 20.0
"""Conntrack forgets a flow of datagrams 30 s after its last one, or later (net.netfilter.nf_conntrack_udp_timeout): one that is new
to it so long after a verdict on its ports is another flow. Before that it may have come along with the one that was judged."""
_QUIC_PORT: Final = 443
_NTP_PORT: Final = 123
_NTP_OCTETS: Final = range(48, 69)
"""RFC 5905, section 7.3: the header alone, up to the header with key and digest of 20 octets."""


class Sighting(NamedTuple):
    """A queued packet, and what the kernel says of it."""

    packet: Packet
    request: Request
    mark: int
    """Its packet mark, which ``request`` was read from."""
    mac: str | None
    """The sender's; canonical."""
    now: Moment
    final: bool = True
    """Whether all has been heard that the sinkhole had given before; else the verdict may be to wait for that."""


class Verdict(NamedTuple):
    """What becomes of a packet and its flow. A tuple, as one is made for each queued packet."""

    answer: Answer
    """NONE, PENDING: the packet passes and the flow is read on."""
    mark: int | None
    """The packet mark that says so; None: the packet is dropped, and nobody told."""
    event: Event | None = None
    """What to record: once a flow, and again when it is judged otherwise later."""
    waits: bool = False
    """Whether the packet is to be judged again once the sinkhole has told what it gave; the rest says nothing then."""


class Owner(NamedTuple):
    """Whose a flow is, and where that is recorded."""

    client: Client
    name: str
    """By which it was judged."""
    remote: str
    """As in the event."""
    allowed_ms: int
    """As in ``Judged``."""


_WAIT: Final = Verdict(Answer.NONE, None, waits=True)
_DROP: Final = Verdict(Answer.NONE, None)


class Classifier:
    """Judges the packets of all flows, under one policy at a time."""

    def __init__(
        self,
        mac_of: Callable[[Address], str | None],
        policy: Policy,
        epoch: int,
        learnt: Learnt | None = None,
    ) -> None:
        """Begin with no flows.

        Args:
            mac_of: Gives the link-layer address of a client whose own packets were not seen.
            policy: As for ``take``.
            epoch: As for ``take``.
            learnt: What names and addresses are compared with; None where they are not.
        """
        self._mac_of = mac_of
        self._learnt = learnt
        self._macs: SharedTable[str] = SharedTable(limit=4096, age_s=3600)
        self._openings: SharedTable[Opening] = SharedTable(
            limit=8192, age_s=300, octets=MAX_OCTETS // 4
        )
        self._quic: SharedTable[QuicFlow] = SharedTable(
            limit=1024, age_s=60, octets=MAX_OCTETS // 4
        )
        self._datagrams: SharedTable[Datagrams] = SharedTable(limit=4096, age_s=60)
        # A connection may be idle for long, and each has a request under way at most.
        self._watched: SharedTable[Watched] = SharedTable(
            limit=4096, age_s=3600, octets=MAX_OCTETS // 2
        )
        # The kernel carries these alone and tells us no end: they go by age, longer than a school day.
        self._judged: SharedTable[Judged] = SharedTable(limit=65_536, age_s=12 * 3600)
        self.readable = Readable()
        self.take(policy, epoch)

    def take(self, policy: Policy, epoch: int) -> None:
        """Judge by ``policy`` from here on and mark with ``epoch``; call it at each edge of the timetable too."""
        self._rulings = Rulings(policy, self._learnt)
        self._epoch = epoch

    def owner(self, key: FlowKey) -> Owner | None:
        """Return whose flow it is; None where that is not known."""
        judged = self._judged.get(key)
        if judged is None:
            return None
        return Owner(
            self._rulings.client(judged.address, judged.mac),
            judged.reading.name,
            _remote(key, outside=judged.address == key.responder),
            judged.allowed_ms,
        )

    def judge(self, seen: Sighting) -> Verdict:
        """Return the verdict on a packet of a flow that has none, or one of an older epoch."""
        try:
            return self._judge(seen)
        except Exception:
            # A mistake of ours: what it has left half read would let the same packet pass when it comes again.
            self._forget(_key(seen.packet, reply=seen.request.reply))
            raise

    def _forget(self, key: FlowKey) -> None:
        for table in (self._openings, self._watched, self._judged, self._quic, self._datagrams):
            table.discard(key)

    def _judge(self, seen: Sighting) -> Verdict:
        packet = seen.packet
        if not packet.later_fragment:
            if packet.protocol == TCP:
                return self._tcp(seen)
            if packet.protocol == UDP:
                return self._udp(seen)
        client = self._client(seen, self._mac(seen))
        if packet.later_fragment:
            # Conntrack puts fragments together before they are queued: one that comes alone evaded it.
            ruling = self._rulings.fault(client, Fault.UNREADABLE, seen.now.at)
            reading = Reading(f"ip/{packet.protocol}", "")
        else:
            protocol = signatures.of_ip_protocol(packet.protocol)
            ruling = self._rulings.by_protocol(client, protocol, "", seen.now.at)
            if ruling.action is Action.ALLOW:
                listed = self._listed(seen, _key(packet, reply=seen.request.reply), client)
                ruling = listed or self._rulings.fault(client, Fault.PROTOCOL, seen.now.at)
            reading = Reading(f"ip/{packet.protocol}", "", protocol)
        event = None
        if not (seen.request.decided and ruling.action is Action.ALLOW):
            event = self._event(
                seen, _key(packet, reply=seen.request.reply), client, ruling, reading
            )
        return self._verdict(seen, client, ruling, event)

    def _tcp(self, seen: Sighting) -> Verdict:  # noqa: C901, PLR0911, PLR0912  # one a case
        packet, reply = seen.packet, seen.request.reply
        key = _key(packet, reply=reply)
        opening = None if seen.request.decided else self._openings.get(key)
        # The rules refuse a SYN within a flow that has a verdict: this one opens a flow, or repeats what did.
        begins = packet.flags & _SYN_ACK == SYN and not reply and not seen.request.decided
        if begins:
            if opening is None and not seen.request.new:
                # The responder has answered a SYN that is forgotten, and what it was sent since, and goes by those.
                return self._fault(seen, key, self._mac(seen), NAMELESS, Fault.UNKNOWN_FLOW)
            if packet.payload and self._is_closed(self._client(seen, self._mac(seen))):
                # The responder might keep it when nobody here remembers it. The client soon sends a SYN without.
                return _DROP
            if opening is None or (opening.marked and seen.request.new):
                opening = self._opened(seen, key)
        elif seen.request.new:
            return self._picked_up(seen, key)
        elif self._is_unshaken(seen):
            self._forget(key)
            return self._fault(seen, key, self._mac(seen), NAMELESS, Fault.UNKNOWN_FLOW)
        elif opening is None:
            if watched := self._watched.get(key):
                return self._watch(seen, key, watched)
            if (judged := self._judged.get(key)) and not self._lost_sight(seen, judged):
                return self._judge_again(seen, key, judged)
            return self._fault(seen, key, self._mac(seen), NAMELESS, Fault.UNKNOWN_FLOW)
        try:
            reading = self._hear(seen, key, opening)
        except OutOfTurnError:
            return _DROP
        except UnreadableError:
            self._openings.discard(key)
            # Of a flow that was to pass once it was answered.
            self._judged.discard(key)
            sent = _from_its_side(seen, opening.from_router)
            return self._fault(sent, key, opening.mac, NAMELESS, Fault.UNREADABLE)
        if begins and (refused := self._before(seen, key, opening)):
            return refused
        if reading is None:
            return _undecided(seen)
        return self._read(seen, key, opening, _at_resolver(reading, key))

    def _is_unshaken(self, seen: Sighting) -> bool:
        """Tell whether a client goes on where the responder may have octets of before its SYN, and its group is closed."""
        request = seen.request
        if not request.unshaken or request.reply or request.from_router:
            return False
        return self._is_closed(self._client(seen, self._mac(seen)))

    def _hear(self, seen: Sighting, key: FlowKey, opening: Opening) -> Reading | None:
        """Read a packet of a flow; as ``Opening.read``, and with the same errors."""
        packet = seen.packet
        if seen.request.reply:
            _check_side(seen, opening.from_router)
            return opening.read(packet, reply=True)
        if not packet.payload:
            return opening.read(packet, reply=False)
        if self._openings.is_spent(_owner(seen, opening.mac)):
            raise OutOfTurnError("too much is kept of this device's flows")
        reading = opening.read(packet, reply=False)
        self._openings.hold(key, opening.size)
        return reading

    def _picked_up(self, seen: Sighting, key: FlowKey) -> Verdict:
        """Return the verdict on a packet of a flow that conntrack has forgotten, or has never seen begin."""
        mac = self._mac(seen)
        # Where it began may not be where the server takes it to have begun.
        self._forget(key)
        if seen.packet.payload:
            return self._fault(seen, key, mac, NAMELESS, Fault.UNKNOWN_FLOW)
        return _DROP if self._is_closed(self._client(seen, mac)) else _undecided(seen)

    def _before(self, seen: Sighting, key: FlowKey, opening: Opening) -> Verdict | None:
        """Return what stops a flow at its SYN; None where nothing does."""
        client = self._client(seen, opening.mac)
        ruling = self._rulings.before(
            client, key, seen.now, outside=opening.from_router, final=seen.final
        )
        if ruling is None:
            return _WAIT
        if ruling.action is Action.ALLOW:
            return None
        self._openings.discard(key)
        return self._refuse(seen, key, client, NAMELESS, ruling)

    def _opened(self, seen: Sighting, key: FlowKey) -> Opening:
        # Whatever had these ports before is over.
        self._judged.discard(key)
        self._watched.discard(key)
        first = (seen.packet.sequence + 1) % 2**32
        from_router = seen.request.from_router
        opening = Opening(first, self._mac(seen), key.responder_port, from_router=from_router)
        self._openings.put(key, opening, _owner(seen, opening.mac), seen.now.monotonic_s)
        return opening

    def _read(  # noqa: PLR0911  # one a case
        self, seen: Sighting, key: FlowKey, opening: Opening, reading: Reading
    ) -> Verdict:
        """Return the verdict on a flow over TCP of which it is known what it is."""
        client = self._client(seen, opening.mac)
        ruling = self._ruling(seen, key, client, reading)
        if ruling is None:
            return _WAIT
        watched = None
        if ruling.action is Action.ALLOW and self._is_closed(client):
            if reading.kind == "tcp" and key.responder_port in WEB_PORTS:
                self._openings.discard(key)
                return self._fault(seen, key, opening.mac, reading, Fault.NOT_WEB)
            if reading.kind == "http":
                first, octets = opening.octets
                if opening.has_hole:
                    # The responder has octets from behind it, which nobody has read.
                    self._openings.discard(key)
                    return self._fault(seen, key, opening.mac, reading, Fault.UNREADABLE)
                watched = Watched(
                    first,
                    reading.name,
                    opening.mac,
                    from_router=opening.from_router,
                    answer_at=opening.answer_at,
                )
                try:
                    watched.sent(first, octets)
                except UnreadableError:
                    self._openings.discard(key)
                    return self._fault(seen, key, opening.mac, reading, Fault.UNREADABLE)
                self._watched.put(key, watched, _owner(seen, opening.mac), seen.now.monotonic_s)
                self._watched.hold(key, watched.size)
            elif not opening.acknowledged:
                # Nobody knows yet whether the responder goes by the octets by which it would pass.
                opening.marked = True
                if reading.kind != "tls" or opening.is_answered:
                    return self._open(seen, client, Answer.PENDING)
                # It passes once the kernel has seen the responder's hello, of which nobody may hear.
                event = self._remember(seen, key, client, reading, ruling, answered=False)
                return self._open(seen, client, Answer.UNANSWERED, event)
        self._openings.discard(key)
        event = self._remember(seen, key, client, reading, ruling)
        if watched:
            return self._open(seen, client, Answer.PENDING, event)
        return self._verdict(seen, client, ruling, event)

    def _lost_sight(self, seen: Sighting, judged: Judged) -> bool:
        """Tell whether requests of a connection that is not watched any more, or a second hello, may have gone by."""
        unseen = judged.reading.kind == "http" or not (judged.answered or seen.request.decided)
        return unseen and self._is_closed(self._rulings.client(judged.address, judged.mac))

    def _watch(self, seen: Sighting, key: FlowKey, watched: Watched) -> Verdict:
        """Return the verdict on a packet of an HTTP connection whose requests are read one by one."""
        event = None
        if seen.request.decided and (judged := self._judged.get(key)):
            again = self._judge_again(seen, key, judged)
            if again.waits:
                return again
            if again.answer is Answer.BLOCK:
                self._watched.discard(key)
                return again
            event = again.event
        owner = _owner(seen, watched.mac)
        try:
            _check_side(seen, watched.from_router)
            full = self._watched.is_spent(owner)
            watched.take(seen.packet, reply=seen.request.reply, full=full)
        except OutOfTurnError:
            return _DROP
        except UnreadableError:
            self._watched.discard(key)
            sent = _from_its_side(seen, watched.from_router)
            return self._fault(sent, key, watched.mac, Reading("http", ""), Fault.UNREADABLE)
        client = self._client(seen, watched.mac)
        if watched.switched:
            whole = self._read_whole(seen, key, client, Reading("websocket", watched.name))
            if not whole.waits:
                self._watched.discard(key)
            return whole
        self._watched.put(key, watched, owner, seen.now.monotonic_s)
        self._watched.hold(key, watched.size)
        answer = Answer.WATCH if watched.settled else Answer.PENDING
        return self._open(seen, client, answer, event)

    def _read_whole(
        self, seen: Sighting, key: FlowKey, client: Client, reading: Reading
    ) -> Verdict:
        """Return the verdict on a flow of which nothing is left to read."""
        ruling = self._ruling(seen, key, client, reading)
        return _WAIT if ruling is None else self._settle(seen, key, client, reading, ruling)

    def _udp(self, seen: Sighting) -> Verdict:  # noqa: C901, PLR0911  # one a case
        packet, reply = seen.packet, seen.request.reply
        key = _key(packet, reply=reply)
        if forged := self._forged_answer(seen, key):
            return forged
        flow, datagrams = self._quic.get(key), self._datagrams.get(key)
        begun = flow or datagrams
        # An answer is for who began the flow, whoever has used that address since.
        client = self._client(seen, begun.mac if begun and reply else self._mac(seen))
        if key.responder_port == _NTP_PORT and _is_time(packet.payload):
            ruling = self._rulings.time(client, seen.now.at)
            if ruling.action is Action.ALLOW:
                # Never for the flow: what comes next on these ports may be no question for the time. Nor is it recorded.
                return _undecided(seen)
        if judged := self._judged.get(key):
            now_s = seen.now.monotonic_s
            if not seen.request.new or self._judged.age_s(key, now_s) < _FORGOTTEN_S:
                return self._judge_again(seen, key, judged)
            # What had these ports before is over, and says nothing of what comes now. If that is blocked too, it is known.
            if judged.action is Action.ALLOW:
                self._judged.discard(key)
        if not reply and not seen.request.from_router and _speaks_for_another(packet):
            return self._fault(seen, key, client.mac, Reading("udp", ""), Fault.UNREADABLE)
        if flow is None and not reply and _is_quic(key, packet.payload):
            known = seen.request.new or self._rulings.quic(client, seen.now.at) is not None
            if not known and self._is_closed(client):
                # The responder has answered something that nobody remembers.
                return self._fault(seen, key, client.mac, Reading("udp", ""), Fault.UNKNOWN_FLOW)
            flow = QuicFlow(client.mac)
            self._quic.put(key, flow, _owner(seen, client.mac), seen.now.monotonic_s)
        if flow is not None:
            return self._quic_flow(seen, key, client, flow)
        reading = self._by_datagram(seen, key, client, datagrams)
        if reading is None:
            return _undecided(seen)
        return self._read_whole(seen, key, client, reading)

    def _forged_answer(self, seen: Sighting, key: FlowKey) -> Verdict | None:
        """Return that an answer is dropped which comes from the side of who asked; None where it is none.

        It would be judged as of a flow that was opened outside. The flow itself goes on: anybody may have sent it.
        """
        packet, request = seen.packet, seen.request
        if not request.reply or request.from_router or not _speaks_for_another(packet):
            return None
        sent = _from_its_side(seen, opened_from_router=False)
        client = self._client(sent, seen.mac)
        if not (self._is_closed(client) or self._rulings.group(client).named_only):
            return None
        ruling = self._rulings.fault(client, Fault.UNREADABLE, seen.now.at)
        ruling = ruling._replace(action=Action.BLOCK)
        event = self._event(sent, key, client, ruling, Reading("udp", ""))
        return Verdict(Answer.BLOCK, None, event)

    def _quic_flow(  # noqa: C901, PLR0911  # one a case
        self, seen: Sighting, key: FlowKey, client: Client, flow: QuicFlow
    ) -> Verdict:
        """Return the verdict on a datagram of a flow that is QUIC, or on its port."""
        if closed := self._rulings.quic(client, seen.now.at):
            return self._refuse(seen, key, client, Reading("udp", ""), closed)
        if not seen.request.reply:
            outside = _opened_outside(seen)
            before = self._rulings.before(client, key, seen.now, outside=outside, final=seen.final)
            if before is None:
                return _WAIT
            if before.action is Action.BLOCK:
                self._quic.discard(key)
                return self._refuse(seen, key, client, Reading("udp", ""), before)
            if self._quic.is_spent(_owner(seen, flow.mac)):
                return _DROP
        try:
            reading = flow.read(seen.packet.payload, key.responder_port, reply=seen.request.reply)
            self._quic.hold(key, flow.size)
        except MalformedQuicError:
            self._quic.discard(key)
            return self._fault(seen, key, client.mac, Reading("quic", ""), Fault.UNREADABLE)
        if reading is None:
            return _undecided(seen)
        reading = _at_resolver(reading, key)
        found = self._ruling(seen, key, client, reading)
        if found is None:
            return _WAIT
        if found.action is Action.ALLOW and self._is_closed(client):
            if reading.kind != "quic":
                return self._fault(seen, key, client.mac, reading, Fault.NOT_WEB)
            if not flow.answered:
                return self._open(seen, client, Answer.PENDING)
        self._quic.discard(key)
        return self._settle(seen, key, client, reading, found)

    def _by_datagram(
        self, seen: Sighting, key: FlowKey, client: Client, before: Datagrams | None
    ) -> Reading | None:
        """Return what a flow of datagrams is; None while that is open."""
        protocol = signatures.of_datagram(seen.packet.payload, key.responder_port)
        if protocol:
            return Reading("udp", "", protocol)
        number = before.number + 1 if before else 1
        if (
            number >= MAX_DATAGRAMS
            or seen.request.decided
            or self._is_closed(client)
            or self._listed(seen, key, client)
        ):
            self._datagrams.discard(key)
            return Reading("udp", "")
        self._datagrams.put(
            key, Datagrams(client.mac, number), _owner(seen, client.mac), seen.now.monotonic_s
        )
        return None

    def _ruling(
        self, seen: Sighting, key: FlowKey, client: Client, reading: Reading
    ) -> Ruling | None:
        """Return what a flow gets that could be read; None where the sinkhole is to be heard first."""
        outside = _opened_outside(seen)
        return self._rulings.flow(client, key, reading, seen.now, outside=outside, final=seen.final)

    def _listed(self, seen: Sighting, key: FlowKey, client: Client) -> Ruling | None:
        """Return what closes a flow by where it goes, whatever it is; None where nothing does."""
        outside = _opened_outside(seen)
        return self._rulings.listed(client, key, seen.now.at, outside=outside)

    def _is_closed(self, client: Client) -> bool:
        return self._rulings.group(client).on_fault is OnFault.CLOSED

    def _fault(
        self, seen: Sighting, key: FlowKey, mac: str | None, reading: Reading, fault: Fault
    ) -> Verdict:
        """Return the verdict on a flow that can't be judged."""
        client = self._client(seen, mac)
        ruling = self._rulings.fault(client, fault, seen.now.at)
        if ruling.action is Action.ALLOW:
            ruling = self._listed(seen, key, client) or ruling
        if ruling.action is Action.BLOCK:
            return self._refuse(seen, key, client, reading, ruling)
        return self._settle(seen, key, client, reading, ruling)

    def _refuse(
        self, seen: Sighting, key: FlowKey, client: Client, reading: Reading, ruling: Ruling
    ) -> Verdict:
        """Block a flow for something else than what it is; that is not remembered."""
        return self._verdict(seen, client, ruling, self._event(seen, key, client, ruling, reading))

    def _settle(
        self, seen: Sighting, key: FlowKey, client: Client, reading: Reading, ruling: Ruling
    ) -> Verdict:
        """Remember what a flow is and what it gets, and return that."""
        event = self._remember(seen, key, client, reading, ruling)
        return self._verdict(seen, client, ruling, event)

    def _remember(
        self,
        seen: Sighting,
        key: FlowKey,
        client: Client,
        reading: Reading,
        ruling: Ruling,
        *,
        answered: bool = True,
    ) -> Event | None:
        """Remember what a flow is and what it gets; return what to record of it, if that is not known yet."""
        address = key.responder if _opened_outside(seen) else key.initiator
        before = self._judged.get(key)
        judged = Judged(client.mac, reading, ruling.action, address, answered)
        known = before and before[:_WHAT] == judged[:_WHAT]
        event = None
        if before and known:
            judged = judged._replace(allowed_ms=before.allowed_ms)
        # One that was decided before, but not by this process, was recorded when it began.
        elif key.protocol == TCP or not seen.request.decided or ruling.action is Action.BLOCK:
            event = self._event(seen, key, client, ruling, reading)
            judged = judged._replace(allowed_ms=_allowed_ms(event))
        self._judged.put(key, judged, _owner(seen, client.mac), seen.now.monotonic_s)
        tells = reading.name or key.responder_port in WEB_PORTS
        if tells and not known and reading.kind not in _PLAIN:
            self.readable.note(client.group, readable=bool(reading.name))
        return event

    def _judge_again(self, seen: Sighting, key: FlowKey, judged: Judged) -> Verdict:
        if _opened_outside(seen) is not (judged.address == key.responder):
            # By a packet that says nothing of where its flow was opened.
            seen = _from_its_side(seen, judged.address == key.responder)
        client = self._client(seen, judged.mac)
        ruling = self._ruling(seen, key, client, judged.reading)
        if ruling is None:
            return _WAIT
        event = None
        if ruling.action is not judged.action:
            event = self._event(seen, key, client, ruling, judged.reading)
            allowed_ms = judged.allowed_ms or _allowed_ms(event)
            again = judged._replace(action=ruling.action, allowed_ms=allowed_ms)
            self._judged.put(key, again, _owner(seen, client.mac), seen.now.monotonic_s)
        return self._verdict(seen, client, ruling, event)

    def _mac(self, seen: Sighting) -> str | None:
        """Return the link-layer address of the client."""
        if not seen.request.from_router:
            address = seen.packet.source
            if seen.mac and seen.mac != self._macs.get(address):
                self._macs.put(address, seen.mac, seen.mac, seen.now.monotonic_s)
            return seen.mac
        # The sender of what comes from the router is the router.
        address = seen.packet.destination
        return self._macs.get(address) or self._mac_of(ip_address(address))

    def _client(self, seen: Sighting, mac: str | None) -> Client:
        """Return the end of the flow that is in the school, whichever side opened it."""
        return self._rulings.client(_inside(seen), mac)

    def _open(
        self, seen: Sighting, client: Client, answer: Answer, event: Event | None = None
    ) -> Verdict:
        """Return that the packet passes, and what is asked about further ones of its flow."""
        group = self._rulings.group(client).number
        return Verdict(answer, render_answer(seen.mark, answer, self._epoch, group), event)

    def _verdict(
        self, seen: Sighting, client: Client, ruling: Ruling, event: Event | None = None
    ) -> Verdict:
        answer = Answer.ACCEPT if ruling.action is Action.ALLOW else Answer.BLOCK
        if client.isolated:
            # It was on its way when the device was isolated. A reset would be sent to the device, past the bridge's rules.
            return Verdict(answer, None, event)
        group = self._rulings.group(client).number
        return Verdict(answer, render_answer(seen.mark, answer, self._epoch, group), event)

    def _event(
        self, seen: Sighting, key: FlowKey, client: Client, ruling: Ruling, reading: Reading
    ) -> Event:
        at = seen.now.at
        kind = reading.protocol or reading.kind
        return Event(
            at_ms=int(at.timestamp() * 1000) if at else 0,
            source=Source.FIREWALL,
            address=render_address(client.address.packed),
            mac=client.mac or "",
            device=client.name,
            group=client.group,
            name=reading.name,
            kind=f"{kind}/{key.responder_port}" if kind in ("tcp", "udp") else kind,
            action=ruling.action.value,
            reason=ruling.reason,
            rule_id=ruling.rule_id,
            categories=ruling.categories,
            version=self._rulings.policy.version,
            person=client.person or "",
            remote=_remote(key, outside=_opened_outside(seen)),
        )


class Datagrams(NamedTuple):
    """A flow of datagrams that show nothing yet."""

    mac: str | None
    """The client's."""
    number: int
    """Of them, so far."""


class QuicFlow:
    """A QUIC flow from its first datagram until it is known for what server it is, and that the server has heard that."""

    __slots__ = ("_initials", "_others", "_reading", "answered", "mac")

    def __init__(self, mac: str | None) -> None:
        """Begin a flow; ``mac`` is the client's."""
        self.mac = mac
        self._initials = Initials()
        self._others = 0
        self._reading: Reading | None = None
        self.answered = False
        """Whether the responder has what was read."""

    @property
    def size(self) -> int:
        """Octets of memory that it takes beyond those of any, about."""
        return self._initials.size

    def read(self, datagram: bytes, port: int, *, reply: bool) -> Reading | None:
        """Take a ``datagram``; return what the flow is, None while that is open.

        Args:
            datagram: The next of the flow, as they arrive.
            port: The responder's.
            reply: It comes from the responder.

        Raises:
            MalformedQuicError: The flow can't be read, or not in one way only.
        """
        if reply:
            self.answered = self.answered or self._initials.answered_by(datagram)
            if self._initials.unread:
                raise MalformedQuicError("an answer to a ClientHello that was not read")
            return self._reading
        hello = self._initials.add(datagram)
        if hello is not None and self._reading is None:
            self._reading = Reading("quic", hello.name, signatures.of_hello(hello, port))
        elif self._reading is None and not quic.begins(datagram):
            # On the port of QUIC, but something else.
            self._others += 1
            if self._others >= MAX_DATAGRAMS:
                self._reading = Reading("udp", "", signatures.of_datagram(datagram, port))
        return self._reading


def _inside(seen: Sighting) -> bytes:
    """Return the address of the end that is in the school."""
    return seen.packet.destination if seen.request.from_router else seen.packet.source


def _owner(seen: Sighting, mac: str | None) -> str | bytes:
    """Return whose part of a table a flow is: of the client's device, whatever address that says it has."""
    return mac or _inside(seen)


def _is_quic(key: FlowKey, payload: bytes) -> bool:
    return key.responder_port == _QUIC_PORT or quic.begins(payload)


def _at_resolver(reading: Reading, key: FlowKey) -> Reading:
    """Return what a flow is, known by where it goes: what a public resolver serves on this port is DNS over HTTPS."""
    known = key.responder_port == _QUIC_PORT and key.responder in signatures.RESOLVERS
    return reading._replace(protocol="doh") if known and not reading.protocol else reading


def _speaks_for_another(packet: Packet) -> bool:
    """Tell whether a datagram from the school is for it, and has the address of somebody who is not."""
    return is_inside(packet.destination) and not is_inside(packet.source)


def _opened_outside(seen: Sighting) -> bool:
    """Tell whether the flow was opened from the router's side."""
    return seen.request.from_router is not seen.request.reply


def _check_side(seen: Sighting, from_router: bool) -> None:
    """Raise UnreadableError where an answer comes from the side that asked, which is that of ``from_router``."""
    if seen.request.reply and seen.request.from_router is from_router:
        # Initiator and responder are on two sides of the bridge: the client speaks for the server.
        raise UnreadableError("an answer from the side of who asked")


def _from_its_side(seen: Sighting, opened_from_router: bool) -> Sighting:
    """Return ``seen`` as it would be had its packet come from the side that it says: the record is of the client even so."""
    request = seen.request
    from_router = opened_from_router is not request.reply
    return seen._replace(request=request._replace(from_router=from_router))


def _remote(key: FlowKey, *, outside: bool) -> str:
    """Return the end of a flow that is not in the school, as events have it."""
    address, port = (
        (key.initiator, key.initiator_port) if outside else (key.responder, key.responder_port)
    )
    there = render_address(address)
    transport = _TRANSPORTS.get(key.protocol)
    return f"{there} {port}/{transport}" if transport and port else there


def _allowed_ms(event: Event) -> int:
    return event.at_ms if event.action == ALLOW else 0


def _undecided(seen: Sighting) -> Verdict:
    # Without the function that a named tuple is made by, as in ``_key``: one for nearly each queued packet.
    mark = render_answer(seen.mark, Answer.NONE, 0, 0)
    return tuple.__new__(Verdict, (Answer.NONE, mark, None, False))


def _key(packet: Packet, *, reply: bool) -> FlowKey:
    source, destination, protocol, source_port, destination_port = packet[:5]
    if reply:
        ends = (protocol, destination, destination_port, source, source_port)
    else:
        ends = (protocol, source, source_port, destination, destination_port)
    return tuple.__new__(FlowKey, ends)


def _is_time(payload: bytes) -> bool:
    # RFC 5905, section 7.3: mode 3 (client) or 4 (server) in the low bits of the first octet.
    return len(payload) in _NTP_OCTETS and payload[0] & 0b111 in (3, 4)
