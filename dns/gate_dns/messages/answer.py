"""Answers of upstreams: octets to values, and what is done to them before they go on.

An answer keeps its records as they came, as nearly all of them leave as they came; what the policy looks at is found
while they are walked over. Only an answer that must be changed is taken apart.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from gate_dns.messages.codes import Option, Qclass, Qtype, Rcode
from gate_dns.messages.service import ECH, read_service
from gate_dns.messages.wire import (
    AD,
    FAULTS,
    HEADER,
    HEADER_OCTETS,
    MAX_UDP_OCTETS,
    OPCODE,
    POINTER,
    QR,
    RECORD,
    TC,
    MalformedMessageError,
    Query,
    made,
    present,
    read_labels,
    read_name,
    read_options,
)

MAX_TTL_S: Final = 86_400
"""A day, as RFC 8767, section 4, allows resolvers to cap TTLs."""
FAILURE_TTL_S: Final = 1
"""How long a failure is kept (RFC 9520, section 3.2: at least one second)."""
MAX_ALIASES: Final = 16
"""CNAME records of an answer: clients and resolvers give up at about as many."""
MAX_RECORDS: Final = 512
"""Records of an answer, in all sections. What has more, or leads to more than the next two say, takes a worker longer to
look at than one name may hold up all others; no site in use comes near."""
MAX_TARGETS: Final = 32
MAX_ADDRESSES: Final = 256
MAX_EDES: Final = 2
"""INFO-CODEs that are kept of an upstream's: they say why there is no answer, which takes no more."""

_IN: Final = int(Qclass.IN)
_A: Final = int(Qtype.A)
_AAAA: Final = int(Qtype.AAAA)
_CNAME: Final = int(Qtype.CNAME)
_SOA: Final = int(Qtype.SOA)
_SRV: Final = 33
_DNAME: Final = 39
_RRSIG: Final = 46
_OPT: Final = int(Qtype.OPT)
_ADDRESS_OCTETS: Final = {_A: 4, _AAAA: 16}
_ADDRESS_RECORDS: Final = {
    kind: (
        struct.Struct(f"!6sIH{octets}s"),
        struct.pack("!HHH", POINTER | HEADER_OCTETS, kind, _IN),
        octets,
    )
    for kind, octets in _ADDRESS_OCTETS.items()
}
"""By type, how to read records of the name asked for: owner, type and class in one, TTL, length, address; then what the first
and the third must be."""
_BARE_OPT: Final = b"\0\0\x29\0\0\0"
"""An OPT record less its size and the rest of its TTL: root, type, extended RCODE, no options."""
_OFFSETS_OF_ONE: Final[tuple[int, ...]] = (6,)
"""Where the TTL begins in a single plain record."""
_HEADER_LESS_ID: Final = struct.Struct("!5H")
_FIXED_BITS: Final = QR | OPCODE | TC | 0xF
"""Bits of the header that are the same in all plain answers: QR is set, the rest are not."""
_SERVICES: Final = (int(Qtype.HTTPS), int(Qtype.SVCB))
_LEADING: Final = frozenset((_A, _AAAA, _CNAME, _DNAME, _SRV, *_SERVICES))
"""Types of records that lead somewhere, and so have no place in the authority section."""
_TARGET_AT: Final = {_SRV: 6, _DNAME: 0}
"""Where the target begins in the RDATA."""
_NAMES_AT: Final = {2: (0, 1), _SOA: (0, 2), 12: (0, 1), 15: (2, 1)}
"""Where names begin in the RDATA of NS, SOA, PTR and MX records, and how many: those may be compressed (RFC 3597, section
4), and one that points into the header is another as soon as that is."""
_OWNED_ABOVE: Final = (_DNAME, _RRSIG)
"""A DNAME record is owned by a name above the one asked for, and so is what signs it."""
_EXISTENCE: Final = (int(Rcode.NOERROR), int(Rcode.NXDOMAIN))
"""Response codes that say something about the name."""


