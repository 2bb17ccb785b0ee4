from __future__ import annotations

import dns.message
import dns.rcode
import pytest

from gate_dns.journal import Journal
from gate_dns.poll import Poll
from gate_dns.respond import Forward
from gate_dns.settings import DnsPorts
from gate_dns.sinkhole import Sinkhole
from gate_dns.upstream import Failure, Forwarder
from gate_dns.wire import Ede, Transport, parse_query

SOURCE = bytes((192, 0, 2, 10))


@pytest.fixture
def sinkhole(settings, neighbours, clock, events, policies):
    """A sinkhole whose upstream is never reached, as nobody waits for it."""
    poll = Poll()
    forwarder = Forwarder(settings.upstreams, 9, poll, lambda: 0.0)
    ports = DnsPorts(policies, neighbours, clock, events)
    yield Sinkhole(settings, ports, forwarder, Journal(events, 0, 0.0))
    forwarder.close()
    poll.close()


def message(name="games.example", kind="A", **options) -> bytes:
    return dns.message.make_query(name, kind, **options).to_wire()


def test_handle_returns_a_response_silence_or_a_forward(sinkhole):
    def handle(octets):
        return sinkhole.handle(octets, SOURCE, Transport.UDP, lambda _: None)

    assert dns.message.from_wire(handle(message())).answer[0][0].address == "192.0.2.2"
    assert handle(b"\0" * 11) is None
    assert sinkhole.faults["malformed-query"] == 1


def test_take_answers_servfail_where_we_are_at_fault(sinkhole, neighbours, caplog):
    neighbours.mac = None  # Calling it is a TypeError.
    replies = []
    for take in (sinkhole.take_udp, sinkhole.take_tcp):
        take(message(), SOURCE, replies.append)
    assert [dns.message.from_wire(r).rcode() for r in replies] == [dns.rcode.SERVFAIL] * 2
    assert sinkhole.faults["fault"] == 2
    # What a stranger can cause again and again is logged once.
    assert len(caplog.records) == 1


def test_take_replies_none_for_silence(sinkhole):
    replies = []
    sinkhole.take_tcp(b"\0" * 12 + b"\x80", SOURCE, replies.append)
    sinkhole.take_udp(b"", SOURCE, replies.append)
    assert replies[1] is None


def test_conclude_answers_a_failure_with_servfail_that_is_kept_for_a_second(sinkhole, events):
    query = parse_query(message("allowed.example", use_edns=0))
    octets = sinkhole.conclude(query, SOURCE, Failure(Ede.NO_REACHABLE_AUTHORITY))
    got = dns.message.from_wire(octets)
    assert (got.rcode(), [int(o.code) for o in got.options]) == (dns.rcode.SERVFAIL, [22])
    again = sinkhole.handle(
        message("allowed.example", use_edns=0), SOURCE, Transport.UDP, lambda _: None
    )
    assert not isinstance(again, Forward)
    assert again[2:] == octets[2:]
