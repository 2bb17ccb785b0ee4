from __future__ import annotations

import time
from dataclasses import replace

import dns.message
import dns.rcode
import dns.rrset
import pytest

from gate_dns.askers import MAX_FLIGHTS_OF_DEVICE
from gate_dns.forwarding.flight import Failure
from gate_dns.forwarding.upstream import Forwarder
from gate_dns.journal import Journal
from gate_dns.messages.answer import parse_answer
from gate_dns.messages.codes import Ede
from gate_dns.poll import Poll
from gate_dns.settings import DnsPorts
from gate_dns.sinkhole import TRUNCATED_EVERY, Sinkhole

LAPTOP = "00:00:5e:00:53:10"
SOURCE = bytes((192, 0, 2, 10))


@pytest.fixture
def sinkhole(settings, neighbours, clock, events, policies, pins):
    """A sinkhole whose upstream is never reached, as nobody waits for it."""
    poll = Poll()
    forwarder = Forwarder(settings.upstreams, poll, lambda: 0.0)
    ports = DnsPorts(policies, neighbours, clock, events, pins)
    yield Sinkhole(settings, ports, forwarder, Journal(events, 0, 0.0))
    forwarder.close()
    poll.close()


def message(name="games.example", kind="A", **options) -> bytes:
    return dns.message.make_query(name, kind, **options).to_wire()


def test_take_answers_or_is_silent(sinkhole):
    replies = []
    sinkhole.take_udp(message(), SOURCE, replies.append)
    assert dns.message.from_wire(replies.pop()).answer[0][0].address == "192.0.2.2"
    sinkhole.take_udp(b"\0" * 11, SOURCE, replies.append)
    assert replies == [None]
    assert sinkhole.faults["malformed-query"] == 1


def test_take_counts_a_response_as_made_once_and_then_as_kept(sinkhole, events):
    for _ in range(3):
        sinkhole.take_udp(message(), SOURCE, lambda _: None)
    sinkhole._journal.put_all(1.0)
    sinkhole._journal.in_force(1, {})
    assert events.counters[0].counts["responses"] == {"kept": 2, "made": 1, "refused": 0}
    assert [(e.count, e.took_us) for e in events.events] == [(2, 0), (1, 0)]


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


@pytest.fixture
def asked(sinkhole, monkeypatch):
    """What the upstreams were asked: the question, and who takes what comes of it."""
    held = []
    monkeypatch.setattr(sinkhole._forwarder, "ask", lambda *question: held.append(question))
    return held


def test_a_failure_is_answered_with_servfail_that_is_kept_for_a_second(sinkhole, asked, events):
    replies = []
    octets = message("allowed.example", use_edns=0)
    sinkhole.take_udp(octets, SOURCE, replies.append)
    assert not replies
    asked[0][1](Failure(Ede.NO_REACHABLE_AUTHORITY), "")
    got = dns.message.from_wire(replies[0])
    assert (got.rcode(), [int(o.code) for o in got.options]) == (dns.rcode.SERVFAIL, [22])
    sinkhole.take_udp(octets, SOURCE, replies.append)
    assert replies[1][2:] == replies[0][2:]
    assert len(asked) == 1


def test_a_flood_is_left_unanswered_and_told(settings, neighbours, clock, events, policies, pins):
    poll = Poll()
    forwarder = Forwarder(settings.upstreams, poll, lambda: 0.0)
    ports = DnsPorts(policies, neighbours, clock, events, pins)
    limited = replace(settings, rate_limit=50, rate_burst=100)
    neighbours.macs.update({"192.0.2.10": LAPTOP, "192.0.2.11": "00:00:5e:00:53:99"})
    sinkhole = Sinkhole(limited, ports, forwarder, Journal(events, 0, 0.0))
    replies = []
    for _ in range(300):
        sinkhole.take_udp(message(), SOURCE, replies.append)
        sinkhole.askers.spend([SOURCE])
    assert all(replies[:100])
    truncated = [r for r in replies[100:] if r]
    assert len(truncated) == 200 // TRUNCATED_EVERY
    assert all(len(r) <= len(message()) and r[2] & 0x02 for r in truncated)
    # Nobody else is held up by it.
    sinkhole.take_udp(message(), bytes((192, 0, 2, 11)), replies.append)
    assert replies[-1]
    sinkhole.tick(time.monotonic())
    (event,) = [e for e in events.events if e.reason == "flood"]
    assert (event.mac, event.action, event.count) == (LAPTOP, "block", 200)
    # Whoever asks over TCP is nobody else, and has a limit of its own.
    sinkhole.askers.spend([SOURCE] * 1000)
    for _ in range(100):
        sinkhole.take_tcp(message(), SOURCE, replies.append)
        assert replies[-1]
    sinkhole.take_tcp(message(), SOURCE, replies.append)
    assert replies[-1] is None
    forwarder.close()
    poll.close()


