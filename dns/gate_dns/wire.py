"""Octets of DNS messages to values and back; the only module that knows dnslib.

Whatever octets come in, a reader returns a value or raises ``MalformedMessageError``; nothing else escapes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, IntEnum
from ipaddress import IPv4Address
from typing import Any, Final

from dnslib import (
    AAAA,
    EDNS0,
    QTYPE,
    RR,
    SOA,
    A,
    DNSBuffer,
    DNSError,
    DNSHeader,
    DNSLabel,
    DNSQuestion,
    DNSRecord,
    EDNSOption,
)
from dnslib.buffer import BufferError as ShortBufferError

from gate_core.clients import Address

HEADER_OCTETS: Final = 12
MAX_UDP_OCTETS: Final = 1232
"""Longest answer over UDP: what an IPv6 packet of 1280 octets holds, so that nothing is fragmented (RFC 9715)."""
MAX_TTL_S: Final = 86_400
"""A day, as RFC 8767, section 4, allows resolvers to cap TTLs."""
FAILURE_TTL_S: Final = 1
"""How long a failure is kept (RFC 9520, section 3.2: at least one second)."""
MAX_EXTRA_TEXT_OCTETS: Final = 80

_QR: Final = 0x8000
_TC: Final = 0x0200
_RD: Final = 0x0100
_RA: Final = 0x0080
_AD: Final = 0x0020
_CD: Final = 0x0010
_DO: Final = 0x8000
_EDE_OPTION: Final = 15
_SOA_TIMES: Final = (3600, 600, 86_400)
"""Refresh, retry, expire: read by secondaries only, of which there are none."""


class Transport(Enum):
    """What carried a query."""

    UDP = "udp"
    TCP = "tcp"


class Qtype(IntEnum):
    """Query types that are told apart (IANA, DNS parameters)."""

    A = 1
    CNAME = 5
    SOA = 6
    AAAA = 28
    OPT = 41
    IXFR = 251
    AXFR = 252


class Qclass(IntEnum):
    """The class that is served."""

    IN = 1


class Rcode(IntEnum):
    """Response codes we set (IANA, DNS parameters)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class Ede(IntEnum):
    """INFO-CODEs of extended DNS errors (RFC 8914, section 4)."""

    FORGED_ANSWER = 4
    BLOCKED = 15
    CENSORED = 16
    NO_REACHABLE_AUTHORITY = 22
    NETWORK_ERROR = 23


class MalformedMessageError(ValueError):
    """Octets that are no message of the kind looked for."""

    def __init__(self, message: bytes, what: str, rcode: Rcode | None = None) -> None:
        super().__init__(f"parsing {len(message)} octets: {message[:32].hex()}: {what}")
        self.rcode = rcode
        """What the sender of a query gets; None for silence."""


