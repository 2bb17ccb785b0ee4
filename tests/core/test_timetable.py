from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_core.timetable import (
    OneOffDay,
    Period,
    Span,
    Term,
    Timetable,
    WeeklySpan,
    earliest,
    parse_minutes,
    parse_weekdays,
    span_faults,
    write_minutes,
    write_weekdays,
)

LONDON = ZoneInfo("Europe/London")
WEEK = frozenset(range(5))
SUNDAY = frozenset({6})
LUNCH = WeeklySpan(WEEK, 12 * 60, 13 * 60)
OVERNIGHT = WeeklySpan(frozenset({4}), 22 * 60, 6 * 60)
AUTUMN = Term(date(2026, 9, 1), date(2026, 12, 18))
SPRING_SUNDAY = date(2026, 3, 29)
"""Clocks go from 01:00 to 02:00."""
AUTUMN_SUNDAY = date(2026, 10, 25)
"""Clocks go from 02:00 back to 01:00."""


def at(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=LONDON, fold=fold)


def in_utc(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%a %H:%M")


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
        pytest.param(WeeklySpan(SUNDAY, 0, 1440), "2026-11-22 23:59", True, id="whole Sunday"),
        pytest.param(WeeklySpan(SUNDAY, 0, 1440), "2026-11-23 00:00", False, id="ends with it"),
        pytest.param(WeeklySpan(SUNDAY, 1320, 0), "2026-11-22 23:59", True, id="until midnight"),
        pytest.param(WeeklySpan(SUNDAY, 1320, 0), "2026-11-23 00:00", False, id="not after it"),
    ],
)
def test_timetable_covers_its_spans(span, time, holds):
    assert Timetable((span,)).covers(at(time)) is holds


@pytest.mark.parametrize(
    ("day", "time", "fold", "holds"),
    [
        pytest.param(SPRING_SUNDAY, "00:30", 0, False, id="spring, before"),
        pytest.param(SPRING_SUNDAY, "01:30", 0, True, id="never shown, as written"),
        pytest.param(SPRING_SUNDAY, "02:30", 0, False, id="spring, after"),
        pytest.param(AUTUMN_SUNDAY, "00:30", 0, False, id="autumn, before"),
        pytest.param(AUTUMN_SUNDAY, "01:30", 0, True, id="in summer time"),
        pytest.param(AUTUMN_SUNDAY, "01:30", 1, True, id="again in winter time"),
        pytest.param(AUTUMN_SUNDAY, "02:30", 0, False, id="autumn, after"),
    ],
)
def test_timetable_covers_by_the_wall_clock_when_it_changes(day, time, fold, holds):
    table = Timetable((WeeklySpan(SUNDAY, 60, 120),))
    assert table.covers(at(f"{day} {time}", fold)) is holds


@pytest.mark.parametrize("day", [SPRING_SUNDAY, AUTUMN_SUNDAY])
def test_timetable_covers_a_night_when_the_clock_changes(day):
    table = Timetable((WeeklySpan(frozenset({5}), 22 * 60, 2 * 60),))
    times = [at(f"{day} 00:30"), at(f"{day} 01:30", 0), at(f"{day} 01:30", 1), at(f"{day} 02:30")]
    assert [table.covers(time) for time in times] == [True, True, True, False]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((frozenset({7}), 0, 10), "weekdays"),
        ((frozenset(), 0, 10), "weekdays"),
        ((frozenset({0}), -1, 10), "minutes"),
        ((frozenset({0}), 1440, 10), "minutes"),
        ((frozenset({0}), 0, 1441), "minutes"),
    ],
)
def test_weekly_span_and_period_refuse_what_no_week_has(arguments, part):
    with pytest.raises(ValueError, match=part):
        WeeklySpan(*arguments)
    with pytest.raises(ValueError, match=part):
        Period("Period 1", *arguments)


@pytest.mark.parametrize("until", [540, 480, 0])
def test_period_refuses_to_pass_midnight(until):
    with pytest.raises(ValueError, match="same day: Period 1, Mon-Fri 09:00-"):
        Period("Period 1", WEEK, 540, until)


