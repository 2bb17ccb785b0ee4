from __future__ import annotations

import struct

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest
from dns_mutations import MUTATIONS, mutated
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_dns.messages.codes import Ede, Rcode
from gate_dns.messages.render import Response, refuse, render
from gate_dns.messages.wire import (
    MAX_UDP_OCTETS,
    Edns,
    MalformedMessageError,
    Query,
    Transport,
    _parse_any,
    _plain_for_root,
    parse_query,
    present,
    question_of,
    read_name,
    read_options,
    render_frame,
    take_message,
    wire_name,
)


def cookie(octets: bytes = b"12345678") -> dns.edns.Option:
    return dns.edns.GenericOption(dns.edns.OptionType.COOKIE, octets)


def message(name="www.example", kind="A", **options) -> bytes:
    # The same in every run, so that the names of tests are.
    return dns.message.make_query(name, kind, id=0x1234, **options).to_wire()


def query(name="www.example", kind="A", *, transport=Transport.UDP, **options) -> Query:
    return parse_query(message(name, kind, **options), transport)


REAL_QUERIES = [
    message(),
    message("WWW.ExAmPle", "HTTPS", use_edns=0, payload=1232),
    message("_dns.resolver.arpa", "SVCB", use_edns=0, want_dnssec=True),
    message("4.3.2.1.in-addr.arpa", "PTR", use_edns=0, options=[cookie()]),
    message(".", "NS"),
    message("example", "ANY", use_edns=0, pad=128),
]


def read_as_query(octets: bytes) -> None:
    """Any octets: a query that dnspython reads alike, or Malformed with an answer that is none or readable."""
    for transport in Transport:
        try:
            asked = parse_query(octets, transport)
        except MalformedMessageError as e:
            refusal = refuse(octets, e, b"87654321")
            if refusal is not None:
                got = dns.message.from_wire(refusal)
                assert refusal[:2] == octets[:2]
                assert got.flags & dns.flags.QR
                assert len(refusal) <= max(len(octets), 12) + 8
            continue
        rendered = render(
            asked,
            Response(Rcode.NXDOMAIN, serial=1, edes=(Ede.BLOCKED,), text="x" * 99),
            b"87654321",
        )
        assert dns.message.from_wire(rendered.message).id == asked.id
        assert len(rendered.message) <= 512
        try:
            read = dns.message.from_wire(octets, question_only=True)
        except dns.exception.DNSException:
            continue
        name, kind = read.question[0].name, read.question[0].rdtype
        assert (asked.qname, asked.qtype) == (present(name.labels[:-1]), kind)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_parse_query_gives_a_value_or_malformed_for_any_octets(octets):
    read_as_query(octets)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(REAL_QUERIES), MUTATIONS)
def test_parse_query_gives_a_value_or_malformed_for_mutated_queries(octets, changes):
    read_as_query(mutated(octets, changes))


def parsed(reader, octets: bytes, transport=Transport.UDP) -> tuple[object, ...]:
    """Return the query, or what there is to a fault."""
    try:
        return (reader(octets, transport),)
    except MalformedMessageError as e:
        return str(e), e.rcode, e.edns


PLAIN_QUERIES = [
    message(),
    message("wWw-1_2.ExAmPle", "HTTPS", flags=0),
    message("a." * 20 + "example", "AAAA", use_edns=0, payload=4096),
    message("x", "TYPE65000", use_edns=1, want_dnssec=True, flags=dns.flags.CD),
    message(f"{'3' * 44}.{'-' * 44}.example", "TXT", flags=dns.flags.RD | dns.flags.AD),
]


@pytest.mark.parametrize("octets", PLAIN_QUERIES)
def test_parse_query_reads_plain_queries_the_short_way(octets, monkeypatch):
    expected = [parsed(_parse_any, octets, transport) for transport in Transport]
    assert isinstance(expected[0][0], Query)
    # What others sent is known.
    parse_query(octets)

    def refuse(*_):
        raise AssertionError("the way for all queries")

    monkeypatch.setattr("gate_dns.messages.wire._parse_any", refuse)
    assert [parsed(parse_query, octets, transport) for transport in Transport] == expected


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(PLAIN_QUERIES + REAL_QUERIES), MUTATIONS)
def test_parse_query_reads_the_same_either_way(octets, changes):
    changed = mutated(octets, changes)
    assert parsed(parse_query, changed) == parsed(_parse_any, changed)


