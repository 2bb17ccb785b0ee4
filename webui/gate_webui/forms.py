"""The forms: what may be typed, and the message beside a field where it may not.

Lengths are bounds for the request; what is allowed in truth the desk says, by ``RefusedError``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from flask import abort
from flask_wtf import FlaskForm
from govuk_frontend_wtf.wtforms_widgets import (
    GovSelect,
    GovTextArea,
    GovTextInput,
)
from wtforms import (
    Field,
    Form,
    HiddenField,
    IntegerField,
    RadioField,
    SelectChoice,
    SelectField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)
from wtforms.validators import (
    DataRequired,
    InputRequired,
    Length,
    NumberRange,
    StopValidation,
    ValidationError,
)

from gate_core.categories import CATEGORIES
from gate_core.desk import USERNAME, RefusedError
from gate_webui.fields import new_password, old_password, password_again, select, strip, text
from gate_webui.passwords import fault_of
from gate_webui.texts import gettext, lazy_gettext
from gate_webui.words import sentence


def carry_out(form: FlaskForm, change: Callable[[], None]) -> bool:
    """Run ``change`` if ``form`` was sent and is sound; tell whether it was done.

    What the desk refuses is told beside the field it names, or above the form.
    """
    if not form.validate_on_submit():
        return False
    try:
        change()
    except RefusedError as refusal:
        refuse(form, refusal)
        return False
    return True


def refuse(form: Form, refusal: RefusedError) -> None:
    """Put the message of ``refusal`` beside its field, or above the ``form``."""
    message = sentence(str(refusal))
    if refusal.field in form:
        form[refusal.field].errors = [*form[refusal.field].errors, message]
    else:
        form.form_errors.append(message)


def faults(form: Form, others: Iterable[str] = ()) -> list[dict[str, str]]:
    """Return the faults of ``form``, and ``others``, for the summary above it, each with a link to its field."""
    found = [{"text": text, "href": ""} for text in (*form.form_errors, *others)]
    for field in form:
        # Of a group of buttons or boxes, the first has the id of the field.
        found += [{"text": str(text), "href": f"#{field.id}"} for text in field.errors[:1]]
    return found


def offer(
    field: SelectField | RadioField | SelectMultipleField, choices: Iterable[tuple[str, str]]
) -> None:
    """Have ``field`` offer ``choices``: what is sent, and what is shown."""
    field.choices = [SelectChoice(value, label) for value, label in choices]


def number(text: str) -> int:
    """Return the number in a link to an older page; a link that nobody made here is answered with 400."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        abort(400, gettext("This link is not complete. Go back and choose it again."))
    return int(text)


def reason_field(label: str) -> TextAreaField:
    """Return a field for the reason of a change, which is never left out."""
    return TextAreaField(
        label,
        filters=[strip],
        validators=[
            DataRequired(lazy_gettext("Write why. Governors will read it.")),
            Length(max=500, message=lazy_gettext("Use at most 500 characters.")),
        ],
        description=lazy_gettext(
            "One sentence. It is kept with your name, for the head teacher and governors."
        ),
        widget=GovTextArea(),
    )


TIME: Final = lazy_gettext("Enter a day and a time, such as 2027-02-05T15:30.")


def time_field(label: str, description: str = "") -> StringField:
    """Return a field for a day and a time, as ``<input type="datetime-local">`` sends it; it may be left empty."""
    return StringField(
        label,
        filters=[strip],
        default="",
        validators=[_is_time],
        description=description,
        widget=GovTextInput(),
    )


def _is_time(_: Form, field: Field) -> None:
    try:
        datetime.fromisoformat(field.data or "2000-01-01")
    except ValueError:
        raise ValidationError(TIME) from None


_BY_TITLE: Final = sorted(CATEGORIES, key=lambda category: category.title)
_MINUTES: Final = lazy_gettext("Enter a whole number of minutes from 1 to 480.")


class PostForm(FlaskForm):  # type: ignore[misc]  # WTForms has no types
    """A form that changes something; it carries a CSRF token."""


class ChangeForm(PostForm):
    """A form that changes one entry of the written policy."""

    was = HiddenField()
    """The entry as the form showed it, as JSON."""


class AskForm(Form):  # type: ignore[misc]  # WTForms has no types
    """A form asked by GET: it changes nothing, and what it finds has an address of its own."""


class _MinutesField(IntegerField):  # type: ignore[misc]  # WTForms has no types
    """At most three digits: WTForms would convert any number of them, and fall over comparing it."""

    def process_formdata(self, valuelist: list[str]) -> None:
        if valuelist and not re.fullmatch(r"\s*[0-9]{1,3}\s*", valuelist[0]):
            raise ValueError(_MINUTES)
        super().process_formdata(valuelist)


