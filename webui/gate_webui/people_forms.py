"""The forms for devices, people, nominees and loans."""

from __future__ import annotations

from wtforms import Field

from gate_webui.fields import day, radios, select, text, ticks
from gate_webui.forms import ChangeForm, PostForm, reason_field


class DeviceForm(ChangeForm):
    """What the school knows of a device."""

    name = text(
        "Name",
        "Enter a name for the device.",
        60,
        "What is written on it, or where it stands, such as “Laptop 7” or “Year 4 tablet 12”.",
        width=20,
    )
    group = select("Group", "Choose a group.")
    room = select("Room", description="Where it stays. Leave it empty for what moves about.")
    person = select(
        "Whose", description="Whoever always uses it. For one lesson, lend the device instead."
    )
    until = day(
        "Last day in this group",
        "",
        "For a visitor's device. Afterwards it is unknown again. Leave it empty for the school's own.",
    )
    reason = reason_field("Why")


class WhyForm(PostForm):
    """Why something is done to a device or person."""

    why = reason_field("Why")


class PersonForm(ChangeForm):
    """Somebody whom rules and loans may name."""

    key = text(
        "Code",
        "Enter a code.",
        40,
        "For a pupil the code of your management system (MIS), not the name. Small letters, digits, - and _.",
        width=10,
    )
    name = text(
        "Name",
        "Enter a name, or initials.",
        80,
        "What staff know the person by. For pupils, initials and class will do.",
        width=20,
    )
    kind = radios(
        "This is a",
        "Choose one.",
        (("pupil", "Pupil"), ("staff", "Member of staff"), ("visitor", "Visitor")),
    )
    reason = reason_field("Why")

    def validate_key(self, field: Field) -> None:
        """Take capital letters as small ones."""
        field.data = field.data.lower()


class NomineesForm(ChangeForm):
    """Who is nominated for a row of the table."""

    keep = ticks("Nominated at present", "Take the tick away from whoever is so no longer.")
    person = select("Add a person")
    device = select("Add a device")
    reason = reason_field("Why")


class LoanForm(PostForm):
    """Who has a device, for what and for how long."""

    mac = select("Device", "Choose a device.")
    person = select("Who has it", "Choose who has it.")
    lesson = text("Lesson", "", 60, "What it is lent for, such as “Year 5 maths”.", width=20)
    minutes = select("For how long")