def of_name(*parts: bytes, end: bytes = b"\0\0\1\0\1") -> bytes:
    """Return a plain query for the name with these labels, right or wrong."""
    return message()[:12] + b"".join(bytes((len(part),)) + part for part in parts) + end


WITH_OPT = message(use_edns=0)


@pytest.mark.parametrize(
    "octets",
    [
        *(
            pytest.param(of_name(b"www", b"3" * octets), id=f"a label of {octets} octets")
            for octets in (44, 45, 48, 57, 63, 64, 97, 192)
        ),
        *(
            pytest.param(
                of_name(b"www", b"3" * (octets - 1) + b"\1"), id=f"{octets} with an odd octet"
            )
            for octets in (44, 45, 48, 57, 63, 64, 97)
        ),
        *(
            pytest.param(of_name(*[b"a" * 39] * 6, b"b" * last), id=f"a name of {242 + last}")
            for last in (12, 13, 14, 44)
        ),
        pytest.param(of_name(*[b"a"] * 127), id="the most labels"),
        pytest.param(of_name(*[b"a"] * 128), id="one label more"),
        pytest.param(of_name(), id="the root"),
        pytest.param(of_name(b"www", b"a.b"), id="a dot in a label"),
        pytest.param(of_name(b"a.b"), id="a dot in the only label"),
        pytest.param(of_name(b"ww\0w", b"example"), id="a zero octet in a label"),
        pytest.param(of_name(b"www", b"a b\xff\x01"), id="odd octets"),
        pytest.param(of_name(b"WwW", b"ExAmPlE"), id="letter case"),
        pytest.param(of_name(b"www", end=b""), id="the name does not end"),
        pytest.param(of_name(b"www", end=b"\0"), id="nothing behind the name"),
        pytest.param(of_name(b"www", end=b"\0\0\1\0"), id="the question is cut short"),
        pytest.param(of_name(b"www", end=b"\xc0\x0c\0\1\0\1"), id="a pointer"),
        pytest.param(of_name(b"www") + b"x", id="an octet behind"),
        pytest.param(of_name(b"www") + WITH_OPT[-11:], id="an OPT record that is not counted"),
        pytest.param(WITH_OPT[:-11], id="an OPT record that is missing"),
        pytest.param(WITH_OPT[:-1], id="an OPT record that is cut short"),
        pytest.param(WITH_OPT[:-1] + b"\1", id="options that are missing"),
        pytest.param(WITH_OPT[:-6] + b"\1" + WITH_OPT[-5:], id="an extended code"),
        pytest.param(WITH_OPT[:-3] + b"\1" + WITH_OPT[-2:], id="a flag nobody knows"),
        pytest.param(WITH_OPT[:-11] + b"\xc0" + WITH_OPT[-10:], id="another owner"),
        pytest.param(message(use_edns=0, options=[cookie()]), id="a cookie"),
        pytest.param(message(use_edns=0, options=[cookie(b"c" * 9)]), id="a cookie too long"),
        pytest.param(message()[:3] + b"\x40" + message()[4:], id="a flag in the header"),
        pytest.param(message()[:2] + b"\x81" + message()[3:], id="a response"),
        pytest.param(message()[:2] + b"\x21" + message()[3:], id="another opcode"),
        pytest.param(message()[:5] + b"\2" + message()[6:], id="two questions"),
        pytest.param(message()[:7] + b"\1" + message()[8:], id="an answer"),
        *(pytest.param(message()[:octets], id=f"{octets} octets") for octets in (0, 11, 12, 13)),
    ],
)
def test_parse_query_reads_the_same_either_way_at_the_edges(octets):
    # The second time, what stands around the name is known.
    for _ in range(2):
        assert parsed(parse_query, octets) == parsed(_parse_any, octets)


def test_parse_query_keeps_a_bounded_number_of_what_stands_around_names():
    most = _plain_for_root.cache_info().maxsize
    for number in range(2 * most):
        asked = parse_query(of_name(b"www", end=b"\0" + struct.pack("!HH", number, 1)))
        assert asked.qtype == number
    assert _plain_for_root.cache_info().currsize == most
    # Cookies and other options, which have no end, are not in it.
    misses = _plain_for_root.cache_info().misses
    query(use_edns=0, options=[cookie()])
    query(use_edns=0, pad=64)
    assert _plain_for_root.cache_info().misses == misses


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
    assert (got.id, got.qname, got.qtype, got.qclass) == (asked.id, present(tuple(parts)), kind, 1)
    assert got.question[:-4] == dns.name.Name([*parts, b""]).to_wire()
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
        *(
            pytest.param(
                message()[:2] + bytes((opcode << 3 | 1, 0)) + message()[4:], Rcode.NOTIMP, id=name
            )
            # RFC 1035, section 4.1.1; RFC 1996; RFC 2136; RFC 8490; and what nobody has assigned.
            for opcode, name in (
                (1, "iquery"),
                (2, "status"),
                (4, "notify"),
                (5, "update"),
                (6, "stateful"),
                (15, "opcode 15"),
            )
        ),
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
    # A name at octet 12, then pointers each to the one before; whoever follows them all is busy for long.
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


