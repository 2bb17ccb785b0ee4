"""Judges packets: reads a flow until its name is known, then asks what the policy says of it.

No I/O and no clock: the same packets in the same order, under the same policy, get the same verdicts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_address
from typing import Final, NamedTuple

from gate_core.clients import Address, Client, OnFault
from gate_core.events import Event, Source
from gate_core.policy import Action, Policy
from gate_firewall.flows import FlowKey, Judged, Table
from gate_firewall.marks import Answer, Request, render_answer
from gate_firewall.opening import NAMELESS, Opening, Reading, UnreadableError
from gate_firewall.packet import ACK, SYN, TCP, UDP, Packet
from gate_firewall.ruling import Fault, Ruling, Rulings

WEB_PORTS: Final = (80, 443)
"""TCP ports on which a closed group may speak nothing but HTTP and TLS."""

_QUIC_PORT: Final = 443
_NTP_PORT: Final = 123
_NTP_OCTETS: Final = range(48, 69)
"""RFC 5905, section 7.3: the header alone, up to the header with key and digest of 20 octets."""


class Moment(NamedTuple):
    """The time, on both clocks."""

    at: datetime | None
    """Aware, in the school's zone; None while unknown."""
    monotonic_s: float


class Sighting(NamedTuple):
    """A queued packet, and what the kernel says of it."""

    packet: Packet
    request: Request
    mark: int
    """Its packet mark, which ``request`` was read from."""
    mac: str | None
    """The sender's; canonical."""
    now: Moment


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a packet and its flow."""

    answer: Answer
    """NONE, PENDING: the packet passes and the flow is read on."""
    mark: int | None
    """The packet mark that says so; None: the packet is dropped, and nobody told."""
    event: Event | None = None
    """What to record: once a flow, and again when it is judged otherwise later."""


class Classifier:
    """Judges the packets of all flows, under one policy at a time."""

    def __init__(self, mac_of: Callable[[Address], str | None], policy: Policy, epoch: int) -> None:
        """Begin with no flows.

        Args:
            mac_of: Gives the link-layer address of a client whose own packets were not seen.
            policy: As for ``take``.
            epoch: As for ``take``.
        """
        self._mac_of = mac_of
        self._macs: Table[str] = Table(limit=4096, age_s=3600)
        self._openings: Table[Opening] = Table(limit=2048, age_s=300)
        # The kernel carries these alone and tells us no end: they go by age, longer than a school day.
        self._judged: Table[Judged] = Table(limit=65_536, age_s=12 * 3600)
        self.take(policy, epoch)

    def take(self, policy: Policy, epoch: int) -> None:
        """Judge by ``policy`` from here on and mark with ``epoch``; call it at each edge of the timetable too."""
        self._rulings = Rulings(policy)
        self._epoch = epoch

    def judge(self, seen: Sighting) -> Verdict:
        """Return the verdict on a packet of a flow that has none, or one of an older epoch."""
        packet, request = seen.packet, seen.request
        if packet.protocol == TCP and not packet.later_fragment:
            return self._tcp(seen)
        client = self._client(seen, self._mac(seen))
        port = packet.source_port if request.reply else packet.destination_port
        if packet.later_fragment:
            # Conntrack puts fragments together before they are queued: one that comes alone evaded it.
            ruling = self._rulings.fault(client, Fault.UNREADABLE, seen.now.at)
        elif packet.protocol != UDP:
            ruling = self._rulings.fault(client, Fault.PROTOCOL, seen.now.at)
        elif port == _QUIC_PORT:
            ruling = self._rulings.quic(client, seen.now.at)
        elif port == _NTP_PORT and _is_time(packet.payload):
            ruling = self._rulings.time(client, seen.now.at)
            if ruling.action is Action.ALLOW:
                # Never for the flow: what comes next on these ports may be no question for the time. Nor is it recorded.
                return _undecided(seen)
        else:
            ruling = self._rulings.by_name(client, "", seen.now.at)
        if request.decided and ruling.action is Action.ALLOW:
            return self._verdict(seen, client, ruling)  # recorded when it began
        kind = f"udp/{port}" if packet.protocol == UDP else f"ip/{packet.protocol}"
        event = self._event(seen, client, ruling, Reading(kind, ""))
        return self._verdict(seen, client, ruling, event)

    def _tcp(self, seen: Sighting) -> Verdict:
        packet, reply = seen.packet, seen.request.reply
        key = _key(packet, reply=reply)
        # A SYN within a decided flow opens nothing: the name it was judged by holds.
        if packet.flags & (SYN | ACK) == SYN and not reply and not seen.request.decided:
            opening = self._opened(seen, key)
        elif judged := self._judged.get(key):
            return self._judge_again(seen, key, judged)
        elif known := self._openings.get(key):
            opening = known
        else:
            return self._settle(seen, key, self._mac(seen), NAMELESS, Fault.UNKNOWN_FLOW)
        reading, fault = _read(seen, opening)
        if reading is None:
            return _undecided(seen)
        if reading == NAMELESS and fault is None and key.responder_port in WEB_PORTS:
            fault = Fault.NOT_WEB
        if fault is None and self._must_wait(seen, opening, reading):
            return self._pending(seen, opening)
        self._openings.discard(key)
        return self._settle(seen, key, opening.mac, reading, fault)

    def _must_wait(self, seen: Sighting, opening: Opening, reading: Reading) -> bool:
        """Tell whether the flow would pass by octets of which nobody knows that the responder has them."""
        client = self._client(seen, opening.mac)
        return (
            not opening.acknowledged
            and self._rulings.group(client).on_fault is OnFault.CLOSED
            and self._rulings.by_name(client, reading.name, seen.now.at).action is Action.ALLOW
        )

    def _pending(self, seen: Sighting, opening: Opening) -> Verdict:
        group = self._rulings.group(self._client(seen, opening.mac)).number
        mark = render_answer(seen.mark, Answer.PENDING, self._epoch, group)
        return Verdict(Answer.PENDING, mark)

    def _opened(self, seen: Sighting, key: FlowKey) -> Opening:
        opening = self._openings.get(key)
        if opening is None:
            # Whatever had these ports before is over.
            self._judged.discard(key)
            first = (seen.packet.sequence + 1) % 2**32
            opening = Opening(first, self._mac(seen), from_router=seen.request.from_router)
            self._openings.put(key, opening, seen.now.monotonic_s)
        return opening

    def _settle(
        self,
        seen: Sighting,
        key: FlowKey,
        mac: str | None,
        reading: Reading,
        fault: Fault | None,
    ) -> Verdict:
        client = self._client(seen, mac)
        if fault:
            ruling = self._rulings.fault(client, fault, seen.now.at)
        else:
            ruling = self._rulings.by_name(client, reading.name, seen.now.at)
        if fault is None or ruling.action is Action.ALLOW:
            self._judged.put(key, Judged(mac, reading, ruling.action), seen.now.monotonic_s)
        event = self._event(seen, client, ruling, _with_port(reading, key.responder_port))
        return self._verdict(seen, client, ruling, event)

    def _judge_again(self, seen: Sighting, key: FlowKey, judged: Judged) -> Verdict:
        client = self._client(seen, judged.mac)
        ruling = self._rulings.by_name(client, judged.reading.name, seen.now.at)
        if ruling.action is judged.action:
            return self._verdict(seen, client, ruling)
        self._judged.put(key, replace(judged, action=ruling.action), seen.now.monotonic_s)
        reading = _with_port(judged.reading, key.responder_port)
        return self._verdict(seen, client, ruling, self._event(seen, client, ruling, reading))

    def _mac(self, seen: Sighting) -> str | None:
        """Return the link-layer address of the client."""
        if not seen.request.from_router:
            if seen.mac:
                self._macs.put(seen.packet.source, seen.mac, seen.now.monotonic_s)
            return seen.mac
        # The sender of what comes from the router is the router.
        address = seen.packet.destination
        return self._macs.get(address) or self._mac_of(ip_address(address))

    def _client(self, seen: Sighting, mac: str | None) -> Client:
        """Return the end of the flow that is in the school, whichever side opened it."""
        packet = seen.packet
        address = packet.destination if seen.request.from_router else packet.source
        return self._rulings.client(address, mac)

    def _verdict(
        self, seen: Sighting, client: Client, ruling: Ruling, event: Event | None = None
    ) -> Verdict:
        answer = Answer.ACCEPT if ruling.action is Action.ALLOW else Answer.BLOCK
        if client.isolated:
            # It was on its way when the device was isolated. A reset would be sent to the device, past the bridge's rules.
            return Verdict(answer, None, event)
        group = self._rulings.group(client).number
        return Verdict(answer, render_answer(seen.mark, answer, self._epoch, group), event)

    def _event(self, seen: Sighting, client: Client, ruling: Ruling, reading: Reading) -> Event:
        at = seen.now.at
        return Event(
            at_ms=int(at.timestamp() * 1000) if at else 0,
            source=Source.FIREWALL,
            address=str(client.address),
            mac=client.mac or "",
            device=client.name,
            group=client.group,
            name=reading.name,
            kind=reading.kind,
            action=ruling.action.value,
            reason=ruling.reason,
            rule_id=ruling.rule_id,
            categories=ruling.categories,
            version=self._rulings.policy.version,
            person=client.person or "",
        )


def _read(seen: Sighting, opening: Opening) -> tuple[Reading | None, Fault | None]:
    reply = seen.request.reply
    if reply and seen.request.from_router is opening.from_router:
        # Initiator and responder are on two sides of the bridge: the client speaks for the server.
        return NAMELESS, Fault.UNREADABLE
    try:
        return opening.read(seen.packet, reply=reply), None
    except UnreadableError:
        return NAMELESS, Fault.UNREADABLE


def _undecided(seen: Sighting) -> Verdict:
    return Verdict(Answer.NONE, render_answer(seen.mark, Answer.NONE, 0, 0))


def _key(packet: Packet, *, reply: bool) -> FlowKey:
    sender = (packet.source, packet.source_port)
    receiver = (packet.destination, packet.destination_port)
    return FlowKey(*receiver, *sender) if reply else FlowKey(*sender, *receiver)


def _with_port(reading: Reading, port: int) -> Reading:
    return Reading(f"tcp/{port}", reading.name) if reading.kind == "tcp" else reading


def _is_time(payload: bytes) -> bool:
    # RFC 5905, section 7.3: mode 3 (client) or 4 (server) in the low bits of the first octet.
    return len(payload) in _NTP_OCTETS and payload[0] & 0b111 in (3, 4)