def test_one_off_day_refuses_what_no_day_has():
    with pytest.raises(ValueError, match="minutes"):
        OneOffDay(date(2026, 7, 4), "Fair", ((600, 1441),))


def test_span_refuses_to_end_before_it_begins():
    with pytest.raises(ValueError, match="ends after it begins"):
        Span(at("2026-11-22 10:00"), at("2026-11-22 10:00"))


def test_span_in_the_hour_that_comes_twice():
    span = Span(at("2026-10-25 01:50"), at("2026-10-25 01:10", fold=1))
    assert span.covers(at("2026-10-25 01:55"))
    assert span.covers(at("2026-10-25 01:05", fold=1))
    assert not span.covers(at("2026-10-25 01:05"))
    assert not span.covers(at("2026-10-25 01:55", fold=1))


def test_term_refuses_to_end_before_it_begins():
    with pytest.raises(ValueError, match="ends after it begins"):
        Term(date(2026, 9, 2), date(2026, 9, 1))


def test_timetable_covers_days_outside_terms_and_holidays():
    table = Timetable((LUNCH,), (AUTUMN,), frozenset({date(2026, 10, 26)}))
    assert not table.covers(at("2026-11-23 10:00"))
    assert table.covers(at("2026-11-23 12:30"))
    assert table.covers(at("2026-10-26 10:00"))
    assert table.covers(at("2026-12-21 10:00"))


def test_timetable_with_unknown_time_is_strict():
    table = Timetable(
        (WeeklySpan(frozenset(range(7)), 0, 1440),), periods=(Period("Period 1", WEEK, 540, 600),)
    )
    assert not table.covers(None)
    assert not table.covers(None, (LUNCH,))
    assert table.period_at(None) is None
    assert table.end_of_period(None) is None


def test_timetable_covers_the_spans_of_a_group_in_place_of_its_own():
    table = Timetable((LUNCH,), (AUTUMN,))
    own = (WeeklySpan(WEEK, 15 * 60, 16 * 60),)
    assert table.covers(at("2026-11-23 15:30"), own)
    assert not table.covers(at("2026-11-23 12:30"), own)
    assert not table.covers(at("2026-11-23 12:30"), ())
    assert table.covers(at("2026-12-21 10:00"), own)


INSET = OneOffDay(date(2026, 11, 23), "INSET", school=False)
FAIR = OneOffDay(date(2026, 11, 28), "Saturday fair", ((12 * 60, 13 * 60), (20 * 60, 2 * 60)))
IN_CHRISTMAS = OneOffDay(date(2026, 12, 21), "Carols", ((600, 660),))


@pytest.mark.parametrize(
    ("time", "holds"),
    [
        pytest.param("2026-11-23 10:00", True, id="closed"),
        pytest.param("2026-11-24 10:00", False, id="the day after"),
        pytest.param("2026-11-28 12:30", True, id="its own span"),
        pytest.param("2026-11-28 10:00", False, id="not the whole Saturday of the week"),
        pytest.param("2026-11-28 05:30", True, id="Friday's night runs into it"),
        pytest.param("2026-11-28 23:00", True, id="its own night"),
        pytest.param("2026-11-29 01:59", True, id="its night runs into Sunday"),
        pytest.param("2026-11-29 02:00", False, id="and ends"),
        pytest.param("2026-12-21 10:30", True, id="school outside term, its span"),
        pytest.param("2026-12-21 11:30", False, id="school outside term"),
        pytest.param("2026-12-22 11:30", True, id="outside term"),
    ],
)
def test_timetable_covers_one_off_days_by_their_own_spans(time, holds):
    saturday = WeeklySpan(frozenset({5}), 0, 1440)
    table = Timetable((LUNCH, OVERNIGHT, saturday), (AUTUMN,), one_off=(INSET, FAIR, IN_CHRISTMAS))
    assert table.covers(at(time)) is holds
    assert Timetable((), table.terms, one_off=table.one_off).covers(at(time), table.spans) is holds


