from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.timetable import Span, Term, Timetable, WeeklySpan, earliest

LONDON = ZoneInfo("Europe/London")
MONDAY = 0
LUNCH = WeeklySpan(frozenset(range(5)), 12 * 60, 13 * 60)
OVERNIGHT = WeeklySpan(frozenset({4}), 22 * 60, 6 * 60)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=LONDON)


@pytest.mark.parametrize(
    ("span", "time", "holds"),
    [
        pytest.param(LUNCH, "2026-11-23 12:00", True, id="Monday, first minute"),
        pytest.param(LUNCH, "2026-11-23 12:59", True, id="last minute"),
        pytest.param(LUNCH, "2026-11-23 13:00", False, id="end is not in it"),
        pytest.param(LUNCH, "2026-11-22 12:30", False, id="Sunday"),
        pytest.param(OVERNIGHT, "2026-11-27 23:00", True, id="Friday night"),
        pytest.param(OVERNIGHT, "2026-11-28 05:59", True, id="Saturday morning"),
        pytest.param(OVERNIGHT, "2026-11-28 06:00", False, id="Saturday, after the end"),
        pytest.param(OVERNIGHT, "2026-11-27 05:00", False, id="Friday morning"),
        pytest.param(
            WeeklySpan(frozenset({6}), 0, 1440), "2026-11-22 23:59", True, id="whole Sunday"
        ),
    ],
)
def test_weekly_span_covers(span, time, holds):
    assert span.covers(at(time)) is holds


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((frozenset({7}), 0, 10), "weekdays"),
        ((frozenset({0}), -1, 10), "minutes"),
        ((frozenset({0}), 0, 1441), "minutes"),
    ],
)
def test_weekly_span_refuses_what_no_week_has(arguments, part):
    with pytest.raises(ValueError, match=part):
        WeeklySpan(*arguments)


def test_span_refuses_to_end_before_it_begins():
    with pytest.raises(ValueError, match="ends after it begins"):
        Span(at("2026-11-22 10:00"), at("2026-11-22 10:00"))


def test_term_refuses_to_end_before_it_begins():
    with pytest.raises(ValueError, match="ends after it begins"):
        Term(date(2026, 9, 2), date(2026, 9, 1))


def test_timetable_covers_days_outside_terms_and_holidays():
    table = Timetable(
        (LUNCH,), (Term(date(2026, 9, 1), date(2026, 12, 18)),), frozenset({date(2026, 10, 26)})
    )
    assert not table.covers(at("2026-11-23 10:00"))
    assert table.covers(at("2026-11-23 12:30"))
    assert table.covers(at("2026-10-26 10:00"))
    assert table.covers(at("2026-12-21 10:00"))


def test_timetable_with_unknown_time_is_strict():
    assert not Timetable((WeeklySpan(frozenset(range(7)), 0, 1440),)).covers(None)


@pytest.mark.parametrize(
    ("time", "edge"),
    [
        pytest.param("2026-11-23 11:00", "2026-11-23 12:00", id="begins"),
        pytest.param("2026-11-23 12:00", "2026-11-23 13:00", id="ends"),
        pytest.param("2026-11-23 14:00", "2026-11-24 00:00", id="midnight"),
        pytest.param("2026-10-25 14:00", "2026-10-26 00:00", id="autumn Sunday"),
    ],
)
def test_timetable_next_edge(time, edge):
    assert Timetable((LUNCH,)).next_edge(at(time)) == at(edge)


def test_timetable_next_edge_in_the_hour_that_comes_twice():
    table = Timetable((WeeklySpan(frozenset({6}), 90, 120),))
    first = datetime(2026, 10, 25, 1, 45, tzinfo=LONDON)
    again = first.replace(fold=1)
    assert table.covers(first)
    assert table.covers(again)
    assert table.next_edge(first).timestamp() > first.timestamp()
    assert table.next_edge(again).timestamp() > again.timestamp()


SPANS = st.builds(
    WeeklySpan,
    st.frozensets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(0, 1440),
)
# Both clock changes of the year lie in it.
TIMES = st.integers(0, 366 * 24 * 60).map(
    lambda m: (datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")) + timedelta(minutes=m)).astimezone(
        LONDON
    )
)


@given(st.lists(SPANS, max_size=3).map(tuple), TIMES)
def test_timetable_changes_at_no_time_before_its_next_edge(spans, time):
    table = Timetable(spans)
    edge = table.next_edge(time)
    assert edge.timestamp() > time.timestamp()
    before = table.covers(time)
    utc = ZoneInfo("UTC")
    minutes = int((edge.timestamp() - time.timestamp()) // 60)
    for passed in range(0, minutes, max(1, minutes // 50)):
        moment = (time.astimezone(utc) + timedelta(minutes=passed)).astimezone(LONDON)
        assert table.covers(moment) is before


def test_earliest_passes_over_what_is_not_after():
    now = at("2026-11-22 10:00")
    later = at("2026-11-22 11:00")
    assert earliest([None, now, later, at("2026-11-22 12:00")], after=now) == later
    assert earliest([None, now], after=now) is None
