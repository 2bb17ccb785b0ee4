"""The batch loop: a UDP socket read and written up to 64 datagrams a call, kept answers in between.

It knows octets and the cache, no policy: what it can't answer goes to ``miss``, one message at a time.

A socket may be bound to one address or to all of them. In the second case the kernel gives the address each query came to
as a control message (IP_PKTINFO, IPV6_PKTINFO), and the same control message, sent back as it is, makes it the source of
the answer: unlike a socket for each address, that follows addresses that come and go.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from array import array
from collections.abc import Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Final

from gate_dns.askers import Asker
from gate_dns.cache import Entry
from gate_dns.journal import Hits
from gate_dns.messages.wire import HEADER_OCTETS, MAX_UDP_OCTETS
from gate_dns.mmsg import BATCH, HEAD_OCTETS, Vector
from gate_dns.sinkhole import Reply, Take
from gate_dns.tap import Tap

QUERY_OCTETS: Final = 4096
"""Longest query read: no honest one has more than some hundred octets; a longer one arrives cut short."""
BUFFER_OCTETS: Final = 4 << 20
"""Asked of the kernel, each way. It gives what net.core.rmem_max and wmem_max allow, and all of it to who may administer the
network: answers to forged addresses wait in it while the kernel asks who has them."""

# Linux, <asm-generic/socket.h>: missing in Python's socket module.
_SNDBUFFORCE: Final = 32
_RCVBUFFORCE: Final = 33
# Linux, <linux/in6.h>: missing in Python's socket module for IPv4 before 3.14, and so given for both.
_IP_PKTINFO: Final = 8
_CONTROL_OCTETS: Final = {
    socket.AF_INET: socket.CMSG_SPACE(12),
    socket.AF_INET6: socket.CMSG_SPACE(20),
}
"""Of struct in_pktinfo and struct in6_pktinfo. Exactly, as the kernel then leaves the length of the buffer as it was."""
_SOURCES: Final = {
    socket.AF_INET: "4x4s8x",
    socket.AF_INET6: "8x16s4x",
}
"""struct sockaddr_in and struct sockaddr_in6, and where they hold the address."""

_QUESTION_AT: Final = HEADER_OCTETS - HEAD_OCTETS
"""Where the question begins behind the ID."""


def open_socket(address: str, port: int, family: socket.AddressFamily) -> socket.socket:
    """Return a UDP socket that shares its port with the other workers' and knows where each query came to."""
    opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for plain, forced in ((socket.SO_RCVBUF, _RCVBUFFORCE), (socket.SO_SNDBUF, _SNDBUFFORCE)):
            opened.setsockopt(socket.SOL_SOCKET, plain, BUFFER_OCTETS)
            with contextlib.suppress(PermissionError):
                opened.setsockopt(socket.SOL_SOCKET, forced, BUFFER_OCTETS)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if _is_any(address) and family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif _is_any(address):
            opened.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        opened.bind((address, port))
    except OSError as e:
        opened.close()
        raise OSError(e.errno, f"{e.strerror}: listening on {address} port {port}") from e
    return opened


def _is_any(address: str) -> bool:
    return ip_address(address).is_unspecified


