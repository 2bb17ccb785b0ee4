import hashlib
import ssl

import pytest

from gate_firewall.opening import MAX_PACKETS, NAMELESS, Opening, Reading, UnreadableError
from gate_firewall.packet import ACK, RST, SYN, TCP, URG, Packet

FIRST = 2**32 - 3  # the numbers pass through 0 within every hello


def segment(offset, payload, *, flags=ACK, acknowledged=0, whole=True):
    sequence = (FIRST + offset) % 2**32
    acknowledged = (FIRST + acknowledged) % 2**32
    return Packet(
        b"", b"", TCP, 0, 0, sequence, acknowledged, flags, payload, whole, later_fragment=False
    )


def hello(name):
    outgoing = ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(
        ssl.MemoryBIO(), outgoing, server_hostname=name
    )
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


@pytest.fixture
def opening():
    return Opening(FIRST, None)


def test_read_waits_until_the_hello_is_whole(opening):
    octets = hello("a.example")

    assert opening.read(segment(-1, b"", flags=SYN), reply=False) is None
    assert opening.read(segment(100, octets[100:]), reply=False) is None
    assert opening.read(segment(0, octets[:100]), reply=False) == Reading("tls", "a.example")


def test_read_takes_a_hello_of_one_octet_a_segment(opening):
    octets = hello("a.example")
    found = [opening.read(segment(i, octets[i : i + 1]), reply=False) for i in range(len(octets))]

    assert found == [None] * (len(octets) - 1) + [Reading("tls", "a.example")]


def test_read_takes_what_a_syn_carries(opening):
    request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"

    assert opening.read(segment(-1, request[:9], flags=SYN), reply=False) is None
    assert opening.read(segment(9, request[9:]), reply=False) == Reading("http", "a.example")


@pytest.mark.parametrize(
    ("payload", "reading"),
    [
        (b"SSH-2.0-x\r\n", Reading("tcp", "", "ssh")),
        (b"\x05\x01\x00", Reading("tcp", "", "socks")),
        (b"NICK somebody\r\n", NAMELESS),
        (bytes(600), NAMELESS),
    ],
)
def test_read_knows_other_protocols_by_their_first_octets(opening, payload, reading):
    assert opening.read(segment(0, payload), reply=False) == reading


def test_read_waits_for_octets_that_could_still_tell(opening):
    assert opening.read(segment(0, b"\x00\x01"), reply=False) is None
    assert opening.read(segment(0, b"hello"), reply=True) == NAMELESS
    assert opening.acknowledged


def test_read_knows_a_proxy_by_what_it_is_asked():
    for head in (b"CONNECT a.example:443 HTTP/1.1", b"GET http://a.example/ HTTP/1.1"):
        opening = Opening(FIRST, None)
        octets = head + b"\r\nHost: a.example\r\n\r\n"
        assert opening.read(segment(0, octets), reply=False) == Reading(
            "http", "a.example", "http-proxy"
        )


def test_read_knows_a_server_by_its_banner(opening):
    assert opening.read(segment(0, b"SSH-2.0-x\r\n"), reply=True) == Reading("tcp", "", "ssh")


def test_read_takes_a_flow_in_which_the_server_speaks_first_for_nameless(opening):
    assert opening.read(segment(0, b"", flags=ACK), reply=True) is None
    assert opening.read(segment(0, b"220 mail.example\r\n"), reply=True) == NAMELESS


@pytest.mark.parametrize(
    ("packets", "what"),
    [
        pytest.param(
            [(0, b"\x16\x03\x01", False), (9, b"x", True)], "answered", id="answered too early"
        ),
        pytest.param(
            [(0, b"GET / H", False), (9, b"x", True)], "answered", id="half a head answered"
        ),
        pytest.param(
            [(0, b"GET /a", False), (4, b"/b", False)], "differs", id="overlap that differs"
        ),
        pytest.param([(20_000, b"x", False)], "at most", id="far ahead"),
        pytest.param([(0, b"\x16\x03\x01\0\0", False)], "length of the record", id="malformed"),
        pytest.param(
            [(0, b"GET / HTTP/1.1\r\nHost: @\r\n\r\n", False)], "characters", id="malformed head"
        ),
        pytest.param([(0, b"", False)] * (MAX_PACKETS + 1), "more than", id="too many packets"),
    ],
)
def test_read_gives_up(opening, packets, what):
    *before, (offset, payload, reply) = packets
    for packet in before:
        assert opening.read(segment(*packet[:2]), reply=packet[2]) is None
    with pytest.raises(UnreadableError, match=what):
        opening.read(segment(offset, payload), reply=reply)


