from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_dns.messages.answer import Answer, parse_answer
from gate_dns.messages.codes import Ede, Rcode
from gate_dns.messages.render import Response, render, render_question
from gate_dns.messages.wire import MAX_UDP_OCTETS, Query, Transport, parse_query

COOKIE = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")


def message(name="www.example", kind="A", **options) -> bytes:
    return dns.message.make_query(name, kind, id=0x1234, **options).to_wire()


def query(name="www.example", kind="A", **options) -> Query:
    return parse_query(message(name, kind, **options))


def read(asked: Query, *records: str, flags=0) -> Answer:
    """Return an upstream's answer to ``asked``, made by dnspython."""
    answer = dns.message.make_response(dns.message.from_wire(render_question(asked, 4711)))
    answer.flags |= flags
    for line in records:
        owner, ttl, kind, rdata = line.split(" ", 3)
        answer.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, rdata))
    return parse_answer(answer.to_wire(max_size=0xFFFF), asked, 4711)


labels = st.lists(st.binary(min_size=1, max_size=63), max_size=6).filter(
    lambda ls: sum(len(x) + 1 for x in ls) < 255
)


def test_render_keeps_the_letter_case_and_the_records_of_the_upstream():
    asked = query("wWw.eXample", use_edns=0)
    answer = read(
        asked,
        "www.example. 300 CNAME a.cdn.example.",
        "a.cdn.example. 60 CNAME b.cdn.example.",
        "b.cdn.example. 20 A 192.0.2.1",
    )
    got = dns.message.from_wire(render(asked, answer).message)
    assert got.question[0].name.to_text() == "wWw.eXample."
    assert [r.to_text() for r in got.answer] == [
        # What ends in the question's own name has its letter case.
        "wWw.eXample. 300 IN CNAME a.cdn.eXample.",
        "a.cdn.eXample. 60 IN CNAME b.cdn.eXample.",
        "b.cdn.eXample. 20 IN A 192.0.2.1",
    ]
    assert dns.flags.to_text(got.flags) == "QR RD RA"
    assert (got.edns, got.payload, got.options) == (0, MAX_UDP_OCTETS, ())


@pytest.mark.parametrize(
    ("options", "ad"),
    [
        ({}, False),
        ({"flags": dns.flags.RD | dns.flags.AD}, True),
        ({"use_edns": 0, "want_dnssec": True}, True),
    ],
)
def test_render_sets_ad_only_for_who_asked(options, ad):
    asked = query(**options)
    answer = read(asked, "www.example. 9 A 192.0.2.1", flags=dns.flags.AD)
    got = dns.message.from_wire(render(asked, answer).message)
    assert bool(got.flags & dns.flags.AD) == ad


def test_render_truncates_what_the_client_does_not_take():
    records = [f"www.example. 60 A 192.0.2.{n}" for n in range(60)]
    for options, size in (({}, 512), ({"use_edns": 0, "payload": 700}, 700)):
        asked = query(**options)
        answer = read(asked, *records)
        rendered = render(asked, answer)
        assert rendered.ttl_offsets == ()
        got = dns.message.from_wire(rendered.message)
        assert dns.flags.to_text(got.flags) == "QR TC RD RA"
        assert not got.answer
        assert len(rendered.message) <= size
        over_tcp = parse_query(message(**options), Transport.TCP)
        whole = dns.message.from_wire(render(over_tcp, answer).message)
        assert len(whole.answer[0]) == 60


