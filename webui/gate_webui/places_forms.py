"""The forms for rooms, networks and VLANs."""

from __future__ import annotations

from ipaddress import ip_network

from wtforms import Field
from wtforms.validators import ValidationError

from gate_webui.fields import select, text
from gate_webui.forms import ChangeForm, reason_field
from gate_webui.texts import lazy_gettext


class RoomForm(ChangeForm):
    """A room whose internet can be paused by itself."""

    title = text(
        lazy_gettext("Name of the room"),
        lazy_gettext("Enter a name for the room."),
        60,
        lazy_gettext("Such as “ICT suite”."),
        20,
    )
    reason = reason_field(lazy_gettext("Why"))


class NetworkForm(ChangeForm):
    """A network, and where its devices belong that the school has not named one by one."""

    key = text(
        lazy_gettext("Network"),
        lazy_gettext("Enter a network."),
        50,
        lazy_gettext("Such as 10.20.4.0/24."),
        20,
    )
    group = select(lazy_gettext("Group of its devices"), lazy_gettext("Choose a group."))
    room = select(lazy_gettext("Room"))
    reason = reason_field(lazy_gettext("Why"))

    def validate_key(self, field: Field) -> None:
        """Write a network in its one form."""
        try:
            field.data = str(ip_network(field.data))
        except ValueError as e:
            raise ValidationError(f"{str(e)[:1].upper()}{str(e)[1:]}.") from None


class VlanForm(ChangeForm):
    """A VLAN, and where its devices belong that the school has not named one by one."""

    key = text(
        lazy_gettext("VLAN number"),
        lazy_gettext("Enter the number of the VLAN."),
        4,
        lazy_gettext("From 1 to 4094."),
        5,
    )
    group = select(lazy_gettext("Group of its devices"), lazy_gettext("Choose a group."))
    room = select(lazy_gettext("Room"))
    reason = reason_field(lazy_gettext("Why"))