@dataclass(frozen=True, slots=True)
class Edns:
    """The OPT record of a query, less its options, none of which changes an answer of ours (RFC 6891)."""

    udp_size_octets: int
    version: int
    dnssec_ok: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A query with one question."""

    id: int
    flags: int
    """The RD, AD and CD bits."""
    qname: str
    """Canonical; odd octets as ``\\DDD`` (RFC 4343, section 2.1)."""
    labels: tuple[bytes, ...]
    """The labels of ``qname`` as the client wrote them."""
    qtype: int
    qclass: int
    question: bytes
    """The question section as the client wrote it, letter case and all."""
    edns: Edns | None
    transport: Transport = Transport.UDP

    @property
    def kind(self) -> str:
        """The mnemonic of the query type, such as ``AAAA``; ``TYPE123`` where it has none."""
        return str(QTYPE.get(self.qtype))

    @property
    def size_octets(self) -> int:
        """Longest response the client takes."""
        if self.transport is Transport.TCP:
            return 0xFFFF
        # RFC 6891, section 6.2.3: values lower than 512 are treated as 512.
        return min(MAX_UDP_OCTETS, max(512, self.edns.udp_size_octets)) if self.edns else 512

    @property
    def rest(self) -> bytes:
        """What follows the qname in a plain query for the same: type, class, and an OPT record without options."""
        return self.question[-4:] + (_opt(self.edns) if self.edns else b"")

    @property
    def key(self) -> bytes:
        """A plain query for the same, from the third octet on, in lower case.

        For a plain query this is ``message[2:].lower()``, which costs the batch loop one call. Lower case does not
        stop at the name: type 65 turns into 97, so who looks up must compare ``rest`` too. The header needs no
        such care, as none of its octets is a letter in either case.
        """
        counts = b"\0\1\0\0\0\0\0\1" if self.edns else b"\0\1\0\0\0\0\0\0"
        plain = self.flags.to_bytes(2, "big") + counts + self.question[:-4] + self.rest
        return plain.lower()


@dataclass(frozen=True, slots=True)
class Response:
    """A response of our own making."""

    rcode: Rcode
    ttl_s: int = 0
    address: Address | None = None
    """RDATA of the one answer."""
    serial: int | None = None
    """Serial number of the SOA record of a negative response; None where none belongs to it."""
    edes: tuple[Ede, ...] = ()
    text: str = ""
    """EXTRA-TEXT of the first of ``edes``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an upstream said: its answer and authority sections; the additional section is left behind.

    Without it the message is complete (RFC 2181, section 5.4.1: it is the least trusted), shorter, and holds no
    address of a name that nobody decided on.
    """

    rcode: int
    authentic: bool
    truncated: bool
    counts: tuple[int, int]
    """Records in the answer and the authority section."""
    records: bytes
    """Both sections as they came. Names in them may point back to the question, which has the same length in each
    message about it."""
    ttl_offsets: tuple[int, ...] = ()
    """Where the TTLs begin in ``records``."""
    ttl_s: int = 0
    """How long all of it holds; 0 where it must not be kept (RFC 2308, section 5)."""
    targets: tuple[str, ...] = ()
    """Canonical targets of the CNAME records, in their order."""

    def capped(self, limit_s: int) -> Answer:
        """Return the answer with no TTL above ``limit_s``, nor above the longest that is believed."""
        limit_s = min(limit_s, MAX_TTL_S)
        records = with_ttls(
            self.records, self.ttl_offsets, lambda ttl: min(_believed(ttl), limit_s)
        )
        return replace(self, records=records, ttl_s=min(self.ttl_s, limit_s))


@dataclass(frozen=True, slots=True)
class Rendered:
    """A response in octets."""

    message: bytes
    ttl_offsets: tuple[int, ...] = ()
    """Where TTLs that run down begin, from the end of the question on; our own responses have none."""


class _Reader(DNSBuffer):  # type: ignore[misc]  # dnslib is untyped
    """dnslib's buffer with a reader of names for hostile octets.

    The one of dnslib 0.9.26 recurses at each pointer, takes names of any length, and refuses labels that are not UTF-8.
    """

    def decode_name(self, last: int = -1) -> DNSLabel:
        self.offset: int
        labels: list[bytes] = []
        octets = 1
        after = None
        limit = self.offset
        while length := self.get(1)[0]:
            if length >= 0xC0:
                pointer = (length & 0x3F) << 8 | self.get(1)[0]
                after = self.offset if after is None else after
                # "a prior occurrence of the same name" (RFC 1035, section 4.1.4): each pointer leads further back, so it ends.
                if pointer >= limit:
                    raise ShortBufferError(f"a pointer to {pointer}, at {limit} or behind it")
                limit = self.offset = pointer
                continue
            if length > 63:
                raise ShortBufferError(f"a label of type {length >> 6}")
            labels.append(self.get(length))
            octets += length + 1
            if octets > 255:
                raise ShortBufferError("a name of more than 255 octets")
        if after is not None:
            self.offset = after
        return DNSLabel(labels)


_FAULTS: Final = (ShortBufferError, DNSError, ValueError)
"""All that dnslib's buffer, header and question raise on hostile octets, with the reader above."""

_PRESENTATION: Final = {
    octet: chr(octet).lower()
    if 33 <= octet <= 126 and chr(octet) not in ".\\"
    else f"\\{octet:03d}"
    for octet in range(256)
}


def present(labels: tuple[bytes, ...]) -> str:
    r"""Return the canonical name with these ``labels``.

    >>> print(present((b"WWW", b"a.b", b"\xff", b"Example")))
    www.a\046b.\255.example
    """
    return ".".join(label.decode("latin-1").translate(_PRESENTATION) for label in labels)


def parse_query(message: bytes, transport: Transport = Transport.UDP) -> Query:
    """Return the query in ``message``; octets behind it are passed over.

    Raises:
        MalformedMessageError: It is none that can be decided on; ``rcode`` tells what to answer.
    """
    if len(message) < HEADER_OCTETS or message[2] & 0x80:
        # Never answer a response: two servers would answer each other for ever.
        raise MalformedMessageError(message, "no query")
    reader = _Reader(message)
    try:
        header = DNSHeader.parse(reader)
        if header.opcode:
            raise MalformedMessageError(message, f"opcode {header.opcode}", Rcode.NOTIMP)
        if header.q != 1:
            raise MalformedMessageError(message, f"{header.q} questions", Rcode.FORMERR)
        question = DNSQuestion.parse(reader)
        end = reader.offset
        if end != HEADER_OCTETS + sum(len(label) + 1 for label in question.qname.label) + 5:
            # A pointer in the only name there is: no client writes that, and no upstream's answer would match it.
            raise MalformedMessageError(message, "compressed question", Rcode.FORMERR)
        edns = _parse_edns(reader, header)
    except _FAULTS as e:
        if isinstance(e, MalformedMessageError):
            raise
        raise MalformedMessageError(message, str(e), Rcode.FORMERR) from e
    labels = question.qname.label
    return Query(
        header.id,
        header.bitmap & (_RD | _AD | _CD),
        present(labels),
        labels,
        question.qtype,
        question.qclass,
        message[HEADER_OCTETS:end],
        edns,
        transport,
    )