class Answer(NamedTuple):
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
    longest_s: int = 0
    """The highest of the TTLs."""
    targets: tuple[str, ...] = ()
    """Canonical names that the answer leads to, at most ``MAX_TARGETS``: of CNAME records in their order, then of DNAME, SRV,
    HTTPS and SVCB records."""
    addresses: tuple[bytes, ...] = ()
    """The 4 or 16 octets of each address in the answer section, at most ``MAX_ADDRESSES``: of A and AAAA records, and hints
    of HTTPS and SVCB."""
    has_ech: bool = False
    """Whether an HTTPS or SVCB record has keys for Encrypted Client Hello, or can't be read."""
    edes: tuple[int, ...] = ()
    """INFO-CODEs of extended errors, ours or the upstream's first ``MAX_EDES``."""
    text: str = ""
    """EXTRA-TEXT of the first of ``edes``; the upstream's own is not taken over."""

    def aged(self, age_s: int, limit_s: int) -> Answer:
        """Return the answer ``age_s`` later, with no TTL above ``limit_s``, nor above the longest that is believed."""
        limit_s = min(limit_s, MAX_TTL_S)
        if not age_s and self.longest_s <= limit_s:
            return self
        records = with_ttls(
            self.records,
            self.ttl_offsets,
            lambda ttl: max(0, min(_believed(ttl) - age_s, limit_s)),
        )
        return self._replace(
            records=records,
            ttl_s=max(0, min(self.ttl_s - age_s, limit_s)),
            longest_s=max(0, min(self.longest_s - age_s, limit_s)),
        )


def parse_answer(message: bytes, query: Query, message_id: int, asked: bytes = b"") -> Answer:
    """Return the answer of an upstream to ``query`` as it was sent with ``message_id``.

    Args:
        message: What came.
        query: What it must be about.
        message_id: The ID that it must have.
        asked: The question as it was sent, where it was in other letter case than in ``query``.

    A failure takes the place of one that goes in circles, has too much in it, or records that do not belong there.

    Raises:
        MalformedMessageError: It is no message, or an answer to something else.
    """
    try:
        question = query.question
        start = HEADER_OCTETS + len(question)
        plain = _plain(message, start, query.qtype, message_id, asked or question)
        if plain is not None:
            return plain
        id_, bits, questions, *counts = HEADER.unpack_from(message)
        if id_ != message_id or bits & (QR | OPCODE) != QR:
            raise ValueError("no answer to what was asked")
        rcode = bits & 0xF
        # A server that does not understand may leave the question out; the ID and the connected socket vouch for it.
        if not questions and rcode not in _EXISTENCE:
            return failed(rcode)
        if questions != 1 or not (
            (asked and message.startswith(asked, HEADER_OCTETS))
            or _same(message[HEADER_OCTETS:start], question)
        ):
            raise ValueError("another question")
        if bits & TC:
            # What there is of it may end anywhere.
            return failed(rcode)._replace(truncated=True, ttl_s=0)
        return _walked(message, start, query, counts, bits)
    except FAULTS as e:
        raise MalformedMessageError(message, str(e)) from e


def _walked(message: bytes, start: int, query: Query, counts: list[int], bits: int) -> Answer:
    """Return the answer whose records begin at ``start``."""
    if sum(counts) > MAX_RECORDS:
        return failed(Rcode.SERVFAIL)
    walk = _Walk(message, start, query)
    for section, count in enumerate(counts):
        for _ in range(count):
            walk.record(section)
    # What an extended code says of the name, nobody knows.
    if walk.extended_rcode or walk.misleads():
        return failed(Rcode.SERVFAIL)
    rcode = bits & 0xF
    return Answer(
        rcode,
        bits & AD != 0,
        False,
        (counts[0], counts[1]),
        message[start : walk.end],
        tuple(walk.ttl_offsets),
        walk.lasts_s(rcode),
        walk.longest_s,
        (*walk.aliases, *walk.leads_to),
        tuple(walk.addresses),
        walk.has_ech,
        walk.edes,
    )


