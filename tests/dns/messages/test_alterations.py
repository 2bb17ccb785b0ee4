from __future__ import annotations

from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_dns.messages.alterations import private, rewritten, stale, without_addresses, without_ech
from gate_dns.messages.answer import Answer, failed, parse_answer
from gate_dns.messages.codes import Rcode
from gate_dns.messages.render import render, render_question
from gate_dns.messages.wire import Query, parse_query

ECH = "ech=AAgABAAAAAAAAA=="
RRSIG = "A 13 2 300 20301231235959 20200101000000 1 example. AAAA"
SOA = "schoolgate.invalid. coordinator.schoolgate.invalid. 1 3600 600 86400"


def query(name="www.example", kind="A", **options) -> Query:
    options = {"use_edns": 0, "want_dnssec": True, **options}
    return parse_query(dns.message.make_query(name, kind, **options).to_wire())


def read(asked: Query, *records: str, rcode="NOERROR", authority=()) -> Answer:
    """Return an upstream's validated answer to ``asked``, made by dnspython."""
    answer = dns.message.make_response(dns.message.from_wire(render_question(asked, 4711)))
    answer.set_rcode(dns.rcode.from_text(rcode))
    answer.flags |= dns.flags.AD
    for section, lines in ((answer.answer, records), (answer.authority, authority)):
        for line in lines:
            owner, ttl, kind, rdata = line.split(" ", 3)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, rdata))
    return parse_answer(answer.to_wire(), asked, 4711)


def said(asked: Query, answer: Answer) -> dict:
    """Return what dnspython reads of ``answer`` as it leaves."""
    got = dns.message.from_wire(render(asked, answer).message)
    return {
        "rcode": dns.rcode.to_text(got.rcode()),
        "AD": bool(got.flags & dns.flags.AD),
        "answer": [line for r in got.answer for line in r.to_text().splitlines()],
        "authority": [r.to_text() for r in got.authority],
        "ede": [(int(o.code), o.text) for o in got.options],
    }


def alias_and(*records: str) -> list[str]:
    return [
        "www.example. 300 CNAME cdn.example.",
        f"www.example. 300 RRSIG {RRSIG.replace('A 13', 'CNAME 13')}",
        *records,
    ]


def test_without_ech_leaves_services_without_their_keys_and_signatures():
    asked = query("wWw.example", "HTTPS")
    answer = read(
        asked,
        *alias_and(
            f"cdn.example. 60 HTTPS 1 . mandatory=alpn,ech alpn=h2 ipv4hint=192.0.2.1 {ECH}",
            f"cdn.example. 60 RRSIG {RRSIG.replace('A 13', 'HTTPS 13')}",
        ),
        authority=["example. 60 NS ns.example."],
    )
    assert answer.has_ech
    clean = without_ech(asked, answer)
    assert not clean.has_ech
    assert (clean.targets, clean.addresses, clean.ttl_s) == (
        ("cdn.example",),
        (ip_address("192.0.2.1").packed,),
        60,
    )
    assert said(asked, clean) == {
        "rcode": "NOERROR",
        "AD": False,
        "answer": [
            "wWw.example. 300 IN CNAME cdn.example.",
            'cdn.example. 60 IN HTTPS 1 . mandatory="alpn" alpn="h2" ipv4hint="192.0.2.1"',
        ],
        "authority": [],
        "ede": [],
    }


def test_without_ech_gives_nodata_where_no_service_can_be_read():
    asked = query(kind="HTTPS")
    octets = dns.message.make_response(
        dns.message.from_wire(render_question(asked, 4711)), recursion_available=True
    ).to_wire()
    record = b"\xc0\x0c\0\x41\0\1\0\0\0\x3c\0\5\0\1\0\0\5"
    answer = parse_answer(octets[:6] + b"\0\1\0\0\0\0" + octets[12:29] + record, asked, 4711)
    assert answer.has_ech
    clean = without_ech(asked, answer)
    assert not clean.has_ech
    assert said(asked, clean)["authority"] == [f"example. 60 IN SOA {SOA} 60"]


