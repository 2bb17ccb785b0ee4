"""Octets of DNS queries to values; what all messages have in common: header, names, and frames over TCP.

Whatever octets come in, a reader returns a value or raises ``MalformedMessageError``; nothing else escapes. Answers of
upstreams are read by ``gate_dns.messages.answer``; the octets that leave are made by ``gate_dns.messages.render``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

from gate_dns.messages.codes import Option, Qtype, Rcode

HEADER_OCTETS: Final = 12
MAX_UDP_OCTETS: Final = 1232
"""Longest answer over UDP: what an IPv6 packet of 1280 octets holds, so that nothing is fragmented (RFC 9715)."""
MAX_NAME_OCTETS: Final = 255
"""Longest name as it stands in messages (RFC 1035, section 2.3.4)."""

HEADER: Final = struct.Struct("!HHHHHH")
POINTER: Final = 0xC000
"""What an offset in the message becomes a pointer by (RFC 1035, section 4.1.4)."""
RECORD: Final = struct.Struct("!HHIH")
"""What follows the owner name of a record: type, class, TTL, length of the RDATA."""

QR: Final = 0x8000
OPCODE: Final = 0x7800
TC: Final = 0x0200
RD: Final = 0x0100
RA: Final = 0x0080
AD: Final = 0x0020
CD: Final = 0x0010
DO: Final = 0x8000
"""In the lower half of the TTL of an OPT record."""

FAULTS: Final = (ValueError, IndexError, struct.error)
"""All that readers of this package raise on hostile octets, to be told as ``MalformedMessageError``."""

_QTYPE_QCLASS: Final = struct.Struct("!HH")
_COPIED: Final = RD | AD | CD
_OPT: Final = int(Qtype.OPT)
_COOKIE: Final = int(Option.COOKIE)
_MAX_STEPS: Final = 255
"""Labels and pointers of one name: 127 labels are the most, each perhaps behind a pointer."""
_LONGEST_PLAIN_LABEL: Final = 44
"""Octets of a label in ``parse_query``'s short way: below all octets of ``_PLAIN``, so that no length is taken for one."""
_NAME_BOUND: Final = HEADER_OCTETS + MAX_NAME_OCTETS
_MOST_BEHIND_NAME: Final = 15
"""Octets behind the name of a plain query without a cookie: type, class, and an OPT record without options."""
_LONGEST_PLAIN_QUERY: Final = _NAME_BOUND + _MOST_BEHIND_NAME
_COUNTS: Final = b"\0\1\0\0\0\0\0\0"
"""Of the records in a plain query..."""
_COUNTS_WITH_OPT: Final = b"\0\1\0\0\0\0\0\1"
"""... and in one with an OPT record."""


class Transport(Enum):
    """What carried a query."""

    UDP = "udp"
    TCP = "tcp"


UDP: Final = Transport.UDP
TCP: Final = Transport.TCP
"""By name, as to look into an enumeration takes as long as a call; the paths of each query have such names for what they compare."""

made: Final = tuple.__new__
"""Makes a named tuple of the values of all its fields, in a third of the time."""


class Edns(NamedTuple):
    """The OPT record of a query, less what changes no answer of ours.

    Unknown options are ignored (RFC 6891, section 6.1.2); so is padding, which answers need over encrypted transports
    only (RFC 7830, section 6), and what an option says of who or where the client is.
    """

    udp_size_octets: int
    version: int
    dnssec_ok: bool
    cookie: bytes = b""
    """The client cookie, 8 octets, with a server cookie of 8 to 32 octets behind it perhaps (RFC 7873, section 4)."""


class MalformedMessageError(ValueError):
    """Octets that are no message of the kind looked for."""

    def __init__(
        self, message: bytes, what: str, rcode: Rcode | None = None, edns: Edns | None = None
    ) -> None:
        super().__init__(f"parsing {len(message)} octets: {message[:32].hex()}: {what}")
        self.rcode = rcode
        """What the sender of a query gets; None for silence."""
        self.edns = edns
        """Its OPT record, where the answer is to have one too."""


_RD_CD: Final = RD | CD
_UPSTREAM_HEADS: Final = {
    rd | cd | dnssec_ok: bytes((dnssec_ok, rd >> 8, cd))
    for rd in (0, RD)
    for cd in (0, CD)
    for dnssec_ok in (False, True)
}
"""Where ``Query.upstream_key`` begins, by RD, CD and whether DO is set."""


