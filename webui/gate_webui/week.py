"""The week as a picture: where each span of it lies, in the units of a drawing 360 wide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gate_core.timetable import WEEKDAYS, Timetable, WeeklySpan, write_minutes

WIDTH: Final = 360
_LEFT: Final = 34
"""Room for the hours."""
_TOP: Final = 18
"""Room for the days."""
_TALL: Final = 400
"""The drawing is about so high, however many hours it shows."""
_DAY_MINUTES: Final = 24 * 60
_LETTER: Final = 4.5
"""Width of a letter, about."""


@dataclass(frozen=True, slots=True)
class Block:
    """A span of one day."""

    kind: str
    """``open`` for certain times, ``lesson``."""
    x: float
    y: float
    width: float
    height: float
    title: str
    """As much of it as there is room for."""


@dataclass(frozen=True, slots=True)
class Week:
    """What is drawn."""

    days: tuple[tuple[float, str], ...]
    """Middle of a column, and its day."""
    hours: tuple[tuple[float, str], ...]
    """Height of a line, and its hour."""
    blocks: tuple[Block, ...]
    height: float


def week_of(times: Timetable, own: tuple[WeeklySpan, ...] | None = None) -> Week:
    """Return the week of a school, or of a group with its ``own`` certain times.

    Saturday and Sunday are drawn where something begins or ends on them; the hours, an hour around all that does.
    """
    pieces = [
        *(
            _Piece("lesson", day, p.since_minute, p.until_minute, p.title)
            for p in times.periods
            for day in p.weekdays
        ),
        *_pieces(times.spans if own is None else own),
    ]
    edges = [e for p in pieces for e in p.edges]
    first = max(min((*edges, 9 * 60)) // 60 - 1, 0)
    last = min(-(-max((*edges, 15 * 60)) // 60) + 1, 24)
    shown = [d for d in range(7) if d < 5 or any(p.day == d and p.edges for p in pieces)]
    scale = _TALL / ((last - first) * 60)
    wide = (WIDTH - _LEFT) / len(shown)

    def y(minute: int) -> float:
        return round(_TOP + (minute - first * 60) * scale, 1)

    def block(piece: _Piece) -> Block:
        # A lesson and a certain time that overlap share the width of the day.
        shared = any(
            p.kind != piece.kind
            and p.day == piece.day
            and piece.since < p.until
            and p.since < piece.until
            for p in pieces
        )
        width = wide / 2 if shared else wide
        right = width if shared and piece.kind == "open" else 0
        top = y(max(piece.since, first * 60))
        height = round(y(min(piece.until, last * 60)) - top, 1)
        return Block(
            piece.kind,
            round(_LEFT + shown.index(piece.day) * wide + right + 1, 1),
            top,
            round(width - 2, 1),
            height,
            _fitting(piece.title, width - 5) if height >= 10 else "",
        )

    step = 1 if last - first <= 12 else 3
    return Week(
        tuple((round(_LEFT + (n + 0.5) * wide, 1), WEEKDAYS[d]) for n, d in enumerate(shown)),
        tuple((y(h * 60), write_minutes(h * 60)) for h in range(first, last + 1, step)),
        tuple(block(piece) for piece in pieces if piece.day in shown),
        _TOP + _TALL + 6,
    )


@dataclass(frozen=True, slots=True)
class _Piece:
    """A span within one day."""

    kind: str
    day: int
    since: int
    until: int
    title: str

    @property
    def edges(self) -> tuple[int, ...]:
        """When it begins and ends, other than at midnight."""
        return tuple(e for e in (self.since, self.until) if 0 < e < _DAY_MINUTES)


def _pieces(spans: Iterable[WeeklySpan]) -> Iterable[_Piece]:
    """Yield certain times a day at a time; what passes midnight goes on at the top of the next day."""
    for span in spans:
        since, until = span.since_minute, span.until_minute
        title = span.title or f"{write_minutes(since)}-{write_minutes(until)}"
        for day in sorted(span.weekdays):
            yield _Piece("open", day, since, until if since < until else _DAY_MINUTES, title)
            if until <= since and until:
                yield _Piece("open", (day + 1) % 7, 0, until, title)


def _fitting(title: str, width: float) -> str:
    most = int(width / _LETTER)
    return title if len(title) <= most else f"{title[: most - 1].rstrip()}…"
