import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import TCP
from scapy.utils import rdpcap

from gate_firewall import hello as hellos
from gate_firewall.hello import (
    Hello,
    Hellos,
    MalformedHelloError,
    Records,
    read_message,
    read_records,
)
from gate_firewall.host import MAX_OCTETS

CAPTURES = Path(__file__).parents[3] / "shared/data/captures"


def openssl_hello(name):
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


HELLO = openssl_hello("www.example.org")


def vector(width, octets):
    return len(octets).to_bytes(width) + octets


def extension(kind, content):
    return kind.to_bytes(2) + vector(2, content)


def name_extension(*names):
    return extension(0, vector(2, b"".join(b"\0" + vector(2, name) for name in names)))


def alpn_extension(*protocols):
    return extension(16, vector(2, b"".join(vector(1, protocol) for protocol in protocols)))


ECH = extension(0xFE0D, b"\0\0\1\0\1\x2a\0\0\0\0")


def message(*extensions, behind=b""):
    """Return a ClientHello with these extensions."""
    ciphers, compression = vector(2, b"\x13\x01"), vector(1, b"\0")
    body = b"\3\3" + bytes(32) + vector(1, b"") + ciphers + compression
    return b"\1" + vector(3, body + vector(2, b"".join(extensions)) + behind)


def records(octets, size=MAX_OCTETS):
    parts = [octets[i : i + size] for i in range(0, len(octets), size)]
    return b"".join(b"\x16\x03\x01" + vector(2, part) for part in parts)


def test_server_name_reads_what_openssl_writes():
    assert read_records(HELLO).name == "www.example.org"


def test_server_name_is_canonical():
    assert (
        read_records(records(message(name_extension(b"WWW.Example.org.")))).name
        == "www.example.org"
    )


def test_server_name_is_absent_without_the_extension():
    assert read_records(openssl_hello(None)).name == ""


def test_server_name_is_absent_without_extensions():
    hello = b"\1" + vector(3, b"\3\3" + bytes(32) + b"\0" + vector(2, b"\x13\x01") + b"\1\0")

    assert read_records(records(hello)).name == ""


@pytest.mark.parametrize("size", [1, 2, 7, 100, -1, -4])
def test_server_name_reads_across_records(size):
    hello = message(extension(51, bytes(1300)), name_extension(b"www.example.org"))
    size %= len(hello)  # below zero: all in the first record but so many octets

    assert read_records(records(hello, size)).name == "www.example.org"


def test_server_name_reads_a_hello_of_post_quantum_size():
    key_share = extension(51, bytes(1300))

    assert (
        read_records(records(message(key_share, name_extension(b"a.example")))).name == "a.example"
    )


def test_server_name_is_incomplete_at_each_octet_before_the_last():
    hello = records(message(name_extension(b"www.example.org")), 20)
    end = len(hello)

    assert {read_records(hello[:n]) for n in range(end)} == {None}
    assert read_records(hello + b"more").name == "www.example.org"


