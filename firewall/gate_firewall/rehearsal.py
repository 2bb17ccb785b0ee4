"""Takes the frames of a capture through the classifier, and tells of each what was seen and decided.

The classifier is the one that filters. What the kernel does before it and with its answers is imitated here: the rules for
frames, and in the chains ``select``, ``epoch``, ``watch``, ``unanswered``, ``bare`` and ``settle`` of ``gate_firewall.ruleset`` what
decides whether a packet is asked about. ``NOT_IMITATED`` says what is left out. No I/O and no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple, assert_never

from gate_core.events import Event
from gate_core.given import Given
from gate_core.pins import Pin, render_pins
from gate_core.policy import Policy
from gate_core.protocols import BY_ID
from gate_firewall import hello, http, marks, quic, signatures
from gate_firewall.classify import Classifier, Learnt, Moment, Sighting, Verdict
from gate_firewall.dissect import Content, Fragments, Frame, read_answer, read_question
from gate_firewall.flows import Table
from gate_firewall.given import GivenTable
from gate_firewall.marks import Answer
from gate_firewall.opening import Opening, OutOfTurnError, Reading, UnreadableError
from gate_firewall.packet import (
    ACK,
    RST,
    SYN,
    TCP,
    UDP,
    URG,
    MalformedPacketError,
    Packet,
    parse_packet,
)
from gate_firewall.pins import Pins

NOT_IMITATED: Final = (
    "This is a rehearsal: the classifier is the one that filters, the rules of the kernel are imitated. Left out are"
    " checksums, rate limits, TCP windows and time-outs of the kernel's flow table, what comes while an earlier packet is"
    " being asked about, packets that speak for the router, and changes of policy while the capture ran. Answers of DNS in the"
    " capture count as given by our name service, as if the client had asked for nothing before. For clients without any, the"
    " box may block what is allowed here: an address that was not given, or a search engine past its safe version."
    " What follows a block stands in the capture all the same; it would not have been sent."
)

MAX_FLOWS: Final = 4096
"""Flows kept in mind; the one that was silent longest goes first."""

_FIN: Final = 0x01
_FLAGS: Final = (
    (SYN, "SYN"),
    (_FIN, "FIN"),
    (RST, "RST"),
    (0x08, "PSH"),
    (ACK, "ACK"),
    (URG, "URG"),
)
_ICMP: Final = 1
_ICMP6: Final = 58
_NAMES: Final = {
    TCP: "TCP",
    UDP: "UDP",
    _ICMP: "ICMP",
    2: "IGMP",
    41: "IPv6 in IPv4",
    47: "GRE",
    50: "ESP",
    51: "AH",
    _ICMP6: "ICMPv6",
    132: "SCTP",
}
_ECHO_OCTETS: Final = 128 + 8
"""The longest ping that passes unasked: as in the ruleset, with its header."""
_REFUSED_S: Final = 30.0
"""As in the ruleset: how long packets of a refused datagram's flow are dropped unasked."""
_EPOCH: Final = 1
_QUESTIONS: Final = 3
"""Names that the summary of a flow of DNS tells."""

_LOCAL: Final = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)
_LOCAL_DHCP: Final = ({67, 68}, {546, 547})


class Direction(Enum):
    """Which way a packet crosses the appliance."""

    OUT = "out"
    """From the school's side."""
    IN = "in"
    UNKNOWN = "-"
    """What is neither IPv4 nor IPv6."""


class By(Enum):
    """Who decides about a packet."""

    KERNEL = "kernel"
    """A rule, without asking."""
    CLASSIFIER = "classifier"
    NOBODY = "nobody"
    """It can't be told, or the packet would not have been sent."""


class Outcome(Enum):
    """What becomes of a packet."""

    PASSES = "passes"
    BLOCKED = "blocked"
    """Its sender is told by a reset or an ICMP error, where the protocol has one."""
    DROPPED = "dropped"
    HELD = "held"
    """Until the packet it belongs to is whole."""
    REDIRECTED = "redirected"
    """To the appliance's own name service."""
    UNTOLD = "untold"


@dataclass(frozen=True, slots=True)
class Client:
    """Whose side of the packets is the school's: an address, a MAC address, or neither."""

    address: bytes | None = None
    """4 or 16 octets."""
    mac: str | None = None
    """Canonical."""


