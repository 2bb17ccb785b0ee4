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
from dns_mutations import MUTATIONS, mutated
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_dns.messages.answer import (
    FAILURE_TTL_S,
    MAX_ADDRESSES,
    MAX_ALIASES,
    MAX_RECORDS,
    MAX_TARGETS,
    MAX_TTL_S,
    Answer,
    failed,
    parse_answer,
    with_ttls,
)
from gate_dns.messages.codes import Rcode
from gate_dns.messages.render import render, render_question
from gate_dns.messages.wire import MAX_UDP_OCTETS, MalformedMessageError, Query, parse_query


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
    return answer.to_wire(max_size=0xFFFF)


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
@given(st.sampled_from(REAL_ANSWERS), MUTATIONS)
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
        pytest.param(
            "SRV",
            ["www.example. 60 SRV 0 1 443 Vile.example.", "www.example. 60 SRV 0 0 0 ."],
            ("vile.example",),
            [],
            False,
            id="SRV",
        ),
        pytest.param(
            "A",
            [
                "example. 60 DNAME vile.test.",
                "example. 60 RRSIG DNAME 8 1 60 20301231235959 20200101000000 1 example. AAAA",
                "www.example. 60 CNAME www.vile.test.",
                "www.vile.test. 60 A 192.0.2.1",
            ],
            ("www.vile.test", "vile.test"),
            [b"\xc0\0\2\1"],
            False,
            id="DNAME",
        ),
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


def test_parse_answer_keeps_the_first_two_codes_of_extended_errors_each_once():
    asked = query(use_edns=0)
    codes = [22, 22, 7, *range(1000)]
    options = [dns.edns.EDEOption(code) for code in codes[:200]]
    assert read(asked, rcode="SERVFAIL", options=options).edes == (22, 7)
    # Nobody has that much to say.
    options = [dns.edns.EDEOption(code) for code in codes]
    assert read(asked, rcode="SERVFAIL", options=options).edes == ()


def of(name: str, kind: str, *rdatas: str) -> list[str]:
    return [f"{name} 60 {kind} {rdata}" for rdata in rdatas]


def addresses(count: int) -> list[str]:
    return [f"192.0.{2 + n // 256}.{n % 256}" for n in range(count)]


def hints(count: int) -> str:
    return f"1 . ipv4hint={','.join(addresses(count))}"


@pytest.mark.parametrize(
    ("kind", "most", "rdatas"),
    [
        pytest.param("A", MAX_ADDRESSES, addresses, id="addresses"),
        pytest.param("HTTPS", MAX_ADDRESSES, lambda n: [hints(n)], id="hints"),
        pytest.param(
            "HTTPS", MAX_TARGETS, lambda n: [f"{p} n{p}.example." for p in range(n)], id="services"
        ),
        pytest.param(
            "SRV", MAX_TARGETS, lambda n: [f"0 0 1 n{p}.example." for p in range(n)], id="SRV"
        ),
        pytest.param("TXT", MAX_RECORDS, lambda n: [f"x{p}" for p in range(n)], id="records"),
    ],
)
def test_parse_answer_makes_a_failure_of_more_than_anybody_looks_at(kind, most, rdatas):
    asked = query(kind=kind)
    assert read(asked, *of("www.example.", kind, *rdatas(most))).rcode == Rcode.NOERROR
    records = of("www.example.", kind, *rdatas(most + 1))
    assert read(asked, *records) == failed(Rcode.SERVFAIL)