class Query(NamedTuple):
    """A query with one question."""

    id: int
    flags: int
    """The RD, AD and CD bits."""
    qname: str
    """Canonical; odd octets as ``\\DDD`` (RFC 4343, section 2.1)."""
    qtype: int
    qclass: int
    question: bytes
    """The question section as the client wrote it, letter case and all."""
    edns: Edns | None
    transport: Transport
    key: bytes
    """A plain query for the same, from the third octet on, in lower case.

    For a plain query this is ``message[2:].lower()``, which costs the batch loop one call. Lower case does not stop at
    the name: type 65 turns into 97, so who looks up must compare ``rest`` too. The header needs no such care, as none
    of its octets is a letter in either case. Of the options only a cookie is in it, as it is in the answer.
    """
    rest: bytes
    """What follows the qname in a plain query for the same: type, class, and an OPT record with a cookie at most."""

    @property
    def upstream_key(self) -> bytes:
        """All that an upstream sees: queries with the same are content with the same answer."""
        edns, question = self.edns, self.question
        # AD only asks to be told what the answer says anyway.
        head = _UPSTREAM_HEADS[self.flags & _RD_CD | (edns is not None and edns.dnssec_ok)]
        return head + question.lower() + question[-4:]

    @property
    def size_octets(self) -> int:
        """Longest response the client takes."""
        if self.transport is TCP:
            return 0xFFFF
        # RFC 6891, section 6.2.3: values lower than 512 are treated as 512.
        return min(MAX_UDP_OCTETS, max(512, self.edns.udp_size_octets)) if self.edns else 512

    def about(self, name: str) -> Query:
        """Return the question for the same type of the canonical host ``name``, to be asked in place of this one.

        It has neither DO nor AD: signatures of another name would be of no use to who asked.
        """
        question = wire_name(name) + self.question[-4:]
        edns = self.edns and Edns(self.edns.udp_size_octets, 0, dnssec_ok=False)
        flags = self.flags & RD
        return _query(self.id, flags, name, question, edns, self.transport)


def question_of(key: bytes) -> Query:
    """Return a query with that ``Query.upstream_key``, as nobody asks it but ourselves."""
    question = key[3:-8] + key[-4:]
    edns = Edns(MAX_UDP_OCTETS, 0, dnssec_ok=bool(key[0]))
    name = present(read_labels(question, 0)[0])
    return _query(0, key[1] << 8 | key[2], name, question, edns, Transport.UDP)


def read_labels(message: bytes, place: int) -> tuple[tuple[bytes, ...], int]:
    """Return the labels of the name that begins at ``place``, and where what follows it begins.

    Args:
        message: Whole, as pointers count from its first octet.
        place: Where the name begins.

    Raises:
        ValueError: It is no name.
        IndexError: It is cut short.
    """
    labels = []
    end = octets = 0
    limit = place
    bound = len(message)
    for _ in range(_MAX_STEPS):
        length = message[place]
        place += 1
        if not length:
            break
        if length < 64:
            labels.append(message[place : place + length])
            place += length
            continue
        pointer = (length & 0x3F) << 8 | message[place]
        # "a prior occurrence of the same name" (RFC 1035, section 4.1.4): each pointer leads further back, so it ends;
        # and what it leads to is over before the name with the pointer begins, so that it is the same in another message.
        if length < 0xC0 or not HEADER_OCTETS <= pointer < limit or place >= bound:
            raise ValueError(f"a label of type {length >> 6} or a pointer to {pointer} at {limit}")
        end = end or place + 1
        octets += place - 1 - limit
        bound, limit, place = limit, pointer, pointer
    else:
        raise ValueError("a name of more labels than any has")
    if place > bound:
        raise ValueError("a name that goes on into what points to it")
    if octets + place - limit > MAX_NAME_OCTETS:
        raise ValueError("a name of more than 255 octets")
    return tuple(labels), end or place


def read_name(message: bytes, place: int) -> tuple[str, int]:
    """Return the canonical name that begins at ``place``, and where what follows it begins; as ``read_labels``."""
    labels, end = read_labels(message, place)
    return present(labels), end


