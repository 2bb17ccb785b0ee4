"""Devices: who they are and which group they are in; those nobody has placed yet come first."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from gate_core.desk import DeviceView, RefusedError
from gate_webui import access
from gate_webui.forms import DeviceForm, PressForm, carry_out, offer

bp = Blueprint("devices", __name__, url_prefix="/devices")


@bp.get("")
def index() -> ResponseReturnValue:
    """List the devices."""
    desk = access.kept().services.desk
    devices = desk.devices()
    return render_template(
        "devices.html",
        unknown=[device for device in devices if not device.known],
        known=sorted((d for d in devices if d.known), key=lambda d: (d.group, d.name.lower())),
        titles={group.id: group.title for group in desk.groups()},
    )


@bp.route("/<mac>", methods=["GET", "POST"])
def device(mac: str) -> ResponseReturnValue:
    """Show one device; name it and put it into a group."""
    desk = access.kept().services.desk
    its = _find(mac)
    groups = desk.groups()
    form = DeviceForm(name=its.name, group=its.group if its.known else "")
    offer(form.group, [("", "Choose a group"), *((g.id, g.title) for g in groups)])

    def change() -> None:
        desk.set_device(
            mac=its.mac,
            name=form.name.data,
            group=form.group.data,
            actor=access.person().username,
        )

    if carry_out(form, change):
        title = next(g.title for g in groups if g.id == form.group.data)
        flash(f"“{form.name.data}” is in {title}.")
        return redirect(url_for("devices.index"))
    titles = {group.id: group.title for group in groups}
    page = render_template("device.html", device=its, titles=titles, form=form, press=PressForm())
    return page, 422 if form.errors else 200


@bp.post("/<mac>/forget")
def forget(mac: str) -> ResponseReturnValue:
    """Take a device out of its group."""
    its = _find(mac)
    try:
        access.kept().services.desk.forget_device(mac=its.mac, actor=access.person().username)
    except RefusedError as refusal:
        flash(str(refusal).capitalize() + ".")
    else:
        flash(f"“{its.name or its.mac}” is in no group any more. It gets what unknown devices get.")
    return redirect(url_for("devices.index"))


def _find(mac: str) -> DeviceView:
    its = next((d for d in access.kept().services.desk.devices() if d.mac == mac), None)
    if its is None:
        abort(404)
    return its
