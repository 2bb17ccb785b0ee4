from __future__ import annotations

import struct
from itertools import pairwise

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_dns.answer import (
    FAILURE_TTL_S,
    MAX_ALIASES,
    MAX_TTL_S,
    Answer,
    failed,
    parse_answer,
    with_ttls,
)
from gate_dns.codes import Rcode
from gate_dns.render import render, render_question
from gate_dns.wire import MAX_UDP_OCTETS, MalformedMessageError, Query, parse_query


def query(name="www.example", kind="A", **options) -> Query:
    return parse_query(dns.message.make_query(name, kind, id=0x1234, **options).to_wire())


def answered(
    asked: Query, *records: str, rcode="NOERROR", authority=(), flags=0, options=()
) -> bytes:
    """Return an upstream's answer to ``asked``, made by dnspython."""
    question = render_question(asked, 4711, edns=asked.edns is not None)
    answer = dns.message.make_response(dns.message.from_wire(question))
    answer.set_rcode(dns.rcode.from_text(rcode))
    answer.flags |= flags
    if options:
        answer.use_edns(0, options=list(options))
    for section, lines in ((answer.answer, records), (answer.authority, authority)):
        for line in lines:
            owner, ttl, kind, rdata = line.split(" ", 3)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, rdata))
    return answer.to_wire()


def read(asked: Query, *records: str, **options) -> Answer:
    return parse_answer(answered(asked, *records, **options), asked, 4711)


SOA = "example. 900 SOA ns.example. hostmaster.example. 1 3600 600 86400 60"
ECH = "AAgABAAAAAAAAA=="
"""An ECHConfigList of one configuration of a version nobody knows."""
HTTPS = query(kind="HTTPS", use_edns=0)
REAL_ANSWERS = [
    answered(query("www.example"), "www.example. 300 A 192.0.2.1", "www.example. 300 A 192.0.2.2"),
    answered(
        query("www.example"),
        "www.example. 300 CNAME a.cdn.example.",
        "a.cdn.example. 60 CNAME b.cdn.example.",
        "b.cdn.example. 20 A 192.0.2.1",
    ),
    answered(query("www.example"), rcode="NXDOMAIN", authority=[SOA]),
    answered(
        query("www.example"),
        "www.example. 300 MX 10 mail.example.",
        authority=["example. 60 NS ns.example."],
    ),
    answered(
        HTTPS,
        "www.example. 300 CNAME cdn.example.",
        f"cdn.example. 60 HTTPS 1 pool.example. alpn=h2 ipv4hint=192.0.2.1 ech={ECH}",
    ),
]

mutations = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "insert", "delete"]),
        st.integers(0, 200),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=6,
)


def mutated(octets: bytes, changes) -> bytes:
    changed = bytearray(octets)
    for how, number, value in changes:
        place = number % max(1, len(changed))
        match how:
            case "set" if changed:
                changed[place] = value
            case "cut":
                del changed[max(place, 12) :]
            case "insert":
                changed.insert(place, value)
            case "delete" if changed:
                del changed[place]
    return bytes(changed)


def read_as_answer(octets: bytes) -> None:
    """Any octets: an answer that goes on readable where it came readable, or Malformed."""
    for asked in (query("www.example", use_edns=0), HTTPS):
        for message_id in (4711, int.from_bytes(octets[:2], "big")):
            try:
                answer = parse_answer(octets, asked, message_id)
            except MalformedMessageError:
                continue
            aged = answer.aged(3, 60)
            assert 0 <= aged.ttl_s <= 60
            rendered = render(asked, aged).message
            assert rendered[:2] == b"\x12\x34"
            assert len(rendered) <= MAX_UDP_OCTETS
            try:
                came = dns.message.from_wire(octets, ignore_trailing=True)
            except dns.exception.DNSException:
                continue
            got = dns.message.from_wire(rendered)
            if answer.counts != (0, 0):
                assert (got.rcode(), len(got.answer)) == (came.rcode() & 0xF, len(came.answer))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_parse_answer_gives_a_value_or_malformed_for_any_octets(octets):
    read_as_answer(octets)
    # The same octets where only the head is right.
    read_as_answer(REAL_ANSWERS[0][:29] + octets)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(REAL_ANSWERS), mutations)
def test_parse_answer_gives_a_value_or_malformed_for_mutated_answers(octets, changes):
    read_as_answer(mutated(octets, changes))


@pytest.mark.parametrize("number", range(len(REAL_ANSWERS)))
def test_parse_answer_is_malformed_for_an_answer_cut_anywhere(number):
    octets = REAL_ANSWERS[number]
    asked = HTTPS if number == len(REAL_ANSWERS) - 1 else query()
    parse_answer(octets, asked, 4711)
    for end in range(len(octets)):
        with pytest.raises(MalformedMessageError):
            parse_answer(octets[:end], asked, 4711)


def test_parse_answer_finds_targets_and_the_least_ttl():
    answer = parse_answer(REAL_ANSWERS[1], query("www.example"), 4711)
    assert answer.targets == ("a.cdn.example", "b.cdn.example")
    assert answer.ttl_s == 20
    assert answer.counts == (3, 0)


