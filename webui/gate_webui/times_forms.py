"""The forms of the timetable: spans of the week, terms, holidays and days of their own."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from wtforms import Field
from wtforms.validators import ValidationError

from gate_webui.fields import day, lines, radios, text, ticks, time_of_day
from gate_webui.forms import ChangeForm, reason_field
from gate_webui.texts import gettext, lazy_gettext

DAY_NAMES: Final = (
    lazy_gettext("Monday"),
    lazy_gettext("Tuesday"),
    lazy_gettext("Wednesday"),
    lazy_gettext("Thursday"),
    lazy_gettext("Friday"),
    lazy_gettext("Saturday"),
    lazy_gettext("Sunday"),
)


class _SpanForm(ChangeForm):
    """A span of the week."""

    title = text(
        lazy_gettext("What it is called"), lazy_gettext("Enter what it is called."), 60, width=20
    )
    days = ticks(lazy_gettext("Days"), ticked=("0", "1", "2", "3", "4"), small=True)
    since = time_of_day(lazy_gettext("From"), lazy_gettext("Enter when it begins."))

    def validate_days(self, field: Field) -> None:
        """Want a day."""
        if not field.data:
            raise ValidationError(gettext("Choose at least one day."))


class CertainTimesForm(_SpanForm):
    """When “acceptable at certain times” holds."""

    until = time_of_day(
        lazy_gettext("Until"),
        lazy_gettext("Enter when it ends."),
        lazy_gettext("Earlier than it begins means the day after; 00:00 is midnight."),
    )
    reason = reason_field(lazy_gettext("Why"))


class LessonPeriodForm(_SpanForm):
    """A lesson of the week."""

    until = time_of_day(
        lazy_gettext("Until"), lazy_gettext("Enter when it ends."), lazy_gettext("On the same day.")
    )
    reason = reason_field(lazy_gettext("Why"))


class TermForm(ChangeForm):
    """A term, both days included."""

    title = text(
        lazy_gettext("What it is called"),
        "",
        60,
        lazy_gettext("Such as “Spring term, first half”."),
        width=20,
    )
    first = day(lazy_gettext("First day"), lazy_gettext("Choose the first day."))
    last = day(
        lazy_gettext("Last day"),
        lazy_gettext("Choose the last day."),
        lazy_gettext("It belongs to the term."),
    )
    reason = reason_field(lazy_gettext("Why"))


class HolidayForm(ChangeForm):
    """A day within a term on which school is closed."""

    key = day(lazy_gettext("Day"), lazy_gettext("Choose the day."))
    title = text(
        lazy_gettext("What it is called"), lazy_gettext("Enter what it is called."), 60, width=20
    )
    reason = reason_field(lazy_gettext("Why"))


class HolidaysForm(ChangeForm):
    """Several such days at once."""

    days = lines(
        lazy_gettext("Days"),
        lazy_gettext("Write at least one day."),
        lazy_gettext(
            "One a line: the date, then what it is called, such as 3/5/2027 Early May bank holiday."
        ),
        rows=8,
    )
    reason = reason_field(lazy_gettext("Why"))

    def validate_days(self, field: Field) -> None:
        """Want a date and a title in each line."""
        self.holidays()

    def holidays(self) -> dict[str, str]:
        """Return ISO dates to what they are called.

        Raises:
            ValidationError: A line is none.
        """
        found = {}
        for number, line in enumerate(self.days.data.splitlines(), 1):
            if not line.strip():
                continue
            written, _, title = line.strip().partition(" ")
            iso = re.sub(r"^(\d{1,2})/(\d{1,2})/(\d{4})$", _turned, written)
            try:
                day_ = date.fromisoformat(iso).isoformat()
            except ValueError:
                raise ValidationError(
                    gettext(
                        "Line %(number)s: “%(text)s” is not a date such as 3/5/2027 or 2027-05-03.",
                        number=number,
                        text=written[:20],
                    )
                ) from None
            if not 1 <= len(title.strip()) <= 60:
                raise ValidationError(
                    gettext(
                        "Line %(number)s: after the date stands what it is called, in at most 60"
                        " characters.",
                        number=number,
                    )
                )
            found[day_] = title.strip()
        return found


def _turned(found: re.Match[str]) -> str:
    return f"{found[3]}-{int(found[2]):02}-{int(found[1]):02}"


class OneOffForm(ChangeForm):
    """A date that differs from its week."""

    key = day(lazy_gettext("Day"), lazy_gettext("Choose the day."))
    title = text(
        lazy_gettext("What it is called"),
        lazy_gettext("Enter what it is called."),
        60,
        lazy_gettext("Such as “Summer fair”."),
        width=20,
    )
    school = radios(
        lazy_gettext("On this day"),
        lazy_gettext("Choose one."),
        (
            ("open", lazy_gettext("There is school")),
            ("closed", lazy_gettext("School is closed, as in the holidays")),
        ),
    )
    open = lines(
        lazy_gettext("Certain times of this day"),
        "",
        lazy_gettext(
            "One a line, such as 12:00-13:00. With none, there are no certain times on it."
        ),
        rows=3,
    )
    reason = reason_field(lazy_gettext("Why"))


DAY_CHOICES: Final = tuple(zip(map(str, range(7)), DAY_NAMES, strict=True))
