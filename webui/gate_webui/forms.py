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
    GovPasswordInput,
    GovSelect,
    GovTextArea,
    GovTextInput,
)
from wtforms import (
    Field,
    Form,
    HiddenField,
    IntegerField,
    PasswordField,
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
from gate_webui.fields import new_password, password_again, select, strip, text
from gate_webui.passwords import MAX_CHARACTERS, fault_of
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
        abort(400, "This link is not complete. Go back and choose it again.")
    return int(text)


def reason_field(label: str) -> TextAreaField:
    """Return a field for the reason of a change, which is never left out."""
    return TextAreaField(
        label,
        filters=[strip],
        validators=[
            DataRequired("Write why. Governors will read it."),
            Length(max=500, message="Use at most 500 characters."),
        ],
        description="One sentence. It is kept with your name, for the head teacher and governors.",
        widget=GovTextArea(),
    )


TIME: Final = "Enter a day and a time, such as 2027-02-05T15:30."


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
_MINUTES: Final = "Enter a whole number of minutes from 1 to 480."


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
        "First-run code",
        "Enter the first-run code.",
        64,
        "12 letters and digits, printed with the link to this page when the box is started for the first time."
        " It is also on the box, in the file first-run-code of its state directory.",
    )
    school = text("Name of the school", "Enter the name of the school.", 100)
    full_name = text(
        "Your full name",
        "Enter your full name.",
        100,
        "You will be the e-safety coordinator. Others see your name beside the changes you make.",
    )
    username = text(
        "User name",
        "Enter a user name.",
        40,
        "What you will sign in with. Letters, digits, full stops, hyphens and underscores, beginning with a letter.",
    )
    password = new_password("Password")
    again = password_again("Password again")

    def validate_username(self, field: Field) -> None:
        """Refuse a user name that is hard to type again."""
        field.data = field.data.lower()
        if not USERNAME.fullmatch(field.data):
            raise ValidationError(
                "Use letters a to z, digits, full stops, hyphens and underscores only, beginning with a letter."
            )

    def validate_password(self, field: Field) -> None:
        """Refuse a password that is short or obvious."""
        known = [str(f.data or "") for f in (self.school, self.full_name, self.username)]
        if fault := fault_of(field.data, *known):
            raise StopValidation(fault)


class SignInForm(PostForm):
    """User name and password."""

    username = text("User name", "Enter your user name.", 60)
    password = PasswordField(
        "Password",
        validators=[
            InputRequired("Enter your password."),
            Length(max=MAX_CHARACTERS, message=f"Use at most {MAX_CHARACTERS} characters."),
        ],
        widget=GovPasswordInput(),
    )
    next = HiddenField()


class PauseForm(PostForm):
    """How long, and for whom."""

    minutes = _MinutesField(
        "Minutes",
        default=30,
        validators=[InputRequired(_MINUTES), NumberRange(1, 480, _MINUTES)],
        invalid_value_message=_MINUTES,
        widget=GovTextInput(),
    )
    group = SelectField("For whom", default="", widget=GovSelect())


class ActivityForm(AskForm):
    """Which decisions to show."""

    text = StringField(
        "Site, device or address",
        filters=[strip],
        default="",
        validators=[Length(max=253, message="Use at most 253 characters.")],
        widget=GovTextInput(),
    )
    group = SelectField("Group", default="", widget=GovSelect())
    device = SelectField("Device", default="", widget=GovSelect())
    person = SelectField("Person", default="", widget=GovSelect())
    action = SelectField(
        "Allowed or blocked",
        default="",
        choices=[
            SelectChoice("", "Both"),
            SelectChoice("allow", "Allowed"),
            SelectChoice("block", "Blocked"),
        ],
        widget=GovSelect(),
    )
    source = SelectField(
        "Seen as",
        default="",
        choices=[
            SelectChoice("", "Both"),
            SelectChoice("dns", "Site name looked up"),
            SelectChoice("firewall", "Connection made"),
        ],
        widget=GovSelect(),
    )
    category = SelectField(
        "Category",
        default="",
        choices=[SelectChoice("", "All"), *(SelectChoice(c.id, c.title) for c in _BY_TITLE)],
        widget=GovSelect(),
    )
    since = time_field("From")
    until = time_field("To")

    def validate_until(self, field: Field) -> None:
        """Demand an end behind the beginning."""
        if self.since.errors or not (self.since.data and field.data):
            return
        if datetime.fromisoformat(field.data) <= datetime.fromisoformat(self.since.data):
            raise ValidationError("Enter a time after the one in “From”.")


class PurposeForm(PostForm):
    """Why somebody looks at what others did."""

    reason = text(
        "Why you look",
        "Write why you look. It is kept with your name.",
        200,
        "Such as “Concern about a pupil in Year 5” or “Weekly check”. It is kept with your name, and asked once an hour.",
    )
    next = HiddenField()


class WhyForm(AskForm):
    """Who, and which site, or what connection."""

    name = text("Site", "", 500, "You may paste a whole web address.")
    protocol = select("Kind of connection")
    client = SelectField("Who", validators=[InputRequired("Choose who.")], widget=GovSelect())
    at = time_field("When", "Leave it empty for now.")

    def validate_name(self, field: Field) -> None:
        """Want something to check."""
        if not (field.data or self.protocol.data):
            raise ValidationError("Enter the name of a site.")


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
    allowed = "like www.bbc.co.uk, or paste a whole web address"
    shown = text.strip()[:80]
    if re.search(r"\s", text.strip()):
        return f"“{shown}” has a space in it. Write one site without spaces, {allowed}."
    return f"“{shown}” is not the name of a site. Write it {allowed}."