def _parse_edns(reader: _Reader, header: DNSHeader) -> Edns | None:
    edns = None
    for place in range(header.a + header.auth + header.ar):
        owner = reader.decode_name()
        kind, udp_size, ttl, length = reader.unpack("!HHIH")
        reader.get(length)
        if kind != Qtype.OPT:
            continue
        # RFC 6891, section 6.1.1: one OPT record at most, in the additional section, owned by the root.
        if edns or owner.label or place < header.a + header.auth:
            raise ShortBufferError("an OPT record out of place")
        edns = Edns(udp_size, ttl >> 16 & 0xFF, bool(ttl & _DO))
    return edns


def refuse(message: bytes, fault: MalformedMessageError) -> bytes | None:
    """Return the header that tells of ``fault`` in ``message``; None for silence."""
    if fault.rcode is None:
        return None
    opcode_and_rd = int.from_bytes(message[2:4], "big") & 0x7900
    return message[:2] + struct.pack("!HQ", _QR | opcode_and_rd | fault.rcode, 0)


def render(query: Query, response: Response | Answer) -> Rendered:
    """Return the octets that answer ``query``: TC and no records where the client would not take all of them."""
    flags = _QR | _RA | query.flags & (_RD | _CD)
    rcode = response.rcode & 0xF
    if isinstance(response, Response):
        # At most 255 octets of name and 200 of ours: fits into 512.
        return Rendered(_render_own(query, response, flags | rcode))
    # RFC 6840, section 5.8: AD only to who asked for it by AD or DO.
    wanted = query.flags & _AD or (query.edns and query.edns.dnssec_ok)
    authentic = _AD if response.authentic and wanted else 0
    whole = _assemble(query, flags | authentic | rcode, response.counts, response.records)
    if len(whole) <= query.size_octets:
        return Rendered(whole, response.ttl_offsets)
    return Rendered(_assemble(query, flags | _TC | rcode, (0, 0), b""))


def _assemble(query: Query, flags: int, counts: tuple[int, int], records: bytes) -> bytes:
    opt = (
        _opt(replace(query.edns, udp_size_octets=MAX_UDP_OCTETS, version=0)) if query.edns else b""
    )
    header = struct.pack("!HHHHHH", query.id, flags, 1, *counts, 1 if opt else 0)
    return header + query.question + records + opt


def _opt(edns: Edns) -> bytes:
    ttl = edns.version << 16 | (_DO if edns.dnssec_ok else 0)
    return struct.pack("!BHHIH", 0, Qtype.OPT, edns.udp_size_octets, ttl, 0)


def _render_own(query: Query, response: Response, flags: int) -> bytes:
    qname = DNSLabel(query.labels)
    record = DNSRecord(
        DNSHeader(id=query.id, bitmap=flags),
        q=DNSQuestion(qname, query.qtype, query.qclass),
    )
    if response.address is not None:
        v4 = isinstance(response.address, IPv4Address)
        rdata: Any = A(str(response.address)) if v4 else AAAA(str(response.address))
        kind = Qtype.A if v4 else Qtype.AAAA
        record.add_answer(RR(qname, kind, ttl=response.ttl_s, rdata=rdata))
    if response.serial is not None:
        # Owned by the name above, which is right for NXDOMAIN and NODATA alike; "invalid" as of RFC 2606: nobody to ask.
        times = (response.serial & 0xFFFF_FFFF, *_SOA_TIMES, response.ttl_s)
        soa = SOA("schoolgate.invalid", "coordinator.schoolgate.invalid", times)
        above = DNSLabel(query.labels[1:])
        record.add_auth(RR(above, Qtype.SOA, ttl=response.ttl_s, rdata=soa))
    if query.edns:
        record.add_ar(
            EDNS0(
                flags="do" if query.edns.dnssec_ok else "",
                ext_rcode=response.rcode >> 4,
                udp_len=MAX_UDP_OCTETS,
                opts=[_ede(code, text) for code, text in _texts(response)],
            )
        )
    return bytes(record.pack())