def test_one_off_day_with_school_wins_over_a_holiday():
    day = date(2026, 11, 23)
    table = Timetable(holidays=frozenset({day}), one_off=(OneOffDay(day, "Open after all"),))
    assert table.is_school_day(day)
    assert not table.covers(at("2026-11-23 10:00"))


@pytest.mark.parametrize("open_", [(), ((22 * 60, 6 * 60),)])
def test_closed_day_ends_at_midnight(open_):
    night = WeeklySpan(frozenset({0}), 22 * 60, 6 * 60)
    table = Timetable((night,), one_off=(OneOffDay(INSET.day, "INSET", open_, school=False),))
    assert table.covers(at("2026-11-23 23:59"))
    assert not table.covers(at("2026-11-24 00:00"))


PERIODS = (
    Period("Period 1", WEEK, 9 * 60, 10 * 60),
    Period("Period 2", WEEK, 10 * 60, 11 * 60),
    Period("Film night", frozenset({4}), 20 * 60, 24 * 60),
)


@pytest.mark.parametrize(
    ("time", "title", "end"),
    [
        pytest.param("2026-11-24 09:00", "Period 1", "2026-11-24 10:00", id="first minute"),
        pytest.param("2026-11-24 10:00", "Period 2", "2026-11-24 11:00", id="the next begins"),
        pytest.param("2026-11-24 11:00", None, None, id="ends"),
        pytest.param("2026-11-22 09:30", None, None, id="Sunday"),
        pytest.param("2026-11-23 09:30", None, None, id="INSET day"),
        pytest.param("2026-12-21 09:30", None, None, id="outside term"),
        pytest.param("2026-11-27 23:59", "Film night", "2026-11-28 00:00", id="to midnight"),
        pytest.param("2026-11-28 09:30", None, None, id="one-off Saturday"),
        pytest.param("2026-11-25 09:30", "Period 1", "2026-11-25 10:00", id="one-off Wednesday"),
    ],
)
def test_timetable_period_at_and_its_end(time, title, end):
    sports = OneOffDay(date(2026, 11, 25), "Sports day")
    table = Timetable(terms=(AUTUMN,), periods=PERIODS, one_off=(INSET, FAIR, sports))
    period = table.period_at(at(time))
    assert (period.title if period else None) == title
    assert table.end_of_period(at(time)) == (at(end) if end else None)


@pytest.mark.parametrize("fold", [0, 1])
def test_end_of_period_is_later_in_the_hour_that_comes_twice(fold):
    table = Timetable(periods=(Period("Vigil", SUNDAY, 60, 110),))
    now = at("2026-10-25 01:20", fold)
    end = table.end_of_period(now)
    assert end.timestamp() - now.timestamp() == 30 * 60


@pytest.mark.parametrize(
    ("time", "edge"),
    [
        pytest.param("2026-11-23 11:00", "2026-11-23 12:00", id="begins"),
        pytest.param("2026-11-23 12:00", "2026-11-23 13:00", id="ends"),
        pytest.param("2026-11-23 11:59:59.9", "2026-11-23 12:00", id="within a minute"),
        pytest.param("2026-11-23 14:00", "2026-11-24 00:00", id="midnight"),
        pytest.param("2026-11-28 05:00", "2026-11-28 06:00", id="end of a night"),
        pytest.param("2026-11-28 06:00", "2026-11-29 00:00", id="no lunch on Saturday"),
        pytest.param("2026-11-25 09:00", "2026-11-25 10:00", id="one-off day"),
        pytest.param("2026-11-25 11:00", "2026-11-26 00:00", id="no lunch on the one-off day"),
        pytest.param("2026-10-25 14:00", "2026-10-26 00:00", id="autumn Sunday"),
    ],
)
def test_timetable_next_edge(time, edge):
    sports = OneOffDay(date(2026, 11, 25), "Sports day", ((600, 660),))
    table = Timetable((LUNCH, OVERNIGHT), one_off=(sports,))
    assert table.next_edge(at(time)) == at(edge)


def test_timetable_next_edge_knows_the_spans_of_groups():
    late, early = WeeklySpan(WEEK, 900, 960), WeeklySpan(WEEK, 840, 870)
    table = Timetable((LUNCH,))
    now = at("2026-11-23 13:30")
    assert table.next_edge(now, (late,), (), (early,)) == at("2026-11-23 14:00")
    assert table.next_edge(now, (late,)) == at("2026-11-23 15:00")