def test_private_picks_what_no_public_name_has():
    inside, outside = ip_address("10.0.0.1").packed, ip_address("192.0.2.1").packed
    assert private((outside, inside, outside)) == (inside,)
    assert private((outside,)) == ()


@pytest.mark.parametrize(
    ("kind", "records", "left"),
    [
        pytest.param(
            "A",
            [
                "www.example. 9 A 192.0.2.1",
                "www.example. 9 A 10.0.0.1",
                f"www.example. 9 RRSIG {RRSIG}",
            ],
            ["www.example. 9 IN A 192.0.2.1"],
            id="one of two",
        ),
        pytest.param(
            "AAAA",
            alias_and("cdn.example. 9 AAAA ::ffff:10.0.0.1", "cdn.example. 9 AAAA 2001:db8::1"),
            ["www.example. 300 IN CNAME cdn.example.", "cdn.example. 9 IN AAAA 2001:db8::1"],
            id="behind an alias",
        ),
        pytest.param(
            "HTTPS",
            ["www.example. 9 HTTPS 1 . alpn=h2 ipv4hint=192.0.2.1,10.0.0.1 ipv6hint=2001:db8::1"],
            ['www.example. 9 IN HTTPS 1 . alpn="h2" ipv6hint="2001:db8::1"'],
            id="a hint",
        ),
    ],
)
def test_without_addresses_leaves_the_others(kind, records, left):
    asked = query(kind=kind)
    answer = read(asked, *records)
    got = said(asked, without_addresses(asked, answer, private(answer.addresses)))
    assert got == {"rcode": "NOERROR", "AD": False, "answer": left, "authority": [], "ede": []}


@pytest.mark.parametrize("kind", ["A", "AAAA"])
def test_without_addresses_gives_nodata_and_why_where_none_is_left(kind):
    asked = query(kind=kind)
    address = "192.168.1.1" if kind == "A" else "fe80::1"
    answer = read(asked, *alias_and(f"cdn.example. 9 {kind} {address}"))
    clean = without_addresses(asked, answer, private(answer.addresses))
    assert (clean.ttl_s, clean.addresses) == (9, ())
    assert said(asked, clean) == {
        "rcode": "NOERROR",
        "AD": False,
        "answer": [],
        "authority": [f"example. 9 IN SOA {SOA} 9"],
        "ede": [(15, "private address of a public name")],
    }


def test_without_addresses_lets_no_address_through_that_nobody_asked_for():
    asked = query(kind="TXT")
    answer = read(asked, "www.example. 9 TXT x", "www.example. 9 A 10.0.0.1")
    assert said(asked, without_addresses(asked, answer, private(answer.addresses)))["answer"] == []


@pytest.mark.parametrize(
    ("kind", "addresses"),
    [("A", ["192.0.2.1", "192.0.2.2"]), ("AAAA", ["2001:db8::1", "2001:db8::2"])],
)
def test_rewritten_makes_the_name_an_alias_of_the_target(kind, addresses):
    asked = query("wWw.Search.example", kind)
    target = asked.about("safe.search.example")
    answer = read(
        target,
        "safe.search.example. 90 CNAME pool.search.example.",
        *(f"pool.search.example. 60 {kind} {a}" for a in addresses),
    )
    made = rewritten(asked, "safe.search.example", answer)
    assert (made.ttl_s, made.targets) == (60, ("safe.search.example",))
    assert made.addresses == tuple(ip_address(a).packed for a in addresses)
    assert said(asked, made) == {
        "rcode": "NOERROR",
        "AD": False,
        "answer": [
            "wWw.Search.example. 60 IN CNAME safe.search.example.",
            *(f"safe.search.example. 60 IN {kind} {a}" for a in addresses),
        ],
        "authority": [],
        "ede": [(4, "safe search")],
    }