@pytest.mark.parametrize(
    ("authority", "ttl_s"),
    [
        pytest.param([SOA], 60, id="the minimum of the SOA record"),
        pytest.param([SOA.replace("900", "40")], 40, id="the TTL of the SOA record"),
        pytest.param([], 0, id="no SOA record"),
    ],
)
@pytest.mark.parametrize("rcode", ["NXDOMAIN", "NOERROR"])
def test_parse_answer_takes_the_negative_ttl(authority, ttl_s, rcode):
    octets = answered(query(), rcode=rcode, authority=authority)
    assert parse_answer(octets, query(), 4711).ttl_s == ttl_s


def test_parse_answer_believes_no_ttl_with_its_first_bit_set():
    octets = answered(query(), "www.example. 300 A 192.0.2.1").replace(
        b"\0\0\x01\x2c", b"\x80\0\x01\x2c"
    )
    assert parse_answer(octets, query(), 4711).ttl_s == 0


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(answered(query("other.example")), id="another name"),
        pytest.param(answered(query(kind="AAAA")), id="another type"),
        pytest.param(answered(query(kind="TYPE97")), id="a type equal in lower case"),
        pytest.param(b"\0\0" + answered(query(kind="HTTPS"))[2:], id="another ID"),
        pytest.param(render_question(query(kind="HTTPS"), 4711), id="a query"),
    ],
)
def test_parse_answer_refuses_what_answers_something_else(octets):
    with pytest.raises(MalformedMessageError):
        parse_answer(octets, query(kind="HTTPS"), 4711)


def test_parse_answer_takes_a_fault_without_question():
    octets = b"\x12\x67\x80\x01" + bytes(8)
    assert parse_answer(octets, query(), 4711) == failed(Rcode.FORMERR)


def test_parse_answer_keeps_nothing_of_what_is_truncated():
    octets = answered(query(), "www.example. 300 A 192.0.2.1", flags=dns.flags.TC)
    for end in (len(octets), len(octets) - 3):
        answer = parse_answer(octets[:end], query(), 4711)
        assert (answer.truncated, answer.counts, answer.records) == (True, (0, 0), b"")
        assert answer.ttl_s == 0
        got = dns.message.from_wire(render(query(), answer).message)
        assert dns.flags.to_text(got.flags) == "QR TC RD RA"


@pytest.mark.parametrize(
    ("rcode", "records", "ttl_s"),
    [
        pytest.param("NOERROR", ["www.example. 300 CNAME a.example."], 0, id="an alias of nothing"),
        pytest.param("NXDOMAIN", ["www.example. 300 CNAME a.example."], 0, id="of what is not"),
        pytest.param("NOERROR", ["www.example. 300 AAAA ::"], 0, id="another type"),
        pytest.param("NOERROR", ["www.example. 300 A 192.0.2.1"], 300, id="what was asked for"),
        pytest.param("NOERROR", ["www.example. 999999 A 192.0.2.1"], MAX_TTL_S, id="too long"),
        pytest.param("SERVFAIL", [], FAILURE_TTL_S, id="a failure"),
        pytest.param("REFUSED", [], FAILURE_TTL_S, id="a refusal"),
    ],
)
def test_parse_answer_tells_how_long_it_holds(rcode, records, ttl_s):
    assert read(query(), *records, rcode=rcode).ttl_s == ttl_s


def aliases(*names: str) -> list[str]:
    return [f"{a} 60 CNAME {b}" for a, b in pairwise(names)]


@pytest.mark.parametrize(
    "records",
    [
        pytest.param(aliases("www.example.", "www.example."), id="itself"),
        pytest.param(aliases("www.example.", "a.example.", "WWW.example."), id="two"),
        pytest.param(aliases("www.example.", "a.example.", "b.example.", "a.example."), id="three"),
        pytest.param(
            aliases("www.example.", *(f"n{n}.example." for n in range(MAX_ALIASES + 1))), id="long"
        ),
    ],
)
def test_parse_answer_makes_a_failure_of_aliases_that_lead_nowhere(records):
    assert read(query(), *records) == failed(Rcode.SERVFAIL)


def test_parse_answer_follows_as_many_aliases_as_others():
    names = [f"n{n}.example." for n in range(MAX_ALIASES)]
    answer = read(query(), *aliases("www.example.", *names))
    assert answer.targets == tuple(name[:-1] for name in names)


@pytest.mark.parametrize(
    ("kind", "records", "targets", "addresses", "has_ech"),
    [
        pytest.param(
            "A",
            ["www.example. 60 CNAME cdn.example.", "cdn.example. 60 A 192.0.2.1"],
            ("cdn.example",),
            [b"\xc0\0\2\1"],
            False,
            id="A behind an alias",
        ),
        pytest.param(
            "AAAA", ["www.example. 60 AAAA ::1"], (), [bytes(15) + b"\1"], False, id="AAAA"
        ),
        pytest.param(
            "HTTPS", ["www.example. 60 HTTPS 0 a.example."], ("a.example",), [], False, id="alias"
        ),
        pytest.param(
            "SVCB",
            ["www.example. 60 SVCB 1 a.example. ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=::1"],
            ("a.example",),
            [b"\xc0\0\2\1", b"\xc0\0\2\2", bytes(15) + b"\1"],
            False,
            id="hints",
        ),
        pytest.param("HTTPS", [f"www.example. 60 HTTPS 1 . ech={ECH}"], (), [], True, id="ech"),
    ],
)
def test_parse_answer_finds_what_the_policy_looks_at(kind, records, targets, addresses, has_ech):
    answer = read(query(kind=kind), *records)
    assert answer.targets == targets
    assert answer.addresses == tuple(addresses)
    assert answer.has_ech is has_ech


