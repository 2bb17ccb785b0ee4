"""The batch loop: a UDP socket read and written up to 64 datagrams a call, kept answers in between.

It knows octets and the cache, no policy: what it can't answer goes to ``miss``, one message at a time.

A socket may be bound to one address or to all of them. The kernel gives the address each query came to as a control
message (IP_PKTINFO, IPV6_PKTINFO), and the same control message, sent back as it is, makes it the source of the answer.
That costs nothing for each query, and unlike a socket for each address it follows addresses that come and go.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Mapping
from typing import Any, Final

from cffi import FFI

from gate_dns.askers import Asker
from gate_dns.journal import Seen, Tally
from gate_dns.sinkhole import Reply, Take
from gate_dns.wire import MAX_UDP_OCTETS

BATCH: Final = 64
"""Datagrams a call: beyond it the cost of a call is no longer felt, and each batch delays a new policy."""
QUERY_OCTETS: Final = 4096
"""Longest query read: no honest one has more than some hundred octets; a longer one arrives cut short."""
RECEIVE_BUFFER_OCTETS: Final = 4 << 20
"""Asked of the kernel, which gives what net.core.rmem_max allows."""

# Linux, <linux/in6.h>: missing in Python's socket module for IPv4 before 3.14, and so given for both.
_IP_PKTINFO: Final = 8
_CONTROL_OCTETS: Final = {
    socket.AF_INET: socket.CMSG_SPACE(12),
    socket.AF_INET6: socket.CMSG_SPACE(20),
}
"""Of struct in_pktinfo and struct in6_pktinfo. Exactly, as the kernel then leaves the length of the buffer as it was."""
_SIZE_OCTETS: Final = struct.calcsize("N")
"""Of size_t, the length at the head of a control message."""
_NAME_OCTETS: Final = {socket.AF_INET: 16, socket.AF_INET6: 28}
"""Of struct sockaddr_in and struct sockaddr_in6."""
_ADDRESS: Final = {socket.AF_INET: slice(4, 8), socket.AF_INET6: slice(8, 24)}
"""Where they hold the address."""


def open_socket(address: str, port: int, family: socket.AddressFamily) -> socket.socket:
    """Return a UDP socket that shares its port with the other workers' and knows where each query came to."""
    opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_OCTETS)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        opened.bind((address, port))
    except OSError as e:
        opened.close()
        raise OSError(e.errno, f"{e.strerror}: listening on {address} port {port}") from e
    return opened