def test_key_is_the_same_with_options_that_change_no_answer():
    plain = query(use_edns=0, payload=1400)
    unknown = dns.edns.GenericOption(65001, b"x")
    subnet = dns.edns.ECSOption("192.0.2.0", 24)
    for options in ({"pad": 64}, {"options": [unknown]}, {"options": [subnet, unknown]}):
        other = query(use_edns=0, payload=1400, **options)
        assert (other.key, other.rest, other.edns) == (plain.key, plain.rest, plain.edns)


def test_key_and_rest_hold_the_cookie():
    octets = message(use_edns=0, options=[cookie()])
    one, other = parse_query(octets), query(use_edns=0, options=[cookie(b"12345679")])
    assert one.key == octets[2:].lower()
    assert octets.endswith(one.rest)
    assert one.rest != other.rest


@pytest.mark.parametrize("kind", ["A", "HTTPS", "TYPE97"])
@pytest.mark.parametrize("flags", [0, dns.flags.RD, dns.flags.RD | dns.flags.CD])
@pytest.mark.parametrize("want_dnssec", [False, True])
def test_question_of_asks_what_the_key_stands_for(kind, flags, want_dnssec):
    asked = query(name="WwW.Example", kind=kind, flags=flags, want_dnssec=want_dnssec, use_edns=0)
    again = question_of(asked.upstream_key)
    assert again.upstream_key == asked.upstream_key
    assert (again.qname, again.qtype, again.qclass) == (asked.qname, asked.qtype, asked.qclass)
    assert again.flags == asked.flags & (dns.flags.RD | dns.flags.CD)


def test_upstream_key_tells_apart_what_an_upstream_sees():
    same = [
        {},
        {"transport": Transport.TCP},
        {"name": "WWW.Example"},
        {"use_edns": 0},
        {"flags": dns.flags.RD | dns.flags.AD},
    ]
    assert len({query(**options).upstream_key for options in same}) == 1
    differ = [
        {},
        {"use_edns": 0, "want_dnssec": True},
        {"flags": dns.flags.RD | dns.flags.CD},
        {"flags": 0},
        {"kind": "AAAA"},
        {"kind": "HTTPS"},
        {"kind": "TYPE97"},
        {"name": "ww.example"},
    ]
    assert len({query(**options).upstream_key for options in differ}) == len(differ)
    options = [cookie(), dns.edns.ECSOption("192.0.2.0", 24)]
    assert query(use_edns=0, options=options).upstream_key == query(use_edns=0).upstream_key


def test_about_asks_the_same_of_another_name():
    asked = query("www.Search.example", "AAAA", use_edns=0, want_dnssec=True, payload=800)
    other = asked.about("safe.search.example")
    assert (other.qname, other.qtype, other.edns) == (
        "safe.search.example",
        28,
        Edns(800, 0, dnssec_ok=False),
    )
    assert other == query("safe.search.example", "AAAA", use_edns=0, payload=800)


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


@pytest.mark.parametrize(
    ("octets", "edns"),
    [
        pytest.param(b"12345678", Edns(1232, 0, dnssec_ok=False, cookie=b"12345678"), id="client"),
        pytest.param(b"c" * 16, Edns(1232, 0, dnssec_ok=False, cookie=b"c" * 16), id="and server"),
        pytest.param(b"c" * 40, Edns(1232, 0, dnssec_ok=False, cookie=b"c" * 40), id="longest"),
    ],
)
def test_parse_query_reads_a_cookie(octets, edns):
    other = dns.edns.GenericOption(65001, b"x")
    options = [other, cookie(octets), cookie(b"ignored-")]
    assert query(use_edns=0, options=options).edns == edns