class DatagramBatch:
    """One UDP socket with the buffers of its batches."""

    def __init__(self, bound: socket.socket, miss: Take, tap: Tap | None = None) -> None:
        """Answer what comes to ``bound``.

        Args:
            bound: As ``open_socket`` makes it.
            miss: Takes the messages that are not answered here.
            tap: Gets a copy of those that are.
        """
        self._descriptor = bound.fileno()
        self._miss = miss
        self._tap = tap
        self.unsent = 0
        """Answers that the kernel did not take."""
        family = socket.AddressFamily(bound.family)
        control_octets = _CONTROL_OCTETS[family] if _is_any(bound.getsockname()[0]) else 0
        sizes = (struct.calcsize(_SOURCES[family]), control_octets)
        self._addresses = [struct.Struct(_SOURCES[family] * count) for count in range(BATCH + 1)]
        self._received = Vector(QUERY_OCTETS, *sizes)
        # An answer at once goes back the way its query came: by the name and control message of its slot.
        self._at_once = Vector(MAX_UDP_OCTETS, *sizes)
        self._names = array("Q", self._received.name_pointers.tolist())
        self._controls = array("Q", self._received.control_pointers.tolist())
        self._at_once.name_pointers[:] = self._names
        self._at_once.control_pointers[:] = self._controls
        self._in_order = True
        """Whether the answers' slots are still those of the queries."""
        self._later = Vector(MAX_UDP_OCTETS, *sizes)
        self.waiting: list[tuple[bytes, bytes, bytes]] = []
        """Answers of misses: name, control message, octets; always the same list."""

    def answer(  # noqa: C901, PLR0912  # every query comes by here: what nearly all of them need is written out
        self, askers: Mapping[bytes, Asker], hits: Hits, now: float
    ) -> Sequence[bytes]:
        """Answer one batch of what has come.

        Args:
            askers: Who is known, by address.
            hits: Takes each query answered here.
            now: Monotonic time in seconds.

        Returns:
            The address that each datagram came from.
        """
        received = self._received
        try:
            ids, tails = received.receive_apart(self._descriptor)
        except OSError:
            # Mostly "nothing there"; ICMP faults of earlier answers are told here too, and concern nobody.
            return ()
        sources: Sequence[bytes] = self._addresses[len(tails)].unpack_from(received.names)
        texts: list[bytes] = []
        answered: list[Entry] = []
        missed: list[int] = []
        before = b""
        asker: Asker | None = None
        served: list[Entry] | None = None
        for place, (source, message_id, tail) in enumerate(zip(sources, ids, tails, strict=True)):
            # What comes together is mostly of one device.
            if source != before:
                before, asker, served = source, askers.get(source), None
            if asker is None:
                missed.append(place)
                continue
            entry = asker.exact.get(tail)
            if entry is not None and (entry.fresh_until > now or entry.refresh(now)):
                texts.append(message_id + entry.response)
            else:
                key = tail.lower()
                entry = asker.folded.get(key)
                # The rest of the message is compared as it is: see Query.key.
                if entry is None or not tail.endswith(entry.rest):
                    entry = asker.exact.get(key)
                if (
                    entry is None
                    or not tail.endswith(entry.rest)
                    or (entry.fresh_until <= now and not entry.refresh(now))
                ):
                    missed.append(place)
                    continue
                question = tail[_QUESTION_AT : entry.question_end - HEAD_OCTETS]
                texts.append(entry.answer(message_id, question))
            answered.append(entry)
            if served is None:
                served = hits[asker]
            served.append(entry)
        if texts:
            places: Sequence[int] = range(len(tails))
            if missed:
                places = sorted(set(places).difference(missed))
            self._send_at_once(texts, places)
            if self._tap is not None:
                for place, entry, text in zip(places, answered, texts, strict=True):
                    message = ids[place] + tails[place]
                    self._tap.put(message, sources[place], text, now, entry.note.decision)
        for place, reply in zip(missed, self._ways_back(missed), strict=True):
            self._miss(ids[place] + tails[place], sources[place], reply)
        if self.waiting:
            self.flush()
        return sources

    def _ways_back(self, places: Sequence[int]) -> list[Reply]:
        """Return the way back to whoever sent what lies in each of ``places``, which may be used again before there is an answer."""
        if not places:
            return []
        received = self._received
        n, c = received.name_octets, received.control_octets
        names = received.names[: (places[-1] + 1) * n].tobytes()
        controls = received.controls[: (places[-1] + 1) * c].tobytes()
        return [
            partial(self._answer_later, names[p * n : p * n + n], controls[p * c : p * c + c])
            for p in places
        ]

    def _send_at_once(self, texts: list[bytes], places: Sequence[int]) -> None:
        vector = self._at_once
        count = len(texts)
        if places[-1] != count - 1:
            vector.name_pointers[:count] = array("Q", [self._names[p] for p in places])
            vector.control_pointers[:count] = array("Q", [self._controls[p] for p in places])
            self._in_order = False
        elif not self._in_order:
            vector.name_pointers[:] = self._names
            vector.control_pointers[:] = self._controls
            self._in_order = True
        self._send(vector, texts)

    def _send(self, vector: Vector, texts: Sequence[bytes]) -> None:
        vector.put(texts)
        # No route back, a forged source, buffer full.
        self.unsent += sum(1 for _ in vector.send(self._descriptor, len(texts)))

    def _answer_later(self, name: bytes, control: bytes, response: bytes | None) -> None:
        if response is not None:
            self.waiting.append((name, control, response))

    def flush(self) -> None:
        """Send the answers of misses that have come in."""
        vector = self._later
        while self.waiting:
            some = [each for each in self.waiting[:BATCH] if len(each[2]) <= MAX_UDP_OCTETS]
            # There are none longer, short of a fault of ours, which is not to end the worker.
            self.unsent += min(BATCH, len(self.waiting)) - len(some)
            del self.waiting[:BATCH]
            if not some:
                continue
            names, controls, texts = zip(*some, strict=True)
            octets = b"".join(names)
            vector.names[: len(octets)] = octets
            octets = b"".join(controls)
            vector.controls[: len(octets)] = octets
            self._send(vector, texts)