@pytest.mark.parametrize(
    ("octets", "what"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n", "not a handshake record", id="http"),
        pytest.param(b"\x16\x02", "not a handshake record", id="version of another protocol"),
        pytest.param(b"\x16\x03\x01\0\0", "length of the record", id="empty record"),
        pytest.param(b"\x16\x03\x01\xff\xff", "length of the record", id="record far too long"),
        pytest.param(records(b"\2" + bytes(50)), "not a ClientHello", id="server hello"),
        pytest.param(records(b"\1\xff\xff\xff" + bytes(50)), "at most", id="hello too long"),
        pytest.param(
            records(message()[:20]) + b"\x15\x03\x01",
            "not a handshake record",
            id="alert in between",
        ),
        pytest.param(
            records(message(name_extension(b"a.example"), name_extension(b"b.example"))),
            "two extensions of type 0",
            id="two extensions",
        ),
        pytest.param(
            records(message(name_extension(b"a.example", b"b.example"))),
            "more than one",
            id="two names",
        ),
        pytest.param(
            records(message(alpn_extension(b"h2"), alpn_extension(b"h2"))),
            "two extensions of type 16",
            id="two alpn extensions",
        ),
        pytest.param(
            records(message(ECH, ECH)), "two extensions of type 65037", id="two ech extensions"
        ),
        pytest.param(records(message(alpn_extension())), "list of protocols", id="no protocol"),
        pytest.param(
            records(message(extension(16, b"\0\5\2h2"))), "list of protocols", id="long alpn list"
        ),
        pytest.param(
            records(message(extension(16, b"\0\3\3h2"))), "name of a protocol", id="long protocol"
        ),
        pytest.param(
            records(message(alpn_extension(b"h2", b""))), "name of a protocol", id="empty protocol"
        ),
        pytest.param(records(message(extension(16, b"\0"))), "longer than", id="half an alpn list"),
        pytest.param(records(message(extension(0, b""))), "longer than", id="empty extension"),
        pytest.param(
            records(message(extension(0, b"\0\x0c\0\0\x0aa.example"))),
            "longer than",
            id="name longer than its list",
        ),
        pytest.param(
            records(message(extension(0, b"\0\x0d\0\0\x09a.example"))),
            "longer than",
            id="list longer than its extension",
        ),
        pytest.param(
            records(message(name_extension(b"a.example"), b"\0\x33\0\4abc")) + b"d",
            "longer than",
            id="extension longer than the hello",
        ),
        pytest.param(
            b"\x16\x03\x01\x40\x01" + message(), "length of the record", id="record too long"
        ),
        pytest.param(records(message(extension(0, b"\0\0"))), "longer than", id="empty list"),
        pytest.param(
            records(message(extension(0, vector(2, b"\1" + vector(2, b"x"))))),
            "unknown type",
            id="type 1",
        ),
        pytest.param(records(message(name_extension(b""))), "host name", id="empty name"),
        pytest.param(
            records(message(name_extension(b"a" * 300))), "host name", id="name of 300 octets"
        ),
        pytest.param(records(message(behind=b"x")), "behind the extensions", id="octets behind"),
        pytest.param(records(b"\1" + vector(3, b"\3\3" + bytes(10))), "longer than", id="cut body"),
    ],
)
def test_server_name_refuses_what_is_no_hello_or_has_two_readings(octets, what):
    with pytest.raises(MalformedHelloError, match=what):
        read_records(octets)


@pytest.mark.parametrize("size", [MAX_OCTETS, 9])
@pytest.mark.parametrize(
    ("extensions", "hello"),
    [
        pytest.param([], Hello("", (), ech=False), id="none"),
        pytest.param([name_extension(b"a.example")], Hello("a.example", (), ech=False), id="name"),
        pytest.param(
            [alpn_extension(b"\x3a\x3a", b"h2"), ECH, name_extension(b"A.example")],
            Hello("a.example", (b"\x3a\x3a", b"h2"), ech=True),
            id="all",
        ),
    ],
)
def test_read_records_tells_what_the_extensions_say(extensions, hello, size):
    assert read_records(records(message(*extensions), size)) == hello


def test_read_message_waits_for_the_last_octet_and_reads_no_further():
    octets = message(ECH, name_extension(b"a.example"))

    assert {read_message(octets[:n]) for n in range(len(octets))} == {None}
    assert read_message(octets + b"more") == Hello("a.example", (), ech=True)


@pytest.mark.parametrize(
    ("octets", "what"),
    [
        pytest.param(b"\2", "not a ClientHello", id="server hello"),
        pytest.param(b"\1\0\x40\0", "at most", id="hello too long"),
        pytest.param(b"\1\0\0\0" + bytes(60), "longer than", id="empty hello"),
        pytest.param(message(behind=b"x"), "behind the extensions", id="octets behind"),
        pytest.param(
            b"\1" + vector(3, message()[4:-1]) + bytes(9), "longer than", id="extensions cut"
        ),
    ],
)
def test_read_message_refuses_what_is_no_hello(octets, what):
    with pytest.raises(MalformedHelloError, match=what):
        read_message(octets)


def read_all(octets):
    try:
        return read_message(octets)
    except MalformedHelloError:
        return MalformedHelloError