def _plain(
    message: bytes, start: int, qtype: int, message_id: int, question: bytes
) -> Answer | None:
    """Return the answer where it is nothing but addresses of the name asked for, as most are; None for all others.

    What ``_Walk`` finds of those is found here in a fraction of the time.
    """
    known = _ADDRESS_RECORDS.get(qtype)
    if known is None or len(message) < HEADER_OCTETS:
        return None
    form, first, octets = known
    # Its lower octet: no plain answer has more than 255 records.
    count = message[7]
    end = start + count * form.size
    if (
        # No octets behind the records, or those of an OPT record without options.
        len(message) - end not in (0, 11)
        or message[0] << 8 | message[1] != message_id
        or not message.startswith(question, HEADER_OCTETS)
        or (around := _plain_around(message[2:HEADER_OCTETS] + message[end:])) is None
    ):
        return None
    ad, counts = around
    records = message[start:end]
    begin, ttl_s, length, address = form.unpack_from(message, start)
    if begin != first or length != octets:
        return None
    addresses: tuple[bytes, ...] = (address,)
    most_s, offsets = ttl_s, _OFFSETS_OF_ONE
    if count > 1:
        several = []
        for begin, ttl, length, address in form.iter_unpack(records):
            if begin != first or length != octets:
                return None
            # Those of a set have the same, mostly (RFC 2181, section 5.2).
            if ttl != ttl_s:
                ttl_s, most_s = min(ttl_s, ttl), max(most_s, ttl)
            several.append(address)
        addresses, offsets = tuple(several), _ttl_offsets(count, form.size)
    if most_s > MAX_TTL_S:
        return None
    # In the order of the fields; what has no place in such an answer is as it is by default.
    values = (0, ad, False, counts, records, offsets, ttl_s, most_s, (), addresses, False, (), "")
    return made(Answer, values)


@lru_cache(maxsize=256)
def _plain_around(around: bytes) -> tuple[bool, tuple[int, int]] | None:
    """Return whether an answer is authentic, and the counts of its records; None if it is none of addresses alone.

    Args:
        around: Its header less the ID, and what follows the answer section. Both are the same in most answers of an upstream.
    """
    bits, questions, count, authorities, additionals = _HEADER_LESS_ID.unpack_from(around)
    rest = around[_HEADER_LESS_ID.size :]
    if rest:
        rest = rest[:3] + rest[5:6] + rest[9:]
    if (
        bits & _FIXED_BITS != QR
        or (questions, authorities) != (1, 0)
        or not 0 < count < 256
        or additionals > 1
        # Nothing may follow but an OPT record without options, whose TTL says that the RCODE has no more bits.
        or rest != (_BARE_OPT if additionals else b"")
    ):
        return None
    return bits & AD != 0, (count, 0)


@lru_cache(maxsize=2 * MAX_ADDRESSES)
def _ttl_offsets(count: int, octets: int) -> tuple[int, ...]:
    """Return where the TTLs begin in so many plain records; one object for all answers that have as many."""
    return tuple(range(6, count * octets, octets))


def failed(rcode: int) -> Answer:
    """Return the answer that says no more than ``rcode``."""
    return Answer(
        rcode, authentic=False, truncated=False, counts=(0, 0), records=b"", ttl_s=FAILURE_TTL_S
    )


def _same(question: bytes, other: bytes) -> bool:
    """Tell whether two question sections ask the same: letter case counts in type and class only."""
    return question == other or (
        question[-4:] == other[-4:] and question[:-4].lower() == other[:-4].lower()
    )


