from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_dns.wire import (
    MAX_UDP_OCTETS,
    Answer,
    Ede,
    MalformedMessageError,
    Query,
    Rcode,
    Response,
    Transport,
    parse_answer,
    parse_query,
    present,
    refuse,
    render,
    render_frame,
    render_question,
    take_message,
)

COOKIE = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")


def message(name="www.example", kind="A", **options) -> bytes:
    # The same in every run, so that the names of tests are.
    return dns.message.make_query(name, kind, id=0x1234, **options).to_wire()


def query(name="www.example", kind="A", *, transport=Transport.UDP, **options) -> Query:
    return parse_query(message(name, kind, **options), transport)


def answered(asked: Query, *records: str, rcode="NOERROR", authority=(), flags=0) -> bytes:
    """Return an upstream's answer to ``asked``, made by dnspython."""
    answer = dns.message.make_response(dns.message.from_wire(render_question(asked, 4711)))
    answer.set_rcode(dns.rcode.from_text(rcode))
    answer.flags |= flags
    for section, lines in ((answer.answer, records), (answer.authority, authority)):
        for line in lines:
            owner, ttl, kind, rdata = line.split(" ", 3)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, rdata))
    return answer.to_wire()


SOA = "example. 900 SOA ns.example. hostmaster.example. 1 3600 600 86400 60"

REAL_QUERIES = [
    message(),
    message("WWW.ExAmPle", "HTTPS", use_edns=0, payload=1232),
    message("_dns.resolver.arpa", "SVCB", use_edns=0, want_dnssec=True),
    message("4.3.2.1.in-addr.arpa", "PTR", use_edns=0, options=[COOKIE]),
    message(".", "NS"),
    message("example", "ANY", use_edns=0, pad=128),
]
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


def read_as_query(octets: bytes) -> None:
    """Any octets: a query that can be answered, or Malformed with an answer that is none or readable."""
    for transport in Transport:
        try:
            asked = parse_query(octets, transport)
        except MalformedMessageError as e:
            refusal = refuse(octets, e)
            assert refusal is None or (len(refusal) == 12 and refusal[2] & 0x80)
        else:
            rendered = render(
                asked, Response(Rcode.NXDOMAIN, serial=1, edes=(Ede.BLOCKED,), text="x" * 99)
            )
            assert dns.message.from_wire(rendered.message).id == asked.id
            assert len(rendered.message) <= 512


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_parse_query_gives_a_value_or_malformed_for_any_octets(octets):
    read_as_query(octets)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(REAL_QUERIES), mutations)
def test_parse_query_gives_a_value_or_malformed_for_mutated_queries(octets, changes):
    read_as_query(mutated(octets, changes))


@pytest.mark.parametrize("octets", REAL_QUERIES)
def test_parse_query_gives_a_value_or_malformed_for_a_query_cut_anywhere(octets):
    for end in range(len(octets)):
        with pytest.raises(MalformedMessageError):
            parse_query(octets[:end])


labels = st.lists(st.binary(min_size=1, max_size=63), max_size=6).filter(
    lambda ls: sum(len(x) + 1 for x in ls) < 255
)


@settings(max_examples=150, deadline=None)
@given(
    labels,
    st.integers(0, 0xFFFF),
    st.booleans(),
    st.sampled_from([None, 0, 512, 1232, 4096, 0xFFFF]),
)
def test_parse_query_agrees_with_dnspython(parts, number, dnssec, payload):
    kind = (
        dns.rdatatype.from_text("A")
        if number in (0, 249, 250)
        else dns.rdatatype.RdataType.make(number)
    )
    asked = dns.message.make_query(dns.name.Name([*parts, b""]), kind)
    if payload is not None:
        asked.use_edns(0, payload=payload)
        asked.want_dnssec(dnssec)
    octets = asked.to_wire()
    got = parse_query(octets)
    assert (got.id, got.labels, got.qtype, got.qclass) == (asked.id, tuple(parts), kind, 1)
    assert got.flags == asked.flags & (dns.flags.RD | dns.flags.AD | dns.flags.CD)
    if payload is None:
        assert got.edns is None
    else:
        assert got.edns.dnssec_ok == dnssec
        assert got.edns.udp_size_octets == payload


@settings(max_examples=150, deadline=None)
@given(labels, labels)
def test_present_is_equal_only_for_equal_names(one, other):
    folded = [[x.lower() for x in name] for name in (one, other)]
    assert (present(tuple(one)) == present(tuple(other))) == (folded[0] == folded[1])
    assert present(tuple(one)).isascii()