@pytest.mark.parametrize(
    "rdata",
    [
        pytest.param(b"\0\1\0\0\5\0\1", id="cut short"),
        pytest.param(b"\0\1\0\0\4\0\3abc", id="a hint of three octets"),
        pytest.param(b"\0\1\0\0\3\0\2\1\1\0\1\0\2\1h", id="keys out of order"),
        pytest.param(b"\0", id="no target"),
    ],
)
def test_parse_answer_takes_a_service_that_nobody_can_read_for_one_with_ech(rdata):
    text = f"www.example. 60 TYPE65 \\# {len(rdata)} {rdata.hex()}"
    octets = answered(query(kind="TYPE9999"), text.replace("TYPE65", "TYPE9999"))
    octets = octets.replace(b"\x27\x0f", b"\0\x41")
    assert parse_answer(octets, query(kind="HTTPS"), 4711).has_ech


def test_parse_answer_passes_on_codes_of_extended_errors_without_their_text():
    asked = query(use_edns=0)
    options = [dns.edns.EDEOption(6, "who knows"), dns.edns.EDEOption(22)]
    answer = read(asked, rcode="SERVFAIL", options=options)
    assert (answer.rcode, answer.edes, answer.text) == (Rcode.SERVFAIL, (6, 22), "")
    got = dns.message.from_wire(render(asked, answer).message)
    assert [(o.code, o.text) for o in got.options] == [(6, None), (22, None)]


def test_parse_answer_makes_a_failure_of_an_extended_code():
    octets = answered(query(use_edns=0), rcode="BADVERS")
    assert parse_answer(octets, query(use_edns=0), 4711) == failed(Rcode.SERVFAIL)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\0\0\x29\4\xd0\0\0\0\0\0\0", id="an OPT record"),
        pytest.param(b"\xc0\x0c\0\1\0\3\0\0\0\1\0\4\1\1\1\1", id="another class"),
        pytest.param(b"\xc0\x0c\0\1\0\1\0\0\0\1\0\3\1\1\1", id="an address cut short"),
        pytest.param(b"\xc0\x04\0\1\0\1\0\0\0\1\0\4\1\1\1\1", id="an owner in the header"),
        pytest.param(b"\xc0\x1d\0\1\0\1\0\0\0\1\0\4\1\1\1\1", id="an owner of itself"),
    ],
)
def test_parse_answer_refuses_a_record_out_of_place(octets):
    head = answered(query())
    with pytest.raises(MalformedMessageError):
        parse_answer(head[:6] + b"\0\1" + head[8:] + octets, query(), 4711)


def test_parse_answer_survives_long_chains_of_pointers():
    # Each name leads back through all pointers before it.
    asked = query()
    head = answered(asked)
    chain = b"".join(
        struct.pack("!H", 0xC000 | (len(head) + max(11, 10 + 2 * n))) for n in range(4000)
    )
    first = b"\0\0\x10\0\1\0\0\0\1" + struct.pack("!H", 1 + len(chain)) + b"\0" + chain
    last = struct.pack("!H", 0xC000 | len(head) + len(first) - 2) + first[1:9] + b"\0\0"
    octets = head[:6] + b"\0\2" + head[8:] + first
    with pytest.raises(MalformedMessageError, match="more labels"):
        parse_answer(octets + last, asked, 4711)


def test_aged_takes_from_each_ttl_and_caps_it():
    answer = read(query(), "www.example. 300 CNAME a.example.", "a.example. 20 A 192.0.2.1")
    for age, limit, ttls in ((0, 9999, [300, 20]), (5, 9999, [295, 15]), (30, 100, [100, 0])):
        aged = answer.aged(age, limit)
        got = dns.message.from_wire(render(query(), aged).message)
        assert [r.ttl for r in got.answer] == ttls
        assert (aged.ttl_s, aged.longest_s) == (min(ttls), max(ttls))
    assert answer.aged(0, 300) is answer


def test_aged_believes_no_ttl_that_is_too_long():
    answer = read(query(), "www.example. 2000000 A 192.0.2.1").aged(0, 1 << 40)
    assert dns.message.from_wire(render(query(), answer).message).answer[0].ttl == MAX_TTL_S


def test_with_ttls_changes_nothing_else():
    records = b"ab\0\0\0\7cd\0\0\1\0"
    assert with_ttls(records, (2, 8), lambda ttl: ttl + 1) == b"ab\0\0\0\x08cd\0\0\1\1"