@dataclass(frozen=True, slots=True)
class Step:
    """What was seen and decided of one frame."""

    number: int
    since_s: float
    vlan: int | None
    direction: Direction
    source: str
    """Address, with the port where there is one; MAC address for what is not IP; "" where not known."""
    destination: str
    protocol: str
    flags: tuple[str, ...]
    length_octets: int
    """Of the payload of TCP and UDP; of all behind the IP header for others."""
    by: By
    read: str
    """What was read, in words; "" where nothing was."""
    outcome: Outcome
    why: str
    """In words."""
    event: Event | None = None
    """What the appliance would have recorded with this packet."""


@dataclass(frozen=True, slots=True)
class FlowSummary:
    """What came of one flow."""

    initiator: str
    responder: str
    protocol: str
    packets: int
    octets: int
    """Of payload, as in ``Step``, in both directions."""
    asked: int
    """Packets that the classifier was asked about."""
    why: str
    """What the last packet got that would have been sent, in words."""
    event: Event | None
    """The last that was recorded."""


class _Said(NamedTuple):
    """What a step says besides what is in the packet."""

    by: By
    outcome: Outcome
    why: str
    read: str = ""
    event: Event | None = None


def _kernel(outcome: Outcome, why: str) -> _Said:
    return _Said(By.KERNEL, outcome, why)


def _untold(why: str) -> _Said:
    return _Said(By.NOBODY, Outcome.UNTOLD, why)


class _Flow:
    """An entry of the kernel's flow table, as far as the rules look at it, and what the summary says of it."""

    def __init__(self, packet: Packet) -> None:
        self.event: Event | None = None
        self.why = ""
        self.questions: dict[str, None] = {}
        """What it asked a name service for, at most one more than ``_QUESTIONS``, in their order."""
        self.packets = self.octets = self.asked = 0
        self.incomplete = False
        """Whether a packet that would have been asked about is only partly in the capture."""
        self.begin(packet)

    def begin(self, packet: Packet) -> None:
        """Start an entry with ``packet`` as its first."""
        self.first = packet
        self.answer = Answer.NONE
        self.confirmed = False
        """Whether a packet has passed; an entry without one is forgotten."""
        self.replied = False
        self.refused = False
        self.redirected = packet.protocol in (TCP, UDP) and packet.destination_port == 53
        self.ended: set[bool] = set()
        """Directions that sent FIN; both after a reset by the initiator."""
        self.reader = _Reader()