def test_read_gives_up_on_a_second_beginning(opening):
    with pytest.raises(UnreadableError, match="two beginnings"):
        opening.read(segment(5000, b"", flags=SYN), reply=False)


def test_read_gives_up_on_what_the_queue_cut_off(opening):
    with pytest.raises(UnreadableError, match="too long for the queue"):
        opening.read(segment(0, b"GET ", whole=False), reply=False)


@pytest.mark.parametrize(
    ("payload", "flags"),
    [
        pytest.param(b"GET /x", ACK | URG, id="with octets"),
        # The pointer alone, in a packet without octets, takes one out of what comes later.
        pytest.param(b"", ACK | URG, id="the pointer alone"),
    ],
)
def test_read_gives_up_on_urgent_data(opening, payload, flags):
    with pytest.raises(UnreadableError, match="urgent"):
        opening.read(segment(0, payload, flags=flags), reply=False)


REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


@pytest.mark.parametrize(
    ("acknowledged", "flags", "known"),
    [
        (0, ACK, False),
        (len(REQUEST) - 1, ACK, False),
        (len(REQUEST), ACK, True),
        (len(REQUEST) + 9000, ACK, True),
        (len(REQUEST), ACK | RST, False),
        (len(REQUEST), RST, False),
    ],
)
def test_read_knows_what_the_responder_has_acknowledged(opening, acknowledged, flags, known):
    opening.read(segment(0, REQUEST), reply=False)
    opening.read(segment(0, b"", flags=flags, acknowledged=acknowledged), reply=True)

    assert opening.acknowledged is known


SERVER = b"\x16\3\3\0\x60\2\0\0\x5c\3\3"
RETRY = SERVER + hashlib.sha256(b"HelloRetryRequest").digest() + bytes(58)
"""RFC 8446, section 4.1.3"""


def answer(octets, place):
    """Return what the server says from ``place`` of its octets on; it has the whole hello."""
    packet = segment(0, octets[place:], acknowledged=5000)
    return packet._replace(sequence=(packet.sequence + place) % 2**32)


@pytest.mark.parametrize("claimed", [50, 101, -50])
def test_read_takes_no_place_for_the_server_s_first_octet_that_it_would_not_accept(
    opening, claimed
):
    """A server drops what acknowledges octets that it has not sent, and what it says later is no first answer."""
    octets, said = hello("a.example"), RETRY + b"\x14\3\3\0\1\1" + bytes(100)
    opening.read(segment(0, octets, acknowledged=claimed), reply=False)
    opening.read(segment(0, octets), reply=False)
    for place in (0, 50, 101):
        opening.read(answer(said, place), reply=True)

    assert not opening.acknowledged


def test_read_takes_a_server_s_first_octet_from_where_it_is(opening):
    octets = hello("a.example")
    opening.read(segment(0, octets[:9]), reply=False)
    opening.read(segment(9, octets[9:]), reply=False)
    opening.read(answer(SERVER + bytes(90), 0), reply=True)

    assert opening.acknowledged


def test_read_takes_a_long_body_before_the_answer(opening):
    opening.read(segment(0, REQUEST), reply=False)
    found = {
        opening.read(segment(len(REQUEST) + i * 1400, bytes(1400)), reply=False) for i in range(50)
    }

    assert found == {Reading("http", "a.example")}


@pytest.mark.parametrize("offset", [-1, 0, 20, len(REQUEST) - 1])
def test_read_gives_up_on_other_octets_in_the_place_of_the_name(opening, offset):
    opening.read(segment(0, REQUEST), reply=False)
    with pytest.raises(UnreadableError, match=r"differs|before the first"):
        opening.read(segment(offset, b"\0" * 1400), reply=False)