@pytest.mark.parametrize("length", [0, 7, 9, 15, 41])
def test_parse_query_refuses_a_cookie_of_no_length_of_a_cookies_with_an_opt_record(length):
    octets = message(use_edns=0, options=[cookie(b"c" * length)])
    with pytest.raises(MalformedMessageError) as caught:
        parse_query(octets)
    got = dns.message.from_wire(refuse(octets, caught.value, b"87654321"))
    assert (got.rcode(), got.edns, got.options) == (dns.rcode.FORMERR, 0, ())


@pytest.mark.parametrize(
    ("options", "rcode"),
    [
        pytest.param(b"\0\x0a\0\x09", Rcode.FORMERR, id="cut short"),
        pytest.param(b"\0\x0a\0", Rcode.FORMERR, id="cut short in its head"),
    ],
)
def test_parse_query_refuses_options_that_end_too_late(options, rcode):
    octets = message(use_edns=0)[:-2] + len(options).to_bytes(2, "big") + options
    with pytest.raises(MalformedMessageError) as caught:
        parse_query(octets)
    assert caught.value.rcode is rcode


def test_parse_query_leaves_the_options_of_a_version_to_come_alone():
    octets = message(use_edns=1)[:-2] + b"\0\3\0\x0a\0"
    assert parse_query(octets).edns == Edns(1232, 1, dnssec_ok=False)


@pytest.mark.parametrize(
    ("sent", "rcode"),
    [
        pytest.param(b"12345678", "NOERROR", id="no server cookie"),
        pytest.param(b"12345678" + b"87654321", "NOERROR", id="the right one"),
        pytest.param(b"12345678" + b"87654320", "BADCOOKIE", id="another"),
    ],
)
def test_refuse_gives_a_cookie_to_who_asks_for_nothing_else(sent, rcode):
    asked = dns.message.Message(id=7)
    asked.flags = dns.flags.RD
    asked.use_edns(0, options=[cookie(sent)])
    octets = asked.to_wire()
    with pytest.raises(MalformedMessageError) as caught:
        parse_query(octets)
    got = dns.message.from_wire(refuse(octets, caught.value, b"87654321"))
    assert (got.id, dns.rcode.to_text(got.rcode()), got.question) == (7, rcode, [])
    assert [o.to_wire() for o in got.options] == [b"1234567887654321"]


@settings(max_examples=100, deadline=None)
@given(labels)
def test_read_name_agrees_with_dnspython_where_names_are_compressed(parts):
    first = dns.name.Name([*parts, b""]).to_wire()
    octets = bytes(12) + first + b"\3www\xc0\x0c"
    if len(first) <= 251:
        name, end = read_name(octets, 12 + len(first))
        assert (name, end) == (present((b"www", *parts)), len(octets))
    else:
        with pytest.raises(ValueError, match="255 octets"):
            read_name(octets, 12 + len(first))


@pytest.mark.parametrize("last", [20, 21])
def test_read_name_counts_the_octets_of_all_parts_of_a_name(last):
    # The header; 10 octets of a name; 192 that go on there; 32, and those of the last label, that go on in these.
    octets = bytes(12) + b"\4tail\3org\0" + (b"\x2f" + b"a" * 47) * 4 + b"\xc0\x0c"
    begin = len(octets)
    octets += b"\x1f" + b"b" * 31 + bytes((last,)) + b"c" * last + b"\xc0\x16"
    if last == 20:
        name, end = read_name(octets, begin)
        assert (len(wire_name(name)), end) == (255, len(octets))
    else:
        with pytest.raises(ValueError, match="255 octets"):
            read_name(octets, begin)


@pytest.mark.parametrize("name", ["", "a", "www.example.org"])
def test_wire_name_agrees_with_dnspython(name):
    assert wire_name(name) == dns.name.from_text(name).to_wire()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=30)), max_size=4))
def test_read_options_gives_codes_and_contents(options):
    octets = b"".join(struct.pack("!HH", code, len(c)) + c for code, c in options)
    assert read_options(octets) == options
    for end in range(len(octets)):
        try:
            assert read_options(octets[:end]) == options[: len(read_options(octets[:end]))]
        except ValueError:
            continue


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\5abc\xc0\x0c\0", id="through the pointer"),
        pytest.param(b"\x01a\4bc\xc0\x0e\1d\0", id="over the pointer"),
    ],
)
def test_read_name_refuses_a_name_that_goes_on_into_what_points_to_it(octets):
    message = bytes(12) + octets
    with pytest.raises(ValueError, match="points to it"):
        read_name(message, 12 + octets.index(b"\xc0"))