@pytest.mark.parametrize(
    ("day", "edges"),
    [
        pytest.param(
            SPRING_SUNDAY,
            # 01:30 is never shown: the span begins and ends with the change.
            ["Sun 00:00", "Sun 00:15", "Sun 01:00", "Sun 23:00"],
            id="spring",
        ),
        pytest.param(
            AUTUMN_SUNDAY,
            # Covered 00:15-01:30 in summer time, not until the change at 02:00, then again from 01:00 to 01:30.
            ["Sat 23:00", "Sat 23:15", "Sun 00:30", "Sun 01:00", "Sun 01:30", "Mon 00:00"],
            id="autumn",
        ),
    ],
)
def test_timetable_next_edge_when_the_clock_changes(day, edges):
    table = Timetable((WeeklySpan(SUNDAY, 15, 90),))
    time = at(f"{day - timedelta(days=1)} 23:59")
    found = []
    for _ in edges:
        time = table.next_edge(time)
        found.append(in_utc(time))
    assert found == edges


def test_timetable_next_edge_in_a_zone_that_differs_by_seconds():
    zone = timezone(timedelta(seconds=-75))
    table = Timetable(spans=(WeeklySpan(WEEK, 12 * 60, 13 * 60),))
    now = datetime(2026, 11, 23, 11, 59, 50, tzinfo=zone)

    assert table.next_edge(now) == datetime(2026, 11, 23, 12, tzinfo=zone)


def test_timetable_next_edge_after_a_time_that_no_clock_shows():
    table = Timetable((WeeklySpan(SUNDAY, 100, 160),))
    # Half an hour before the change plus an hour: 02:30 in summer time.
    assert in_utc(table.next_edge(at("2026-03-29 01:30"))) == "Sun 01:40"


def minutes(most):
    # Half of them in the hours in which clocks change.
    return st.integers(0, 180) | st.integers(0, most)


SPANS = st.builds(
    WeeklySpan, st.frozensets(st.integers(0, 6), min_size=1), minutes(1439), minutes(1440)
)
WEEKLY = st.lists(SPANS, max_size=3).map(tuple)


@st.composite
def tables_around(draw, day):
    days = st.integers(-2, 2).map(lambda n: day + timedelta(days=n))
    pairs = st.lists(st.tuples(minutes(1439), minutes(1440)), max_size=2).map(tuple)
    one_off = st.builds(OneOffDay, days, st.just(""), pairs, st.booleans())
    terms = st.tuples(days, days).map(lambda ends: Term(min(ends), max(ends)))
    return Timetable(
        draw(WEEKLY),
        draw(st.lists(terms, max_size=1).map(tuple)),
        draw(st.frozensets(days, max_size=1)),
        one_off=draw(st.lists(one_off, max_size=2).map(tuple)),
    )


def states(table, weekly, times):
    return [tuple(table.covers(time, spans) for spans in (None, *weekly)) for time in times]


@pytest.mark.parametrize("day", [SPRING_SUNDAY, AUTUMN_SUNDAY])
@settings(deadline=None)
@given(data=st.data(), second=st.sampled_from([0, 59]))
def test_timetable_next_edge_skips_no_change_around_a_clock_change(day, data, second):
    table = data.draw(tables_around(day))
    weekly = data.draw(st.lists(WEEKLY, max_size=2))
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=2)
    times = [(start + timedelta(minutes=m)).astimezone(LONDON) for m in range(6 * 60)]
    found = states(table, weekly, times)
    changes = [m for m, (before, now) in enumerate(pairwise(found), 1) if before != now]
    for passed, time in enumerate(times):
        late = time.replace(second=second)
        edge = table.next_edge(late, *weekly)
        assert edge.timestamp() > late.timestamp()
        change = next((m for m in changes if m > passed), None)
        assert change is None or edge.timestamp() <= times[change].timestamp()


