"""Every reader of foreign octets, on what real programs sent and on the same, broken: a value, incomplete, or malformed."""

import json
from collections.abc import Callable
from contextlib import suppress

import pytest

from gate_appliance.lists.formats import ListError, parse_list
from gate_core.control import MalformedMessageError as MalformedControlError
from gate_core.control import parse_answer, parse_request
from gate_core.desk import RefusedError, Status
from gate_core.events import MalformedDatagramError, parse_datagram
from gate_core.pins import MalformedPinsError, parse_pins
from gate_core.snapshot import MalformedSnapshotError, parse_snapshot
from gate_dns.messages.answer import parse_answer as parse_upstream_answer
from gate_dns.messages.render import refuse
from gate_dns.messages.wire import MalformedMessageError, Transport, parse_query, take_message
from gate_firewall.hello import Hello, MalformedHelloError, read_records
from gate_firewall.host import Absence
from gate_firewall.http import MalformedRequestError, host
from gate_firewall.opening import Opening, UnreadableError
from gate_firewall.packet import MalformedPacketError, Packet, parse_packet


def query(octets: bytes) -> None:
    try:
        parsed = parse_query(octets)
    except MalformedMessageError as e:
        answer = refuse(octets, e)
        assert answer is None or len(answer) <= max(len(octets), 12)
    else:
        assert parsed.qname == parsed.qname.lower()


ASKED = parse_query(
    bytes.fromhex("123401000001000000000000") + b"\3www\7example\3org\0" + b"\0\1\0\1",
    Transport.UDP,
)


def answer(octets: bytes) -> None:
    with suppress(MalformedMessageError):
        parse_upstream_answer(octets, ASKED, int.from_bytes(octets[:2]))


def framed(octets: bytes) -> None:
    received = bytearray(octets)
    while (message := take_message(received)) is not None:
        query(message)


def tls(octets: bytes) -> None:
    with suppress(MalformedHelloError):
        assert isinstance(read_records(octets), Hello | None)


def http(octets: bytes) -> None:
    with suppress(MalformedRequestError):
        assert isinstance(host(octets), str | Absence)


def packet(octets: bytes) -> None:
    try:
        parsed = parse_packet(octets)
    except MalformedPacketError:
        return
    assert isinstance(parsed, Packet)
    with suppress(UnreadableError):
        Opening(parsed.sequence, None).read(parsed, reply=False)


def others(octets: bytes) -> None:
    with suppress(MalformedDatagramError):
        parse_datagram(octets)
    with suppress(MalformedPinsError):
        parse_pins(octets)
    with suppress(MalformedSnapshotError):
        parse_snapshot(octets)
    with suppress(MalformedControlError):
        parse_request(octets)
    with suppress(MalformedControlError, RefusedError):
        parse_answer(octets, Status)
    with suppress(ListError):
        parse_list(octets.splitlines())


READERS: tuple[Callable[[bytes], None], ...] = (
    query,
    answer,
    framed,
    tls,
    http,
    packet,
    others,
)


@pytest.fixture(scope="module")
def real(root):
    messages = json.loads((root / "tests/vectors/messages.json").read_text())
    return [(m["kind"], m["origin"], bytes.fromhex(m["octets"])) for m in messages]


@pytest.fixture(scope="module")
def mutated(root):
    lines = (root / "tests/vectors/mutated_messages.txt").read_text().splitlines()
    return [bytes.fromhex(line.partition(" ")[2]) for line in lines]


@pytest.mark.parametrize("reader", READERS, ids=lambda r: r.__name__)
def test_reader_of_any_message_escapes_with_nothing_else(reader, real, mutated):
    assert len(mutated) >= 25 * len(real)
    for octets in (*(octets for _, _, octets in real), *mutated):
        reader(octets)


def test_real_messages_are_read(real):
    for kind, origin, octets in real:
        match kind:
            case "dns-query":
                assert parse_query(octets).qtype, origin
            case "tls-hello":
                wanted = "" if "-noservername" in origin else "www.example.org"
                assert read_records(octets).name == wanted, origin
            case "http-request" if "Chromium" not in origin:
                assert host(octets) == "www.example.org", origin
            case "packet":
                assert parse_packet(octets).source_port, origin
