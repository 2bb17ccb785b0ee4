"""The day as a picture: what was allowed and blocked in each hour, in the units of a drawing 360 wide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gate_core.desk import HourView

WIDTH: Final = 360
_LEFT: Final = 4
_FIRST, _LAST = 8, 16
"""Hours that are drawn whatever happened in them: a day at school."""
_TITLE: Final = 14
"""Room above the bars of a row, for its title and its highest number."""
_TALL: Final = 60
"""Height of the highest bar of a row."""
_AXIS: Final = 14
"""Room below all rows, for the hours."""
_GAP: Final = 2


@dataclass(frozen=True, slots=True)
class Bar:
    """What an hour had of one row."""

    x: float
    y: float
    width: float
    height: float
    number: int
    hour: int


@dataclass(frozen=True, slots=True)
class Row:
    """All hours of what was allowed, or of what was blocked; each row has its own scale."""

    kind: str
    """``allow`` or ``block``."""
    title_y: float
    base_y: float
    highest: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class GroupDay:
    """The day of one group."""

    title: str
    allowed: int
    blocked: int


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn, and the same as numbers."""

    rows: tuple[Row, ...]
    hours: tuple[tuple[float, int], ...]
    """Where each hour begins, and which it is."""
    height: float
    by_hour: tuple[tuple[int, int, int], ...]
    """Hour, allowed, blocked."""
    by_group: tuple[GroupDay, ...]
    """Who did most first."""


def picture_of(hours: Iterable[HourView], titles: Mapping[str, str]) -> Picture | None:
    """Return the picture of a day; None where nothing was decided yet."""
    sums: dict[int, tuple[int, int]] = {}
    groups: dict[str, tuple[int, int]] = {}
    for its in hours:
        allowed, blocked = sums.get(its.hour, (0, 0))
        sums[its.hour] = allowed + its.allowed, blocked + its.blocked
        allowed, blocked = groups.get(its.group, (0, 0))
        groups[its.group] = allowed + its.allowed, blocked + its.blocked
    if not sums:
        return None
    first, last = min(_FIRST, *sums), max(_LAST, *sums)
    drawn = range(first, last + 1)
    wide = (WIDTH - 2 * _LEFT) / len(drawn)
    return Picture(
        tuple(
            _row(kind, place, [sums.get(hour, (0, 0))[place] for hour in drawn], first, wide)
            for place, kind in enumerate(("allow", "block"))
        ),
        tuple((round(_LEFT + n * wide, 1), hour) for n, hour in enumerate(drawn)),
        2 * (_TITLE + _TALL) + _AXIS,
        tuple((hour, *sums[hour]) for hour in sorted(sums)),
        tuple(
            GroupDay(titles.get(group, group), *numbers)
            for group, numbers in sorted(groups.items(), key=lambda its: -sum(its[1]))
        ),
    )


def _row(kind: str, place: int, numbers: list[int], first: int, wide: float) -> Row:
    top = place * (_TITLE + _TALL)
    base = top + _TITLE + _TALL
    highest = max(numbers)
    bars = []
    for n, number in enumerate(numbers):
        if number:
            # The smallest can still be seen.
            height = round(max(number / highest * _TALL, 1.5), 1)
            x = round(_LEFT + n * wide + _GAP / 2, 1)
            bars.append(
                Bar(x, round(base - height, 1), round(wide - _GAP, 1), height, number, first + n)
            )
    return Row(kind, top + _TITLE - 4, base, highest, tuple(bars))