def test_present_escapes_what_no_host_name_has():
    assert (
        present((b"WwW", b"a.b", b"c\\d", b"\xff ", b"Example"))
        == "www.a\\046b.c\\092d.\\255\\032.example"
    )


@pytest.mark.parametrize(
    ("octets", "rcode"),
    [
        pytest.param(b"", None, id="nothing"),
        pytest.param(message()[:11], None, id="header cut short"),
        pytest.param(message()[:2] + b"\x81" + message()[3:], None, id="a response"),
        pytest.param(message()[:12], Rcode.FORMERR, id="question missing"),
        pytest.param(message()[:4] + b"\0\2" + message()[6:], Rcode.FORMERR, id="two questions"),
        pytest.param(message()[:4] + b"\0\0" + message()[6:], Rcode.FORMERR, id="no question"),
        pytest.param(message()[:2] + b"\x29\0" + message()[4:], Rcode.NOTIMP, id="an update"),
        pytest.param(
            message()[:12] + b"\xc0\x0c\0\1\0\1", Rcode.FORMERR, id="a name that points to itself"
        ),
        pytest.param(
            message()[:12] + b"\xff\xff\0\1\0\1", Rcode.FORMERR, id="a name that points behind"
        ),
        pytest.param(
            message()[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
            Rcode.FORMERR,
            id="a label too long",
        ),
        pytest.param(
            message()[:12] + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",
            Rcode.FORMERR,
            id="a name too long",
        ),
        pytest.param(
            message(use_edns=0)[:10]
            + b"\0\2"
            + message(use_edns=0)[12:]
            + message(use_edns=0)[-11:],
            Rcode.FORMERR,
            id="two OPT records",
        ),
    ],
)
def test_parse_query_tells_what_to_answer(octets, rcode):
    with pytest.raises(MalformedMessageError) as caught:
        parse_query(octets)
    refusal = refuse(octets, caught.value)
    if rcode is None:
        assert refusal is None
    else:
        opcode_and_rd = octets[2] & 0x79
        assert refusal == octets[:2] + bytes((0x80 | opcode_and_rd, rcode)) + bytes(8)


def test_parse_query_survives_a_long_chain_of_pointers():
    # A name at octet 12, then pointers each to the one before; dnslib's own reader would recurse 30,000 times.
    chain = b"".join(struct.pack("!H", 0xC000 | (12 + 2 * n)) for n in range(8000))
    octets = b"\0\1\1\0\0\1\0\0\0\1\0\0" + b"\1a\0\0\1\0\1" + chain
    with pytest.raises(MalformedMessageError):
        parse_query(octets, Transport.TCP)


def test_parse_query_passes_over_what_follows_the_message():
    assert parse_query(message() + b"trailing").qname == "www.example"


@pytest.mark.parametrize(
    ("payload", "size"), [(0, 512), (511, 512), (800, 800), (4096, MAX_UDP_OCTETS)]
)
def test_size_octets_is_between_512_and_ours(payload, size):
    assert query(use_edns=0, payload=payload).size_octets == size
    assert query(use_edns=0, payload=payload, transport=Transport.TCP).size_octets == 0xFFFF


@pytest.mark.parametrize("octets", REAL_QUERIES[:3] + REAL_QUERIES[4:5])
def test_key_is_the_plain_message_in_lower_case(octets):
    asked = parse_query(octets)
    assert asked.key == octets[2:].lower()
    assert octets.endswith(asked.rest)


def test_key_is_the_same_with_edns_options():
    plain = query(use_edns=0, payload=1400)
    for options in ({"options": [COOKIE]}, {"pad": 64}):
        other = query(use_edns=0, payload=1400, **options)
        assert (other.key, other.rest) == (plain.key, plain.rest)


def test_rest_tells_apart_what_lower_case_does_not():
    https, unassigned = query(kind="HTTPS"), query(kind="TYPE97")
    assert https.key == unassigned.key
    assert https.rest != unassigned.rest


@pytest.mark.parametrize(
    "options",
    [
        {"flags": 0},
        {"flags": dns.flags.RD | dns.flags.CD},
        {"flags": dns.flags.RD | dns.flags.AD},
        {"use_edns": 0},
        {"use_edns": 1},
        {"use_edns": 0, "payload": 600},
        {"use_edns": 0, "want_dnssec": True},
        {"rdclass": "CH"},
        {"kind": "AAAA"},
        {"name": "ww.example"},
    ],
)
def test_key_and_rest_differ_where_the_answer_may(options):
    other, plain = query(**options), query()
    assert (other.key, other.rest) != (plain.key, plain.rest)


def read_as_answer(octets: bytes) -> None:
    asked = query("www.example", use_edns=0)
    for message_id in (4711, int.from_bytes(octets[:2], "big")):
        try:
            answer = parse_answer(octets, asked, message_id)
        except MalformedMessageError:
            continue
        capped = answer.capped(60)
        assert 0 <= capped.ttl_s <= 60
        rendered = render(asked, capped).message
        assert rendered[:2] == message_id_of(asked)
        assert len(rendered) <= MAX_UDP_OCTETS


def message_id_of(asked: Query) -> bytes:
    return asked.id.to_bytes(2, "big")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_parse_answer_gives_a_value_or_malformed_for_any_octets(octets):
    read_as_answer(octets)
    # The same octets where only the head is right.
    read_as_answer(REAL_ANSWERS[0][:29] + octets)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(REAL_ANSWERS), mutations)
