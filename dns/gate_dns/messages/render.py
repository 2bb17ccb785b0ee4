"""Values to the octets that leave: responses to clients, and questions to upstreams."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from gate_core.clients import Address
from gate_dns.messages.answer import Answer
from gate_dns.messages.codes import Option, Qclass, Qtype, Rcode
from gate_dns.messages.soa import soa_record
from gate_dns.messages.wire import (
    AD,
    CD,
    DO,
    HEADER,
    HEADER_OCTETS,
    MAX_UDP_OCTETS,
    POINTER,
    QR,
    RA,
    RD,
    RECORD,
    TC,
    Edns,
    MalformedMessageError,
    Query,
    made,
    opt,
    option,
    plain_opt,
)

MAX_EXTRA_TEXT_OCTETS: Final = 80

_OPCODE_AND_RD: Final = 0x7900
_IN: Final = int(Qclass.IN)
_A: Final = int(Qtype.A)
_AAAA: Final = int(Qtype.AAAA)
_HINFO: Final = int(Qtype.HINFO)
_EDE: Final = int(Option.EDE)
_COOKIE: Final = int(Option.COOKIE)

_ANSWERED: Final = QR | RA
_COPIED: Final = RD | CD
_ROOM: Final = 512 - HEADER_OCTETS
"""What every client takes besides the header."""
_BARE_OPTS: Final = (opt(MAX_UDP_OCTETS, 0, b""), opt(MAX_UDP_OCTETS, DO, b""))
"""OPT records without options, by whether DO is set."""

_RFC8482: Final = b"\7RFC8482\0"
"""RDATA of the HINFO record of RFC 8482, section 4.2: a CPU of this name, and no operating system."""


class Response(NamedTuple):
    """A response of our own making."""

    rcode: Rcode
    ttl_s: int = 0
    address: Address | None = None
    """RDATA of the one answer."""
    serial: int | None = None
    """Serial number of the SOA record of a negative response; None where none belongs to it."""
    edes: tuple[int, ...] = ()
    text: str = ""
    """EXTRA-TEXT of the first of ``edes``."""
    minimal_any: bool = False
    """Whether the one answer is what a query for all types gets (RFC 8482, section 4.2)."""


class Rendered(NamedTuple):
    """A response in octets."""

    message: bytes
    ttl_offsets: tuple[int, ...] = ()
    """Where TTLs that run down begin, from the end of the question on; our own responses have none."""


def render(query: Query, response: Response | Answer, server_cookie: bytes = b"") -> Rendered:
    """Return the octets that answer ``query``, never more than the client takes.

    Where all of it would be, extended errors go first, then the records, and TC tells of it.

    Args:
        query: What was asked.
        response: What it gets.
        server_cookie: Goes with the client cookie, where there is one in ``query``.
    """
    # Taken apart at once, which is faster than a look at each field.
    id_, asked, _, _, _, question, edns, _, _, _ = query
    truncated = False
    ttl_offsets: tuple[int, ...] = ()
    if isinstance(response, Response):
        # At most 255 octets of name and 220 of ours: fits into 512.
        (answers, authorities), records = _own_records(query, response)
        rcode, edes = int(response.rcode), response.edes
        flags = _ANSWERED | asked & _COPIED | rcode & 0xF
    else:
        rcode, authentic, truncated, counts, records, ttl_offsets, _, _, _, _, _, edes, _ = response
        answers, authorities = counts
        flags = _ANSWERED | asked & _COPIED | rcode & 0xF
        # RFC 6840, section 5.8: AD only to who asked for it by AD or DO.
        if authentic and (asked & AD or (edns and edns.dnssec_ok)):
            flags |= AD
    additional = cookie = b""
    if edns:
        if edns.cookie and server_cookie:
            cookie = _cookie(edns, server_cookie)
        if edes or cookie or rcode > 0xF:
            additional = _opt(edes, response.text, rcode, edns.dnssec_ok, cookie)
        else:
            additional = _BARE_OPTS[edns.dnssec_ok]
    message = question + records + additional
    if len(message) > _ROOM:
        room = query.size_octets - HEADER_OCTETS
        if edes and edns and len(message) > room:
            # They are not worth another question over TCP.
            additional = _opt((), "", rcode, edns.dnssec_ok, cookie)
            message = question + records + additional
        truncated = truncated or len(message) > room
    if truncated:
        head = HEADER.pack(id_, flags & ~AD | TC, 1, 0, 0, 1 if additional else 0)
        return Rendered(head + question + additional)
    head = HEADER.pack(id_, flags, 1, answers, authorities, 1 if additional else 0)
    return made(Rendered, (head + message, ttl_offsets))


@lru_cache(maxsize=256)
def _opt(edes: tuple[int, ...], text: str, rcode: int, dnssec_ok: bool, cookie: bytes) -> bytes:
    """Return the OPT record of a response: the same for all names that a rule blocks."""
    options = b""
    if edes:
        said = text.encode()
        if len(said) > MAX_EXTRA_TEXT_OCTETS:
            # Not within a letter (RFC 8914, section 2: UTF-8).
            said = said[:MAX_EXTRA_TEXT_OCTETS].decode(errors="ignore").encode()
        for code in edes:
            options += option(_EDE, code.to_bytes(2, "big") + said)
            said = b""
    ttl = rcode >> 4 << 24 | (DO if dnssec_ok else 0)
    return opt(MAX_UDP_OCTETS, ttl, options + cookie)


def _cookie(edns: Edns, server_cookie: bytes) -> bytes:
    return option(_COOKIE, edns.cookie[:8] + server_cookie)


def _own_records(query: Query, response: Response) -> tuple[tuple[int, int], bytes]:
    """Return how many records the answer and the authority section have, and both."""
    if response.address is not None:
        kind = _A if isinstance(response.address, IPv4Address) else _AAAA
        return (1, 0), _about_qname(kind, response.ttl_s, response.address.packed)
    if response.minimal_any:
        return (1, 0), _about_qname(_HINFO, response.ttl_s, _RFC8482)
    if response.serial is None:
        return (0, 0), b""
    return (0, 1), soa_record(query.question, response.serial, response.ttl_s)


def _about_qname(kind: int, ttl_s: int, rdata: bytes) -> bytes:
    owner = (POINTER | HEADER_OCTETS).to_bytes(2, "big")
    return owner + RECORD.pack(kind, _IN, ttl_s, len(rdata)) + rdata


def refuse(
    message: bytes, fault: MalformedMessageError, server_cookie: bytes = b""
) -> bytes | None:
    """Return what tells of ``fault`` in ``message``: a header, and an OPT record where one is due; None for silence.

    Args:
        message: What came.
        fault: What was found.
        server_cookie: Goes with the client cookie, where ``fault.edns`` has one.
    """
    if fault.rcode is None:
        return None
    rcode = int(fault.rcode)
    options = b""
    if fault.edns and fault.edns.cookie and server_cookie:
        options = _cookie(fault.edns, server_cookie)
        if fault.edns.cookie[8:] not in (b"", server_cookie):
            # RFC 7873, section 5.4: whoever asks for nothing else is told whether its server cookie is right.
            rcode = int(Rcode.BADCOOKIE)
    additional = opt(MAX_UDP_OCTETS, rcode >> 4 << 24, options) if fault.edns else b""
    opcode_and_rd = int.from_bytes(message[2:4], "big") & _OPCODE_AND_RD
    flags = QR | opcode_and_rd | rcode & 0xF
    return message[:2] + HEADER.pack(0, flags, 0, 0, 0, 1 if additional else 0)[2:] + additional


def render_question(
    query: Query, message_id: int, question: bytes = b"", *, edns: bool = True
) -> bytes:
    """Return ``query`` as it goes to an upstream.

    Args:
        query: What is asked.
        message_id: From 0 to 65535.
        question: The question section of ``query`` in other letter case; b"" for the client's.
        edns: Whether the upstream knows EDNS. Whether the client does is of no matter: what the upstream says of its
            answer is for us as well. No option of the client's goes on, as it may tell who the client is.
    """
    head, own = question_frame(query, edns=edns)
    return message_id.to_bytes(2, "big") + head + (question or query.question) + own


def question_frame(query: Query, *, edns: bool = True) -> tuple[bytes, bytes]:
    """Return what stands between ID and question in ``query`` as it goes to an upstream, and what stands behind the question."""
    return _frame(query.flags, query.edns is not None and query.edns.dnssec_ok, edns)


@lru_cache(maxsize=64)
def _frame(flags: int, dnssec_ok: bool, edns: bool) -> tuple[bytes, bytes]:
    own = plain_opt(Edns(MAX_UDP_OCTETS, 0, dnssec_ok)) if edns else b""
    # RFC 6840, section 5.7: with AD, an upstream says whether it has validated the answer.
    return HEADER.pack(0, flags | AD, 1, 0, 0, 1 if own else 0)[2:], own
