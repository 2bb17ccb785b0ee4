from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from gate_core.events import Batch, Counters, Event, InForce, Source
from gate_core.policy import Action, Decision, Reason
from gate_dns.journal import (
    CAPACITY,
    FLOOD_INTERVAL_S,
    FLOOD_S,
    INTERVAL_S,
    PORTION,
    UNCOUNTED,
    Journal,
)
from gate_dns.messages.codes import Qtype

BLOCK = Decision(Action.BLOCK, Reason.MATRIX, "matrix:games:ks2", 5, None)


class Asker(SimpleNamespace):
    """What the journal knows of one: its client; compared by identity."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class Kept(Asker):
    """What the journal knows of an entry: its name and note; compared by identity."""


@pytest.fixture
def asker(school):
    client = school.client(ip_address("192.0.2.10"), "00:00:5e:00:53:10")
    return Asker(client=replace(client, person="2b-07"))


def entry(journal, name="games.example", upstream=""):
    """Return an entry, as far as the journal looks at it."""
    return Kept(qname=name, note=journal.note(BLOCK, Qtype.A, 7, upstream))


def count(journal, asker, name="games.example", upstream="", now=0.0, took_s=0.0):
    journal.count(asker, name, journal.note(BLOCK, Qtype.A, 7, upstream), now, took_s)


def test_put_due_puts_equal_queries_as_one_event_with_their_number(events, asker):
    now = time.monotonic()
    journal = Journal(events, 3, now)
    one, other = entry(journal), entry(journal, "www.games.example")
    began_ms = time.time() * 1000
    journal.hits[asker] += [one, other, one, one]
    assert not journal.put_due(now + INTERVAL_S - 0.01)
    assert not events.held
    assert not journal.put_due(now + INTERVAL_S)
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
    assert not journal.hits


def test_put_due_tells_when_an_upstream_was_asked_which_and_how_long_it_took(events, asker):
    now = time.monotonic()
    journal = Journal(events, 3, now)
    journal.hits[asker].append(entry(journal, "kept.example", "192.0.2.1"))
    count(journal, asker, "fetched.example", "192.0.2.1", now + 0.2, 0.15)
    journal.put_all(now + 0.3)
    kept, fetched = events.events
    assert (kept.name, kept.took_us, kept.upstream) == ("kept.example", 0, "192.0.2.1")
    assert (fetched.name, fetched.upstream) == ("fetched.example", "192.0.2.1")
    assert fetched.took_us == pytest.approx(150_000, abs=1)
    assert fetched.at_ms - kept.at_ms == pytest.approx(50, abs=2)


def test_put_due_puts_a_portion_a_round(events, asker):
    journal = Journal(events, 3, 0.0)
    entries = [entry(journal, f"n{number}.example") for number in range(PORTION + 1)]
    journal.hits[asker] += entries
    assert journal.put_due(INTERVAL_S)
    assert len(events.events) == PORTION
    # What comes meanwhile belongs to the next interval.
    journal.hits[asker].append(entries[0])
    assert not journal.put_due(INTERVAL_S + 0.01)
    assert [e.name for e in events.events] == [e.qname for e in entries]
    assert not journal.put_due(INTERVAL_S * 2)
    assert len(events.events) == PORTION + 2


def test_put_due_counts_together_for_longer_in_a_flood(events, asker):
    journal = Journal(events, 3, 0.0)
    one = entry(journal)
    now = 0.0
    while now < FLOOD_INTERVAL_S - 0.25:
        journal.hits[asker] += [one] * UNCOUNTED
        assert not journal.put_due(now)
        now += 0.25
    assert not events.held
    # Over: what was counted is put out as soon as that is sure.
    journal.put_due(now - 0.25 + FLOOD_S)
    assert [e.count for e in events.events] == [UNCOUNTED * 39]


def test_put_due_puts_out_what_a_flood_that_does_not_end_has_counted(events, asker):
    journal = Journal(events, 3, 0.0)
    one = entry(journal)
    for quarter in range(int(FLOOD_INTERVAL_S * 4) + 1):
        journal.hits[asker] += [one] * UNCOUNTED
        journal.put_due(quarter / 4)
    assert [e.count for e in events.events] == [UNCOUNTED * 41]


def test_put_due_takes_many_queries_now_and_then_for_no_flood(events, asker):
    journal = Journal(events, 3, 0.0)
    for at in (0.0, FLOOD_S, 2 * FLOOD_S, INTERVAL_S):
        journal.hits[asker] += [entry(journal)] * UNCOUNTED
        journal.put_due(at)
    assert sum(e.count for e in events.events) == UNCOUNTED * 4


def test_put_due_loses_nothing_when_there_is_too_much(events, asker):
    journal = Journal(events, 3, 0.0)
    for number in range(CAPACITY * 2):
        if number % 2:
            count(journal, asker, f"n{number}.example")
        else:
            journal.hits[asker].append(entry(journal, f"n{number}.example"))
        journal.put_due(0.1)
        assert (
            len(journal.hits[asker]) + len(journal._counted[asker]) + len(journal._made)
            <= CAPACITY + UNCOUNTED
        )
    journal.put_all(0.2)
    assert sum(e.count for e in events.events) == CAPACITY * 2


def test_put_due_shares_what_clients_and_decisions_have_in_common(events, asker):
    journal = Journal(events, 3, 0.0)
    other = Asker(client=replace(asker.client, person=None))
    for number in range(10):
        count(journal, asker if number % 2 else other, f"n{number}.example")
    journal.put_all(1.0)
    (batch,) = [b for b in events.held if isinstance(b, Batch)]
    assert (len(batch), len(batch.whos), len(batch.outcomes)) == (10, 2, 1)


def test_refused_says_who_asked_too_much_and_how_often(events, asker):
    journal = Journal(events, 3, 0.0)
    journal.in_force(9)
    journal.refused(asker, 250, 1.0)
    (event,) = events.events
    assert (event.action, event.reason, event.rule_id) == (
        "block",
        "flood",
        "flood:00:00:5e:00:53:10",
    )
    assert (event.name, event.count, event.version) == ("", 250, 9)


def test_in_force_names_worker_and_version(events):
    Journal(events, 3, 0.0).in_force(9)
    assert events.held == [InForce(Source.DNS, 3, 9)]


def test_in_force_begins_to_count_anew_with_another_version(events, asker):
    journal = Journal(events, 3, time.monotonic() - 60)
    journal.in_force(8)
    kept = entry(journal)
    journal.hits[asker].append(kept)
    journal.in_force(8)
    journal.hits[asker].append(kept)
    journal.in_force(9)
    journal.hits[asker].append(kept)
    journal.put_all(time.monotonic())
    assert [e.count for e in events.events] == [2, 1]
    before, after = events.events
    assert before.at_ms <= after.at_ms


def test_in_force_tells_what_was_counted_since_the_start(events, asker):
    journal = Journal(events, 3, 0.0)
    journal.hits[asker] += 4 * [entry(journal)]
    for took_s in (0.001, 0.003):
        count(journal, asker, upstream="192.0.2.1", now=0.1, took_s=took_s)
    count(journal, asker, now=0.1, took_s=0.004)
    # At once: our own answer, and that of an upstream that was asked before.
    for upstream in ("", "192.0.2.1"):
        count(journal, asker, upstream=upstream, now=0.1)
    journal.put_all(0.2)
    journal.refused(asker, 6, 0.3)
    journal.in_force(9, {"faults": {"malformed-query": 2}})
    assert events.counters == [
        Counters(
            Source.DNS,
            3,
            {
                "responses": {"kept": 4, "made": 5, "refused": 6},
                "response_us": {"made": 8000},
                "upstream_responses": {"192.0.2.1": 2},
                "upstream_response_us": {"192.0.2.1": 4000},
                "faults": {"malformed-query": 2},
            },
        )
    ]
