"""School time: weekly spans, lesson periods, term dates, one-off days and one-off spans.

Every time is an aware ``datetime`` in the school's zone; the wall clock decides, so a clock change moves nothing.
Two times are compared as instants: by wall clock, an hour that comes twice would hide the second from the first.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import combinations, permutations
from typing import Final

DAY_MINUTES: Final = 24 * 60
_DAY: Final = timedelta(days=1)
WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LONGEST_TERM_DAYS: Final = 200
"""A term that is longer has a year mistyped: the school year itself has about 195 days of lessons."""


def parse_minutes(text: str) -> int:
    """Return the minute of the day, 0 to 1440, that ``text`` names: ``08:45`` is 525.

    Raises:
        ValueError: It is no time from 00:00 to 24:00.
    """
    if not re.fullmatch("([01][0-9]|2[0-3]):[0-5][0-9]|24:00", text):
        raise ValueError(f"{text!r} is no time of day; allowed are 00:00 to 24:00, such as 08:45")
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def write_minutes(minute: int) -> str:
    """Return the text that ``parse_minutes`` reads as ``minute``."""
    return f"{minute // 60:02}:{minute % 60:02}"


def parse_weekdays(text: str) -> frozenset[int]:
    """Return the weekdays, Monday 0 to Sunday 6, that ``text`` names, such as ``Mon-Fri`` or ``Mon, Wed``.

    Raises:
        ValueError: A part of it is neither a day nor a range of days.
    """
    days = set[int]()
    for part in text.split(","):
        ends = [day.strip().capitalize() for day in part.split("-")]
        if len(ends) > 2 or not set(ends) <= set(WEEKDAYS):
            raise ValueError(
                f"{part.strip()!r} names no weekdays; allowed are {', '.join(WEEKDAYS)},"
                " ranges such as Mon-Fri, and several of them with commas between"
            )
        since, until = WEEKDAYS.index(ends[0]), WEEKDAYS.index(ends[-1])
        days.update((since + n) % 7 for n in range((until - since) % 7 + 1))
    return frozenset(days)


def write_weekdays(days: frozenset[int]) -> str:
    """Return the one text for ``days``, from Monday on; three or more in a row are a range."""
    runs: list[list[int]] = []
    for day in sorted(days):
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    parts: list[str] = []
    for run in runs:
        names = [WEEKDAYS[day] for day in run]
        parts += [f"{names[0]}-{names[-1]}"] if len(names) > 2 else names
    return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Span:
    """A one-off span of time, ``since`` included, ``until`` not."""

    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        if not self.since.timestamp() < self.until.timestamp():
            raise ValueError(f"a span ends after it begins: {self.since} to {self.until}")

    def covers(self, at: datetime) -> bool:
        """Tell whether ``at`` lies in the span."""
        return self.since.timestamp() <= at.timestamp() < self.until.timestamp()


@dataclass(frozen=True, slots=True)
class WeeklySpan:
    """A span that comes back each week; it may pass midnight."""

    weekdays: frozenset[int]
    """Days on which it begins, Monday 0 to Sunday 6."""
    since_minute: int
    """Minute of the day, 0 to 1439."""
    until_minute: int
    """Minute of the day, 0 to 1440; not after ``since_minute`` means: on the day after."""
    title: str = ""
    """What people call it, such as ``Lunch``; may be empty."""

    def __post_init__(self) -> None:
        _check_weekdays(self.weekdays)
        _check_minutes(self.since_minute, self.until_minute)

    def __str__(self) -> str:
        when = _written(self.weekdays, self.since_minute, self.until_minute)
        return f"{self.title}, {when}" if self.title else when


@dataclass(frozen=True, slots=True)
class Period:
    """A lesson period; it comes back each week and never passes midnight."""

    title: str
    """What people call it, such as ``Period 1``."""
    weekdays: frozenset[int]
    """Monday 0 to Sunday 6."""
    since_minute: int
    """Minute of the day, 0 to 1439."""
    until_minute: int
    """Minute of the day, 1 to 1440, after ``since_minute``."""

    def __post_init__(self) -> None:
        _check_weekdays(self.weekdays)
        _check_minutes(self.since_minute, self.until_minute)
        if self.until_minute <= self.since_minute:
            raise ValueError(f"a period ends after it begins, on the same day: {self}")

    def __str__(self) -> str:
        when = _written(self.weekdays, self.since_minute, self.until_minute)
        return f"{self.title}, {when}"


@dataclass(frozen=True, slots=True)
class Term:
    """Days on which school is open, both ends included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"a term ends after it begins: {self}")

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


