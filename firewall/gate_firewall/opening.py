"""A TCP flow from its SYN until it is known what it is, and until the responder has acknowledged that.

What a responder discards (an old timestamp, an option it does not take, a second SYN) can't be told from what it reads, so
that its acknowledgement alone says which octets it has; before that, any others in their place make the flow unreadable.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gate_firewall import hello, http, signatures
from gate_firewall.hello import MalformedHelloError
from gate_firewall.host import MAX_OCTETS, Absence
from gate_firewall.http import MalformedRequestError
from gate_firewall.packet import ACK, RST, SYN, URG, Packet
from gate_firewall.stream import ConflictError, Stream

MAX_PACKETS: Final = 4096
"""Packets read, and compared while nothing is acknowledged, before a flow counts as unreadable: it
can't stay undecided. A post-quantum hello of one octet a segment fits."""
MAX_SIGNATURE_OCTETS: Final = 512
"""Of each side, by which a protocol without a name is told."""


# RFC 9112, section 3.2: whoever asks a proxy sends the whole URI, or has it connect.
_FOR_A_PROXY: Final = re.compile(rb"[\r\n]*(?:CONNECT |[A-Z_-]+ [A-Za-z][A-Za-z0-9+.-]*://)")


_ANSWER_OCTETS: Final = hello.RECORD_OCTETS + hello.ANSWER_OCTETS


class UnreadableError(ValueError):
    """A flow that is malformed, contradicts itself, or is longer than is ever read."""


class OutOfTurnError(ValueError):
    """A packet that is to be dropped, as it can't be read yet: its sender repeats it."""


class Reading(NamedTuple):
    """What a flow turned out to be."""

    kind: str
    """``tls``, ``quic``, ``http``, ``websocket``; for all else ``tcp`` or ``udp``."""
    name: str
    """Canonical; "" where it has none."""
    protocol: str = ""
    """Id of one of ``gate_core.protocols``, where its octets show one; "" for all else."""


NAMELESS: Final = Reading("tcp", "")
"""Neither TLS nor HTTP, nor any other protocol that is known."""


