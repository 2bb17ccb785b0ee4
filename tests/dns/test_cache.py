from __future__ import annotations

import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gate_core.policy import Action, Decision, Reason
from gate_dns.cache import AnswerCache, Entry, Note
from gate_dns.wire import (
    Rcode,
    Response,
    Transport,
    parse_answer,
    parse_query,
    render,
    render_question,
)

DECISION = Decision(Action.ALLOW, Reason.DEFAULT, "default:ks2", 0, None)
NOTE = Note("www.example", "A", DECISION, 1)
VIEW = ("ks2", Transport.UDP)


def query(name="www.example", kind="A", **options):
    return parse_query(dns.message.make_query(name, kind, **options).to_wire())


def forwarded(asked, *ttls):
    """Return an answer as it came from an upstream, with one record for each TTL."""
    answer = dns.message.make_response(dns.message.from_wire(render_question(asked, 1)))
    for number, ttl in enumerate(ttls):
        answer.answer.append(
            dns.rrset.from_text(f"r{number}.example.", ttl, "IN", "A", "192.0.2.1")
        )
    return render(asked, parse_answer(answer.to_wire(), asked, 1))


def own(asked):
    return render(asked, Response(Rcode.NXDOMAIN, ttl_s=5, serial=1))


@pytest.mark.parametrize("options", [{}, {"use_edns": 0}])
def test_answer_is_what_was_stored_with_the_id_and_the_letters_of_the_asker(options):
    first, other = query(**options), query("wWw.Example", **options)
    entry = Entry(first, own(first), NOTE, 100.0, 60.0)
    assert entry.answer(first) == own(first).message
    assert entry.answer(other) == own(other).message


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
        got = dns.message.from_wire(entry.answer(asked))
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


def test_refresh_leaves_the_ttls_of_our_own_answers():
    asked = query()
    entry = Entry(asked, own(asked), NOTE, 100.0, 60.0)
    assert entry.refresh(159.0)
    assert entry.answer(asked) == own(asked).message
    assert entry.fresh_until == 160.0


def test_find_gives_an_entry_to_its_view_only():
    cache = AnswerCache()
    asked = query()
    cache.store(VIEW, asked, Entry(asked, own(asked), NOTE, 0.0, 60.0))
    assert cache.find(VIEW, asked, 1.0)
    assert not cache.find(("staff", Transport.UDP), asked, 1.0)
    assert not cache.find(("ks2", Transport.TCP), asked, 1.0)


def test_find_tells_apart_types_that_are_equal_in_lower_case():
    cache = AnswerCache()
    asked = query(kind="HTTPS")
    cache.store(VIEW, asked, Entry(asked, own(asked), NOTE, 0.0, 60.0))
    assert cache.find(VIEW, query(kind="HTTPS"), 1.0)
    assert not cache.find(VIEW, query(kind="TYPE97"), 1.0)


def test_find_gives_nothing_that_has_ended():
    cache = AnswerCache()
    asked = query()
    cache.store(VIEW, asked, Entry(asked, own(asked), NOTE, 0.0, 60.0))
    assert cache.find(VIEW, asked, 59.0)
    assert not cache.find(VIEW, asked, 60.0)


def test_store_is_bounded_and_keeps_what_is_used():
    cache = AnswerCache(capacity=10)
    used = query("used.example")
    cache.store(VIEW, used, Entry(used, own(used), NOTE, 0.0, 60.0))
    answers = cache.answers(VIEW)
    for number in range(200):
        asked = query(f"n{number}.example")
        cache.store(
            (f"view {number % 3}", Transport.UDP), asked, Entry(asked, own(asked), NOTE, 0.0, 60.0)
        )
        assert cache.find(VIEW, used, 1.0)
        assert len(cache) <= 21
    assert cache.answers(VIEW) is answers
    assert not cache.find(("view 0", Transport.UDP), query("n0.example"), 1.0)


def test_clear_forgets_all():
    cache = AnswerCache()
    asked = query()
    cache.store(VIEW, asked, Entry(asked, own(asked), NOTE, 0.0, 60.0))
    cache.clear()
    assert not cache.find(VIEW, asked, 1.0)
    assert not cache.answers(VIEW)