class DatagramBatch:
    """One UDP socket with the buffers of its batches."""

    def __init__(self, bound: socket.socket, miss: Take) -> None:
        self._socket = bound
        self._descriptor = bound.fileno()
        self._miss = miss
        self.unsent = 0
        """Answers that the kernel did not take."""
        family = socket.AddressFamily(bound.family)
        name_octets, control_octets = _NAME_OCTETS[family], _CONTROL_OCTETS[family]
        ffi = FFI()
        ffi.cdef(
            """
            struct iovec { void *iov_base; size_t iov_len; };
            struct msghdr { void *msg_name; unsigned int msg_namelen; struct iovec *msg_iov; size_t msg_iovlen;
                            void *msg_control; size_t msg_controllen; int msg_flags; };
            struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
            int recvmmsg(int fd, struct mmsghdr *vector, unsigned int count, int flags, void *timeout);
            int sendmmsg(int fd, struct mmsghdr *vector, unsigned int count, int flags);
            """
        )
        # dlopen(None) is the C library of this process: no compiler is needed where the appliance is installed.
        library: Any = ffi.dlopen(None)
        self._ffi: Any = ffi
        self._receive = library.recvmmsg
        self._send = library.sendmmsg
        queries = ffi.new("char[]", BATCH * QUERY_OCTETS)
        answers = ffi.new("char[]", BATCH * MAX_UDP_OCTETS)
        names = ffi.new("char[]", BATCH * name_octets)
        controls = ffi.new("char[]", BATCH * control_octets)
        self._queries = memoryview(ffi.buffer(queries))
        self._answers = memoryview(ffi.buffer(answers))
        self._names = memoryview(ffi.buffer(names))
        self._controls = memoryview(ffi.buffer(controls))
        self._received: Any = ffi.new("struct mmsghdr[]", BATCH)
        self._sent: Any = ffi.new("struct mmsghdr[]", BATCH)
        received_parts = ffi.new("struct iovec[]", BATCH)
        sent_parts = ffi.new("struct iovec[]", BATCH)
        for place in range(BATCH):
            received_parts[place].iov_base = queries + place * QUERY_OCTETS
            received_parts[place].iov_len = QUERY_OCTETS
            sent_parts[place].iov_base = answers + place * MAX_UDP_OCTETS
            for vector, part in ((self._received, received_parts), (self._sent, sent_parts)):
                # Both share name and control message: an answer goes back the way its query came.
                header = vector[place].msg_hdr
                header.msg_name = names + place * name_octets
                header.msg_namelen = name_octets
                header.msg_control = controls + place * control_octets
                header.msg_controllen = control_octets
                header.msg_iov = part + place
                header.msg_iovlen = 1
        # cffi frees what nothing refers to, and a pointer to it is no reference.
        self._kept = (queries, answers, names, controls, received_parts, sent_parts)
        # What is looked up once need not be looked up for each query.
        self._slots = tuple(
            (
                place * QUERY_OCTETS,
                place * MAX_UDP_OCTETS,
                slice(
                    place * name_octets + _ADDRESS[family].start,
                    place * name_octets + _ADDRESS[family].stop,
                ),
                self._received[place],
                sent_parts[place],
            )
            for place in range(BATCH)
        )

    def answer(self, askers: Mapping[bytes, Asker], tally: Tally, now: float) -> None:
        """Answer one batch of what has come.

        Args:
            askers: Who is known, by address.
            tally: Takes each query answered here.
            now: Monotonic time in seconds.
        """
        count = self._receive(
            self._descriptor, self._received, BATCH, socket.MSG_DONTWAIT, self._ffi.NULL
        )
        # -1 is mostly "nothing there"; ICMP faults of earlier answers are reported here too, and concern nobody.
        queries, answers, names = self._queries, self._answers, self._names
        first = 0
        for place, (begin, out, address, received, part) in enumerate(self._slots[: max(count, 0)]):
            message = bytes(queries[begin : begin + received.msg_len])
            source = bytes(names[address])
            asker = askers.get(source)
            if asker is not None:
                entry = asker.answers.get(message[2:].lower())
                # The rest of the message is compared as it is: see Query.key.
                if (
                    entry is not None
                    and message.endswith(entry.rest)
                    and (entry.fresh_until > now or entry.refresh(now))
                ):
                    answer = (
                        message[:2] + entry.head + message[12 : entry.question_end] + entry.tail
                    )
                    length = len(answer)
                    answers[out : out + length] = answer
                    part.iov_len = length
                    pair = (asker, entry.note)
                    seen = tally.get(pair)
                    if seen is None:
                        tally[pair] = Seen(now)
                    else:
                        seen.count += 1
                    continue
            # Answers before it leave first: the slot of a miss has none.
            self._send_run(first, place)
            first = place + 1
            self._miss(message, source, self._way_back(place))
        self._send_run(first, max(count, 0))

    def _send_run(self, first: int, end: int) -> None:
        while first < end:
            sent = self._send(
                self._descriptor, self._sent + first, end - first, socket.MSG_DONTWAIT
            )
            if sent < 0:
                # The first of them can't be sent (no route back, a forged source, buffer full): the others can.
                self.unsent += 1
                sent = 1
            first += sent

    def _way_back(self, place: int) -> Reply:
        """Return the way back to whoever sent the query in that slot; the slot may be used again before it is taken."""
        v4 = self._socket.family == socket.AF_INET
        name_octets = _NAME_OCTETS[self._socket.family]
        name = bytes(self._names[place * name_octets :][:name_octets])
        port = int.from_bytes(name[2:4], "big")
        to: tuple[str, int] | tuple[str, int, int, int]
        if v4:
            to = (socket.inet_ntop(socket.AF_INET, name[4:8]), port)
            level, kind = socket.IPPROTO_IP, _IP_PKTINFO
        else:
            scope = int.from_bytes(name[24:28], sys.byteorder)
            to = (socket.inet_ntop(socket.AF_INET6, name[8:24]), port, 0, scope)
            level, kind = socket.IPPROTO_IPV6, socket.IPV6_PKTINFO
        control_octets = _CONTROL_OCTETS[self._socket.family]
        control = bytes(self._controls[place * control_octets :][:control_octets])
        packet_info = control[
            socket.CMSG_LEN(0) : int.from_bytes(control[:_SIZE_OCTETS], sys.byteorder)
        ]

        def reply(response: bytes | None) -> None:
            if response is not None:
                try:
                    self._socket.sendmsg([response], [(level, kind, packet_info)], 0, to)
                except OSError:
                    self.unsent += 1

        return reply