class Rehearsal:
    """Takes frames in their order, under one policy at one time."""

    def __init__(self, policy: Policy, at: datetime | None, client: Client) -> None:
        """Begin with no flows.

        Args:
            policy: What is decided by.
            at: The time for which it is decided, aware, in the school's zone; None while unknown.
            client: Whose packets are looked at; if empty, everybody's, and devices that the policy knows and private
                addresses are in the school, or else whoever opens a flow.
        """
        self._policy = policy
        self._at = at
        self._client = client
        self._local = (*_LOCAL, *policy.networks)
        self._macs: Table[str] = Table(limit=MAX_FLOWS, age_s=float("inf"))
        self._fragments = Fragments()
        self._flows: OrderedDict[_Key, _Flow] = OrderedDict()
        self._refused: Table[float] = Table(limit=65_536, age_s=_REFUSED_S)
        self._given = _Given()
        self._pins = _Pins()
        self._classifier = Classifier(
            lambda address: self._macs.get(address.packed),
            policy,
            _EPOCH,
            Learnt(self._given, self._pins, lambda _: False),
        )
        self.forgotten = 0
        """Flows that are in no summary."""
        self.others = 0
        """Frames left out, as they are not the client's."""
        self.guessed = 0
        """Packets whose addresses do not tell the sides: whoever opened their flow is taken for the client."""

    def take(self, frame: Frame) -> Step | None:
        """Return what is seen and decided of the next frame; None where it is not the client's."""
        if frame.content is not Content.IP:
            if not self._is_meant(frame, None):
                return None
            return _step(frame, None, Direction.UNKNOWN, self._other(frame))
        whole = self._fragments.add(frame.octets)
        try:
            packet = _addressed(frame.octets) if whole is None else parse_packet(whole)
        except MalformedPacketError as e:
            return _step(frame, None, Direction.UNKNOWN, _malformed(frame, e))
        if not self._is_meant(frame, packet):
            return None
        direction = self._direction(frame, packet)
        if whole is None:
            said = _kernel(Outcome.HELD, "a fragment: it waits until the kernel has all of them")
        else:
            said = self._packet(frame, packet, direction)
        return _step(frame, packet, direction, said)

    def flows(self) -> Iterator[FlowSummary]:
        """Yield what came of each flow, the one that was silent longest first."""
        for flow in self._flows.values():
            first = flow.first
            yield FlowSummary(
                _end(first.source, first.source_port),
                _end(first.destination, first.destination_port),
                _protocol(first.protocol),
                flow.packets,
                flow.octets,
                flow.asked,
                flow.why + _asked(flow.questions),
                flow.event,
            )

    def _is_meant(self, frame: Frame, packet: Packet | None) -> bool:
        client = self._client
        if client.mac:
            meant = client.mac in (frame.source, frame.destination)
        elif client.address:
            meant = packet is not None and client.address in (packet.source, packet.destination)
        else:
            meant = True
        self.others += not meant
        return meant

    def _direction(self, frame: Frame, packet: Packet) -> Direction:
        if self._client.mac:
            return Direction.OUT if frame.source == self._client.mac else Direction.IN
        if self._client.address:
            from_here = packet.source == self._client.address
            if from_here and packet.destination == packet.source:
                # A program that talks to another on the same machine.
                from_here = self._is_opener_s(packet)
            return Direction.OUT if from_here else Direction.IN
        devices = self._policy.devices
        source, destination = frame.source in devices, frame.destination in devices
        if source is destination:
            source, destination = self._is_local(packet.source), self._is_local(packet.destination)
        if source is destination:
            self.guessed += 1
            source = self._is_opener_s(packet)
        return Direction.OUT if source else Direction.IN

    def _is_opener_s(self, packet: Packet) -> bool:
        """Tell whether ``packet`` comes from who opened its flow, by the first of it that is in the capture."""
        known = self._flows.get(_key(packet))
        first = known.first if known else packet
        answers = first.protocol == TCP and first.flags & (SYN | ACK) == SYN | ACK
        return _is_reply(packet, first) is answers

    def _is_local(self, octets: bytes) -> bool:
        address = ip_address(octets)
        return any(address in network for network in self._local)

    def _other(self, frame: Frame) -> _Said:
        if isolated := self._isolated(frame):
            return isolated
        match frame.content:
            case Content.ARP | Content.BRIDGE:
                return _kernel(Outcome.PASSES, f"{frame.words}: passes unasked")
            case Content.OTHER | Content.IP:
                why = f"{frame.words}: what is neither IP nor ARP can't be read, and is dropped"
                return _kernel(Outcome.DROPPED, why)
            case _:
                assert_never(frame.content)

    def _isolated(self, frame: Frame) -> _Said | None:
        for mac in (frame.source, frame.destination):
            device = self._policy.devices.get(mac) if mac else None
            if device and device.isolated:
                return _kernel(Outcome.DROPPED, f"{device.name} is isolated: all of it is dropped")
        return None

    def _packet(self, frame: Frame, packet: Packet, direction: Direction) -> _Said:
        if isolated := self._isolated(frame):
            return isolated
        if direction is Direction.OUT and frame.source:
            self._macs.put(packet.source, frame.source, frame.since_s)
        elif direction is Direction.IN and frame.destination:
            self._macs.put(packet.destination, frame.destination, frame.since_s)
        if exempt := _exempt(frame, packet):
            return exempt
        flow = self._flow(packet)
        flow.packets += 1
        flow.octets += len(packet.payload)
        said = self._flow_packet(frame, packet, direction, flow)
        if said.by is not By.NOBODY or not flow.why:
            flow.why = said.why
        flow.event = said.event or flow.event
        return said

    def _flow(self, packet: Packet) -> _Flow:
        key = _key(packet)
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(packet)
            if len(self._flows) > MAX_FLOWS:
                self._flows.popitem(last=False)
                self.forgotten += 1
        self._flows.move_to_end(key)
        return flow

    def _flow_packet(  # noqa: C901, PLR0911  # one line a rule, in the order of the chain
        self, frame: Frame, packet: Packet, direction: Direction, flow: _Flow
    ) -> _Said:
        opens = _is_opening(packet)
        reply = _is_reply(packet, flow.first)
        if reply and flow.refused and not flow.confirmed:
            return _Said(
                By.NOBODY, Outcome.UNTOLD, "would not have been sent: what it answers was blocked"
            )
        if not flow.confirmed or (opens and len(flow.ended) == 2):
            flow.begin(packet)
            reply = False
            if (
                packet.protocol == TCP
                and not opens
                and packet.flags & (SYN | _FIN | RST | ACK) != ACK
            ):
                return _kernel(Outcome.DROPPED, "fits no flow that the kernel knows: dropped")
        self._track(packet, flow, reply=reply)
        if opens and flow.replied and flow.answer is not Answer.NONE:
            return _kernel(
                Outcome.BLOCKED, "a second beginning in a flow that has its verdict: refused"
            )
        if flow.redirected:
            flow.confirmed = True
            why = "DNS: redirected to the box's own name service, whatever address it was sent to"
            return _Said(
                By.KERNEL, Outcome.REDIRECTED, why, self._dns(frame, packet, flow, reply=reply)
            )
        if flow.answer is Answer.ACCEPT:
            return _kernel(Outcome.PASSES, "the flow has been allowed: the kernel carries it")
        if flow.answer is Answer.BLOCK:
            return _kernel(Outcome.BLOCKED, "the flow has been blocked: refused by the kernel")
        if flow.answer is Answer.WATCH and reply:
            return _kernel(
                Outcome.PASSES, "the answers to requests that passed: the kernel carries them"
            )
        if (
            flow.answer is Answer.UNANSWERED
            and reply
            and direction is Direction.IN
            and _is_final_hello(packet.payload)
        ):
            flow.answer = Answer.ACCEPT
            return _kernel(
                Outcome.PASSES, "the server's own hello: from here on the kernel carries the flow"
            )
        if packet.protocol in (TCP, UDP) and packet.destination_port == 853:
            flow.refused = True
            return _kernel(
                Outcome.BLOCKED, "DNS over TLS or QUIC, to its own port: refused for all"
            )
        if self._was_refused(frame, packet):
            flow.refused = True
            return _kernel(Outcome.DROPPED, "was refused less than 30 s ago: dropped")
        if flow.answer is not Answer.PENDING and _is_bare(packet, new=not flow.replied):
            flow.confirmed = True
            return _kernel(Outcome.PASSES, "without content: passes unasked")
        return self._ask(frame, packet, direction, flow, reply=reply)

    def _dns(self, frame: Frame, packet: Packet, flow: _Flow, *, reply: bool) -> str:
        """Return in words what a message of DNS asks or gives; take what it gives."""
        # Over TCP its length comes first: RFC 1035, section 4.2.2.
        question = read_question(packet.payload[2 if packet.protocol == TCP else 0 :])
        if question is None:
            return ""
        if reply:
            return self._learn(frame, packet) or f"an answer for {question}"
        flow.questions[question] = None
        if len(flow.questions) > _QUESTIONS + 1:
            flow.questions.popitem()
        return f"asks for {question}"

    def _learn(self, frame: Frame, packet: Packet) -> str:
        """Take an answer of DNS as given by the appliance; return in words what it gives."""
        answer = read_answer(packet.payload) if packet.protocol == UDP else None
        if answer is None or not answer.addresses:
            return ""
        now = frame.since_s
        addresses = tuple(address for _, address in answer.addresses)
        mac = frame.destination or ""
        self._given.take(Given(packet.destination, mac, False, answer.name, addresses), now)
        pins = [Pin(owner, (address,), 0.0) for owner, address in answer.addresses]
        self._pins.take(render_pins(pins), now)
        return f"for {answer.name}: {', '.join(str(ip_address(a)) for a in addresses)}"

    def _track(self, packet: Packet, flow: _Flow, *, reply: bool) -> None:
        flow.replied = flow.replied or reply
        if packet.flags & _FIN:
            flow.ended.add(reply)
        if packet.flags & RST and not reply:
            flow.ended.update((True, False))

    def _was_refused(self, frame: Frame, packet: Packet) -> bool:
        if packet.protocol != UDP:
            return False
        since_s = self._refused.get(_ends(packet))
        return since_s is not None and frame.since_s - since_s < _REFUSED_S

    def _ask(
        self, frame: Frame, packet: Packet, direction: Direction, flow: _Flow, *, reply: bool
    ) -> _Said:
        if not packet.whole or flow.incomplete:
            flow.incomplete = True
            return _untold(
                f"the capture lacks {frame.missing_octets} octets of this packet, which the appliance would read"
                if not packet.whole
                else "the capture lacks octets of an earlier packet, which the appliance would have read"
            )
        flow.asked += 1
        from_router = direction is Direction.IN
        read = flow.reader.read(packet, reply=reply, from_router=from_router)
        mark = marks.field(Answer.ASK) | (marks.FROM_ROUTER if from_router else 0)
        mark |= marks.REPLY if reply else 0
        mark |= 0 if flow.confirmed else marks.NEW
        verdict = self._judge(packet, mark, frame)
        outcome, why = self._settle(frame, packet, flow, verdict, from_router=from_router)
        return _Said(By.CLASSIFIER, outcome, why, read, verdict.event)

    def _judge(self, packet: Packet, mark: int, frame: Frame) -> Verdict:
        """Ask the classifier: the one place that does."""
        now = Moment(self._at, frame.since_s)
        return self._classifier.judge(
            Sighting(packet, marks.parse_request(mark), mark, frame.source, now)
        )

    def _settle(
        self, frame: Frame, packet: Packet, flow: _Flow, verdict: Verdict, *, from_router: bool
    ) -> tuple[Outcome, str]:
        if verdict.mark is None:
            return Outcome.DROPPED, "dropped, and nobody told"
        if verdict.answer is not Answer.BLOCK:
            flow.confirmed = True
            if verdict.answer is not Answer.NONE:
                flow.answer = verdict.answer
            return Outcome.PASSES, _passes(verdict.answer)
        flow.refused = True
        if flow.confirmed:
            flow.answer = Answer.BLOCK
        if packet.protocol == TCP:
            if from_router:
                flow.confirmed, flow.answer = True, Answer.BLOCK
                return Outcome.BLOCKED, "blocked: the packet is turned into a reset"
            return Outcome.BLOCKED, "blocked: its sender gets a reset"
        if packet.protocol == UDP:
            self._refused.put(_ends(packet), frame.since_s, frame.since_s)
            return Outcome.BLOCKED, "blocked: its sender is told that the port is closed"
        return Outcome.BLOCKED, "blocked: dropped, as the protocol has no refusal"