def test_parse_answer_gives_a_value_or_malformed_for_mutated_answers(octets, changes):
    read_as_answer(mutated(octets, changes))


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
        pytest.param(b"\x12\x67" + message(kind="HTTPS")[2:], id="a query"),
    ],
)
def test_parse_answer_refuses_what_answers_something_else(octets):
    with pytest.raises(MalformedMessageError):
        parse_answer(octets, query(kind="HTTPS"), 4711)


def test_parse_answer_takes_a_fault_without_question():
    octets = b"\x12\x67\x80\x01" + bytes(8)
    assert parse_answer(octets, query(), 4711) == Answer(
        Rcode.FORMERR, authentic=False, truncated=False, counts=(0, 0), records=b""
    )


def test_render_keeps_the_letter_case_and_the_records_of_the_upstream():
    asked = query("wWw.eXample", use_edns=0)
    answer = parse_answer(REAL_ANSWERS[1], asked, 4711)
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
    answer = parse_answer(
        answered(asked, "www.example. 9 A 192.0.2.1", flags=dns.flags.AD), asked, 4711
    )
    got = dns.message.from_wire(render(asked, answer).message)
    assert bool(got.flags & dns.flags.AD) == ad


def test_render_truncates_what_the_client_does_not_take():
    records = [f"www.example. 60 A 192.0.2.{n}" for n in range(60)]
    for options, size in (({}, 512), ({"use_edns": 0, "payload": 700}, 700)):
        asked = query(**options)
        answer = parse_answer(answered(asked, *records), asked, 4711)
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
    st.sampled_from([IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"), None]),
    st.booleans(),
)
def test_render_makes_messages_that_dnspython_reads(parts, address, edns):
    asked = dns.message.make_query(dns.name.Name([*parts, b""]), "A")
    if edns:
        asked.use_edns(0)
    response = Response(Rcode.NOERROR, 5, address, 9, (Ede.BLOCKED, Ede.FORGED_ANSWER), "why")
    got = dns.message.from_wire(render(parse_query(asked.to_wire()), response).message)
    assert asked.is_response(got)
    if address:
        assert (got.answer[0].name, got.answer[0].ttl, got.answer[0][0].address) == (
            asked.question[0].name,
            5,
            str(address),
        )
    soa = got.authority[0]
    assert soa.name == dns.name.Name([*parts[1:], b""])
    assert (soa.ttl, soa[0].serial, soa[0].minimum) == (5, 9, 5)
    assert [(o.code, o.text) for o in got.options] == ([(15, "why"), (4, None)] if edns else [])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=5))
def test_take_message_gives_messages_whole_however_they_come(messages):
    received = bytearray()
    got = []
    for octet in b"".join(render_frame(m) for m in messages):
        received.append(octet)
        while (taken := take_message(received)) is not None:
            got.append(taken)
    assert got == messages
    assert not received


def test_parse_query_refuses_a_pointer_in_the_question():
    message = bytes.fromhex("123401000001000000000000") + b"\3www\xc0\x04\0\1\0\1" + b"\0" * 8
    with pytest.raises(MalformedMessageError) as caught:
        parse_query(message)
    assert caught.value.rcode is Rcode.FORMERR