@dataclass(frozen=True, slots=True)
class OneOffDay:
    """A date that differs from its week: an INSET day, a Saturday fair.

    It stands above terms, holidays and the weekly spans that would begin on it, the groups' own too.
    A weekly span of the evening before still runs into it: that is the evening before's.
    """

    day: date
    title: str
    """What people call it."""
    open: tuple[tuple[int, int], ...] = ()
    """The certain times that begin on it: minutes of the day as in a ``WeeklySpan``."""
    school: bool = True
    """False where school is closed: certain times all day, and ``open`` says nothing."""

    def __post_init__(self) -> None:
        for since, until in self.open:
            _check_minutes(since, until)

    def __str__(self) -> str:
        return f"{self.day} ({self.title})"


@dataclass(frozen=True)
class Timetable:
    """When "acceptable at certain times" holds."""

    spans: tuple[WeeklySpan, ...] = ()
    """The certain times of the school; a group may have its own."""
    terms: tuple[Term, ...] = ()
    """Without any, every day is a school day."""
    holidays: frozenset[date] = frozenset()
    """Days within a term on which school is closed; others do no harm."""
    periods: tuple[Period, ...] = ()
    one_off: tuple[OneOffDay, ...] = ()

    def is_school_day(self, day: date) -> bool:
        """Tell whether ``day`` lies in a term and is no holiday, unless a one-off day says; weekends are up to the spans."""
        if one_off := self._one_off_on.get(day):
            return one_off.school
        in_term = not self.terms or any(t.first <= day <= t.last for t in self.terms)
        return in_term and day not in self.holidays

    def covers(self, at: datetime | None, spans: tuple[WeeklySpan, ...] | None = None) -> bool:
        """Tell whether ``at`` is one of the certain times.

        Args:
            at: The time; a minute that a clock change leaves out is read as written. None where it is not known.
            spans: A group's own weekly spans, in place of those of the school. Term dates and one-off days stay.

        Returns:
            False where the time is not known.
        """
        if at is None:
            return False
        minute = _minute_of(at)
        weekly = self.spans if spans is None else spans
        return any(since <= minute < until for since, until in self._spans_around(at, weekly))

    def next_edge(self, at: datetime, *more_spans: tuple[WeeklySpan, ...]) -> datetime:
        """Return the first time after ``at`` when ``covers`` may change.

        That is an edge of a span, a clock change or midnight.

        Args:
            at: The time.
            more_spans: The groups' own weekly spans.
        """
        # By way of UTC: a minute that a clock change leaves out becomes the one that clocks show then.
        # By the seconds of the school's clock: zones need not differ from UTC by whole minutes.
        now = at.astimezone(UTC) - timedelta(seconds=at.second, microseconds=at.microsecond)

        def after(minutes: int) -> datetime:
            return (now + timedelta(minutes=minutes)).astimezone(at.tzinfo)

        here = after(0)

        def clock_has_changed(minutes: int) -> bool:
            return after(minutes).utcoffset() != here.utcoffset()

        minute = _minute_of(here)
        weekly = (*self.spans, *(span for spans in more_spans for span in spans))
        edges = (edge for span in self._spans_around(here, weekly) for edge in span)
        wait = min((e for e in edges if minute < e < DAY_MINUTES), default=DAY_MINUTES) - minute
        if clock_has_changed(wait):
            # On the way the wall clock jumps: over the edge, or back to before an earlier one.
            wait = bisect_left(range(wait), x=True, key=clock_has_changed)
        return after(wait)

    def period_at(self, at: datetime | None) -> Period | None:
        """Return the lesson period of ``at``; None outside lessons, without school, and where the time is not known.

        A one-off day with school has the periods of its weekday.
        """
        if at is None or not self.is_school_day(at.date()):
            return None
        minute = _minute_of(at)
        return next(
            (
                p
                for p in self.periods
                if at.weekday() in p.weekdays and p.since_minute <= minute < p.until_minute
            ),
            None,
        )

    def end_of_period(self, at: datetime | None) -> datetime | None:
        """Return when the lesson period of ``at`` ends; None where ``period_at`` is."""
        period = self.period_at(at)
        if at is None or period is None:
            return None
        midnight = datetime.combine(at.date(), time(), tzinfo=at.tzinfo)
        return (midnight + timedelta(minutes=period.until_minute)).replace(fold=at.fold)

    def faults(self) -> tuple[str, ...]:
        """Return what contradicts itself or has no effect: place, value, and what is allowed."""
        return (
            *_term_faults(self.terms),
            *span_faults(self.spans),
            *_period_faults(self.periods),
            *_one_off_faults(self.one_off),
        )

    @cached_property
    def _one_off_on(self) -> Mapping[date, OneOffDay]:
        return {one_off.day: one_off for one_off in self.one_off}

    def _spans_around(
        self, at: datetime, weekly: tuple[WeeklySpan, ...]
    ) -> Iterator[tuple[int, int]]:
        """Yield the spans that begin today or yesterday, in minutes since today's midnight."""
        today = at.date()
        yield from self._spans_on(today, weekly)
        for since, until in self._spans_on(today - _DAY, weekly):
            yield since - DAY_MINUTES, until - DAY_MINUTES

    def _spans_on(self, day: date, weekly: tuple[WeeklySpan, ...]) -> list[tuple[int, int]]:
        """Return the spans that begin on ``day``, in minutes since its midnight; they may end on the day after."""
        one_off = self._one_off_on.get(day)
        if one_off:
            begun = one_off.open if one_off.school else ()
        else:
            weekday = day.weekday()
            begun = tuple((s.since_minute, s.until_minute) for s in weekly if weekday in s.weekdays)
        spans = [(since, since + _length(since, until)) for since, until in begun]
        return spans if self.is_school_day(day) else [(0, DAY_MINUTES), *spans]


