"""An HTTP connection behind its first request: each further request is read before the responder has all of it.

The octets that the responder has not acknowledged are kept, so that nothing else can take their place.
"""

from __future__ import annotations

import re
from typing import Final

from gate_firewall.http import MalformedRequestError, Requests
from gate_firewall.opening import OutOfTurnError, UnreadableError
from gate_firewall.packet import ACK, RST, SYN, URG, Packet

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3}) ")

MAX_UNACKNOWLEDGED: Final = 1 << 20
"""Octets kept of one connection: what a sender may have under way with the windows that are usual."""


class Watched:
    """The direction of the initiator, from its first octet on; all its requests are for one host, as those of browsers are."""

    __slots__ = (
        "_answer_at",
        "_kept",
        "_name",
        "_next",
        "_read",
        "_requests",
        "from_router",
        "mac",
    )

    def __init__(
        self,
        first: int,
        name: str,
        mac: str | None,
        *,
        from_router: bool,
        answer_at: int | None = None,
    ) -> None:
        """Begin a connection.

        Args:
            first: Sequence number of the first octet.
            name: The host of the first request.
            mac: The client's.
            from_router: The side of the initiator.
            answer_at: Sequence number at which the answer to the first request begins; None where that can't be known.
        """
        self._answer_at = answer_at
        """Where the answer begins to a request that waits for one: what a page quotes further on is none."""
        self._name = name
        self.mac = mac
        self.from_router = from_router
        self._requests = Requests()
        self._kept = bytearray()
        """What the responder has not acknowledged..."""
        self._next = first
        """...and the sequence number behind it."""
        self._read = 0
        """Octets from the first one to there."""

    @property
    def size(self) -> int:
        """Octets that are kept."""
        return len(self._kept) + self._requests.size

    @property
    def settled(self) -> bool:
        """Whether the responder has acknowledged all that was read, and said whether it wants the rest of a request."""
        return not self._kept and not self._requests.expecting

    @property
    def name(self) -> str:
        """The host of all requests."""
        return self._name

    @property
    def switched(self) -> bool:
        """Whether what follows is WebSocket, which the responder has agreed to."""
        return self._requests.switched and not self._kept

    def sent(self, sequence: int, octets: bytes, *, full: bool = False) -> None:
        """Take ``octets`` of the initiator.

        Args:
            sequence: Number of the first.
            octets: What follows.
            full: Nothing more is to be kept, only what is kept already may come again.

        Raises:
            OutOfTurnError: There is a hole before them, or too much is not acknowledged.
            UnreadableError: They contradict earlier ones, lie before the first one, are no requests that can be read in one way
                only, or are for another host.
        """
        ahead = (sequence - self._next) % 2**32
        if ahead < 2**31:
            if ahead and octets:
                raise OutOfTurnError(f"{ahead} octets are missing before these")
        else:
            behind = 2**32 - ahead
            # As in ``stream``: but for a keep-alive, whoever sends what lies before says that the responder began elsewhere.
            if behind > self._read and octets and (behind > self._read + 1 or len(octets) > 1):
                raise UnreadableError("octets before the first one")
            # What the responder has acknowledged it does not look at again.
            begin = max(0, len(self._kept) - behind)
            again = octets[max(0, behind - len(self._kept)) : behind]
            if self._kept[begin : begin + len(again)] != again:
                raise UnreadableError("octets that differ from earlier ones")
            octets = octets[behind:]
        if not octets:
            return
        if self._requests.expecting:
            raise OutOfTurnError("a body that did not wait for its answer")
        if full or len(self._kept) + len(octets) > MAX_UNACKNOWLEDGED:
            raise OutOfTurnError("too much is not acknowledged")
        try:
            hosts = self._requests.feed(octets)
        except MalformedRequestError as e:
            raise UnreadableError(str(e)) from e
        if any(host != self._name for host in hosts):
            raise UnreadableError("a request for another host in the same connection")
        self._kept += octets
        self._next = (self._next + len(octets)) % 2**32
        self._read += len(octets)

    def take(self, packet: Packet, *, reply: bool, full: bool = False) -> None:
        """Take a packet of either direction; as ``sent``, and with the same errors."""
        if reply:
            # A reset acknowledges what it refuses: RFC 9293, section 3.10.7.1.
            if packet.flags & (ACK | RST) == ACK:
                left = (self._next - packet.acknowledged) % 2**32
                # One more is the end of what the initiator sends.
                if 2**31 <= left < 2**32 - 1:
                    raise UnreadableError("an acknowledgement of octets that nobody has read")
                if self._read < left < 2**31:
                    raise UnreadableError("a responder that began before the first octet")
                if left <= len(self._kept):
                    del self._kept[: len(self._kept) - left]
            if (
                self._requests.expecting
                and packet.sequence == self._answer_at
                and (status := _STATUS.match(packet.payload))
            ):
                self._requests.answered(int(status[1]))
            return
        if packet.flags & (URG | SYN) or not packet.whole:
            raise UnreadableError(
                "urgent data, a second beginning, or a packet too long for the queue"
            )
        waited = self._requests.expecting
        self.sent(packet.sequence, packet.payload, full=full)
        if self._requests.expecting and packet.payload and packet.flags & ACK:
            # The responder drops what acknowledges octets that it has not sent, so that the lowest number is the right one.
            begin = packet.acknowledged
            at = self._answer_at
            if not waited or at is None or (begin - at) % 2**32 >= 2**31:
                self._answer_at = begin
