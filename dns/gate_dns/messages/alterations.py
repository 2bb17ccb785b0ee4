"""What is done to answers of upstreams before they go on: nothing to most of them.

An answer that is altered is made anew: aliases and what was asked for, without authority, signatures and AD bit, as
those vouch for another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from gate_dns.messages.addresses import is_private
from gate_dns.messages.answer import MAX_TTL_S, Answer, failed, parse_answer, with_ttls
from gate_dns.messages.codes import Ede, Qclass, Qtype, Rcode
from gate_dns.messages.service import ECH, read_service
from gate_dns.messages.soa import soa_record
from gate_dns.messages.wire import (
    FAULTS,
    HEADER,
    HEADER_OCTETS,
    POINTER,
    QR,
    RECORD,
    Query,
    present,
    read_labels,
    wire_labels,
    wire_name,
)

STALE_TTL_S: Final = 30
"""RFC 8767, section 4."""

_IN: Final = int(Qclass.IN)
_CNAME: Final = int(Qtype.CNAME)
_ADDRESS_OCTETS: Final = {int(Qtype.A): 4, int(Qtype.AAAA): 16}
_SERVICES: Final = (int(Qtype.HTTPS), int(Qtype.SVCB))
NOTHING_PUBLIC: Final = "private address of a public name"
"""Extra text of an answer that had nothing but private addresses."""
_QNAME: Final = (POINTER | HEADER_OCTETS).to_bytes(2, "big")
"""A pointer to the name in the question."""

_Rdata = Callable[[bytes, int, int], bytes | None]
"""Returns the RDATA that those between two offsets of a message are to become; None where the record goes."""


def stale(answer: Answer, ttl_s: int = STALE_TTL_S) -> Answer:
    """Return ``answer`` as it is given after its time, while no upstream gives a new one (RFC 8767)."""
    # RFC 8914, sections 4.4 and 4.20.
    negative = answer.rcode == Rcode.NXDOMAIN
    return answer._replace(
        # Whoever validated it did so while its signatures held.
        authentic=False,
        records=with_ttls(answer.records, answer.ttl_offsets, lambda _: ttl_s),
        ttl_s=ttl_s,
        longest_s=ttl_s,
        edes=(Ede.STALE_NXDOMAIN_ANSWER if negative else Ede.STALE_ANSWER,),
    )


def without_ech(query: Query, answer: Answer) -> Answer:
    """Return ``answer`` to ``query`` without keys for Encrypted Client Hello, and without services nobody can read."""

    def rdata(message: bytes, begin: int, end: int) -> bytes | None:
        if query.qtype not in _SERVICES:
            return message[begin:end]
        try:
            return read_service(message, begin, end).without({ECH})
        except FAULTS:
            return None

    return _altered(query, answer, rdata) or _nodata(query, answer.ttl_s)


def private(addresses: Collection[bytes]) -> tuple[bytes, ...]:
    """Return those of ``addresses`` that no public name has."""
    return tuple(filter(is_private, addresses))


def without_addresses(query: Query, answer: Answer, addresses: Collection[bytes]) -> Answer:
    """Return ``answer`` to ``query`` without ``addresses``; NODATA, and why, where none is left."""

    def rdata(message: bytes, begin: int, end: int) -> bytes | None:
        if query.qtype not in _SERVICES:
            return None if message[begin:end] in addresses else message[begin:end]
        try:
            service = read_service(message, begin, end)
        except FAULTS:
            return None
        hints = service.hints.items()
        return service.without({key for key, its in hints if not set(its).isdisjoint(addresses)})

    altered = _altered(query, answer, rdata)
    return altered or _nodata(query, answer.ttl_s, Ede.BLOCKED, NOTHING_PUBLIC)


def rewritten(query: Query, target: str, answer: Answer) -> Answer:
    """Return the answer which says that the name asked for is an alias of ``target``.

    Args:
        query: About another name.
        target: A canonical host name.
        answer: What an upstream said to ``query.about(target)``.

    Returns:
        NODATA for all but addresses, as each other type leads past them; a failure where ``target`` has failed.
    """
    if answer.rcode != Rcode.NOERROR:
        # Never what the name itself would give.
        return failed(Rcode.SERVFAIL)
    ttl_s = min(answer.ttl_s, MAX_TTL_S)
    octets = _ADDRESS_OCTETS.get(query.qtype)
    addresses = [a for a in answer.addresses if len(a) == octets]
    if not octets or not addresses:
        return _nodata(query, ttl_s, Ede.FORGED_ANSWER, "safe search")
    name = wire_name(target)
    alias = _QNAME + RECORD.pack(_CNAME, _IN, ttl_s, len(name)) + name
    owner = POINTER | HEADER_OCTETS + len(query.question) + len(alias) - len(name)
    head = owner.to_bytes(2, "big") + RECORD.pack(query.qtype, _IN, ttl_s, octets)
    made = _read(query, Rcode.NOERROR, [alias, *(head + a for a in addresses)])
    return made._replace(edes=(Ede.FORGED_ANSWER,), text="safe search")


def _altered(query: Query, answer: Answer, change: _Rdata) -> Answer | None:
    """Return ``answer`` with ``change`` made to what was asked for; None where nothing of it is left."""
    message = bytes(HEADER_OCTETS) + query.question + answer.records
    place = HEADER_OCTETS + len(query.question)
    records = []
    left = False
    for _ in range(answer.counts[0]):
        owner, place = read_labels(message, place)
        kind, _, ttl, length = RECORD.unpack_from(message, place)
        begin = place + RECORD.size
        place = begin + length
        rdata = None
        if kind == _CNAME:
            rdata = wire_labels(read_labels(message, begin)[0])
        elif kind == query.qtype and kind in (*_ADDRESS_OCTETS, *_SERVICES):
            rdata = change(message, begin, place)
            left = left or rdata is not None
        if rdata is not None:
            name = _QNAME if present(owner) == query.qname else wire_labels(owner)
            records.append(name + RECORD.pack(kind, _IN, ttl, len(rdata)) + rdata)
    if not left:
        return None
    return _read(query, answer.rcode, records)._replace(edes=answer.edes, text=answer.text)


def _read(query: Query, rcode: int, records: list[bytes]) -> Answer:
    head = HEADER.pack(query.id, QR | rcode, 1, len(records), 0, 0)
    return parse_answer(head + query.question + b"".join(records), query, query.id)


def _nodata(query: Query, ttl_s: int, ede: Ede | None = None, text: str = "") -> Answer:
    head = HEADER.pack(query.id, QR, 1, 0, 1, 0)
    message = head + query.question + soa_record(query.question, 1, ttl_s)
    edes = () if ede is None else (ede,)
    return parse_answer(message, query, query.id)._replace(edes=edes, text=text)
