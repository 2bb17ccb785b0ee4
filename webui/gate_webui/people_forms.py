"""The forms for devices, people, nominees and loans."""

from __future__ import annotations

from wtforms import Field

from gate_webui.fields import day, radios, select, text, ticks
from gate_webui.forms import ChangeForm, PostForm, reason_field
from gate_webui.texts import lazy_gettext


class DeviceForm(ChangeForm):
    """What the school knows of a device."""

    name = text(
        lazy_gettext("Name"),
        lazy_gettext("Enter a name for the device."),
        60,
        lazy_gettext(
            "What is written on it, or where it stands, such as “Laptop 7” or “Year 4 tablet 12”."
        ),
        width=20,
    )
    group = select(lazy_gettext("Group"), lazy_gettext("Choose a group."))
    room = select(
        lazy_gettext("Room"),
        description=lazy_gettext("Where it stays. Leave it empty for what moves about."),
    )
    person = select(
        lazy_gettext("Whose"),
        description=lazy_gettext(
            "Whoever always uses it. For one lesson, lend the device instead."
        ),
    )
    until = day(
        lazy_gettext("Last day in this group"),
        "",
        lazy_gettext(
            "For a visitor's device. Afterwards it is unknown again. Leave it empty for the school's own."
        ),
    )
    reason = reason_field(lazy_gettext("Why"))


class WhyForm(PostForm):
    """Why something is done to a device or person."""

    why = reason_field(lazy_gettext("Why"))


class PersonForm(ChangeForm):
    """Somebody whom rules and loans may name."""

    key = text(
        lazy_gettext("Code"),
        lazy_gettext("Enter a code."),
        40,
        lazy_gettext(
            "For a pupil the code of your management system (MIS), not the name. Small letters, digits, - and _."
        ),
        width=10,
    )
    name = text(
        lazy_gettext("Name"),
        lazy_gettext("Enter a name, or initials."),
        80,
        lazy_gettext("What staff know the person by. For pupils, initials and class will do."),
        width=20,
    )
    kind = radios(
        lazy_gettext("This is a"),
        lazy_gettext("Choose one."),
        (
            ("pupil", lazy_gettext("Pupil")),
            ("staff", lazy_gettext("Member of staff")),
            ("visitor", lazy_gettext("Visitor")),
        ),
    )
    reason = reason_field(lazy_gettext("Why"))

    def validate_key(self, field: Field) -> None:
        """Take capital letters as small ones."""
        field.data = field.data.lower()


class NomineesForm(ChangeForm):
    """Who is nominated for a row of the table."""

    keep = ticks(
        lazy_gettext("Nominated at present"),
        lazy_gettext("Take the tick away from whoever is so no longer."),
    )
    person = select(lazy_gettext("Add a person"))
    device = select(lazy_gettext("Add a device"))
    reason = reason_field(lazy_gettext("Why"))


class LoanForm(PostForm):
    """Who has a device, for what and for how long."""

    mac = select(lazy_gettext("Device"), lazy_gettext("Choose a device."))
    person = select(lazy_gettext("Who has it"), lazy_gettext("Choose who has it."))
    lesson = text(
        lazy_gettext("Lesson"),
        "",
        60,
        lazy_gettext("What it is lent for, such as “Year 5 maths”."),
        width=20,
    )
    minutes = select(lazy_gettext("For how long"))