@settings(max_examples=100, deadline=None)
@given(
    labels,
    st.builds(
        Response,
        st.sampled_from(Rcode).filter(lambda rcode: rcode < 16),
        st.integers(0, 86_400),
        st.sampled_from([IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"), None]),
        st.sampled_from([None, 0, 9, 1 << 33]),
        st.lists(st.sampled_from(Ede), max_size=3).map(tuple),
        st.text(max_size=100),
        st.booleans(),
    ),
    st.sampled_from(["none", "plain", "do", "cookie"]),
    st.sampled_from([0, dns.flags.RD, dns.flags.RD | dns.flags.CD | dns.flags.AD]),
)
def test_render_makes_messages_that_dnspython_reads(parts, response, edns, flags):
    asked = dns.message.make_query(dns.name.Name([*parts, b""]), "A", flags=flags)
    if edns != "none":
        asked.use_edns(0, options=[COOKIE] if edns == "cookie" else [])
        asked.want_dnssec(edns == "do")
    rendered = render(parse_query(asked.to_wire()), response, b"87654321")
    assert len(rendered.message) <= 512
    assert rendered.ttl_offsets == ()
    got = dns.message.from_wire(rendered.message)
    assert asked.is_response(got)
    assert (got.rcode(), got.flags & 0xFFF0) == (
        response.rcode,
        dns.flags.QR | dns.flags.RA | flags & (dns.flags.RD | dns.flags.CD),
    )
    name = asked.question[0].name
    if response.address:
        assert (got.answer[0].name, got.answer[0].ttl) == (name, response.ttl_s)
        assert got.answer[0][0].address == str(response.address)
    elif response.minimal_any:
        assert got.answer[0].to_text() == f'{name} {response.ttl_s} IN HINFO "RFC8482" ""'
    elif response.serial is not None:
        soa = got.authority[0]
        assert soa.name == dns.name.Name([*parts[1:], b""])
        assert (soa.ttl, soa[0].serial, soa[0].minimum) == (
            response.ttl_s,
            response.serial % (1 << 32),
            response.ttl_s,
        )
        assert soa[0].mname == dns.name.from_text("schoolgate.invalid")
        assert soa[0].rname == dns.name.from_text("coordinator.schoolgate.invalid")
    assert len(got.answer) + len(got.authority) <= 1
    assert (got.edns, got.payload) == ((-1, 0) if edns == "none" else (0, MAX_UDP_OCTETS))
    assert bool(got.ednsflags & dns.flags.DO) == (edns == "do")
    options = [(int(o.code), o.text) for o in got.options if o.otype == dns.edns.OptionType.EDE]
    assert [code for code, _ in options] == ([] if edns == "none" else list(response.edes))
    for number, (_, text) in enumerate(options):
        expected = response.text.encode()[:80].decode(errors="ignore") if not number else ""
        # dnspython takes a last NUL for the end of a C string.
        assert (text or "") == expected.removesuffix("\0")
    cookies = [o.to_wire() for o in got.options if o.otype == dns.edns.OptionType.COOKIE]
    assert cookies == ([b"1234567887654321"] if edns == "cookie" else [])


@pytest.mark.parametrize("rcode", [Rcode.BADVERS, Rcode.BADCOOKIE])
def test_render_splits_an_extended_code(rcode):
    assert (
        dns.message.from_wire(render(query(use_edns=0), Response(rcode)).message).rcode() == rcode
    )


@pytest.mark.parametrize("options", [[], [COOKIE]])
def test_render_gives_no_cookie_to_who_sent_none_and_none_without_ours(options):
    asked = query(use_edns=0, options=options)
    server_cookie = b"" if options else b"87654321"
    got = dns.message.from_wire(render(asked, Response(Rcode.NOERROR), server_cookie).message)
    assert got.options == ()


def test_render_counts_options_towards_the_size():
    asked = query(use_edns=0, payload=512, options=[COOKIE])
    answer = read(asked, *(f"www.example. 60 A 192.0.2.{n}" for n in range(29)))
    assert not dns.message.from_wire(render(asked, answer).message).flags & dns.flags.TC
    got = render(asked, answer, b"87654321").message
    assert dns.message.from_wire(got).flags & dns.flags.TC
    assert len(got) <= 512


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("edes", [0, 2, 20, 200, 10_000])
@pytest.mark.parametrize("count", [0, 1, 28, 29, 73, 74, 128])
def test_render_makes_nothing_longer_than_the_client_takes(count, edes, truncated):
    """Extended errors go before records do."""
    answer = read(query(use_edns=0), *(f"www.example. 60 A 192.0.2.{n}" for n in range(count)))
    answer = answer._replace(edes=(22,) * edes, text="x" * 99, truncated=truncated)
    for transport in Transport:
        for options in ({}, {"use_edns": 0, "payload": 512}, {"use_edns": 0, "payload": 1232}):
            asked = parse_query(message(**options), transport)
            rendered = render(asked, answer, b"87654321").message
            assert len(rendered) <= asked.size_octets
            got = dns.message.from_wire(rendered)
            bare = render(asked, answer._replace(edes=()), b"87654321").message
            assert got.flags == dns.message.from_wire(bare).flags
            assert got.answer == dns.message.from_wire(bare).answer
            room = asked.size_octets - len(bare)
            if edes and not got.flags & dns.flags.TC:
                fits = 4 + 2 + 80 + (edes - 1) * 6 <= room
                assert len(got.options) == (edes if options and fits else 0)


def test_render_keeps_the_cookie_where_extended_errors_do_not_fit():
    asked = query(use_edns=0, payload=512, options=[COOKIE])
    answer = read(asked, *(f"www.example. 60 A 192.0.2.{n}" for n in range(28)))
    got = dns.message.from_wire(render(asked, answer._replace(edes=(3,)), b"87654321").message)
    assert not got.flags & dns.flags.TC
    assert [(o.otype, o.to_wire()) for o in got.options] == [(10, b"1234567887654321")]


@pytest.mark.parametrize("kind", ["A", "HTTPS", "TYPE65000"])
@pytest.mark.parametrize(
    ("options", "edns_flags"),
    [
        ({}, 0),
        ({"use_edns": 0, "payload": 4096, "options": [COOKIE]}, 0),
        ({"use_edns": 0, "want_dnssec": True, "pad": 99}, dns.flags.DO),
    ],
)
def test_render_question_asks_the_same_and_tells_nothing_of_the_client(kind, options, edns_flags):
    asked = query("wWw.eXample", kind, flags=dns.flags.RD | dns.flags.CD, **options)
    other = asked.question.swapcase()[:-4] + asked.question[-4:]
    for question, edns in ((b"", True), (other, True), (b"", False)):
        got = dns.message.from_wire(render_question(asked, 77, question, edns=edns))
        assert (got.id, dns.flags.to_text(got.flags)) == (77, "RD AD CD")
        assert got.question[0].name.to_text() == ("WwW.ExAMPLE." if question else "wWw.eXample.")
        assert got.question[0].rdtype == dns.rdatatype.from_text(kind)
        expected = (0, MAX_UDP_OCTETS, edns_flags) if edns else (-1, 0, 0)
        assert (got.edns, got.payload, got.ednsflags) == expected
        assert got.options == ()


def test_render_tells_apart_what_goes_into_an_opt_record():
    responses = [
        Response(Rcode.NXDOMAIN),
        Response(Rcode.NXDOMAIN, edes=(Ede.BLOCKED,)),
        Response(Rcode.NXDOMAIN, edes=(Ede.BLOCKED,), text="a rule"),
        Response(Rcode.NXDOMAIN, edes=(Ede.CENSORED,), text="a rule"),
        Response(Rcode.NXDOMAIN, edes=(Ede.BLOCKED, Ede.FORGED_ANSWER), text="a rule"),
        Response(Rcode.BADVERS, edes=(Ede.BLOCKED,), text="a rule"),
    ]
    asked = [query(use_edns=0, want_dnssec=do, options=o) for do in (0, 1) for o in ([], [COOKIE])]
    cookies = [b"87654321", b"87654320"]
    rendered = [
        [render(q, response, c).message for response in responses for q in asked for c in cookies]
        for _ in range(2)
    ]
    assert rendered[0] == rendered[1]
    # Without a client cookie, ours makes no difference.
    assert len(set(rendered[0])) == len(responses) * (1 + 2) * 2