@pytest.mark.parametrize("kind", ["HTTPS", "SVCB", "TXT", "CNAME", "AAAA"])
def test_rewritten_gives_nodata_where_there_is_no_address(kind):
    asked = query("www.search.example", kind)
    records = ["safe.search.example. 60 HTTPS 1 . alpn=h2"] if kind == "HTTPS" else []
    soa = "search.example. 90 SOA ns.example. hostmaster.example. 1 3600 600 86400 90"
    target = asked.about("safe.search.example")
    answer = read(target, *records, authority=[] if records else [soa])
    ttl_s = 60 if records else 90
    assert said(asked, rewritten(asked, "safe.search.example", answer)) == {
        "rcode": "NOERROR",
        "AD": False,
        "answer": [],
        "authority": [f"search.example. {ttl_s} IN SOA {SOA} {ttl_s}"],
        "ede": [(4, "safe search")],
    }


@pytest.mark.parametrize("rcode", ["NXDOMAIN", "SERVFAIL", "REFUSED"])
def test_rewritten_fails_where_the_target_does(rcode):
    asked = query("www.search.example")
    answer = read(asked.about("safe.search.example"), rcode=rcode)
    assert rewritten(asked, "safe.search.example", answer) == failed(Rcode.SERVFAIL)


@pytest.mark.parametrize(
    ("rcode", "records", "code"),
    [
        ("NOERROR", ["www.example. 300 A 192.0.2.1", "www.example. 9 A 192.0.2.2"], 3),
        ("NXDOMAIN", [], 19),
    ],
)
def test_stale_gives_the_records_for_half_a_minute(rcode, records, code):
    asked = query()
    soa = "example. 900 SOA ns.example. hostmaster.example. 1 3600 600 86400 60"
    old = stale(read(asked, *records, rcode=rcode, authority=[] if records else [soa]))
    got = said(asked, old)
    assert (got["rcode"], got["AD"], got["ede"]) == (rcode, False, [(code, None)])
    assert len(got["answer"]) == len(records)
    assert all(" 30 IN " in line for line in got["answer"] + got["authority"])
    assert old.ttl_s == 30


names = st.lists(st.sampled_from(["a", "b", "cdn", "example"]), min_size=1, max_size=4).map(
    ".".join
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["A", "AAAA", "HTTPS", "SVCB"]),
    st.lists(names, max_size=3, unique=True),
    st.lists(st.ip_addresses(v=4), max_size=3),
    st.lists(st.ip_addresses(v=6), max_size=3),
    st.booleans(),
)
def test_alterations_leave_what_dnspython_reads_and_nothing_that_was_to_go(
    kind, aliases, v4, v6, ech
):
    asked = query("www.test", kind)
    records = []
    owner = "www.test."
    for alias in aliases:
        records.append(f"{owner} 60 CNAME {alias}.")
        owner = f"{alias}."
    if kind in ("A", "AAAA"):
        records += [f"{owner} 60 {kind} {a}" for a in (v4 if kind == "A" else v6)]
    else:
        hints = "".join(
            f" {key}={','.join(map(str, addresses))}"
            for key, addresses in (("ipv4hint", v4), ("ipv6hint", v6))
            if addresses
        )
        records.append(f"{owner} 60 {kind} 1 .{hints}{' ' + ECH if ech else ''}")
    answer = read(asked, *records)
    gone = private(answer.addresses)
    for clean in (
        without_ech(asked, answer),
        without_addresses(asked, answer, gone),
        without_addresses(asked, without_ech(asked, answer), gone),
    ):
        said(asked, clean)
    assert not clean.has_ech
    assert not private(clean.addresses)
    assert set(clean.addresses) <= set(answer.addresses)
    if kind in ("A", "AAAA"):
        assert sorted(clean.addresses) == sorted(a for a in answer.addresses if a not in gone)
