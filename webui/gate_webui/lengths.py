"""How long something is to last: a number of minutes, or until the end of the lesson that is on."""

from __future__ import annotations

from math import ceil
from typing import Final

from wtforms import SelectField

from gate_core.desk import RefusedError
from gate_core.written import timetable
from gate_webui import access
from gate_webui.forms import offer
from gate_webui.texts import gettext, ngettext

LESSON: Final = "lesson"
"""The choice that stands for the end of the lesson."""


def offer_lengths(field: SelectField, *minutes: int, first: int = 0) -> None:
    """Have ``field`` offer the end of the lesson, where one is on, and ``minutes``; ``first`` is chosen where none is."""
    choices = [(str(m), _words(m)) for m in minutes]
    its = _lesson()
    if its:
        choices.insert(
            0, (LESSON, gettext("Until %(lesson)s ends, at %(time)s", lesson=its[0], time=its[1]))
        )
    offer(field, choices)
    if field.data in {None, ""}:
        field.data = LESSON if its else str(first or minutes[0])


def minutes_of(field: SelectField) -> int:
    """Return the minutes that were chosen.

    Raises:
        RefusedError: The lesson has ended since.
    """
    if field.data != LESSON:
        return int(field.data)
    its = _lesson()
    if its is None:
        raise RefusedError(gettext("that lesson has ended; choose a number of minutes"), field.name)
    return its[2]


def _lesson() -> tuple[str, str, int] | None:
    """Return title and end of the lesson that is on, and the minutes until then; None where none is."""
    services = access.kept().services
    now = services.clock.now()
    times = timetable(services.desk.written().timetable)
    period, end = times.period_at(now), times.end_of_period(now)
    if now is None or period is None or end is None:
        return None
    return period.title, f"{end:%H:%M}", ceil((end - now).total_seconds() / 60)


def _words(minutes: int) -> str:
    if minutes == 1440:
        return ngettext("%(num)s day", "%(num)s days", 1)
    if minutes >= 60 and minutes % 60 == 0:
        return ngettext("%(num)s hour", "%(num)s hours", minutes // 60)
    return ngettext("%(num)s minute", "%(num)s minutes", minutes)