@given(st.data())
def test_read_message_reads_as_from_records(data):
    mutated = bytearray(message(alpn_extension(b"h2"), ECH, name_extension(b"a.example")))
    for _ in range(data.draw(st.integers(0, 3))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    size = data.draw(st.sampled_from([MAX_OCTETS, 1, 40]))
    try:
        found = read_records(records(bytes(mutated), size))
    except MalformedHelloError:
        found = MalformedHelloError

    assert found == read_all(bytes(mutated))


def outcome(octets):
    try:
        return read_records(octets)
    except MalformedHelloError:
        return MalformedHelloError


def outcomes(octets):
    """Feed ``octets`` one by one; a decided outcome must never change again."""
    found = [outcome(octets[:n]) for n in range(len(octets) + 1)]
    decided = [o for o in found if o is not None]
    assert len(set(decided)) <= 1
    assert found[len(found) - len(decided) :] == decided
    return found[-1]


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x16\x03", b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4"]),
)
def test_server_name_of_any_octets_gives_a_value_or_malformed(octets, start):
    outcomes(start + octets)


@given(st.data())
def test_server_name_of_a_mutated_hello_gives_a_value_or_malformed(data):
    mutated = bytearray(
        records(message(name_extension(b"www.example.org")), data.draw(st.integers(5, 99)))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))

    outcomes(bytes(mutated))


needs_captures = pytest.mark.skipif(not CAPTURES.is_dir(), reason="../shared is absent")


@needs_captures
@pytest.mark.parametrize(
    ("capture", "name"),
    [
        ("zeek/chrome-1250-tls-x25519-kyber.pcap", "lh3.google.com"),
        ("zeek/tls13-ech.pcap", "cloudflare-ech.com"),
        ("suricata-verify/tls-client-hello-frag-mtu300.pcap", "www.google.com"),
    ],
)
def test_server_name_reads_captured_hellos(capture, name):
    segments = [p[TCP] for p in rdpcap(str(CAPTURES / capture)) if TCP in p]
    first = next(s for s in segments if bytes(s.payload).startswith(b"\x16"))
    stream, after = b"", first.seq
    for segment in segments:
        if segment.sport == first.sport and segment.seq == after:
            stream += bytes(segment.payload)
            after += len(segment.payload)

    assert outcomes(stream[:4000]).name == name


@needs_captures
def test_read_records_reads_a_captured_hello():
    octets = (CAPTURES / "clienthellod/TLS_ClientHello_Firefox_126.bin").read_bytes()
    hello = Hello("client.tlsfingerprint.io", (b"h2", b"http/1.1"), ech=True)

    assert read_records(octets) == hello


@needs_captures
def test_read_message_reads_a_captured_message():
    octets = (CAPTURES / "clienthellod/QUIC_ClientHello_Chrome_124.bin").read_bytes()

    assert read_message(octets) == Hello("encrypted-tbn0.gstatic.com", (b"h3",), ech=True)


class Counting:
    """Counts how often a record is looked at."""

    def __init__(self, struct):
        self._struct = struct
        self.count = 0

    def unpack_from(self, *arguments):
        self.count += 1
        return self._struct.unpack_from(*arguments)


@pytest.fixture
def looks(monkeypatch):
    looks = Counting(hellos._RECORD)
    monkeypatch.setattr(hellos, "_RECORD", looks)
    return looks


@pytest.mark.parametrize("step", [1, 7, 536])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_records_are_looked_at_once_however_they_arrive(looks, size, step):
    octets = records(message(name_extension(b"www.example.org")), size)
    reader = Records()
    arrivals = range(1, len(octets), step)

    assert {reader.read(octets[:n]) for n in arrivals} == {None}
    assert reader.read(octets) == Hello("www.example.org")
    # Once as a whole, and once for each arrival that ends within one.
    assert looks.count <= len(octets) / (5 + size) + len(arrivals) + 2


@pytest.mark.parametrize("step", [1, 7, 536])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_hellos_are_read_once_however_they_arrive(looks, size, step):
    first, second = (message(name_extension(name)) for name in (b"a.example", b"b.example"))
    octets = records(first, size) + b"\x14\3\3\0\1\1" + records(second, size)
    reader = Hellos()
    arrivals = [*range(1, len(octets), step), len(octets)]

    names = [name for n in arrivals for name in reader.read(octets[:n])]
    assert names == ["a.example", "b.example"]
    assert looks.count <= len(octets) / (5 + size) + len(arrivals) + 3