def _asked(questions: Iterable[str]) -> str:
    words = [*questions]
    if not words:
        return ""
    more = " and others" if len(words) > _QUESTIONS else ""
    return f"; it asked for {', '.join(words[:_QUESTIONS])}{more}"


def _passes(answer: Answer) -> str:
    """Return what an answer other than BLOCK means for the packet and for its flow."""
    match answer:
        case Answer.NONE:
            return "passes for itself: the flow has no verdict yet"
        case Answer.PENDING:
            return "passes: it is allowed, and the flow once the other side has acknowledged it"
        case Answer.UNANSWERED:
            return "passes: it is allowed, and the flow once the other side has answered it"
        case Answer.ACCEPT:
            return "allowed: from here on the kernel carries the flow"
        case Answer.WATCH:
            return "allowed, and each further request of the flow is read"
        case Answer.BLOCK | Answer.ASK:
            raise AssertionError("not an answer that lets a packet pass")
        case _:
            assert_never(answer)


class _Given(GivenTable):
    """What the answers in a capture give; a client without any counts as one that was given everything."""

    def knows(self, client: bytes, mac: str | None, name: str, address: bytes, now: float) -> bool:
        asked = self.is_known(client, mac)
        return not asked or super().knows(client, mac, name, address, now)


class _Pins(Pins):
    """Addresses of safe versions in the answers of a capture; one without any has all."""

    def has(self, target: str, address: bytes, now: float) -> bool:
        return not self.addresses(target, now) or super().has(target, address, now)