# Both clock changes of the year lie in it.
TIMES = st.integers(0, 366 * 24 * 60).map(
    lambda m: (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=m)).astimezone(LONDON)
)


@settings(deadline=None)
@given(WEEKLY, TIMES)
def test_timetable_changes_at_no_time_before_its_next_edge(spans, time):
    table = Timetable(spans)
    edge = table.next_edge(time)
    wait = int((edge.timestamp() - time.timestamp()) // 60)
    assert 0 < wait <= 24 * 60
    times = [(time.astimezone(UTC) + timedelta(minutes=m)).astimezone(LONDON) for m in range(wait)]
    assert len(set(states(table, [], times))) == 1


TITLED = WeeklySpan(WEEK, 720, 780, "Lunch")


@pytest.mark.parametrize(
    ("table", "faults"),
    [
        pytest.param(
            Timetable(terms=(Term(date(2026, 1, 5), date(2026, 7, 24)),)),
            ("term 1 lasts 201 days: 2026-01-05 to 2026-07-24; allowed are up to 200",),
            id="term without end",
        ),
        pytest.param(
            Timetable(
                terms=(
                    AUTUMN,
                    Term(date(2026, 1, 5), date(2026, 3, 27)),
                    Term(date(2026, 3, 27), date(2026, 7, 22)),
                )
            ),
            (
                "terms 2 and 3 overlap: 2026-01-05 to 2026-03-27 and 2026-03-27 to 2026-07-22;"
                " terms must follow one another",
            ),
            id="terms overlap",
        ),
        pytest.param(
            Timetable(
                periods=(
                    Period("Period 1", WEEK, 540, 600),
                    Period("Form", frozenset({4}), 590, 610),
                )
            ),
            (
                "periods 1 and 2 overlap: Period 1, Mon-Fri 09:00-10:00 and Form, Fri 09:50-10:10;"
                " periods of a day must follow one another",
            ),
            id="periods overlap",
        ),
        pytest.param(
            Timetable((WeeklySpan(WEEK, 600, 600),)),
            (
                "span 1 (Mon-Fri 10:00-10:00) ends when it begins;"
                " a whole day is written 00:00-24:00, anything else ends at another time",
            ),
            id="since is until",
        ),
        pytest.param(
            Timetable(one_off=(INSET, FAIR, OneOffDay(INSET.day, "Snow", school=False))),
            (
                "one-off days 1 and 3 are on one date: 2026-11-23 (INSET) and 2026-11-23 (Snow);"
                " a date may have one",
            ),
            id="two on a date",
        ),
        pytest.param(
            Timetable(one_off=(OneOffDay(INSET.day, "INSET", ((600, 660),), school=False),)),
            (
                "one-off day 2026-11-23 (INSET) is closed but has times;"
                " only a day with school has any",
            ),
            id="closed with times",
        ),
        pytest.param(
            Timetable(one_off=(OneOffDay(INSET.day, "Trip", ((600, 660), (610, 620))),)),
            (
                "one-off day 2026-11-23 (Trip): span 2 (Mon 10:10-10:20) lies in span 1"
                " (Mon 10:00-11:00) and has no effect; leave one of them out",
            ),
            id="one-off times without effect",
        ),
    ],
)
def test_timetable_faults_name_place_value_and_what_is_allowed(table, faults):
    assert table.faults() == faults


@pytest.mark.parametrize(
    ("other", "fault"),
    [
        pytest.param(
            LUNCH,
            "span 2 (Mon-Fri 12:00-13:00) lies in span 1 (Lunch, Mon-Fri 12:00-13:00)",
            id="alike",
        ),
        pytest.param(WeeklySpan(frozenset({2}), 730, 780), "span 2 (Wed 12:10-13:00)", id="within"),
        pytest.param(WeeklySpan(WEEK, 600, 840), "span 1 (Lunch, Mon-Fri 12:00", id="around"),
        pytest.param(WeeklySpan(WEEK, 730, 790), None, id="longer"),
        pytest.param(WeeklySpan(frozenset({4, 5}), 730, 780), None, id="another day too"),
        pytest.param(WeeklySpan(WEEK, 780, 720), None, id="the rest of the day"),
    ],
)
def test_span_faults_tell_a_span_without_effect(other, fault):
    found = list(span_faults((TITLED, other)))
    assert len(found) == (1 if fault else 0)
    assert all(f.startswith(fault) for f in found)


def test_span_faults_see_past_midnight_and_past_sunday():
    night = WeeklySpan(SUNDAY, 22 * 60, 6 * 60)
    morning = WeeklySpan(frozenset({0}), 5 * 60, 6 * 60)
    assert [f[:6] for f in span_faults((morning, night))] == ["span 1"]
    assert not list(span_faults((night, WeeklySpan(frozenset({0}), 5 * 60, 6 * 60 + 1))))


def test_timetable_of_a_usual_year_has_no_faults():
    table = Timetable(
        (LUNCH, OVERNIGHT, WeeklySpan(frozenset({5, 6}), 0, 1440)),
        (AUTUMN, Term(date(2027, 1, 4), date(2027, 3, 25))),
        frozenset({date(2026, 12, 25)}),
        PERIODS,
        (INSET, FAIR),
    )
    assert table.faults() == ()


@given(SPANS, SPANS)
def test_span_faults_call_a_span_without_effect_only_what_can_go(a, b):
    if any("has no effect" in fault for fault in span_faults((a, b))):
        monday = datetime(2026, 11, 23, tzinfo=LONDON)
        times = [monday + timedelta(minutes=m) for m in range(0, 7 * 24 * 60, 7)]
        both = [Timetable((a, b)).covers(time) for time in times]
        assert both in ([Timetable((s,)).covers(time) for time in times] for s in (a, b))


@pytest.mark.parametrize(("text", "minute"), [("00:00", 0), ("08:45", 525), ("24:00", 1440)])
def test_parse_minutes(text, minute):
    assert parse_minutes(text) == minute


@pytest.mark.parametrize("text", ["", "8:45", "08.45", "24:01", "12:60", "08:45 ", "٠٨:٤٥", "0845"])
def test_parse_minutes_refuses_what_no_clock_shows(text):
    with pytest.raises(ValueError, match="allowed are 00:00 to 24:00"):
        parse_minutes(text)


@given(st.integers(0, 1440))
def test_write_minutes_is_read_back(minute):
    assert parse_minutes(write_minutes(minute)) == minute


@pytest.mark.parametrize(
    ("text", "days", "canonical"),
    [
        ("Mon-Fri", {0, 1, 2, 3, 4}, "Mon-Fri"),
        ("Mon, Wed", {0, 2}, "Mon, Wed"),
        ("Sat-Sun", {5, 6}, "Sat, Sun"),
        ("wed,MON", {0, 2}, "Mon, Wed"),
        ("Fri - Mon", {4, 5, 6, 0}, "Mon, Fri-Sun"),
        ("Tue-Tue", {1}, "Tue"),
    ],
)
def test_parse_weekdays_and_write_them(text, days, canonical):
    assert parse_weekdays(text) == days
    assert write_weekdays(frozenset(days)) == canonical


@pytest.mark.parametrize("text", ["", "Mon-", "Mon,", "Mon-Wed-Fri", "Monday", "Mon Tue", "0-4"])
def test_parse_weekdays_refuses_what_names_none(text):
    with pytest.raises(ValueError, match=r"allowed are Mon, Tue, .* ranges such as Mon-Fri"):
        parse_weekdays(text)


@given(st.frozensets(st.integers(0, 6), min_size=1))
def test_write_weekdays_is_read_back(days):
    assert parse_weekdays(write_weekdays(days)) == days


def test_earliest_passes_over_what_is_not_after():
    now = at("2026-11-22 10:00")
    later = at("2026-11-22 11:00")
    assert earliest([None, now, later, at("2026-11-22 12:00")], after=now) == later
    assert earliest([None, now], after=now) is None


def test_earliest_in_the_hour_that_comes_twice():
    now = at("2026-10-25 01:45")
    again, last = at("2026-10-25 01:00", fold=1), at("2026-10-25 01:50", fold=1)
    assert earliest([last, again], after=now).timestamp() == again.timestamp()
