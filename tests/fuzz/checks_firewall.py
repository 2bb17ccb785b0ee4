"""What must hold of any octets on their way through the classifier, and those to begin with."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final

from gate_core.acceptable_use import ROWS, SHIPPED_CELLS
from gate_core.clients import Device, Group, OnFault
from gate_core.policy import Policy
from gate_core.snapshot import NO_LISTS
from gate_firewall.classify import Classifier, Learnt, Moment, Sighting
from gate_firewall.given import GivenTable
from gate_firewall.marks import NEW, parse_request
from gate_firewall.packet import ACK, SYN, TCP, UDP, Packet, parse_packet
from gate_firewall.pins import Pins
from gate_firewall.queue import LATER, Faults, Settler

VECTORS: Final = Path(__file__).parents[1] / "vectors"
AT: Final = datetime(2026, 3, 2, 10, tzinfo=UTC)
PUPIL, STAFF = (bytes.fromhex(f"00005e0053{n}") for n in ("10", "20"))
SERVER: Final = bytes((203, 0, 113, 5))
MARKS: Final = (0, 0x0000_1000, 0x0008_0000, 0x0008_1000, 0x0000_2000, 0x0080_6ABC)
"""Requests: either direction, either port of the bridge, decided before or not."""
OPENED: Final = (0, 0x0008_0000)
"""Those before which the initiator's SYN is seen: else no packet of a connection gets to the readers."""


class FakePacket:
    """A packet of the binding that counts its verdicts."""

    def __init__(self, octets: bytes, mark: int, mac: bytes) -> None:
        self._octets, self._mark, self._mac = octets, mark, mac
        self.verdicts = 0

    def get_mark(self) -> int:
        return self._mark

    def set_mark(self, mark: int) -> None:
        assert 0 <= mark < 2**32

    def get_hw(self) -> bytes:
        return self._mac

    def get_payload(self) -> bytes:
        return self._octets

    def retain(self) -> None:
        pass

    def accept(self) -> None:
        self.verdicts += 1

    def drop(self) -> None:
        self.verdicts += 1


def _policy() -> Policy:
    cells = SHIPPED_CELLS
    return Policy(
        version=1,
        groups={
            "ks2": Group("ks2", "Pupils", 2, cells["ks2"], quic=True, named_only=True),
            "staff": Group("staff", "Staff", 3, cells["staff"], quic=True, on_fault=OnFault.OPEN),
        },
        rows=ROWS,
        unknown_group="ks2",
        index=NO_LISTS,
        devices={STAFF.hex(":"): Device(STAFF.hex(":"), "office", "staff")},
    )


POLICY: Final = _policy()
LEARNT: Final = Learnt(GivenTable(), Pins(), lambda _: True)
FAULTS: Final = Faults()
ticks: Final = count(1)


def _classifier() -> Classifier:
    return Classifier(lambda _: None, POLICY, 1, LEARNT)


CLASSIFIER: Final = _classifier()
"""For single packets, each of which finds what those before it have left."""


def packet(octets: bytes) -> None:
    """Settle a packet, as each request and for each group: one verdict each."""
    for mark, opened in (*((mark, False) for mark in MARKS), *((mark, True) for mark in OPENED)):
        for mac, on_fault in ((PUPIL, OnFault.CLOSED), (STAFF, OnFault.OPEN)):
            if opened and not _open(octets, mark, mac):
                continue
            settler = Settler(_judge, on_fault, FAULTS, lambda: 0.0)
            raw = FakePacket(octets, mark, mac)
            settler.take(raw)
            settler.settle_held(settler.held)
            assert raw.verdicts == 1
    others = {kind: n for kind, n in FAULTS._counts.items() if kind != "malformed packet"}
    assert not others, others


def _open(octets: bytes, mark: int, mac: bytes) -> bool:
    """Have the connection begin that a packet continues; tell whether it can be one that does."""
    try:
        read = parse_packet(octets)
    except ValueError:
        return False
    if read.protocol != TCP or read.later_fragment or not read.whole or read.flags & SYN:
        return False
    syn = read._replace(flags=SYN, payload=b"", sequence=(read.sequence - 1) % 2**32)
    request = parse_request(mark | NEW)
    seen = Sighting(syn, request, mark, mac.hex(":"), Moment(AT, float(next(ticks))), final=True)
    CLASSIFIER.judge(seen)
    return True


def _judge(
    octets: bytes, mark: int, sender: bytes | None, last: bool
) -> int | None:  # as the queue calls it
    mac = sender.hex(":") if sender else None
    now = Moment(AT, float(next(ticks)))
    seen = Sighting(parse_packet(octets), parse_request(mark), mark, mac, now, last)
    verdict = CLASSIFIER.judge(seen)
    return LATER if verdict.waits else verdict.mark


def stream(octets: bytes) -> None:
    """Judge a flow over TCP that carries ``octets``, in pieces of a length that they choose, and answers."""
    port = (443, 80, 22, 8443)[octets[0] % 4] if octets else 443
    size = 1 + (octets[-1] if octets else 0) * 6
    for mac in (PUPIL, STAFF):
        _flow(TCP, port, mac, _segments(octets, size))