class _Reader:
    """Says what there is to read in the packets of a flow that the classifier is asked about, by the same readers."""

    def __init__(self) -> None:
        self._opening: Opening | None = None
        self._initials: quic.Initials | None = None
        self._hello: hello.Hello | None = None
        self._fault = ""
        self._is_http = False
        self._datagrams = ""

    def read(self, packet: Packet, *, reply: bool, from_router: bool) -> str:
        """Return in words what has been read with ``packet``, the next of the flow."""
        if packet.protocol == TCP:
            return self._tcp(packet, reply=reply, from_router=from_router)
        if packet.protocol == UDP:
            return "an answer" if reply else self._udp(packet)
        protocol = signatures.of_ip_protocol(packet.protocol)
        return _titled(protocol) or f"IP protocol {packet.protocol}"

    def _tcp(self, packet: Packet, *, reply: bool, from_router: bool) -> str:
        if _is_opening(packet) and not reply and self._opening is None:
            first = (packet.sequence + 1) % 2**32
            self._opening = Opening(first, None, packet.destination_port, from_router=from_router)
        opening = self._opening
        if opening is None:
            return "a flow whose beginning is not in the capture"
        if not self._fault:
            try:
                return self._next(opening, packet, reply=reply)
            except OutOfTurnError as e:
                return f"out of turn: {e}"
            except UnreadableError as e:
                self._fault = f"unreadable: {e}"
        return self._fault

    def _next(self, opening: Opening, packet: Packet, *, reply: bool) -> str:
        if self._is_http and packet.payload and not reply:
            return "what the connection sends next, read for further requests"
        acknowledged = opening.acknowledged
        reading = opening.read(packet, reply=reply)
        if reading is None:
            return _so_far(opening.octets[1])
        self._is_http = reading.kind == "http"
        found = hello.read_records(opening.octets[1]) if reading.kind == "tls" else None
        words = _reading(reading, found)
        return (
            f"{words}; the other side goes by it" if opening.acknowledged > acknowledged else words
        )

    def _udp(self, packet: Packet) -> str:
        payload = packet.payload
        if self._initials is None and not self._datagrams:
            if quic.begins(payload):
                self._initials = quic.Initials()
            else:
                protocol = signatures.of_datagram(payload, packet.destination_port)
                self._datagrams = _titled(protocol) or "a datagram of no protocol that is known"
        if self._initials is None:
            return self._datagrams
        try:
            self._hello = self._initials.add(payload) or self._hello
        except quic.MalformedQuicError as e:
            return f"unreadable QUIC: {e}"
        if self._hello is None:
            return "the beginning of QUIC, its hello not complete yet"
        protocol = signatures.of_hello(self._hello, packet.destination_port)
        return _reading(Reading("quic", self._hello.name, protocol), self._hello)


