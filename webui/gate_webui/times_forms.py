"""The forms of the timetable: spans of the week, terms, holidays and days of their own."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

from wtforms import Field
from wtforms.validators import ValidationError

from gate_webui.fields import day, lines, radios, text, ticks, time_of_day
from gate_webui.forms import ChangeForm, reason_field

DAY_NAMES: Final = (
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
)


class _SpanForm(ChangeForm):
    """A span of the week."""

    title = text("What it is called", "Enter what it is called.", 60, width=20)
    days = ticks("Days", ticked=("0", "1", "2", "3", "4"), small=True)
    since = time_of_day("From", "Enter when it begins.")

    def validate_days(self, field: Field) -> None:
        """Want a day."""
        if not field.data:
            raise ValidationError("Choose at least one day.")


class CertainTimesForm(_SpanForm):
    """When “acceptable at certain times” holds."""

    until = time_of_day(
        "Until",
        "Enter when it ends.",
        "Earlier than it begins means the day after; 00:00 is midnight.",
    )
    reason = reason_field("Why")


class LessonPeriodForm(_SpanForm):
    """A lesson of the week."""

    until = time_of_day("Until", "Enter when it ends.", "On the same day.")
    reason = reason_field("Why")


class TermForm(ChangeForm):
    """A term, both days included."""

    title = text("What it is called", "", 60, "Such as “Spring term, first half”.", width=20)
    first = day("First day", "Choose the first day.")
    last = day("Last day", "Choose the last day.", "It belongs to the term.")
    reason = reason_field("Why")


class HolidayForm(ChangeForm):
    """A day within a term on which school is closed."""

    key = day("Day", "Choose the day.")
    title = text("What it is called", "Enter what it is called.", 60, width=20)
    reason = reason_field("Why")


class HolidaysForm(ChangeForm):
    """Several such days at once."""

    days = lines(
        "Days",
        "Write at least one day.",
        "One a line: the date, then what it is called, such as 3/5/2027 Early May bank holiday.",
        rows=8,
    )
    reason = reason_field("Why")

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
                    f"Line {number}: “{written[:20]}” is not a date such as 3/5/2027 or 2027-05-03."
                ) from None
            if not 1 <= len(title.strip()) <= 60:
                raise ValidationError(
                    f"Line {number}: after the date stands what it is called, in at most 60 characters."
                )
            found[day_] = title.strip()
        return found


def _turned(found: re.Match[str]) -> str:
    return f"{found[3]}-{int(found[2]):02}-{int(found[1]):02}"


class OneOffForm(ChangeForm):
    """A date that differs from its week."""

    key = day("Day", "Choose the day.")
    title = text(
        "What it is called", "Enter what it is called.", 60, "Such as “Summer fair”.", width=20
    )
    school = radios(
        "On this day",
        "Choose one.",
        (("open", "There is school"), ("closed", "School is closed, as in the holidays")),
    )
    open = lines(
        "Certain times of this day",
        "",
        "One a line, such as 12:00-13:00. With none, there are no certain times on it.",
        rows=3,
    )
    reason = reason_field("Why")


DAY_CHOICES: Final = tuple(zip(map(str, range(7)), DAY_NAMES, strict=True))
