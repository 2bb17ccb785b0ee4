"""What must hold of any octets, and the messages to begin with."""

from __future__ import annotations

import random
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Final

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from gate_appliance.lists.formats import ListError, parse_list
from gate_dns.messages.alterations import private, rewritten, stale, without_addresses, without_ech
from gate_dns.messages.answer import Answer, parse_answer
from gate_dns.messages.codes import Ede, Rcode
from gate_dns.messages.render import Response, refuse, render, render_question
from gate_dns.messages.wire import MalformedMessageError, Query, Transport, parse_query

SERVER_COOKIE: Final = b"87654321"
COOKIE_OCTETS: Final = 8
"""What a refusal may have more than its query: our part of a cookie."""
TEXT: Final = "school policy matrix:games:ks2"
JUDGED: Final = 0.01
"""Part of the messages that dnspython reads too: it takes ten times as long as all else."""

OWN: Final = (
    Response(
        Rcode.NOERROR, 5, IPv4Address("192.0.2.2"), None, (Ede.BLOCKED, Ede.FORGED_ANSWER), TEXT
    ),
    Response(Rcode.NXDOMAIN, 5, None, 7, (Ede.CENSORED,), TEXT),
    Response(Rcode.NOERROR, 3600, minimal_any=True),
)
LONGEST: Final = Response(Rcode.NXDOMAIN, 5, None, 7, tuple(Ede), TEXT * 9)

worst: dict[str, float] = {}
"""The highest ratio of an answer's length to its query's, by what was answered."""


def _query(name: str, kind: str, **options: object) -> bytes:
    return dns.message.make_query(name, kind, id=0x1234, **options).to_wire()


def _cookie(octets: bytes) -> dns.edns.Option:
    return dns.edns.GenericOption(dns.edns.OptionType.COOKIE, octets)


QUERIES: Final = (
    _query("www.example.org", "A"),
    _query("wWw.ExAmPle", "HTTPS", use_edns=0, payload=1232),
    _query("www.example", "SVCB", use_edns=0, want_dnssec=True, payload=512),
    _query("www.example", "AAAA", use_edns=0, options=[_cookie(b"12345678")]),
    _query("4.3.2.1.in-addr.arpa", "PTR", use_edns=0, options=[_cookie(b"c" * 24)], pad=128),
    _query(".", "NS", use_edns=1),
    _query(
        "a." * 120 + "example", "ANY", use_edns=0, options=[dns.edns.ECSOption("192.0.2.0", 24)]
    ),
)
ASKED: Final = tuple(map(parse_query, QUERIES))
_ECH: Final = "ech=AAgABAAAAAAAAA=="
_RECORDS: Final = (
    ("www.example. 300 A 192.0.2.1", "www.example. 9 A 10.0.0.1"),
    ("www.example. 300 CNAME a.cdn.example.", "a.cdn.example. 60 CNAME b.cdn.example."),
    (f"www.example. 60 HTTPS 1 pool.example. alpn=h2 ipv4hint=10.0.0.1 {_ECH}",),
    (f"www.example. 60 SVCB 2 . mandatory=ech,alpn alpn=h3 ipv6hint=fe80::1 {_ECH}",),
    (
        "www.example. 60 AAAA ::1",
        "www.example. 60 RRSIG AAAA 8 2 60 20301231235959 20200101000000 1 . AAAA",
    ),
    (f"www.example. 60 TXT {'x' * 250}",),
)
LISTS: Final = (
    b"# names\nexample.org\n*.example.net\n.example.com\n",
    b"0.0.0.0 example.org www.example.org # both\n127.0.0.1 localhost\n::1 example.net\n",
    b"! Title: x\n||example.org^\n@@||example.net^$important\nexample.com##.ad\n",
    b"$TTL 60\n$ORIGIN rpz.example.\n@ SOA ns.x. a.x. 1 2 3 4 5\nexample.org CNAME .\n"
    b"*.example.net CNAME rpz-passthru.\n24.0.2.0.192.rpz-ip CNAME *.\n",
)


def _answers() -> tuple[bytes, ...]:
    made = []
    for asked in ASKED[:5]:
        for lines in _RECORDS:
            answer = dns.message.make_response(
                dns.message.from_wire(render_question(asked, 0x1234))
            )
            for line in lines:
                owner, ttl, kind, rdata = line.split(" ", 3)
                answer.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, rdata))
            soa = "ns.example. hostmaster.example. 1 3600 600 86400 60"
            answer.authority.append(dns.rrset.from_text("example.", 60, "IN", "SOA", soa))
            made.append(answer.to_wire())
    return tuple(made)


ANSWERS: Final = _answers()
_chance = random.Random(8484)  # noqa: S311  # no secret, and the same each time


def query(octets: bytes) -> None:
    """Read ``octets`` as a query."""
    for transport in Transport:
        try:
            asked = parse_query(octets, transport)
        except MalformedMessageError as e:
            refusal = refuse(octets, e, SERVER_COOKIE)
            if refusal is not None:
                assert len(refusal) <= len(octets) + COOKIE_OCTETS
                _judge(refusal)
            continue
        for response in (*OWN, LONGEST):
            message = render(asked, response, SERVER_COOKIE).message
            assert len(message) <= 512
            _judge(message)
            if transport is Transport.UDP and response is not LONGEST:
                kind = "address" if response.address else response.rcode.name
                what = f"{kind} {'with' if asked.edns else 'without'} EDNS"
                worst[what] = max(worst.get(what, 0.0), len(message) / len(octets))


def answer(octets: bytes) -> None:
    """Read ``octets`` as an answer to each question that it may be one to."""
    message_id = int.from_bytes(octets[:2], "big")
    for asked in ASKED:
        try:
            read = parse_answer(octets, asked, message_id)
        except MalformedMessageError:
            continue
        _pass_on(asked, read, octets)


def _pass_on(asked: Query, read: Answer, octets: bytes) -> None:
    inside = private(read.addresses)
    changed = (
        read.aged(7, 60),
        stale(read),
        without_addresses(asked, without_ech(asked, read), inside),
        rewritten(asked, "safe.example", read),
    )
    for passed in (read, *changed):
        rendered = render(asked, passed, SERVER_COOKIE)
        assert len(rendered.message) <= asked.size_octets
        end = len(rendered.message) - 4 - 12 - len(asked.question)
        assert all(0 <= offset <= end for offset in rendered.ttl_offsets)
    assert not any(made.has_ech for made in changed[2:])
    assert not private(changed[2].addresses)
    try:
        dns.message.from_wire(octets, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return
    for made in changed[2:]:
        dns.message.from_wire(render(asked, made).message)


def lists(octets: bytes) -> None:
    """Read ``octets`` as a list of names."""
    try:
        parse_list(octets.splitlines(keepends=True))
    except ListError:
        return


def _judge(message: bytes) -> None:
    if _chance.random() < JUDGED:
        dns.message.from_wire(message)


CHECKS: Final[dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...], float]]] = {
    "query": (query, QUERIES, 0.45),
    "answer": (answer, ANSWERS, 0.45),
    "lists": (lists, LISTS, 0.1),
}
"""By reader: the check, what to begin with, and its share of the mutated messages."""


def say() -> None:
    """Print what was found besides."""
    for what, ratio in sorted(worst.items()):
        print(f"longest answer over UDP: {what}: {ratio:.1f} of its query")
