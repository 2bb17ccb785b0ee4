from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import ip_address

import pytest

from gate_core.events import Event, InForce, Source
from gate_core.policy import Action, Decision, Reason
from gate_dns.askers import Asker
from gate_dns.cache import Note
from gate_dns.journal import CAPACITY, INTERVAL_S, Journal

BLOCK = Decision(Action.BLOCK, Reason.MATRIX, "matrix:games:ks2", 5, None)


@pytest.fixture
def asker(school):
    client = school.client(ip_address("192.0.2.10"), "00:00:5e:00:53:10")
    return Asker(replace(client, person="2b-07"), "ks2", {}, 0.0)


def note(name="games.example"):
    return Note(name, "A", BLOCK, 7)


def test_put_due_puts_equal_queries_as_one_event_with_their_number(events, asker):
    now = time.monotonic()
    journal = Journal(events, 3, now)
    one, other = note(), note("www.games.example")
    began_ms = time.time() * 1000
    for seen in (one, other, one, one):
        journal.count(asker, seen, now)
    journal.put_due(now + INTERVAL_S - 0.01)
    assert not events.held
    journal.put_due(now + INTERVAL_S)
    assert [(e.name, e.count) for e in events.events] == [
        ("games.example", 3),
        ("www.games.example", 1),
    ]
    first = events.events[0]
    assert abs(first.at_ms - began_ms) < 5000
    assert first == Event(
        at_ms=first.at_ms,
        source=Source.DNS,
        address="192.0.2.10",
        mac="00:00:5e:00:53:10",
        device="laptop",
        group="ks2",
        name="games.example",
        kind="A",
        action="block",
        reason="matrix",
        rule_id="matrix:games:ks2",
        categories=5,
        version=7,
        count=3,
        person="2b-07",
    )
    assert not journal.tally


def test_put_due_loses_nothing_when_there_is_too_much(events, asker):
    journal = Journal(events, 3, 0.0)
    for number in range(CAPACITY * 2):
        journal.count(asker, note(f"n{number}.example"), 0.0)
        journal.put_due(0.1)
        assert len(journal.tally) < CAPACITY
    journal.put_due(INTERVAL_S * 3)
    assert sum(e.count for e in events.events) == CAPACITY * 2


def test_in_force_names_worker_and_version(events):
    Journal(events, 3, 0.0).in_force(9)
    assert events.held == [InForce(Source.DNS, 3, 9)]
