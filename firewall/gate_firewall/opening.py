"""A TCP flow from its SYN until its name is known, and until the responder has acknowledged it.

What a responder discards (an old timestamp, an option it does not take, a second SYN) can't be told from what it reads, so
that its acknowledgement alone says which octets it has; before that, any others in their place make the flow unreadable.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gate_firewall import hello, http
from gate_firewall.hello import MalformedHelloError
from gate_firewall.host import Absence
from gate_firewall.http import MalformedRequestError
from gate_firewall.packet import ACK, RST, SYN, URG, Packet
from gate_firewall.stream import ConflictError, Stream

MAX_PACKETS: Final = 4096
"""Packets read, and compared while nothing is acknowledged, before a flow counts as unreadable: it
can't stay undecided. A post-quantum hello of one octet a segment fits."""


class UnreadableError(ValueError):
    """A flow that is malformed, contradicts itself, or is longer than is ever read."""


class Reading(NamedTuple):
    """What a flow turned out to be."""

    kind: str
    """``tls``, ``http`` or, for all else, ``tcp``."""
    name: str
    """Canonical; "" where it has none."""


NAMELESS: Final = Reading("tcp", "")
"""Neither TLS nor HTTP."""


class Opening:
    """Reads the direction of the initiator, in order; the other one for whether it speaks and what it acknowledges."""

    __slots__ = ("_end", "_packets", "_reading", "_stream", "acknowledged", "from_router", "mac")

    def __init__(self, first: int, mac: str | None, *, from_router: bool = False) -> None:
        self.mac = mac
        """The client's."""
        self.from_router = from_router
        """The side of the initiator."""
        self.acknowledged = False
        """Whether the responder has all that was read."""
        self._stream = Stream(first)
        self._reading: Reading | None = None
        self._end = first
        """Sequence number behind what was read."""
        self._packets = 0

    def read(self, packet: Packet, *, reply: bool) -> Reading | None:
        """Take ``packet``; return what the flow is by what was sent, None while that is open.

        Args:
            packet: The next of the flow, as they arrive.
            reply: It comes from the responder.

        Raises:
            UnreadableError: The flow can't be read, or not in one way only.
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
            self._take(sequence, packet.payload)
        except (ConflictError, MalformedHelloError, MalformedRequestError) as e:
            raise UnreadableError(str(e)) from e
        return self._reading

    def _take(self, sequence: int, payload: bytes) -> None:
        if not payload:
            return
        if self._reading is None:
            self._stream.add(sequence, payload)
            prefix = self._stream.prefix()
            self._reading = _reading(prefix)
            self._end = (self._stream.first + len(prefix)) % 2**32
            return
        # What follows the name is not kept: an upload may be long. What is in its place must be the same.
        room = (self._end - sequence) % 2**32
        if room < 2**31:
            self._stream.add(sequence, payload[:room])

    def _answered(self, packet: Packet) -> None:
        if self._reading is not None:
            behind = (packet.acknowledged - self._end) % 2**32
            # A reset acknowledges what it refuses: RFC 9293, section 3.10.7.1.
            if packet.flags & (ACK | RST) == ACK and behind < 2**31:
                self.acknowledged = True
        elif not packet.payload:
            return
        elif self._stream.is_empty():
            # The server speaks first (SSH, SMTP): neither TLS nor HTTP.
            self._reading = NAMELESS
            self.acknowledged = True
        else:
            # Nobody answers a hello or a head before its end: this one will never be complete.
            raise UnreadableError("answered before it was complete")


def _reading(prefix: bytes) -> Reading | None:
    name: str | Absence
    if not prefix:
        return None
    if prefix[0] == hello.HANDSHAKE:
        kind, name = "tls", hello.server_name(prefix)
    elif (request := http.is_request(prefix)) is not False:
        kind, name = "http", http.host(prefix) if request else Absence.INCOMPLETE
    else:
        return NAMELESS
    if name is Absence.INCOMPLETE:
        return None
    return Reading(kind, "" if name is Absence.ABSENT else name)
