"""The forms for rooms, networks and VLANs."""

from __future__ import annotations

from ipaddress import ip_network

from wtforms import Field
from wtforms.validators import ValidationError

from gate_webui.fields import select, text
from gate_webui.forms import ChangeForm, reason_field


class RoomForm(ChangeForm):
    """A room whose internet can be paused by itself."""

    title = text("Name of the room", "Enter a name for the room.", 60, "Such as “ICT suite”.", 20)
    reason = reason_field("Why")


class NetworkForm(ChangeForm):
    """A network, and where its devices belong that the school has not named one by one."""

    key = text("Network", "Enter a network.", 50, "Such as 10.20.4.0/24.", 20)
    group = select("Group of its devices", "Choose a group.")
    room = select("Room")
    reason = reason_field("Why")

    def validate_key(self, field: Field) -> None:
        """Write a network in its one form."""
        try:
            field.data = str(ip_network(field.data))
        except ValueError as e:
            raise ValidationError(f"{str(e)[:1].upper()}{str(e)[1:]}.") from None


class VlanForm(ChangeForm):
    """A VLAN, and where its devices belong that the school has not named one by one."""

    key = text("VLAN number", "Enter the number of the VLAN.", 4, "From 1 to 4094.", 5)
    group = select("Group of its devices", "Choose a group.")
    room = select("Room")
    reason = reason_field("Why")