def datagrams(octets: bytes) -> None:
    """Judge a flow over UDP of datagrams, each with its length before it, those of odd lengths from the responder."""
    for port in (443, 51820):
        for mac in (PUPIL, STAFF):
            _flow(UDP, port, mac, _datagrams(octets))


_Piece = tuple[bytes, int, int, bool]
"""Payload, sequence number, TCP flags, and whether the responder sends it."""


def _segments(octets: bytes, size: int) -> Iterator[_Piece]:
    yield b"", 999, SYN, False
    for place in range(0, len(octets), size):
        yield octets[place : place + size], 1000 + place, ACK, False
    yield octets[:100], 5000, ACK, True
    yield octets, 1000, ACK, False


def _datagrams(octets: bytes) -> Iterator[_Piece]:
    place = 0
    while place + 2 <= len(octets):
        length = int.from_bytes(octets[place : place + 2])
        yield octets[place + 2 : place + 2 + length], 0, 0, bool(length & 1)
        place += 2 + length


def _flow(protocol: int, port: int, mac: bytes, pieces: Iterator[_Piece]) -> None:
    classifier = _classifier()
    for payload, sequence, flags, reply in pieces:
        ends = [(bytes((10, 77, 0, mac[-1])), 40_000), (SERVER, port)]
        (source, source_port), (destination, to) = ends[::-1] if reply else ends
        read = Packet(
            source, destination, protocol, source_port, to, sequence % 2**32,
            (1000 + len(payload)) % 2**32, flags, payload, whole=True, later_fragment=False,
        )  # fmt: skip
        mark = (0x0008_1000 if reply else 0) | 0x0080_0000
        if not reply and (protocol == UDP or flags & SYN):
            mark |= NEW
        seen = Sighting(read, parse_request(mark), mark, mac.hex(":"), Moment(AT, 5.0), final=False)
        verdict = classifier.judge(seen)
        if verdict.waits:
            verdict = classifier.judge(seen._replace(final=True))
        assert not verdict.waits
        assert verdict.mark is None or 0 <= verdict.mark < 2**32


def say() -> None:
    """Print what was found besides."""
    print(f"packets with headers that nobody can read: {FAULTS._counts['malformed packet']}")


def _hello(name: bytes) -> bytes:
    def extension(kind: int, content: bytes) -> bytes:
        return struct.pack("!HH", kind, len(content)) + content

    names = struct.pack("!HBH", len(name) + 3, 0, len(name)) + name
    extensions = extension(0, names) + extension(16, b"\0\3\2h2") + extension(0xFE0D, bytes(40))
    body = (
        b"\3\3" + bytes(32) + b"\0\0\2\x13\1\1\0" + struct.pack("!H", len(extensions)) + extensions
    )
    message = b"\1" + len(body).to_bytes(3) + body
    return b"\x16\3\1" + struct.pack("!H", len(message)) + message


def _ip(protocol: int, content: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 0, 0, 64, protocol, 0)
    return head + bytes((10, 77, 0, 10)) + SERVER + content


def _ip6(protocol: int, content: bytes) -> bytes:
    # A hop-by-hop header before what is carried.
    head = struct.pack("!IHBB", 6 << 28, 8 + len(content), 0, 64) + bytes(32)
    return head + struct.pack("!BB6x", protocol, 0) + content


def _tcp(payload: bytes, flags: int = ACK) -> bytes:
    return struct.pack("!HHIIBBHHH", 40_000, 443, 1000, 1, 5 << 4, flags, 65535, 0, 0) + payload


def _udp(payload: bytes, port: int = 443) -> bytes:
    return struct.pack("!HHHH", 40_000, port, 8 + len(payload), 0) + payload


def _framed(payloads: list[bytes]) -> bytes:
    return b"".join(len(p).to_bytes(2) + p for p in payloads)


QUIC: Final = tuple(
    bytes.fromhex((VECTORS / f"{name}.hex").read_text())
    for name in ("rfc9001_a2_client_initial", "rfc9369_a2_client_initial")
)
STREAMS: Final = (
    _hello(b"www.example.org"),
    _hello(b"www.example.org") + b"\x14\3\3\0\1\1" + _hello(b"www.example.org"),
    b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n" * 2,
    b"POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x05\x01\x00",
    b"\x13BitTorrent protocol" + bytes(48),
)
FLOWS: Final = tuple(_framed([payload] * 3) for payload in QUIC) + tuple(
    _framed([bytes.fromhex(entry["octets"])])
    for entry in json.loads((VECTORS / "protocols.json").read_text())
)
PACKETS: Final = (
    *(_ip(TCP, _tcp(octets)) for octets in STREAMS),
    *(_ip6(TCP, _tcp(octets)) for octets in STREAMS[:3]),
    _ip(TCP, _tcp(b"", SYN)),
    *(_ip(UDP, _udp(octets)) for octets in QUIC),
    _ip6(UDP, _udp(QUIC[0])),
    _ip(UDP, _udp(b"\x23" + bytes(47), 123)),
    _ip(47, bytes(40)),
)

CHECKS: Final[dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...], float]]] = {
    "packet": (packet, PACKETS, 1.0),
    "stream": (stream, STREAMS, 0.2),
    "datagrams": (datagrams, FLOWS, 0.2),
}
"""By reader: the check, what to begin with, and how many mutated ones it gets, in parts of a million: each packet counts as
one, and streams and datagrams come besides."""
