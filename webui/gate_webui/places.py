"""Rooms, networks and VLANs: where devices belong that the school has not named one by one."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from flask import Blueprint, abort, render_template, url_for
from flask.typing import ResponseReturnValue

from gate_core.roles import Act
from gate_core.written import PlaceText, Plain, RoomText
from gate_webui import access, entries
from gate_webui.forms import offer
from gate_webui.places_forms import NetworkForm, RoomForm, VlanForm
from gate_webui.proposing import entry, fully, need
from gate_webui.texts import gettext, lazy_gettext

bp = Blueprint("places", __name__, url_prefix="/network-places")


def _offer(form: Any) -> None:
    written = access.kept().services.desk.written()
    offer(
        form.group,
        [("", gettext("Choose a group")), *((i, g.title) for i, g in written.groups.items())],
    )
    offer(form.room, [("", gettext("No room")), *((i, r.title) for i, r in written.rooms.items())])


def _read_place(form: Any) -> Any:
    return entry(PlaceText(form.group.data, form.room.data))


_KINDS = {
    "rooms": entries.Kind(
        lazy_gettext("Add a room"),
        RoomForm,
        fill=lambda now: now,
        read=lambda form: entry(RoomText(form.title.data)),
        title=lambda _, now: now["title"],
        hint=(lazy_gettext("A device is in a room by itself, or by its network or VLAN."),),
    ),
    "networks": entries.Kind(
        lazy_gettext("Add a network"),
        NetworkForm,
        fill=lambda now: now,
        read=_read_place,
        title=lambda id_, _: gettext("Network %(id)s", id=id_),
        prepare=_offer,
        hint=(
            lazy_gettext(
                "It counts for devices that are not in the register. The narrowest network decides."
            ),
        ),
    ),
    "vlans": entries.Kind(
        lazy_gettext("Add a VLAN"),
        VlanForm,
        fill=lambda now: now,
        read=_read_place,
        title=lambda id_, _: f"VLAN {id_}",
        prepare=_offer,
        hint=(
            lazy_gettext(
                "It counts for devices that are not in the register, before any network."
                " The box has to see the VLAN's number on the line."
            ),
        ),
    ),
}


@bp.get("")
@access.needs(Act.LEND)
def index() -> ResponseReturnValue:
    """List them."""
    written = access.kept().services.desk.written()
    devices: dict[str, int] = {}
    for device in written.devices.values():
        devices[device.room] = devices.get(device.room, 0) + 1
    return render_template(
        "places.html",
        written=written,
        devices=devices,
        networks=sorted(written.networks.items(), key=lambda item: _in_order(item[0])),
        vlans=sorted(written.vlans.items(), key=lambda item: int(item[0])),
        may_change=fully(Act.PROPOSE),
    )


def _in_order(network: str) -> tuple[int, int, int]:
    its = ip_network(network)
    return its.version, int(its.network_address), its.prefixlen


@bp.route("/<kind>/add", methods=["GET", "POST"])
def add(kind: str) -> ResponseReturnValue:
    """Add one."""
    return _on_entry(kind, entries.add)


@bp.route("/<kind>/<path:id_>/change", methods=["GET", "POST"])
def change(kind: str, id_: str) -> ResponseReturnValue:
    """Change one."""
    return _on_entry(
        kind, lambda its, path, back, caption: entries.change(its, path, id_, back, caption)
    )


@bp.route("/<kind>/<path:id_>/remove", methods=["GET", "POST"])
def remove(kind: str, id_: str) -> ResponseReturnValue:
    """Remove one; what is in a room that goes is in none."""
    lead = (gettext("Devices, networks and VLANs that are in this room are in none then."),)

    def do(its: entries.Kind, path: tuple[str, ...], back: str, _: str) -> ResponseReturnValue:
        if kind == "rooms":
            return entries.remove(its, path, id_, back, lead=lead, tidy=_tidy)
        return entries.remove(its, path, id_, back)

    return _on_entry(kind, do)


def _tidy(new: Plain, room: str) -> None:
    for table in ("devices", "networks", "vlans"):
        for its in new[table].values():
            if its["room"] == room:
                its["room"] = ""


def _on_entry(
    kind: str, do: Callable[[entries.Kind, tuple[str, ...], str, str], ResponseReturnValue]
) -> ResponseReturnValue:
    need(Act.PROPOSE)
    if kind not in _KINDS:
        abort(404)
    return do(_KINDS[kind], (kind,), url_for("places.index"), gettext("Rooms and networks"))