@pytest.mark.parametrize(
    ("records", "authority"),
    [
        pytest.param(["vile.example. 60 A 192.0.2.1"], [], id="the owner"),
        pytest.param(
            ["www.example. 60 A 192.0.2.1", "vile.example. 60 TXT x"], [], id="one of two"
        ),
        pytest.param(
            ["www.example. 60 CNAME a.example.", "b.example. 60 A 192.0.2.1"], [], id="no alias"
        ),
        pytest.param(
            ["example. 60 DNAME vile.test.", "www.vile.test. 60 A 192.0.2.1"], [], id="no CNAME"
        ),
        *(
            pytest.param([], [f"www.example. 60 {rdata}"], id=f"authority {rdata[:5]}")
            for rdata in (
                f"HTTPS 1 . ech={ECH}",
                "SVCB 0 vile.example.",
                "A 192.0.2.1",
                "AAAA 2001:db8::1",
                "CNAME vile.example.",
                "DNAME vile.example.",
                "SRV 0 0 1 vile.example.",
            )
        ),
    ],
)
def test_parse_answer_makes_a_failure_of_what_nobody_asked_for(records, authority):
    assert read(query(), *records, authority=authority) == failed(Rcode.SERVFAIL)


@pytest.mark.parametrize(
    "records",
    [
        pytest.param(
            ["b.example. 60 A 192.0.2.1", *aliases("a.example.", "b.example.")], id="last first"
        ),
        pytest.param(
            [
                *aliases("a.example.", "b.example."),
                "b.example. 60 A 192.0.2.1",
            ],
            id="the first last",
        ),
    ],
)
def test_parse_answer_takes_aliases_in_any_order_and_letter_case(records):
    answer = read(query(), *records, "wWw.example. 60 CNAME A.example.")
    assert (answer.rcode, answer.counts) == (Rcode.NOERROR, (3, 0))
    assert set(answer.targets) == {"a.example", "b.example"}


@pytest.mark.parametrize(
    ("kind", "rdata"),
    [(33, b"\0\0\0\0\0\1\1a"), (33, b"\0\0\0\0\0\1\0\0"), (39, b"\0\0"), (33, b"\0")],
)
def test_parse_answer_refuses_a_target_of_another_length(kind, rdata):
    head = answered(query(kind="SRV"))
    record = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(rdata)) + rdata
    with pytest.raises(MalformedMessageError):
        parse_answer(head[:6] + b"\0\1" + head[8:] + record, query(kind="SRV"), 4711)


@pytest.mark.parametrize(
    ("kind", "rdata"),
    [
        (2, b"\xc0\0"),
        (6, b"\xc0\0\0" + bytes(20)),
        (6, b"\0\xc0\x04" + bytes(20)),
        (12, b"\1a\xc0\x02"),
        (15, b"\0\1\xc0\0"),
    ],
)
def test_parse_answer_refuses_names_that_point_into_the_header(kind, rdata):
    head = answered(query())
    record = b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(rdata)) + rdata
    for counts in (b"\0\1\0\0", b"\0\0\0\1"):
        with pytest.raises(MalformedMessageError):
            parse_answer(head[:6] + counts + head[10:] + record, query(), 4711)


PLAIN = [
    answered(query(kind=kind, **options), *of("www.example.", kind, *rdatas[:count]), flags=flags)
    for kind, rdatas in (("A", addresses(3)), ("AAAA", ["2001:db8::1", "::1"]))
    for count in (1, 3)
    for options in ({}, {"use_edns": 0})
    for flags in (0, dns.flags.AD)
]


