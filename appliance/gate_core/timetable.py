"""School time: weekly spans, term dates and one-off spans.

Every time is an aware ``datetime`` in the school's zone; the wall clock decides, so a clock change moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Span:
    """A one-off span of time, ``since`` included, ``until`` not."""

    since: datetime
    until: datetime

    def __post_init__(self) -> None:
        if not self.since < self.until:
            raise ValueError(f"a span ends after it begins: {self.since} to {self.until}")

    def covers(self, at: datetime) -> bool:
        """Tell whether ``at`` lies in the span."""
        return self.since <= at < self.until


@dataclass(frozen=True, slots=True)
class WeeklySpan:
    """A span that comes back each week; it may pass midnight."""

    weekdays: frozenset[int]
    """Days on which it begins, Monday 0 to Sunday 6."""
    since_minute: int
    """Minute of the day, 0 to 1439."""
    until_minute: int
    """Minute of the day, 0 to 1440; not after ``since_minute`` means: on the day after."""

    def __post_init__(self) -> None:
        if not self.weekdays <= frozenset(range(7)):
            raise ValueError(f"weekdays are 0 (Monday) to 6 (Sunday), not {sorted(self.weekdays)}")
        if not (0 <= self.since_minute < DAY_MINUTES and 0 <= self.until_minute <= DAY_MINUTES):
            raise ValueError(
                f"minutes of the day are 0 to {DAY_MINUTES}, not {self.since_minute} to {self.until_minute}"
            )

    def covers(self, at: datetime) -> bool:
        """Tell whether the wall clock of ``at`` lies in the span."""
        minute = at.hour * 60 + at.minute
        today = at.weekday() in self.weekdays
        if self.since_minute < self.until_minute:
            return today and self.since_minute <= minute < self.until_minute
        yesterday = (at.weekday() - 1) % 7 in self.weekdays
        return (today and minute >= self.since_minute) or (yesterday and minute < self.until_minute)

    def edges(self) -> Iterator[int]:
        """Yield the minutes of the day at which the span may begin or end."""
        yield self.since_minute
        yield self.until_minute % DAY_MINUTES


@dataclass(frozen=True, slots=True)
class Term:
    """Days on which school is open, both ends included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"a term ends after it begins: {self.first} to {self.last}")


@dataclass(frozen=True, slots=True)
class Timetable:
    """When "acceptable at certain times" holds."""

    spans: tuple[WeeklySpan, ...] = ()
    terms: tuple[Term, ...] = ()
    """Without any, every day is a school day."""
    holidays: frozenset[date] = frozenset()
    """Days within a term on which school is closed."""

    def is_school_day(self, day: date) -> bool:
        """Tell whether ``day`` lies in a term and is no holiday; weekends are up to the spans."""
        in_term = not self.terms or any(t.first <= day <= t.last for t in self.terms)
        return in_term and day not in self.holidays

    def covers(self, at: datetime | None) -> bool:
        """Tell whether ``at`` is one of the certain times; False where the time is not known."""
        if at is None:
            return False
        return not self.is_school_day(at.date()) or any(span.covers(at) for span in self.spans)

    def next_edge(self, at: datetime) -> datetime:
        """Return the first time after ``at`` when ``covers`` may change: an edge of a span, or midnight."""
        minutes = sorted({0, *(edge for span in self.spans for edge in span.edges())})
        for day in (at.date(), at.date() + timedelta(days=1)):
            for minute in minutes:
                edge = datetime.combine(day, time(minute // 60, minute % 60), tzinfo=at.tzinfo)
                # Compared as instants: two aware times of one zone would be compared by wall clock,
                # and the hour that comes twice would hide an edge.
                if edge.timestamp() > at.timestamp():
                    return edge
        raise AssertionError("midnight of tomorrow lies after any time of today")


def earliest(times: Iterable[datetime | None], *, after: datetime) -> datetime | None:
    """Return the first of ``times`` that lies after ``after``; None where none does."""
    return min((t for t in times if t is not None and t > after), default=None)