_PRESENTATION: Final = {
    octet: chr(octet).lower()
    if 33 <= octet <= 126 and chr(octet) not in ".\\"
    else f"\\{octet:03d}"
    for octet in range(256)
}
_PLAIN: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
"""Octets that a name is made of, nearly always: to be written as they are."""
_PLAIN_OR_DOT: Final = bytes(octet if octet in _PLAIN else 0x2E for octet in range(256)).lower()
"""Table for ``bytes.translate``: octets of ``_PLAIN`` to lower case, all others to dots."""


def present(labels: tuple[bytes, ...]) -> str:
    r"""Return the canonical name with these ``labels``.

    >>> print(present((b"WWW", b"a.b", b"\xff", b"Example")))
    www.a\046b.\255.example
    """
    name = b".".join(labels).translate(_PLAIN_OR_DOT)
    if name.count(b".") < len(labels):
        return name.decode()
    return ".".join(label.decode("latin-1").translate(_PRESENTATION) for label in labels)


def wire_name(name: str) -> bytes:
    r"""Return a canonical host ``name``, one without odd octets, as it stands in messages.

    >>> wire_name("a.example"), wire_name("")
    (b'\x01a\x07example\x00', b'\x00')
    """
    return wire_labels(name.encode("ascii").split(b".") if name else ())


def wire_labels(labels: Iterable[bytes]) -> bytes:
    """Return the name with these ``labels`` as it stands in messages, whole."""
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def parse_query(message: bytes, transport: Transport = Transport.UDP) -> Query:
    """Return the query in ``message``; octets behind it are passed over.

    Raises:
        MalformedMessageError: It is none that can be decided on; ``rcode`` tells what to answer.
    """
    # Nearly all are plain queries for a host name, which differ in ID and name only: those are read here, faster.
    if len(message) > _LONGEST_PLAIN_QUERY:
        return _parse_any(message, transport)
    place, dots = HEADER_OCTETS, -1
    try:
        while length := message[place]:
            if length > _LONGEST_PLAIN_LABEL:
                return _parse_any(message, transport)
            place += length + 1
            dots += 1
    except IndexError:
        return _parse_any(message, transport)
    end = place + 1
    # The length of each label but the first becomes a dot; odd octets make more of them.
    name = message[HEADER_OCTETS + 1 : place].translate(_PLAIN_OR_DOT)
    if name.count(b".") != dots or end > _NAME_BOUND or len(message) - end > _MOST_BEHIND_NAME:
        return _parse_any(message, transport)
    of_root = _plain_for_root(message[2:HEADER_OCTETS] + message[end:])
    if of_root is None:
        return _parse_any(message, transport)
    _, flags, _, qtype, qclass, _, edns, _, _, rest = of_root
    id_ = message[0] << 8 | message[1]
    question = message[HEADER_OCTETS : end + 4]
    key = message[2:].lower()
    values = (id_, flags, name.decode(), qtype, qclass, question, edns, transport, key, rest)
    return made(Query, values)


@lru_cache(maxsize=256)
def _plain_for_root(around: bytes) -> Query | None:
    """Return the plain query for the root that has ``around`` on either side of its name; None if it makes no plain one.

    All clients of a kind send the same, so that the few there are need to be read but once.
    """
    message = b"\0\0" + around[:10] + b"\0" + around[10:]
    try:
        query = _parse_any(message, Transport.UDP)
    except MalformedMessageError:
        return None
    return query if query.key == message[2:].lower() else None


def _parse_any(message: bytes, transport: Transport) -> Query:
    """Return the query in ``message``, whatever it looks like; as ``parse_query``."""
    if len(message) < HEADER_OCTETS or message[2] & 0x80:
        # Never answer a response: two servers would answer each other for ever.
        raise MalformedMessageError(message, "no query")
    id_, bits, questions, answers, authorities, additionals = HEADER.unpack_from(message)
    if bits & OPCODE:
        # Standard queries are all we serve: NOTIFY, UPDATE and the rest are for servers of zones.
        raise MalformedMessageError(message, "another opcode", Rcode.NOTIMP)
    if questions > 1:
        # RFC 9619, section 4.
        raise MalformedMessageError(message, f"{questions} questions", Rcode.FORMERR)
    try:
        qname, end = "", HEADER_OCTETS
        if questions:
            # A pointer in the only name there is leads nowhere, so it is refused.
            labels, end = read_labels(message, HEADER_OCTETS)
            qname = present(labels)
            end += 4
        question = message[HEADER_OCTETS:end]
        if len(question) != end - HEADER_OCTETS:
            raise ValueError("the question is cut short")
        edns = None
        if records := answers + authorities + additionals:
            edns = _read_edns(message, end, records, answers + authorities)
    except FAULTS as e:
        if isinstance(e, MalformedMessageError):
            raise
        raise MalformedMessageError(message, str(e), Rcode.FORMERR) from e
    if not questions:
        # RFC 7873, section 5.4: a question for a cookie alone.
        rcode = Rcode.NOERROR if edns and edns.cookie else Rcode.FORMERR
        raise MalformedMessageError(message, "no question", rcode, edns)
    return _query(id_, bits & _COPIED, qname, question, edns, transport)