def test_one_device_does_not_take_all_flights(
    settings, neighbours, clock, events, policies, pins, monkeypatch
):
    poll = Poll()
    forwarder = Forwarder(settings.upstreams, poll, lambda: 0.0)
    asked = []
    monkeypatch.setattr(forwarder, "ask", lambda *question: asked.append(question))
    ports = DnsPorts(policies, neighbours, clock, events, pins)
    limited = replace(settings, rate_limit=1000, rate_burst=5000)
    sinkhole = Sinkhole(limited, ports, forwarder, Journal(events, 0, 0.0))
    neighbours.macs.update({"192.0.2.10": LAPTOP, "192.0.2.11": "00:00:5e:00:53:99"})
    replies = []
    for number in range(MAX_FLIGHTS_OF_DEVICE + 20):
        sinkhole.take_udp(message(f"n{number}.example"), SOURCE, replies.append)
    assert len(asked) == MAX_FLIGHTS_OF_DEVICE
    assert replies == [None] * 20
    sinkhole.take_udp(message("n0.example"), bytes((192, 0, 2, 11)), replies.append)
    assert len(asked) == MAX_FLIGHTS_OF_DEVICE + 1
    # What is answered makes room.
    asked[0][1](Failure(Ede.NO_REACHABLE_AUTHORITY), "")
    sinkhole.take_udp(message("again.example"), SOURCE, replies.append)
    assert len(asked) == MAX_FLIGHTS_OF_DEVICE + 2
    poll.close()


def test_what_is_still_asked_for_is_fetched_before_it_ends(sinkhole, asked, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    query = dns.message.make_query("allowed.example", "A")
    answer = dns.message.make_response(query)
    answer.answer.append(dns.rrset.from_text("allowed.example.", 80, "IN", "A", "198.51.100.1"))
    octets = query.to_wire()

    def answered(address):
        answer.answer[0] = dns.rrset.from_text("allowed.example.", 80, "IN", "A", address)
        question, take, *_ = asked.pop()
        take(parse_answer(answer.to_wire(), question, query.id), "192.0.2.53")

    def ask():
        replies = []
        sinkhole.take_udp(octets, SOURCE, replies.append)
        return dns.message.from_wire(replies[0]).answer[0] if replies else None

    ask()
    answered("198.51.100.1")
    for now in range(1001, 1075, 2):
        got = ask()
        assert got[0].address == "198.51.100.1"
        assert got.ttl <= 1080 - now
        sinkhole.tick(now)
    # Fetched by itself once; whoever asks meanwhile gets what is there.
    assert len(asked) == 1
    answered("198.51.100.2")
    now = 1081
    assert ask()[0].address == "198.51.100.2"
    assert not asked


@pytest.mark.parametrize("now", [1000.1, 12345.678, 98765.4321, 0.3 + 0.6])
def test_a_new_answer_has_its_whole_ttl_whatever_the_clock_says(sinkhole, asked, monkeypatch, now):
    monkeypatch.setattr(time, "monotonic", lambda: now)
    query = dns.message.make_query("allowed.example", "A")
    answer = dns.message.make_response(query)
    answer.answer.append(dns.rrset.from_text("allowed.example.", 300, "IN", "A", "198.51.100.1"))
    replies = []
    sinkhole.take_udp(query.to_wire(), SOURCE, replies.append)
    question, take, *_ = asked.pop()
    take(parse_answer(answer.to_wire(), question, query.id), "192.0.2.53")
    assert dns.message.from_wire(replies[0]).answer[0].ttl == 300
