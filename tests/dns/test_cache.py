from __future__ import annotations

import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gate_core.policy import Action, Decision, Reason
from gate_dns.cache import STALE_S, Answers, Entries, Entry, Note
from gate_dns.messages.answer import parse_answer
from gate_dns.messages.codes import Rcode
from gate_dns.messages.render import Response, render, render_question
from gate_dns.messages.wire import Transport, parse_query

DECISION = Decision(Action.ALLOW, Reason.DEFAULT, "default:ks2", 0, None)
NOTE = Note(DECISION, None)
VIEW = ("ks2", Transport.UDP)


def query(name="www.example", kind="A", **options):
    return parse_query(dns.message.make_query(name, kind, **options).to_wire())


RECORDS = (("A", "198.51.100.1"), ("AAAA", "2001:db8::1"), ("TXT", "x"), ("MX", "1 mx.example."))


def answered(asked, *ttls):
    """Return an answer of an upstream, with one record for each TTL: of another type each, or of many addresses."""
    answer = dns.message.make_response(dns.message.from_wire(render_question(asked, 1)))
    owner = answer.question[0].name
    if len(ttls) <= len(RECORDS):
        for ttl, (kind, data) in zip(ttls, RECORDS, strict=False):
            answer.answer.append(dns.rrset.from_text(owner, ttl, "IN", kind, data))
    else:
        addresses = [f"198.51.100.{number}" for number in range(len(ttls))]
        answer.answer.append(dns.rrset.from_text(owner, ttls[0], "IN", "A", *addresses))
    return parse_answer(answer.to_wire(), asked, 1)


def forwarded(asked, *ttls):
    return render(asked, answered(asked, *ttls))


def own(asked):
    return render(asked, Response(Rcode.NXDOMAIN, ttl_s=5, serial=1))


def given_by(entry, asked) -> bytes:
    """Return what the batch loop gives for ``asked``."""
    return entry.answer(asked.id.to_bytes(2, "big"), asked.question)


@pytest.mark.parametrize("options", [{}, {"use_edns": 0}])
def test_entry_gives_what_was_stored_with_the_id_and_the_letters_of_the_asker(options):
    first, other = query(**options), query("wWw.Example", **options)
    entry = Entry(other, own(other), NOTE, 100.0, 60.0)
    assert given_by(entry, first) == own(first).message
    assert given_by(entry, other) == own(other).message
    # As the batch loop gives it to who asks in lower case.
    assert first.id.to_bytes(2, "big") + entry.response == own(first).message


@hypothesis_settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 86_400), min_size=1, max_size=4),
    st.lists(st.integers(0, 1024), min_size=1, max_size=6),
)
def test_refresh_gives_ttls_that_never_outlive_the_records(ttls, moments):
    asked = query()
    least = min(ttls)
    entry = Entry(asked, forwarded(asked, *ttls), NOTE, 1000.0, least)
    for moment in sorted(moments):
        age = moment / 1024 * least  # exact in binary, so that the test's rounding is none
        now = 1000.0 + age
        if entry.fresh_until <= now and not entry.refresh(now):
            assert age >= least
            continue
        got = dns.message.from_wire(given_by(entry, asked))
        for ttl, records in zip(ttls, got.answer, strict=True):
            assert records.ttl <= max(0, ttl - age)
            # A sixteenth of the shortest life, and the seconds lost by rounding.
            assert records.ttl >= ttl - age - least / 16 - 2


def test_refresh_ends_with_the_life_of_the_entry():
    asked = query()
    for rendered in (own(asked), forwarded(asked, 10)):
        entry = Entry(asked, rendered, NOTE, 100.0, 10.0)
        assert entry.refresh(109.9)
        assert not entry.refresh(110.0)


@pytest.mark.parametrize("now", [1000.0, 1000.1, 1299.3, 1299.76, 1299.999])
def test_refresh_always_leaves_some_time_and_never_too_much(now):
    entry = Entry(query(), forwarded(query(), 300), NOTE, 1000.0, 300.0)
    assert entry.refresh(now)
    assert now < entry.fresh_until <= min(1300.0, now + max(1.0, 300 / 16))


def test_entries_of_about_the_same_time_share_what_is_looked_at_with_each_query():
    entries = [Entry(query(), forwarded(query(), 300), NOTE, 1000.0, 300.0) for _ in range(2)]
    assert all(entry.refresh(now) for entry, now in zip(entries, (1000.01, 1000.02), strict=True))
    assert entries[0].fresh_until is entries[1].fresh_until


def test_refresh_leaves_the_ttls_of_our_own_responses():
    asked = query()
    entry = Entry(asked, own(asked), NOTE, 100.0, 60.0)
    assert entry.refresh(159.0)
    assert given_by(entry, asked) == own(asked).message
    assert entry.fresh_until == 160.0


def keep(entries, view, asked, lasts_s=60.0):
    entries.store(entries.room(view), asked, Entry(asked, own(asked), NOTE, 0.0, lasts_s))


def find(entries, view, asked, now):
    return entries.find(entries.room(view), asked, now)


def test_find_gives_an_entry_to_its_view_only():
    entries = Entries()
    asked = query()
    keep(entries, VIEW, asked)
    assert find(entries, VIEW, asked, 1.0)
    assert not find(entries, ("staff", Transport.UDP), asked, 1.0)
    assert not find(entries, ("ks2", Transport.TCP), asked, 1.0)


