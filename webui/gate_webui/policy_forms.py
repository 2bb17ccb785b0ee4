"""The forms of the written policy: what changes it, and what is said of a change."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final, cast

from govuk_frontend_wtf.wtforms_widgets import (
    GovCheckboxesInput,
    GovFileInput,
    GovRadioInput,
    GovSelect,
    GovTextArea,
    GovTextInput,
)
from wtforms import (
    Field,
    FileField,
    Form,
    HiddenField,
    RadioField,
    SelectChoice,
    SelectField,
    SelectMultipleField,
    StringField,
    TextAreaField,
)
from wtforms.validators import DataRequired, InputRequired, Length, ValidationError

from gate_core.edits import Edit
from gate_webui.fields import lines, radios, select, strip, text
from gate_webui.forms import TIME, ChangeForm, PostForm, reason_field, time_field
from gate_webui.texts import gettext, lazy_gettext


class _EditsField(HiddenField):  # type: ignore[misc]  # WTForms has no types
    """A change of the written policy, carried from the page that made it to the one that proposes it.

    Whoever may propose may propose anything: what is allowed, the desk says of every edit.
    """

    data: tuple[Edit, ...]

    def _value(self) -> str:
        return json.dumps([[edit.path, edit.before, edit.after] for edit in self.data or ()])

    def process_formdata(self, valuelist: list[str]) -> None:
        self.data = ()
        try:
            found = json.loads("".join(valuelist) or "[]")
            self.data = tuple(
                Edit(tuple(map(str, path)), str(before), str(after))
                for path, before, after in found
            )
        except (ValueError, TypeError, RecursionError):
            raise ValueError("This change is not complete. Go back and make it again.") from None

    def validate(self, form: Form, extra_validators: Iterable[Any] = ()) -> bool:
        sound = bool(super().validate(form, extra_validators))
        if sound and not self.data:
            self.errors = [gettext("Nothing would change. Go back and make a change.")]
            return False
        return sound


class ProposeForm(PostForm):
    """A change whose effect has been shown, and why it is made."""

    edits = _EditsField()
    back = HiddenField()
    """Path of the page to go on with."""
    reason = reason_field(lazy_gettext("Why it changes"))


class AnswerForm(PostForm):
    """Yes or no to somebody else's change."""

    note = TextAreaField(
        lazy_gettext("A word about it"),
        filters=[strip],
        validators=[Length(max=500, message=lazy_gettext("Use at most 500 characters."))],
        description=lazy_gettext("If you refuse, write why. It is kept with your name."),
        widget=GovTextArea(),
    )
    approve = HiddenField()

    def validate_note(self, field: Field) -> None:
        """Want a reason for a refusal."""
        if self.approve.data != "yes" and not field.data:
            raise ValidationError(gettext("Write why you refuse. Whoever asked will read it."))


_DAYS: Final = lazy_gettext("Enter a whole number of days from 1 to 31.")


class WhatIfForm(PostForm):
    """Which change to try on which days."""

    edits = _EditsField()
    days = StringField(
        lazy_gettext("Days to look at"),
        default="7",
        filters=[strip],
        validators=[DataRequired(_DAYS)],
        description=lazy_gettext("1 to 31, back from now."),
        widget=GovTextInput(),
    )

    def validate_days(self, field: Field) -> None:
        """Want a number the desk takes."""
        if not (re.fullmatch("[0-9]{1,2}", field.data) and 1 <= int(field.data) <= 31):
            raise ValidationError(_DAYS)


class CellForm(PostForm):
    """One cell of the acceptable-use table."""

    cell = RadioField(
        lazy_gettext("What the policy says"),
        validators=[InputRequired(lazy_gettext("Choose what the policy says."))],
        widget=GovRadioInput(),
    )


class SearchingForm(PostForm):
    """How a group searches."""

    safe_search = RadioField(
        lazy_gettext("Search engines"),
        validators=[InputRequired(lazy_gettext("Choose what search engines give."))],
        widget=GovRadioInput(),
    )
    youtube = RadioField(
        lazy_gettext("YouTube"),
        validators=[InputRequired(lazy_gettext("Choose how much of YouTube it gets."))],
        widget=GovRadioInput(),
    )


class DirectForm(ChangeForm):
    """A service whose addresses are reached without a name."""

    title = text(
        lazy_gettext("Service"),
        lazy_gettext("Write which service it is."),
        60,
        lazy_gettext("Such as “Zoom calls”."),
        20,
    )
    networks = lines(
        lazy_gettext("Networks"),
        lazy_gettext("Name at least one network."),
        lazy_gettext(
            "One a line, such as 203.0.113.0/24; a single address such as 203.0.113.5 will do."
        ),
    )
    protocol = radios(
        lazy_gettext("Protocol"),
        lazy_gettext("Choose the protocol."),
        (("tcp", "TCP"), ("udp", lazy_gettext("UDP, as most calls use"))),
    )
    ports = text(
        lazy_gettext("Port"),
        lazy_gettext("Enter a port."),
        15,
        lazy_gettext("One, such as 443, or a range such as 8801-8810."),
        10,
    )
    group = select(lazy_gettext("For whom"))
    reason = reason_field(lazy_gettext("Why it is needed"))


