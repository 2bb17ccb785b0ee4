import pytest

from gate_firewall.opening import OutOfTurnError, UnreadableError
from gate_firewall.packet import ACK, RST, SYN, TCP, URG, Packet
from gate_firewall.watch import MAX_UNACKNOWLEDGED, Watched

FIRST = 2**32 - 20  # the numbers pass through 0 within the first request
GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4000000\r\n\r\n"
EXPECTING = POST.replace(b"4000000", b"5\r\nExpect: 100-continue")


@pytest.fixture
def watched():
    return Watched(FIRST, "a.example", None, from_router=False)


def segment(offset, payload=b"", *, acknowledged=0, flags=ACK, whole=True):
    sequence, acknowledged = ((FIRST + n) % 2**32 for n in (offset, acknowledged))
    return Packet(
        b"", b"", TCP, 0, 0, sequence, acknowledged, flags, payload, whole, later_fragment=False
    )


def send(watched, offset, payload):
    watched.take(segment(offset, payload), reply=False)


def acknowledge(watched, octets, **how):
    watched.take(segment(0, acknowledged=octets, **how), reply=True)


def test_settled_when_the_responder_has_all(watched):
    assert watched.settled
    send(watched, 0, GET)
    acknowledge(watched, len(GET) - 1)
    assert not watched.settled
    acknowledge(watched, len(GET))
    assert watched.settled
    send(watched, len(GET), GET)
    assert not watched.settled


def test_take_reads_a_request_in_any_pieces(watched):
    for offset, octet in enumerate(GET * 3):
        send(watched, offset, bytes((octet,)))
    with pytest.raises(UnreadableError, match="another host"):
        send(watched, 3 * len(GET), GET.replace(b"a.example", b"b.example"))


@pytest.mark.parametrize("acknowledged", [0, 10, len(GET)])
def test_take_takes_what_comes_again(watched, acknowledged):
    send(watched, 0, GET)
    acknowledge(watched, acknowledged)
    send(watched, 0, GET)
    send(watched, 5, GET[5:] + GET)
    acknowledge(watched, 2 * len(GET))
    assert watched.settled


def test_take_refuses_other_octets_in_the_place_of_what_is_not_acknowledged(watched):
    send(watched, 0, GET)
    acknowledge(watched, 10)
    send(watched, 0, b"X" * 10 + GET[10:])  # nobody looks at the first ten any more
    with pytest.raises(UnreadableError, match="differ"):
        send(watched, 5, GET[5:].replace(b"a.example", b"b.example"))


def test_take_drops_what_comes_out_of_turn(watched):
    with pytest.raises(OutOfTurnError, match="10 octets"):
        send(watched, 10, GET[10:])
    send(watched, 0, GET)


def test_take_drops_more_than_it_keeps(watched):
    send(watched, 0, POST)
    offset = len(POST)
    for _ in range(MAX_UNACKNOWLEDGED // 1024 - 1):
        send(watched, offset, bytes(1024))
        offset += 1024
    with pytest.raises(OutOfTurnError, match="too much"):
        send(watched, offset, bytes(1024))
    acknowledge(watched, offset)
    send(watched, offset, bytes(1024))


@pytest.mark.parametrize(
    "packet",
    [
        segment(0, GET, flags=ACK | URG),
        segment(0, GET, flags=ACK | SYN),
        segment(0, GET, whole=False),
        segment(0, b"no request\r\n\r\n"),
    ],
)
def test_take_refuses_what_can_not_be_read(watched, packet):
    with pytest.raises(UnreadableError):
        watched.take(packet, reply=False)


@pytest.mark.parametrize("flags", [0, RST, ACK | RST])
def test_take_believes_no_acknowledgement_of_a_reset(watched, flags):
    send(watched, 0, GET)
    acknowledge(watched, len(GET), flags=flags)
    assert not watched.settled


def test_take_refuses_an_acknowledgement_of_what_was_not_read(watched):
    send(watched, 0, GET)
    acknowledge(watched, len(GET) + 1)  # and of the end
    with pytest.raises(UnreadableError, match="nobody has read"):
        acknowledge(watched, len(GET) + 2)


def test_take_waits_for_the_answer_that_decides_whether_a_body_follows(watched):
    send(watched, 0, EXPECTING)
    acknowledge(watched, len(EXPECTING))
    assert not watched.settled
    with pytest.raises(OutOfTurnError):
        send(watched, len(EXPECTING), b"12345")
    acknowledge(watched, len(EXPECTING), payload=b"HTTP/1.1 100 Continue\r\n\r\n")
    assert watched.settled
    send(watched, len(EXPECTING), b"12345" + GET)


def test_take_reads_a_request_in_the_place_of_a_body_that_was_refused(watched):
    send(watched, 0, EXPECTING)
    acknowledge(watched, len(EXPECTING), payload=b"HTTP/1.1 417 Expectation Failed\r\n\r\n")
    with pytest.raises(UnreadableError):
        send(watched, len(EXPECTING), b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n")


@pytest.mark.parametrize("acknowledged", [0, len(GET)])
def test_take_refuses_what_lies_before_the_first_octet(watched, acknowledged):
    """The responder may have begun there, with a SYN that came before: it would read what nobody here has."""
    send(watched, 0, GET)
    acknowledge(watched, acknowledged)
    send(watched, -1, b"\0")  # a keep-alive
    send(watched, -5, b"")
    for offset, payload in ((-1, b"\0G"), (-2, b"G"), (-len(GET), GET)):
        with pytest.raises(UnreadableError, match="before the first"):
            send(watched, offset, payload)


def test_take_refuses_a_responder_that_began_before(watched):
    send(watched, 0, GET)
    acknowledge(watched, 0)
    with pytest.raises(UnreadableError, match="began before"):
        acknowledge(watched, -1)