class Opening:
    """Reads the direction of the initiator, in order; the other one for what it says first and what it acknowledges.

    A server may ask for a second hello (RFC 8446, section 4.1.4) and then goes by the name in that one. So a flow that is TLS
    counts as acknowledged by the server's own hello alone, and each further hello must have the name of the first.
    """

    __slots__ = (
        "_acknowledged",
        "_answer",
        "_early",
        "_end",
        "_further",
        "_heard",
        "_hellos",
        "_packets",
        "_port",
        "_reading",
        "_records",
        "_stream",
        "_theirs",
        "from_router",
        "mac",
        "marked",
    )

    def __init__(
        self, first: int, mac: str | None, port: int = 0, *, from_router: bool = False
    ) -> None:
        """Begin a flow.

        Args:
            first: Sequence number of the first octet.
            mac: The client's.
            port: The responder's.
            from_router: The side of the initiator.
        """
        self.mac = mac
        self.from_router = from_router
        self.marked = False
        """Whether conntrack's mark says that it is allowed, but not answered."""
        self._port = port
        self._stream = Stream(first)
        self._theirs: Stream | None = None
        """The first octets of the responder."""
        self._early = False
        """Whether the SYN carries octets, which acknowledge nothing."""
        self._answer = b""
        self._reading: Reading | None = None
        self._end = 0
        """Octets that it takes to know what the flow is, and whether it says the same all along."""
        self._records: hello.Records | None = None
        """Reads the first hello, in a flow that begins like TLS..."""
        self._further: hello.Hellos | None = None
        """...and all others."""
        self._heard = False
        self._hellos = 0
        self._acknowledged = False
        self._packets = 0

    @property
    def octets(self) -> tuple[int, bytes]:
        """The sequence number of the first octet, and all octets that have come in order."""
        return self._stream.first, self._stream.prefix()

    @property
    def answer_at(self) -> int | None:
        """The sequence number at which the responder's answer begins; None where that can't be known."""
        return self._theirs.first if self._theirs else None

    @property
    def size(self) -> int:
        """Octets of memory that it takes beyond those of any, about."""
        return self._stream.size

    @property
    def has_hole(self) -> bool:
        """Whether octets have come that follow others which have not."""
        return self._stream.has_hole

    @property
    def acknowledged(self) -> bool:
        """Whether the responder has all that was read, and goes by it."""
        if not self._acknowledged or self._reading is None or self._reading.kind != "tls":
            return self._acknowledged
        answer = self._theirs.prefix() if self._theirs else b""
        if len(answer) < _ANSWER_OCTETS:
            # An alert is shorter.
            return bool(answer) and answer[0] != hello.HANDSHAKE
        return not hello.is_retry(answer[hello.RECORD_OCTETS :]) or self._hellos == 2

    @property
    def is_answered(self) -> bool:
        """Whether the responder has said anything, wherever in its stream."""
        return self._heard

    def read(self, packet: Packet, *, reply: bool) -> Reading | None:
        """Take ``packet``; return what the flow is by what was sent, None while that is open.

        Args:
            packet: The next of the flow, as they arrive.
            reply: It comes from the responder.

        Raises:
            UnreadableError: The flow can't be read, or not in one way only.
            OutOfTurnError: There is more than is kept before the responder has answered.
        """
        self._packets += 1
        if self._packets > MAX_PACKETS or not packet.whole:
            raise UnreadableError(f"more than {MAX_PACKETS} packets, or one too long for the queue")
        sequence = packet.sequence
        if packet.flags & SYN and not reply:
            # A SYN takes a number itself; what it carries (RFC 7413) begins one behind.
            sequence = (sequence + 1) % 2**32
            if sequence != self._stream.first:
                raise UnreadableError("two beginnings; the server may have taken either")
        if reply:
            self._answered(packet)
            return self._reading
        if packet.flags & URG:
            # RFC 6093, section 3.1: most servers take the last octet out of the stream, some leave it there.
            raise UnreadableError("urgent data; the server may have taken it or not")
        try:
            self._take(sequence, packet)
        except (ConflictError, MalformedHelloError, MalformedRequestError) as e:
            raise UnreadableError(str(e)) from e
        return self._reading

    def _take(self, sequence: int, packet: Packet) -> None:
        payload = packet.payload
        if not payload:
            return
        self._await(packet)
        if self._reading is None:
            known = len(self._stream.prefix())
            self._stream.add(sequence, payload)
            prefix = self._stream.prefix()
            if len(prefix) > known:
                self._reading = self._read(prefix)
                self._end = len(prefix)
            return
        start = (sequence - self._stream.first) % 2**32
        if self._reading.kind != "tls":
            # What follows the name is not kept: an upload may be long. What is in its place must be the same.
            if start < self._end or start >= 2**31:
                self._stream.add(sequence, payload[: (self._end - start) % 2**32])
            return
        if start < 2**31 and start + len(payload) > MAX_OCTETS:
            raise OutOfTurnError("more than is kept before the server has answered")
        known = len(self._stream.prefix())
        self._stream.add(sequence, payload)
        prefix = self._stream.prefix()
        if len(prefix) > known:
            self._read_hellos(self._reading, prefix)

    def _await(self, packet: Packet) -> None:
        """Take note of where the answer will begin: nowhere behind what the initiator acknowledges with what it asks.

        The responder drops what acknowledges octets that it has not sent (RFC 9293, section 3.10.7.4), so that the lowest
        number is the one with which it took the octets.
        """
        if packet.flags & SYN:
            self._early = True
        elif packet.flags & ACK and not self._early:
            begin = packet.acknowledged
            if self._theirs is None or (begin - self._theirs.first) % 2**32 >= 2**31:
                self._theirs = Stream(begin)

    def _read(self, prefix: bytes) -> Reading | None:
        if not prefix:
            return None
        if prefix[0] == hello.HANDSHAKE:
            self._records = self._records or hello.Records()
            found = self._records.read(prefix)
            if found is None:
                return None
            self._records = None
            reading = Reading("tls", found.name, signatures.of_hello(found, self._port))
            if len(prefix) == hello.RECORD_OCTETS + int.from_bytes(prefix[3:5]):
                self._hellos = 1  # alone in its record, as nearly always
                self._further = hello.Hellos(len(prefix))
            else:
                self._read_hellos(reading, prefix)
            return reading
        if (request := http.is_request(prefix)) is not False:
            name = http.host(prefix) if request else Absence.INCOMPLETE
            if name is Absence.INCOMPLETE:
                return None
            if _FOR_A_PROXY.match(prefix):
                protocol = "http-proxy"
            else:
                protocol = signatures.of_stream(prefix, b"", self._port) or ""
            return Reading("http", "" if name is Absence.ABSENT else name, protocol)
        return self._by_signature(prefix)

    def _read_hellos(self, reading: Reading, prefix: bytes) -> None:
        self._further = self._further or hello.Hellos()
        names = self._further.read(prefix)
        if any(name != reading.name for name in names):
            raise UnreadableError("a second hello with another name")
        if names:
            self._hellos += len(names)
            self._end = len(prefix)
            self._acknowledged = False

    def _by_signature(self, prefix: bytes, *, last: bool = False) -> Reading | None:
        protocol = signatures.of_stream(prefix, self._answer, self._port)
        if protocol is None and not last and len(prefix) < MAX_SIGNATURE_OCTETS:
            return None
        return Reading("tcp", "", protocol) if protocol else NAMELESS

    def _answered(self, packet: Packet) -> None:
        if packet.flags & (ACK | RST) == ACK:
            before = (self._stream.first - packet.acknowledged) % 2**32
            if 0 < before < 2**31:
                # It answers a SYN of before: what was sent there, nobody has read.
                raise UnreadableError("a responder that began before the first octet")
        if self._reading is not None:
            behind = (packet.acknowledged - self._stream.first - self._end) % 2**32
            # A reset acknowledges what it refuses: RFC 9293, section 3.10.7.1.
            if packet.flags & (ACK | RST) == ACK and behind < 2**31:
                self._acknowledged = True
            if packet.payload:
                self._heard = True
                # After octets in the SYN: then what comes first is where the answer begins.
                self._theirs = self._theirs or Stream(packet.sequence)
                self._hear(self._theirs, packet)
            return
        if not packet.payload:
            return
        self._answer = (self._answer + packet.payload)[:MAX_SIGNATURE_OCTETS]
        prefix = self._stream.prefix()
        if self._stream.is_empty():
            # The server speaks first (SSH, SMTP): neither TLS nor HTTP.
            last = len(self._answer) == MAX_SIGNATURE_OCTETS
            self._reading = self._by_signature(b"", last=last)
        elif not prefix or prefix[0] == hello.HANDSHAKE or http.is_request(prefix) is not False:
            # Nobody answers a hello or a head before its end: this one will never be complete.
            raise UnreadableError("answered before it was complete")
        else:
            self._reading = self._by_signature(prefix, last=True)
            self._end = len(prefix)
        # It reads what it has answered, and what was sent before it spoke.
        self._acknowledged = self._reading is not None

    def _hear(self, theirs: Stream, packet: Packet) -> None:
        start = (packet.sequence - theirs.first) % 2**32
        if start < _ANSWER_OCTETS:
            try:
                theirs.add(packet.sequence, packet.payload[: _ANSWER_OCTETS - start])
            except ConflictError as e:
                raise UnreadableError(str(e)) from e