def _texts(response: Response) -> list[tuple[Ede, str]]:
    return [(code, response.text if not place else "") for place, code in enumerate(response.edes)]


def _ede(code: Ede, text: str) -> EDNSOption:
    return EDNSOption(_EDE_OPTION, struct.pack("!H", code) + text.encode()[:MAX_EXTRA_TEXT_OCTETS])


def render_question(query: Query, message_id: int) -> bytes:
    """Return ``query`` as it goes to an upstream: with the client's bits and, where the client sent EDNS, with ours."""
    flags = query.flags & (_RD | _AD | _CD)
    return message_id.to_bytes(2, "big") + _assemble(query, flags, (0, 0), b"")[2:]


def parse_answer(message: bytes, query: Query, message_id: int) -> Answer:
    """Return the answer of an upstream to ``query`` as it was sent with ``message_id``.

    Raises:
        MalformedMessageError: It is no message, or an answer to something else.
    """
    reader = _Reader(message)
    try:
        header = DNSHeader.parse(reader)
        if header.id != message_id or not header.qr or header.opcode:
            raise MalformedMessageError(message, "no answer to what was asked")
        rcode = header.rcode
        # A server that does not understand may leave the question out; the ID and the connected socket vouch for it.
        if not header.q and rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
            return Answer(rcode, authentic=False, truncated=False, counts=(0, 0), records=b"")
        start = HEADER_OCTETS + len(query.question)
        if header.q != 1 or not _same(message[HEADER_OCTETS:start], query.question):
            raise MalformedMessageError(message, "another question")
        reader.offset = start
        walk = _Walk(start)
        for place in range(header.a + header.auth):
            walk.record(reader, answer=place < header.a)
    except _FAULTS as e:
        if isinstance(e, MalformedMessageError):
            raise
        raise MalformedMessageError(message, str(e)) from e
    negative = rcode == Rcode.NXDOMAIN or not header.a
    if rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        ttl_s = FAILURE_TTL_S
    elif negative and not walk.has_soa:
        ttl_s = 0
    else:
        ttl_s = walk.ttl_s
    return Answer(
        rcode,
        bool(header.ad),
        bool(header.tc),
        (header.a, header.auth),
        message[start : reader.offset],
        tuple(walk.ttl_offsets),
        ttl_s,
        tuple(walk.targets),
    )


def _same(question: bytes, other: bytes) -> bool:
    """Tell whether two question sections ask the same: letter case counts in type and class only."""
    return question[-4:] == other[-4:] and question[:-4].lower() == other[:-4].lower()


class _Walk:
    """What a walk over the records of an answer finds."""

    def __init__(self, start: int) -> None:
        self._start = start
        self.ttl_offsets: list[int] = []
        self.ttl_s = MAX_TTL_S
        self.targets: list[str] = []
        self.has_soa = False

    def record(self, reader: _Reader, *, answer: bool) -> None:
        """Read one record."""
        reader.decode_name()
        kind, _, ttl, length = reader.unpack("!HHIH")
        begin = reader.offset
        self.ttl_offsets.append(begin - 6 - self._start)
        self.ttl_s = min(self.ttl_s, _believed(ttl))
        rdata = reader.get(length)
        if kind == Qtype.CNAME and answer:
            reader.offset = begin
            self.targets.append(present(reader.decode_name().label))
            if reader.offset != begin + length:
                raise ShortBufferError("a CNAME record of another length")
        elif kind == Qtype.SOA and not answer and length >= 22:
            self.has_soa = True
            # RFC 2308, section 5: the last field of the SOA record bounds how long a negative answer holds.
            self.ttl_s = min(self.ttl_s, int.from_bytes(rdata[-4:], "big"))


def _believed(ttl: int) -> int:
    # RFC 2181, section 8: with the most significant bit set, as if it were 0.
    return ttl if ttl < 1 << 31 else 0


def with_ttls(records: bytes, offsets: tuple[int, ...], change: Callable[[int], int]) -> bytes:
    """Return ``records`` with ``change`` applied to the TTL at each of ``offsets``."""
    changed = bytearray(records)
    for offset in offsets:
        (ttl,) = struct.unpack_from("!I", records, offset)
        struct.pack_into("!I", changed, offset, change(ttl))
    return bytes(changed)


def render_frame(message: bytes) -> bytes:
    """Return ``message`` as it goes over TCP: its length in two octets before it (RFC 1035, section 4.2.2)."""
    return len(message).to_bytes(2, "big") + message


def take_message(received: bytearray) -> bytes | None:
    """Remove the first whole message from octets that came over TCP; None while it is cut short."""
    end = 2 + int.from_bytes(received[:2], "big")
    if len(received) < 2 or len(received) < end:
        return None
    message = bytes(received[2:end])
    del received[:end]
    return message