class _Walk:
    """What a walk over the records of an answer finds."""

    __slots__ = (
        "_known",
        "_message",
        "_misplaced",
        "_owners",
        "_place",
        "_qname",
        "_qtype",
        "_start",
        "addresses",
        "aliases",
        "edes",
        "end",
        "extended_rcode",
        "has_answer",
        "has_ech",
        "has_soa",
        "leads_to",
        "longest_s",
        "ttl_offsets",
        "ttl_s",
    )

    def __init__(self, message: bytes, start: int, query: Query) -> None:
        self._message = message
        self._start = self._place = self.end = start
        self._qname = query.qname
        self._qtype = query.qtype
        self._known = {HEADER_OCTETS: query.qname}
        """Canonical names that were read without a fault, by where they begin."""
        self._owners: set[str] = set()
        """Whom the records of the answer section are about."""
        self._misplaced = False
        self.ttl_offsets: list[int] = []
        self.ttl_s = MAX_TTL_S
        self.longest_s = 0
        self.aliases: list[str] = []
        self.leads_to: list[str] = []
        self.addresses: list[bytes] = []
        self.edes: tuple[int, ...] = ()
        self.extended_rcode = 0
        self.has_answer = self.has_ech = self.has_soa = False

    def record(self, section: int) -> None:
        """Read the next record: of the answer (0), authority (1) or additional section (2)."""
        message = self._message
        owner, place = self._owner(self._place)
        kind, class_, ttl, length = RECORD.unpack_from(message, place)
        begin = place + RECORD.size
        end = self._place = begin + length
        if end > len(message):
            raise ValueError("a record is cut short")
        if section == 2:
            if kind == _OPT:
                self._opt(ttl, message[begin:end])
            return
        if class_ != _IN or kind == _OPT:
            raise ValueError(f"a record of type {kind} and class {class_} out of place")
        self.end = end
        self.ttl_offsets.append(place + 4 - self._start)
        self.longest_s = max(self.longest_s, ttl)
        if ttl < self.ttl_s:
            self.ttl_s = ttl
        elif ttl > MAX_TTL_S:
            self.ttl_s = min(self.ttl_s, _believed(ttl))
        if kind in _NAMES_AT:
            self._skip_names(begin, *_NAMES_AT[kind])
        if section == 0:
            if kind not in _OWNED_ABOVE:
                self._owners.add(owner)
            self._answer(kind, begin, end)
        else:
            self._authority(kind, begin, end)

    def _owner(self, place: int) -> tuple[str, int]:
        """Return the canonical name at ``place``, and where what follows it begins."""
        message = self._message
        first = place
        length = message[place]
        if not length:
            return "", place + 1
        if length >= 0xC0:
            first = (length & 0x3F) << 8 | message[place + 1]
            if first in self._known:
                return self._known[first], place + 2
        name, end = read_name(message, place)
        self._known[first] = name
        return name, end

    def _skip_names(self, begin: int, offset: int, count: int) -> None:
        place = begin + offset
        for _ in range(count):
            place = read_labels(self._message, place)[1]

    def _answer(self, kind: int, begin: int, end: int) -> None:
        if kind == self._qtype:
            self.has_answer = True
        if kind in _ADDRESS_OCTETS:
            if end - begin != _ADDRESS_OCTETS[kind]:
                raise ValueError(f"an address of {end - begin} octets")
            self.addresses.append(self._message[begin:end])
        elif kind == _CNAME:
            target, after = read_name(self._message, begin)
            if after != end:
                raise ValueError("a CNAME record of another length")
            self.aliases.append(target)
            self._known[begin] = target
        elif kind in _SERVICES:
            self._service(begin, end)
        elif kind in _TARGET_AT:
            target, after = read_name(self._message, begin + _TARGET_AT[kind])
            if after != end:
                raise ValueError(f"a record of type {kind} of another length")
            if target:
                self.leads_to.append(target)

    def _authority(self, kind: int, begin: int, end: int) -> None:
        if kind in _LEADING:
            self._misplaced = True
        elif kind == _SOA and end - begin >= 22:
            self.has_soa = True
            # RFC 2308, section 5: the last field of the SOA record bounds how long a negative answer holds.
            self.ttl_s = min(self.ttl_s, int.from_bytes(self._message[end - 4 : end], "big"))

    def _service(self, begin: int, end: int) -> None:
        try:
            service = read_service(self._message, begin, end)
        except FAULTS:
            self.has_ech = True
            return
        if service.target:
            self.leads_to.append(present(service.target))
        for addresses in service.hints.values():
            self.addresses += addresses
        if ECH in service.params:
            self.has_ech = True

    def _opt(self, ttl: int, options: bytes) -> None:
        self.extended_rcode = ttl >> 24
        # Longer ones are there to keep us busy.
        if 0 < len(options) <= MAX_UDP_OCTETS:
            codes = (
                int.from_bytes(content[:2], "big")
                for code, content in read_options(options)
                if code == Option.EDE and len(content) >= 2
            )
            self.edes = tuple(dict.fromkeys(codes))[:MAX_EDES]

    def lasts_s(self, rcode: int) -> int:
        """Return how long the answer holds."""
        if rcode not in _EXISTENCE:
            return FAILURE_TTL_S
        if not self.has_soa and (rcode == Rcode.NXDOMAIN or not self.has_answer):
            return 0
        return self.ttl_s

    def misleads(self) -> bool:
        """Tell whether the answer leads nowhere, or further than anybody follows, or tells of what nobody asked for."""
        aliases = self.aliases
        return (
            self._misplaced
            or len(aliases) > MAX_ALIASES
            or len(aliases) + len(self.leads_to) > MAX_TARGETS
            or len(self.addresses) > MAX_ADDRESSES
            or self._qname in aliases
            or len(set(aliases)) < len(aliases)
            # In whatever order the aliases come.
            or not self._owners <= {self._qname, *aliases}
        )


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