class ConnectingForm(PostForm):
    """Where the connections of a group may go."""

    named_only = radios(
        lazy_gettext("Addresses"), lazy_gettext("Choose which addresses its devices reach.")
    )
    quic = radios("QUIC (HTTP/3)", lazy_gettext("Choose whether QUIC is open."))


class RowForm(PostForm):
    """A row of the acceptable-use table."""

    title = text(
        lazy_gettext("What the row says"),
        lazy_gettext("Write what the row is about."),
        300,
        lazy_gettext("As your policy has it."),
    )
    note = TextAreaField(
        lazy_gettext("Why the school has it"),
        filters=[strip],
        validators=[Length(max=500, message=lazy_gettext("Use at most 500 characters."))],
        description=lazy_gettext("For governors. May be left empty."),
        widget=GovTextArea(),
    )
    categories = SelectMultipleField(lazy_gettext("Kinds of site"), widget=GovCheckboxesInput())
    services = SelectMultipleField(lazy_gettext("Services"), widget=GovCheckboxesInput())


class ExceptionForm(PostForm):
    """Something allowed or blocked for a while."""

    action = RadioField(
        lazy_gettext("Allow or block"),
        choices=[
            SelectChoice("allow", lazy_gettext("Allow")),
            SelectChoice("block", lazy_gettext("Block")),
        ],
        validators=[InputRequired(lazy_gettext("Choose whether to allow or to block."))],
        widget=GovRadioInput(),
    )
    services = SelectMultipleField(lazy_gettext("Services"), widget=GovCheckboxesInput())
    names = TextAreaField(
        lazy_gettext("Sites"),
        filters=[strip],
        default="",
        validators=[Length(max=5000, message=lazy_gettext("Use at most 5,000 characters."))],
        description=lazy_gettext(
            "One a line, such as www.bbc.co.uk. All below a site is meant too; "
            "to mean only itself, put = before it. You may paste whole web addresses."
        ),
        widget=GovTextArea(),
    )
    whom = SelectField(
        lazy_gettext("For whom"),
        validators=[InputRequired(lazy_gettext("Choose for whom."))],
        widget=GovSelect(),
    )
    until = RadioField(
        lazy_gettext("Until when"),
        validators=[InputRequired(lazy_gettext("Choose until when."))],
        widget=GovRadioInput(),
    )
    until_time = time_field(lazy_gettext("Day and time"))
    since = time_field(lazy_gettext("From"), lazy_gettext("Leave it empty for at once."))
    reason = reason_field(lazy_gettext("Why"))

    def validate_until_time(self, field: Field) -> None:
        """Want a time where no other was chosen."""
        if self.until.data == "time" and not field.data:
            raise ValidationError(TIME)

    def validate_names(self, field: Field) -> None:
        """Want something to allow or block."""
        if not (field.data or self.services.data):
            raise ValidationError(gettext("Name at least one site, or choose a service."))


class NoteForm(PostForm):
    """A remark that is kept."""

    note = text(
        lazy_gettext("Remark"),
        lazy_gettext("Write what you have found."),
        500,
        lazy_gettext("One sentence. It is kept with your name."),
    )


class PolicyTextForm(PostForm):
    """A written policy as text."""

    text = TextAreaField(
        lazy_gettext("The policy"),
        description=lazy_gettext(
            "Paste the whole text of the file here, or choose the file above."
        ),
        widget=GovTextArea(),
    )
    file = FileField(
        lazy_gettext("File"),
        description=lazy_gettext("A file that was exported here, ending in .toml."),
        widget=GovFileInput(),
    )

    def validate_text(self, field: Field) -> None:
        """Take the file in place of the text."""
        upload = self.file.data
        if upload and hasattr(upload, "read") and upload.filename:
            try:
                field.data = cast("str", upload.read().decode("utf-8-sig"))
            except UnicodeDecodeError:
                raise ValidationError(
                    gettext("This file is not text. Choose one that was exported here.")
                ) from None
        if not (field.data or "").strip():
            raise ValidationError(gettext("Paste the text of a policy, or choose a file."))


class TableForm(PostForm):
    """An acceptable-use table from a document."""

    text = TextAreaField(
        lazy_gettext("The table"),
        validators=[DataRequired(lazy_gettext("Paste the table of your policy."))],
        description=lazy_gettext(
            "Mark the whole table in Word or in the browser, copy it, and paste it here. "
            "It does not look like a table then; that is all right."
        ),
        widget=GovTextArea(),
    )
    groups = SelectMultipleField(
        lazy_gettext("For which groups"),
        validators=[InputRequired(lazy_gettext("Choose at least one group."))],
        widget=GovCheckboxesInput(),
    )


class SignForm(PostForm):
    """How far a governor has read the record."""

    number = HiddenField()
