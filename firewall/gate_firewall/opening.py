"""A TCP flow from its SYN until its name is known."""

from __future__ import annotations

from typing import Final, NamedTuple

from gate_firewall import hello, http
from gate_firewall.hello import MalformedHelloError
from gate_firewall.host import Absence
from gate_firewall.http import MalformedRequestError
from gate_firewall.packet import SYN, Packet
from gate_firewall.stream import ConflictError, Stream

MAX_PACKETS: Final = 4096
"""Packets read before a flow counts as unreadable: a flow can't stay undecided. A post-quantum hello of one octet a
segment fits."""


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
    """Reads the direction of the initiator, in order; the other one only for whether it speaks."""

    __slots__ = ("_packets", "_stream", "mac")

    def __init__(self, first: int, mac: str | None) -> None:
        self.mac = mac
        """The client's."""
        self._stream = Stream(first)
        self._packets = 0

    def read(self, packet: Packet, *, reply: bool) -> Reading | None:
        """Take ``packet``; return what the flow is, None while that is open.

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
        if not packet.payload:
            return None
        if reply:
            return self._answered()
        try:
            self._stream.add(sequence, packet.payload)
            return _reading(self._stream.prefix())
        except (ConflictError, MalformedHelloError, MalformedRequestError) as e:
            raise UnreadableError(str(e)) from e

    def _answered(self) -> Reading:
        if self._stream.is_empty():
            # The server speaks first (SSH, SMTP): neither TLS nor HTTP.
            return NAMELESS
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