def _query(
    id_: int, flags: int, qname: str, question: bytes, edns: Edns | None, transport: Transport
) -> Query:
    rest = question[-4:]
    qtype, qclass = _QTYPE_QCLASS.unpack(rest)
    if edns is None:
        key = (flags.to_bytes(2, "big") + _COUNTS + question).lower()
    else:
        rest += plain_opt(edns)
        key = (flags.to_bytes(2, "big") + _COUNTS_WITH_OPT + question[:-4] + rest).lower()
    values = (id_, flags, qname, qtype, qclass, question, edns, transport, key, rest)
    return made(Query, values)


@lru_cache(maxsize=64)
def plain_opt(edns: Edns) -> bytes:
    """Return the OPT record of ``edns``."""
    ttl = edns.version << 16 | (DO if edns.dnssec_ok else 0)
    return opt(edns.udp_size_octets, ttl, option(_COOKIE, edns.cookie) if edns.cookie else b"")


def opt(udp_size_octets: int, ttl: int, options: bytes) -> bytes:
    """Return an OPT record: the root as owner, and what RFC 6891, section 6.1.2, puts into the fields of a record."""
    return b"\0" + RECORD.pack(_OPT, udp_size_octets, ttl, len(options)) + options


def option(code: int, content: bytes) -> bytes:
    """Return an EDNS option."""
    return _QTYPE_QCLASS.pack(code, len(content)) + content


def _read_edns(message: bytes, place: int, records: int, before: int) -> Edns | None:
    """Return the OPT record among the ``records`` from ``place`` on, ``before`` of them before the additional section."""
    edns = None
    for number in range(records):
        root = not message[place]
        place = _skip_name(message, place)
        kind, udp_size, ttl, length = RECORD.unpack_from(message, place)
        place += RECORD.size
        end = place + length
        if end > len(message):
            raise ValueError("a record is cut short")
        if kind == _OPT:
            # RFC 6891, section 6.1.1: one OPT record at most, in the additional section, owned by the root.
            if edns or not root or number < before:
                raise ValueError("an OPT record out of place")
            version, dnssec_ok = ttl >> 16 & 0xFF, ttl & DO != 0
            edns = made(Edns, (udp_size, version, dnssec_ok, b""))
            # What the options of a version to come look like, nobody knows.
            if length and not version:
                cookie = _read_cookie(message, message[place:end], edns)
                edns = made(Edns, (udp_size, version, dnssec_ok, cookie))
        place = end
    return edns


def _skip_name(message: bytes, place: int) -> int:
    """Return where what follows the name at ``place`` begins; what it points to is of no interest."""
    while length := message[place]:
        if length >= 0xC0:
            return place + 2
        if length > 63:
            raise ValueError(f"a label of type {length >> 6}")
        place += length + 1
    return place + 1


def _read_cookie(message: bytes, options: bytes, edns: Edns) -> bytes:
    """Return what the first COOKIE option holds (RFC 7873, section 5.2: further ones are ignored); b"" without one."""
    for code, content in read_options(options):
        if code == _COOKIE:
            if len(content) != 8 and not 16 <= len(content) <= 40:
                # RFC 7873, section 5.2.2.
                what = f"a cookie of {len(content)} octets"
                raise MalformedMessageError(message, what, Rcode.FORMERR, edns)
            return content
    return b""


def read_options(options: bytes) -> list[tuple[int, bytes]]:
    """Return codes and contents of EDNS options.

    Raises:
        ValueError: One is cut short.
    """
    found = []
    place = 0
    while place < len(options):
        end = place + 4 + int.from_bytes(options[place + 2 : place + 4], "big")
        if end > len(options):
            raise ValueError("an EDNS option is cut short")
        found.append((int.from_bytes(options[place : place + 2], "big"), options[place + 4 : end]))
        place = end
    return found


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
