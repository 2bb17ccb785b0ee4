"""What flows have cost: the kernel tells of each flow that it forgets, with its packets and octets each way.

The rule: packets wait for none of it. A bounded number is read at a time, and what the kernel had no room for is counted
as lost, never asked for again.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from errno import ENOBUFS
from typing import Final, NamedTuple

BATCH: Final = 32
"""Ends read in one go, before packets have their turn: a fraction of a millisecond."""

BUFFER_OCTETS: Final = 8 << 20
"""The kernel forgets flows in bursts, whole parts of its table at a time: 13,000 ends can wait here (Linux 6.18)."""

_READ_OCTETS: Final = 8192
"""Longest message, by far: ctnetlink_nlmsg_size() in net/netfilter/nf_conntrack_netlink.c adds up to some hundreds."""

# linux/netfilter/nfnetlink.h, nfnetlink_compat.h, nfnetlink_conntrack.h.
_NETLINK_NETFILTER: Final = 12
_GROUP_DESTROY: Final = 1 << 2
_SO_RCVBUFFORCE: Final = 33
_CT_DELETE: Final = 1 << 8 | 2

_MESSAGE: Final = struct.Struct("=IHHIIBBH")
"""struct nlmsghdr (length, type, flags, sequence number, port), struct nfgenmsg (family, version, resource)."""
_ATTRIBUTE: Final = struct.Struct("=HH").unpack_from
"""struct nlattr: length with these 4 octets, type."""
_KIND: Final = 0x3FFF
"""Without the flags for nesting and byte order."""

_CTA_TUPLE_ORIG: Final = 1
_CTA_MARK: Final = 8
_CTA_COUNTERS_ORIG: Final = 9
_CTA_COUNTERS_REPLY: Final = 10
_CTA_TUPLE_IP: Final = 1
_CTA_TUPLE_PROTO: Final = 2
_CTA_IP_V4: Final = (1, 2)
_CTA_IP_V6: Final = (3, 4)
_CTA_PROTO_NUM: Final = 1
_CTA_PROTO_PORTS: Final = (2, 3)
_CTA_COUNTERS: Final = (1, 2)

_V4_OCTETS: Final = 4
_V6_OCTETS: Final = 16


class MalformedEndError(ValueError):
    """Octets that do not tell of the end of a flow."""


class Carried(NamedTuple):
    """What went one way; nothing where the kernel did not count (net.netfilter.nf_conntrack_acct)."""

    packets: int
    octets: int
    """From the IP headers on."""


class End(NamedTuple):
    """A flow that is over, or that the kernel has forgotten."""

    protocol: int
    """Of IP."""
    initiator: bytes
    """4 octets or 16, as the family has it."""
    initiator_port: int
    """0 where the protocol has none."""
    responder: bytes
    """Whom the initiator meant, also where its packets were redirected."""
    responder_port: int
    sent: Carried
    """By the initiator."""
    received: Carried
    mark: int
    """The conntrack mark (``marks``)."""


def parse_end(message: bytes) -> End:
    """Return the flow that a message of the kernel's tells the end of.

    Args:
        message: A netlink message IPCTNL_MSG_CT_DELETE from its header on, alone.

    Raises:
        MalformedEndError: It is none, or an attribute is cut short or of another size.
    """
    if len(message) < _MESSAGE.size:
        raise _malformed(message)
    length, kind, _, _, _, family, _, _ = _MESSAGE.unpack_from(message)
    if kind != _CT_DELETE or length != len(message):
        raise _malformed(message)
    try:
        found = _attributes(message[_MESSAGE.size :])
        flow = _attributes(found[_CTA_TUPLE_ORIG])
        ip, protocol = _attributes(flow[_CTA_TUPLE_IP]), _attributes(flow[_CTA_TUPLE_PROTO])
        source, destination = _CTA_IP_V4 if family == socket.AF_INET else _CTA_IP_V6
        source_port, destination_port = _CTA_PROTO_PORTS
        end = End(
            protocol[_CTA_PROTO_NUM][0],
            ip[source],
            int.from_bytes(protocol.get(source_port, b"")),
            ip[destination],
            int.from_bytes(protocol.get(destination_port, b"")),
            _carried(found.get(_CTA_COUNTERS_ORIG, b"")),
            _carried(found.get(_CTA_COUNTERS_REPLY, b"")),
            int.from_bytes(found.get(_CTA_MARK, b"")),
        )
    except (KeyError, ValueError, IndexError, struct.error):
        raise _malformed(message) from None
    octets = _V4_OCTETS if family == socket.AF_INET else _V6_OCTETS
    if len(end.initiator) != octets or len(end.responder) != octets:
        raise _malformed(message)
    return end


def _attributes(octets: bytes) -> dict[int, bytes]:
    """Return the value of each attribute by its kind; of two alike the last.

    Raises:
        ValueError, struct.error: One is cut short.
    """
    found = {}
    at, end = 0, len(octets)
    while at < end:
        length, kind = _ATTRIBUTE(octets, at)
        if not 4 <= length <= end - at:
            raise ValueError("an attribute that is longer than what holds it")
        found[kind & _KIND] = octets[at + 4 : at + length]
        at += length + 3 & ~3
    return found


def _carried(octets: bytes) -> Carried:
    packets, count = _CTA_COUNTERS
    counters = _attributes(octets)
    return Carried(
        int.from_bytes(counters.get(packets, b"")), int.from_bytes(counters.get(count, b""))
    )


def _malformed(message: bytes) -> MalformedEndError:
    return MalformedEndError(f"parsing {len(message)} octets: {message[:32].hex()}")


class EndSocket:
    """Where the kernel tells of the ends of flows, of those that began while ``nf_conntrack_events`` was 1."""

    def __init__(self, take: Callable[[End], None], buffer_octets: int = BUFFER_OCTETS) -> None:
        """Begin to listen.

        Args:
            take: Called by ``serve`` with each end; does not raise.
            buffer_octets: What the kernel keeps of ends that wait; it counts more for each than the message has.

        Raises:
            OSError: The right to it is missing.
        """
        self._take = take
        self._counts: Counter[str] = Counter(ends=0, malformed=0, overruns=0)
        # Only the kernel can send to it: a process that is none of root's has no right to, nor to join the group.
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER
        )
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_octets)
            # In a user namespace of its own it has no right to more than net.core.rmem_max.
            with suppress(PermissionError):
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_octets)
            self._socket.bind((0, _GROUP_DESTROY))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor that turns readable when a flow has ended."""
        return self._socket.fileno()

    def serve(self) -> None:
        """Take what has come, at most ``BATCH`` ends; never waits."""
        for _ in range(BATCH):
            try:
                message = self._socket.recv(_READ_OCTETS)
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno != ENOBUFS:
                    raise
                # The kernel had no room for one end or many: it says so once, and goes on telling.
                self._counts["overruns"] += 1
                continue
            try:
                end = parse_end(message)
            except MalformedEndError:
                self._counts["malformed"] += 1
                continue
            self._counts["ends"] += 1
            self._take(end)

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return how many ends were told of, how many were unreadable, and how often some were lost (``Counters``)."""
        return {"conntrack": dict(self._counts)}

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