_KINDS: Final = {
    "tls": "a TLS hello",
    "quic": "a QUIC hello",
    "http": "an HTTP request",
}


def _reading(reading: Reading, found: hello.Hello | None) -> str:
    protocol = _titled(reading.protocol)
    what = _KINDS.get(reading.kind)
    if what is None:
        return protocol or "neither TLS nor HTTP, nor another protocol that is known"
    name = f"for {reading.name}" if reading.name else "without a name"
    words = f"{what} {name}" + (f", which is {protocol}" if protocol else "")
    if found and found.ech and reading.protocol != "ech":
        words += ", with an ECH, GREASE or real: the name outside decides"
    return words


def _so_far(octets: bytes) -> str:
    if not octets:
        return "the beginning of a flow"
    if octets[0] == hello.HANDSHAKE:
        what = "a TLS hello"
    elif http.is_request(octets) is not False:
        what = "an HTTP request"
    else:
        what = "a protocol that is not known yet"
    return f"{what}, not complete after {len(octets)} octets"


def _titled(protocol: str) -> str:
    return BY_ID[protocol].title if protocol in BY_ID else protocol


def _exempt(frame: Frame, packet: Packet) -> _Said | None:
    """Return what the kernel does with packets that no verdict is for."""
    address = ip_address(packet.destination)
    if address.is_multicast or packet.destination == b"\xff" * 4:
        return _kernel(Outcome.PASSES, "to many at once: passes unasked")
    if frame.to_many:
        why = (
            f"in a frame for all: dropped, unless {address} is the network's own broadcast address"
        )
        return _kernel(Outcome.DROPPED, why)
    if packet.protocol == UDP and any(
        {packet.source_port, packet.destination_port} <= ports for ports in _LOCAL_DHCP
    ):
        return _kernel(Outcome.PASSES, "DHCP: passes unasked within the school")
    return _icmp(packet)