def span_faults(spans: tuple[WeeklySpan, ...]) -> Iterator[str]:
    """Yield what is wrong with the weekly spans of the school or of one group: those that have no effect, or an odd one."""
    for number, span in enumerate(spans, 1):
        if span.since_minute == span.until_minute:
            yield (
                f"span {number} ({span}) ends when it begins;"
                " a whole day is written 00:00-24:00, anything else ends at another time"
            )
    for (m, inner), (n, outer) in permutations(enumerate(spans, 1), 2):
        # Of two that are alike, the later one.
        if _inside(inner, outer) and not (m < n and _inside(outer, inner)):
            yield f"span {m} ({inner}) lies in span {n} ({outer}) and has no effect; leave one of them out"


def earliest(times: Iterable[datetime | None], *, after: datetime) -> datetime | None:
    """Return the first of ``times`` that lies after ``after``; None where none does."""
    later = (t for t in times if t is not None and t.timestamp() > after.timestamp())
    return min(later, key=datetime.timestamp, default=None)


def _term_faults(terms: tuple[Term, ...]) -> Iterator[str]:
    for number, term in enumerate(terms, 1):
        days = (term.last - term.first).days + 1
        if days > LONGEST_TERM_DAYS:
            yield f"term {number} lasts {days} days: {term}; allowed are up to {LONGEST_TERM_DAYS}"
    for (m, a), (n, b) in combinations(enumerate(terms, 1), 2):
        if a.first <= b.last and b.first <= a.last:
            yield f"terms {m} and {n} overlap: {a} and {b}; terms must follow one another"


def _period_faults(periods: tuple[Period, ...]) -> Iterator[str]:
    for (m, a), (n, b) in combinations(enumerate(periods, 1), 2):
        overlap = a.since_minute < b.until_minute and b.since_minute < a.until_minute
        if overlap and a.weekdays & b.weekdays:
            yield f"periods {m} and {n} overlap: {a} and {b}; periods of a day must follow one another"


def _one_off_faults(days: tuple[OneOffDay, ...]) -> Iterator[str]:
    for one_off in days:
        if one_off.open and not one_off.school:
            yield f"one-off day {one_off} is closed but has times; only a day with school has any"
        weekday = frozenset((one_off.day.weekday(),))
        for fault in span_faults(tuple(WeeklySpan(weekday, *pair) for pair in one_off.open)):
            yield f"one-off day {one_off}: {fault}"
    for (m, a), (n, b) in combinations(enumerate(days, 1), 2):
        if a.day == b.day:
            yield f"one-off days {m} and {n} are on one date: {a} and {b}; a date may have one"


def _inside(inner: WeeklySpan, outer: WeeklySpan) -> bool:
    """Tell whether ``outer`` covers all that ``inner`` does, each week."""
    room = _length(outer.since_minute, outer.until_minute)
    need = _length(inner.since_minute, inner.until_minute)

    def fits(begin: int, end: int) -> bool:
        into = (inner.since_minute - outer.since_minute) + (begin - end) * DAY_MINUTES
        return into % (7 * DAY_MINUTES) + need <= room

    return all(any(fits(day, other) for other in outer.weekdays) for day in inner.weekdays)


def _length(since: int, until: int) -> int:
    """Return the minutes from ``since`` to ``until``, which is on the day after unless it is later."""
    return until - since if since < until else until - since + DAY_MINUTES


def _minute_of(at: datetime) -> int:
    return at.hour * 60 + at.minute


def _written(weekdays: frozenset[int], since: int, until: int) -> str:
    return f"{write_weekdays(weekdays)} {write_minutes(since)}-{write_minutes(until)}"


def _check_weekdays(days: frozenset[int]) -> None:
    if not days or not days <= frozenset(range(7)):
        raise ValueError(
            f"weekdays are one or more of 0 (Monday) to 6 (Sunday), not {sorted(days)}"
        )


def _check_minutes(since: int, until: int) -> None:
    if not (0 <= since < DAY_MINUTES and 0 <= until <= DAY_MINUTES):
        raise ValueError(
            f"minutes of the day are 0 to {DAY_MINUTES - 1} (23:59) where a span begins"
            f" and 0 to {DAY_MINUTES} (24:00) where it ends, not {since} to {until}"
        )