@pytest.mark.parametrize("options", [{}, {"use_edns": 0, "payload": 0x4142}])
def test_types_that_are_equal_in_lower_case_are_told_apart(options):
    entries = Entries()
    asked = query("Www.Example", kind="HTTPS", **options)
    keep(entries, VIEW, asked)
    assert find(entries, VIEW, query(kind="HTTPS", **options), 1.0)
    other = query(kind="TYPE97", **options)
    assert not find(entries, VIEW, other, 1.0)
    # What the batch loop looks up first is exact.
    room = entries.room(VIEW)
    octets = dns.message.make_query("www.example", "HTTPS", **options).to_wire()
    assert room.exact[octets[2:]]
    assert (
        dns.message.make_query("www.example", "TYPE97", **options).to_wire()[2:] not in room.exact
    )
    assert octets[2:].lower() in room.folded


def test_find_gives_nothing_that_has_ended():
    entries = Entries()
    asked = query()
    keep(entries, VIEW, asked)
    assert find(entries, VIEW, asked, 59.0)
    assert not find(entries, VIEW, asked, 60.0)


def test_entries_are_bounded_and_forget_the_oldest_of_the_largest_view():
    entries = Entries(capacity=2000)
    small = ("small view", Transport.UDP)
    keep(entries, small, query("rare.example"))
    room = entries.room(VIEW)
    for number in range(5000):
        keep(entries, VIEW, query(f"n{number}.example", kind="HTTPS"))
        assert len(entries) <= 2000
    assert entries.room(VIEW) is room
    assert find(entries, small, query("rare.example"), 1.0)
    assert find(entries, VIEW, query("n4999.example", kind="HTTPS"), 1.0)
    assert not find(entries, VIEW, query("n0.example", kind="HTTPS"), 1.0)
    assert len(room.exact) == len(room.folded) == len(entries) - 1


def test_clear_forgets_all_and_frees_it_bit_by_bit():
    entries = Entries()
    for number in range(1200):
        keep(entries, VIEW, query(f"n{number}.example", kind="HTTPS"))
    old = entries.room(VIEW)
    entries.clear()
    assert entries.room(VIEW) is not old
    assert not find(entries, VIEW, query("n0.example", kind="HTTPS"), 1.0)
    assert not entries.room(VIEW).exact
    rounds = 0
    while any(entries._ended):
        before = sum(map(len, entries._ended))
        entries.free()
        assert 0 < before - sum(map(len, entries._ended)) <= 200
        rounds += 1
    assert rounds == 12  # two keys for each


QUESTION = query().upstream_key


def test_answers_are_kept_beyond_their_end():
    answers = Answers()
    kept = answers.store(QUESTION, answered(query(), 300, 60), "192.0.2.53", 1000.0)
    assert answers.find(QUESTION) is kept
    assert (kept.stored, kept.ends, kept.stale_until) == (1000.0, 1060.0, 1060.0 + STALE_S)
    assert kept.upstream == "192.0.2.53"


def test_answers_that_must_not_be_kept_are_not():
    answers = Answers()
    kept = answers.store(QUESTION, answered(query(), 0), "192.0.2.53", 1000.0)
    assert kept.ends == 1000.0
    assert answers.find(QUESTION) is None


def test_answers_are_bounded_and_forget_the_oldest():
    answers = Answers(capacity=1000)
    keys = [query(f"n{number}.example").upstream_key for number in range(3000)]
    for key in keys:
        answers.store(key, answered(query(), 300), "", 0.0)
        assert len(answers) <= 1000
    assert answers.find(keys[-1])
    assert answers.find(keys[0]) is None


def test_an_answer_that_is_asked_for_near_its_end_is_wanted_once():
    answers = Answers()
    kept = answers.store(QUESTION, answered(query(), 80), "", 1000.0)
    entry = Entry(query(), forwarded(query(), 80), NOTE, 1000.0, 80.0, kept)
    for now in range(1000, 1080):
        if entry.fresh_until <= now:
            assert entry.refresh(now)
        assert answers.wanted == ([QUESTION] if now >= 1070 else []), now


def test_an_answer_of_short_life_is_not_fetched_anew():
    answers = Answers()
    kept = answers.store(QUESTION, answered(query(), 10), "", 1000.0)
    entry = Entry(query(), forwarded(query(), 10), NOTE, 1000.0, 10.0, kept)
    assert entry.refresh(1009.9)
    assert not answers.wanted


@pytest.mark.parametrize("capacity", [10, 1000])
def test_queries_that_are_alike_in_lower_case_have_places_of_their_own_and_are_bounded(capacity):
    entries = Entries(capacity)
    room = entries.room(VIEW)
    for number in range(300):
        name = b"\4%04d\0" % number
        # Type 65 and 97, class 65 and 97: upper and lower case of one letter.
        for kind, class_ in ((65, 65), (65, 97), (97, 65), (97, 97)):
            message = bytes(4) + b"\0\1" + bytes(6) + name + bytes((0, kind, 0, class_))
            asked = parse_query(message)
            rendered = render(asked, Response(Rcode.NXDOMAIN, ttl_s=60, serial=1))
            entry = Entry(asked, rendered, NOTE, 0.0, 60.0)
            # Twice, as where it had ended.
            for _ in range(2):
                entries.store(room, asked, entry)
                assert entries.find(room, asked, 1.0) is entry
            assert len(entries) == len(room.exact) <= capacity
            assert set(room.folded.values()) <= set(room.exact.values())


def test_rooms_are_bounded_by_octets_too():
    entries, answers = Entries(octets=100_000), Answers(octets=100_000)
    long = [60] * 50
    for number in range(2000):
        asked = query(f"n{number}.example")
        said = answered(asked, *long)
        answers.store(asked.upstream_key, said, "", 0.0)
        entries.store(entries.room(VIEW), asked, Entry(asked, render(asked, said), NOTE, 0.0, 60.0))
        kept = sum(len(a.answer.records) for a in answers._kept.values())
        assert kept == answers._octets <= 101_000
        held = sum(len(e.response) for e in entries.room(VIEW).exact.values())
        assert held == entries._octets <= 101_000