class FirstRunForm(PostForm):
    """The school and its first coordinator."""

    code = text(
        lazy_gettext("First-run code"),
        lazy_gettext("Enter the first-run code."),
        64,
        lazy_gettext(
            "12 letters and digits, printed with the link to this page when the box is started for the first time."
            " It is also on the box, in the file first-run-code of its state directory."
        ),
    )
    school = text(
        lazy_gettext("Name of the school"), lazy_gettext("Enter the name of the school."), 100
    )
    full_name = text(
        lazy_gettext("Your full name"),
        lazy_gettext("Enter your full name."),
        100,
        lazy_gettext(
            "You will be the e-safety coordinator. Others see your name beside the changes you make."
        ),
    )
    username = text(
        lazy_gettext("User name"),
        lazy_gettext("Enter a user name."),
        40,
        lazy_gettext(
            "What you will sign in with. Letters, digits, full stops, hyphens and underscores, beginning with a letter."
        ),
    )
    password = new_password(lazy_gettext("Password"))
    again = password_again(lazy_gettext("Password again"))

    def validate_username(self, field: Field) -> None:
        """Refuse a user name that is hard to type again."""
        field.data = field.data.lower()
        if not USERNAME.fullmatch(field.data):
            raise ValidationError(
                gettext(
                    "Use letters a to z, digits, full stops, hyphens and underscores only, beginning with a letter."
                )
            )

    def validate_password(self, field: Field) -> None:
        """Refuse a password that is short or obvious."""
        known = [str(f.data or "") for f in (self.school, self.full_name, self.username)]
        if fault := fault_of(field.data, *known):
            raise StopValidation(fault)


class SignInForm(PostForm):
    """User name and password."""

    username = text(lazy_gettext("User name"), lazy_gettext("Enter your user name."), 60)
    password = old_password(lazy_gettext("Password"))
    next = HiddenField()


class PauseForm(PostForm):
    """How long, and for whom."""

    minutes = _MinutesField(
        lazy_gettext("Minutes"),
        default=30,
        validators=[InputRequired(_MINUTES), NumberRange(1, 480, _MINUTES)],
        invalid_value_message=_MINUTES,
        widget=GovTextInput(),
    )
    group = SelectField(lazy_gettext("For whom"), default="", widget=GovSelect())


class ActivityForm(AskForm):
    """Which decisions to show."""

    text = StringField(
        lazy_gettext("Site, device or address"),
        filters=[strip],
        default="",
        validators=[Length(max=253, message=lazy_gettext("Use at most 253 characters."))],
        widget=GovTextInput(),
    )
    group = SelectField(lazy_gettext("Group"), default="", widget=GovSelect())
    device = SelectField(lazy_gettext("Device"), default="", widget=GovSelect())
    person = SelectField(lazy_gettext("Person"), default="", widget=GovSelect())
    action = SelectField(
        lazy_gettext("Allowed or blocked"),
        default="",
        choices=[
            SelectChoice("", lazy_gettext("Both")),
            SelectChoice("allow", lazy_gettext("Allowed")),
            SelectChoice("block", lazy_gettext("Blocked")),
        ],
        widget=GovSelect(),
    )
    source = SelectField(
        lazy_gettext("Seen as"),
        default="",
        choices=[
            SelectChoice("", lazy_gettext("Both")),
            SelectChoice("dns", lazy_gettext("Site name looked up")),
            SelectChoice("firewall", lazy_gettext("Connection made")),
        ],
        widget=GovSelect(),
    )
    category = SelectField(
        lazy_gettext("Category"),
        default="",
        choices=[
            SelectChoice("", lazy_gettext("All")),
            *(SelectChoice(c.id, lazy_gettext(c.title)) for c in _BY_TITLE),
        ],
        widget=GovSelect(),
    )
    since = time_field(lazy_gettext("From"))
    until = time_field(lazy_gettext("To"))

    def validate_until(self, field: Field) -> None:
        """Demand an end behind the beginning."""
        if self.since.errors or not (self.since.data and field.data):
            return
        if datetime.fromisoformat(field.data) <= datetime.fromisoformat(self.since.data):
            raise ValidationError(gettext("Enter a time after the one in “From”."))


class PurposeForm(PostForm):
    """Why somebody looks at what others did."""

    reason = text(
        lazy_gettext("Why you look"),
        lazy_gettext("Write why you look. It is kept with your name."),
        200,
        lazy_gettext(
            "Such as “Concern about a pupil in Year 5” or “Weekly check”. It is kept with your name, and asked once an hour."
        ),
    )
    next = HiddenField()


class WhyForm(AskForm):
    """Who, and which site, or what connection."""

    name = text(lazy_gettext("Site"), "", 500, lazy_gettext("You may paste a whole web address."))
    protocol = select(lazy_gettext("Kind of connection"))
    client = SelectField(
        lazy_gettext("Who"),
        validators=[InputRequired(lazy_gettext("Choose who."))],
        widget=GovSelect(),
    )
    at = time_field(lazy_gettext("When"), lazy_gettext("Leave it empty for now."))

    def validate_name(self, field: Field) -> None:
        """Want something to check."""
        if not (field.data or self.protocol.data):
            raise ValidationError(gettext("Enter the name of a site."))


class PressForm(PostForm):
    """A button without fields: the token alone."""


def text_of_page(name: str) -> str:
    """Return the site's name in what somebody pasted: ``https://www.example.org/page`` has ``www.example.org``."""
    found = re.match(
        r"(?:[a-z][a-z0-9+.-]*://)?(?:[^/@?#]*@)?([^/?#:]+)", name.strip(), re.IGNORECASE
    )
    return found[1] if found else name


def no_site(text: str) -> str:
    """Return what is wrong with a ``text`` that names no site, and what is allowed."""
    allowed = gettext("like www.bbc.co.uk, or paste a whole web address")
    shown = text.strip()[:80]
    if re.search(r"\s", text.strip()):
        return gettext(
            "“%(shown)s” has a space in it. Write one site without spaces, %(allowed)s.",
            shown=shown,
            allowed=allowed,
        )
    return gettext(
        "“%(shown)s” is not the name of a site. Write it %(allowed)s.", shown=shown, allowed=allowed
    )