def walked(octets: bytes, asked: Query) -> Answer | None:
    """Return the answer as the way for all shapes reads it; None for Malformed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gate_dns.messages.answer._plain", lambda *_: None)
        return parsed(octets, asked)


def parsed(octets: bytes, asked: Query) -> Answer | None:
    try:
        return parse_answer(octets, asked, 4711)
    except MalformedMessageError:
        return None


@pytest.mark.parametrize("octets", PLAIN)
def test_parse_answer_reads_plain_addresses_the_short_way(octets, monkeypatch):
    asked = [query(kind=kind) for kind in ("A", "AAAA")]
    expected = [walked(octets, q) for q in asked]
    assert any(expected)

    def refuse(*_):
        raise AssertionError("the way for all shapes")

    monkeypatch.setattr("gate_dns.messages.answer._walked", refuse)
    assert [parsed(octets, q) for q in asked] == expected


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(PLAIN), st.one_of(st.just([]), MUTATIONS))
def test_parse_answer_reads_the_same_either_way(octets, changes):
    changed = octets[:2] + mutated(octets, changes)[2:]
    for kind in ("A", "AAAA"):
        asked = query(kind=kind)
        assert parsed(changed, asked) == walked(changed, asked)


@pytest.mark.parametrize("octets", PLAIN)
def test_parse_answer_reads_the_same_either_way_wherever_it_is_cut(octets):
    for asked in (query(), query(kind="AAAA")):
        for end in range(len(octets)):
            assert parsed(octets[:end], asked) == walked(octets[:end], asked)
        for more in (b"\0", b"\0\0\x29\0\0\0"):
            assert parsed(octets + more, asked) == walked(octets + more, asked)


@pytest.mark.parametrize(
    "ttls",
    [
        pytest.param([0], id="none"),
        pytest.param([MAX_TTL_S], id="the longest"),
        pytest.param([MAX_TTL_S + 1], id="too long"),
        pytest.param([1 << 31], id="its first bit set"),
        pytest.param([300, 300], id="the same"),
        pytest.param([300, 60, 900], id="others"),
        pytest.param([60, 300, MAX_TTL_S], id="the longest last"),
        pytest.param([60, MAX_TTL_S + 1], id="too long at last"),
    ],
)
def test_parse_answer_reads_any_ttls_the_same_either_way(ttls):
    octets = answered(query(), *of("www.example.", "A", *addresses(len(ttls))))
    for number, ttl in enumerate(ttls):
        place = len(octets) - 16 * (len(ttls) - number) + 6
        octets = octets[:place] + struct.pack("!I", ttl) + octets[place + 4 :]
    answer = parsed(octets, query())
    assert answer == walked(octets, query())
    assert answer.ttl_s == min(ttl if ttl < 1 << 31 else 0 for ttl in (*ttls, MAX_TTL_S))


@pytest.mark.parametrize("count", [255, 256])
def test_parse_answer_reads_any_number_of_addresses_the_same_either_way(count):
    octets = answered(query(), *of("www.example.", "A", *addresses(count)))
    answer = parsed(octets, query())
    assert answer == walked(octets, query())
    assert len(answer.addresses) == count


@pytest.mark.parametrize("octets", PLAIN)
def test_parse_answer_looks_at_the_header_and_question_of_what_it_knows(octets):
    asked = next(q for q in (query(), query(kind="AAAA")) if parsed(octets, q))
    for place, value in (
        (0, 0),
        (1, 0),
        (2, 1),
        (2, 0x83),
        (3, 0x83),
        (5, 2),
        (6, 1),
        (9, 1),
        (11, 2),
    ):
        changed = octets[:place] + bytes((value,)) + octets[place + 1 :]
        assert parsed(changed, asked) == walked(changed, asked)
    whole, end = octets, 12 + len(asked.question)
    other = whole[:12] + whole[12 : end - 4].swapcase() + whole[end - 4 :]
    sent = other[12:end]
    for came in (whole, other):
        for question in (b"", sent, asked.question):
            assert parse_answer(came, asked, 4711, question) == parsed(whole, asked)
    assert parsed(whole.replace(b"example", b"exbmple"), asked) is None


@pytest.mark.parametrize(
    "opt",
    [
        pytest.param("0000290000010000000000", id="an extended code"),
        pytest.param("0000290000000100000000", id="a version to come"),
        pytest.param("000029ffff0000ffff0000", id="flags"),
        pytest.param("0000290000000000000001", id="options that are missing"),
        pytest.param("0000290000000000000004000f0000", id="an option"),
        pytest.param("c00c290000000000000000", id="another owner"),
        pytest.param("0000010001000000000000", id="no OPT record"),
        pytest.param("00002900000000", id="cut short"),
    ],
)
def test_parse_answer_reads_any_opt_record_the_same_either_way(opt):
    head = PLAIN[0]
    octets = head[:10] + b"\0\1" + head[12:] + bytes.fromhex(opt)
    assert parsed(octets, query()) == walked(octets, query())


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