def _icmp(packet: Packet) -> _Said | None:
    if packet.protocol not in (_ICMP, _ICMP6) or packet.later_fragment or not packet.payload:
        return None
    six = packet.protocol == _ICMP6
    kind = packet.payload[0]
    # RFC 792 and RFC 4443: errors about another packet.
    if kind in ((1, 2, 3, 4) if six else (3, 4, 5, 11, 12)):
        return _kernel(
            Outcome.PASSES, "an error about another packet: passes if the kernel knows its flow"
        )
    if six and kind in (*range(130, 138), 143):
        return _kernel(Outcome.PASSES, "neighbour discovery: passes unasked")
    if kind in ((128, 129) if six else (0, 8)) and len(packet.payload) <= _ECHO_OCTETS:
        return _kernel(Outcome.PASSES, "a short ping: passes unasked")
    return None


def _addressed(octets: bytes) -> Packet:
    """Return what is known of a fragment without the others."""
    six = octets[0] >> 4 == 6
    source, destination = (octets[8:24], octets[24:40]) if six else (octets[12:16], octets[16:20])
    protocol = octets[40] if six else octets[9]
    return Packet(
        source, destination, protocol, 0, 0, 0, 0, 0, b"", whole=False, later_fragment=True
    )


def _malformed(frame: Frame, fault: MalformedPacketError) -> _Said:
    if frame.missing_octets:
        return _untold(f"the capture lacks {frame.missing_octets} octets of this packet: {fault}")
    return _kernel(Outcome.DROPPED, f"can't be read, and is dropped: {fault}")


def _is_opening(packet: Packet) -> bool:
    return packet.protocol == TCP and packet.flags & (SYN | ACK | RST | _FIN) == SYN


def _is_bare(packet: Packet, *, new: bool) -> bool:
    """Tell whether ``packet`` is TCP without content; the first of a ``new`` flow tells where its octets begin."""
    if packet.protocol != TCP or packet.payload or packet.flags & URG:
        return False
    return not (new and _is_opening(packet))


def _is_final_hello(payload: bytes) -> bool:
    """Tell whether ``payload`` begins with a server's hello that asks for no other, as chain ``unanswered`` does."""
    random = payload[11:19]
    return (
        len(random) == 8
        and payload[0] == hello.HANDSHAKE
        and payload[hello.RECORD_OCTETS] == 2
        and not hello.RETRY.startswith(random)
        and payload[43:44] == b"\x20"
    )


_Ends = tuple[bytes, int, bytes, int]
_Key = tuple[int, tuple[bytes, int], tuple[bytes, int]]


def _ends(packet: Packet) -> _Ends:
    return packet.source, packet.source_port, packet.destination, packet.destination_port


def _key(packet: Packet) -> _Key:
    """Return what both directions of a flow share."""
    one, other = sorted(
        ((packet.source, packet.source_port), (packet.destination, packet.destination_port))
    )
    return packet.protocol, one, other


def _is_reply(packet: Packet, first: Packet) -> bool:
    return _ends(packet) != _ends(first)


def _step(frame: Frame, packet: Packet | None, direction: Direction, said: _Said) -> Step:
    return Step(
        frame.number,
        frame.since_s,
        frame.vlan,
        direction,
        _end(packet.source, packet.source_port) if packet else frame.source or "",
        _end(packet.destination, packet.destination_port) if packet else frame.destination or "",
        _protocol(packet.protocol) if packet else frame.words,
        tuple(word for bit, word in _FLAGS if packet.flags & bit) if packet else (),
        len(packet.payload if packet else frame.octets),
        said.by,
        said.read,
        said.outcome,
        said.why,
        said.event,
    )


def _protocol(number: int) -> str:
    return _NAMES.get(number, f"IP protocol {number}")


def _end(address: bytes, port: int) -> str:
    text = str(ip_address(address))
    if not port:
        return text
    return f"[{text}]:{port}" if len(address) == 16 else f"{text}:{port}"
