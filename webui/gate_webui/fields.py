"""Fields of forms that many pages share, each with the message for what may not be typed.

Dates and times are native inputs: a phone offers its own picker, and what is sent is ISO 8601.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from typing import Any

from govuk_frontend_wtf.wtforms_widgets import (
    GovCheckboxesInput,
    GovCheckboxInput,
    GovPasswordInput,
    GovRadioInput,
    GovSelect,
    GovTextArea,
    GovTextInput,
)
from wtforms import (
    BooleanField,
    DateField,
    PasswordField,
    RadioField,
    SelectChoice,
    SelectField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)
from wtforms.validators import DataRequired, EqualTo, InputRequired, Length, Optional

from gate_webui.passwords import MAX_CHARACTERS
from gate_webui.texts import lazy_gettext


class _DateInput(GovTextInput):  # type: ignore[misc]  # the package has no types
    input_type = "date"


class _TimeInput(GovTextInput):  # type: ignore[misc]  # the package has no types
    input_type = "time"


def strip(text: str | None) -> str | None:
    """Return ``text`` without blanks at its ends: a filter of fields."""
    return text.strip() if text else text


def text(label: str, missing: str, most: int, description: str = "", width: int = 0) -> StringField:
    """Return a line of text; ``missing`` is said where it is empty, "" where it may be.

    ``width`` is in characters: 5, 10 or 20; 0 for the whole column.
    """
    classes = f"govuk-input--width-{width}" if width else ""
    return StringField(
        label,
        filters=[strip],
        default="",
        validators=[
            *([DataRequired(missing)] if missing else []),
            Length(max=most, message=lazy_gettext("Use at most %(most)s characters.", most=most)),
        ],
        description=description,
        widget=GovTextInput(),
        render_kw={"params": {"classes": classes, "autocomplete": "off"}},
    )


def old_password(label: str) -> PasswordField:
    """Return a field for a password that is to be checked, whatever it is like."""
    most = MAX_CHARACTERS
    return PasswordField(
        label,
        validators=[
            InputRequired(lazy_gettext("Enter your password.")),
            Length(max=most, message=lazy_gettext("Use at most %(most)s characters.", most=most)),
        ],
        widget=GovPasswordInput(),
    )


def new_password(label: str) -> PasswordField:
    """Return the field for a password that somebody chooses; whether it is good enough says the form."""
    return PasswordField(
        label,
        validators=[InputRequired(lazy_gettext("Enter a password."))],
        description=lazy_gettext("At least 12 characters. Three random words are good."),
        widget=GovPasswordInput(),
    )


def password_again(label: str) -> PasswordField:
    """Return the field for the same password as in the field ``password``."""
    return PasswordField(
        label,
        validators=[
            InputRequired(lazy_gettext("Enter the password again.")),
            EqualTo("password", lazy_gettext("The two passwords are not the same.")),
        ],
        widget=GovPasswordInput(),
    )


def lines(label: str, missing: str, description: str, rows: int = 4) -> TextAreaField:
    """Return a field for several lines; ``missing`` is said where it is empty, "" where it may be."""
    return TextAreaField(
        label,
        filters=[strip],
        default="",
        validators=[
            *([DataRequired(missing)] if missing else []),
            Length(max=5000, message=lazy_gettext("Use at most 5,000 characters.")),
        ],
        description=description,
        widget=GovTextArea(),
        render_kw={"params": {"rows": rows, "spellcheck": False}},
    )


def day(label: str, missing: str, description: str = "", **kwargs: Any) -> DateField:
    """Return a field for a date; ``missing`` is said where it is empty, "" where it may be."""
    return DateField(
        label,
        validators=[InputRequired(missing) if missing else Optional()],
        invalid_value_message=lazy_gettext("Enter a date that there is, such as 2027-01-31."),
        description=description,
        widget=_DateInput(),
        render_kw={"params": {"classes": "govuk-input--width-10"}},
        **kwargs,
    )


def time_of_day(label: str, missing: str, description: str = "") -> StringField:
    """Return a field for a time of day; whether it is one says the compiler of the policy, which also knows 24:00."""
    return StringField(
        label,
        filters=[strip],
        default="",
        validators=[
            InputRequired(missing),
            Length(max=10, message=lazy_gettext("Use a time such as 08:45.")),
        ],
        description=description,
        widget=_TimeInput(),
        render_kw={"params": {"classes": "govuk-input--width-5"}},
    )


def select(label: str, missing: str = "", description: str = "") -> SelectField:
    """Return a list to choose one from; ``missing`` is said where nothing is chosen, "" where that is a choice."""
    return SelectField(
        label,
        default="",
        validators=[InputRequired(missing)] if missing else [],
        description=description,
        widget=GovSelect(),
    )


def last_day(until: str) -> date | None:
    """Return the last whole day before the ISO 8601 time ``until``; None for "", which is never."""
    if not until:
        return None
    end = datetime.fromisoformat(until)
    return end.date() - timedelta(days=1) if end.time() == time() else end.date()


def end_of(last: date | None) -> str:
    """Return the end of a day as an ISO 8601 time of the school's; "" for None."""
    return datetime.combine(last + timedelta(days=1), time()).isoformat() if last else ""


def radios(label: str, missing: str, choices: Iterable[tuple[str, str]] = ()) -> RadioField:
    """Return buttons of which one is chosen."""
    return RadioField(
        label,
        choices=[SelectChoice(value, words) for value, words in choices],
        validators=[InputRequired(missing)],
        widget=GovRadioInput(),
    )


def tick(label: str) -> BooleanField:
    """Return one box to tick."""
    return BooleanField(label, widget=GovCheckboxInput())


def ticks(
    label: str, description: str = "", *, ticked: tuple[str, ...] = (), small: bool = False
) -> SelectMultipleField:
    """Return boxes of which any may be ticked; those of ``ticked`` are to begin with."""
    classes = "govuk-checkboxes--small" if small else ""
    return SelectMultipleField(
        label,
        choices=[],
        default=list(ticked),
        description=description,
        widget=GovCheckboxesInput(),
        render_kw={"params": {"classes": classes}},
    )
