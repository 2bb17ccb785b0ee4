"""Devices: whose they are, where they stay and which group they are in; those nobody has placed yet come first."""

from __future__ import annotations

from typing import Any, Final

from flask import Blueprint, abort, flash, render_template, url_for
from flask.typing import ResponseReturnValue

from gate_core.desk import DeviceView
from gate_core.roles import Act
from gate_core.written import DeviceText, WrittenPolicy
from gate_webui import access, entries
from gate_webui.fields import end_of, last_day
from gate_webui.forms import offer
from gate_webui.people_forms import DeviceForm, WhyForm
from gate_webui.proposing import (
    as_json,
    document,
    edit_of,
    entry,
    form_page,
    fully,
    name_of,
    need,
    own_rooms,
    propose,
    value_at,
)
from gate_webui.texts import gettext, lazy_gettext

bp = Blueprint("devices", __name__, url_prefix="/devices")

_BESIDE: Final = lazy_gettext(
    "Isolation can't part it from devices on the same switch or Wi-Fi: they talk to each other without passing the box."
    " Where that matters, pull its cable, or have its port or Wi-Fi switched off."
)


@bp.get("")
@access.needs(Act.LEND)
def index() -> ResponseReturnValue:
    """List the devices."""
    desk = access.kept().services.desk
    devices = _visible()
    written = desk.written()
    return render_template(
        "devices.html",
        unknown=[device for device in devices if not device.known],
        known=sorted((d for d in devices if d.known), key=lambda d: (d.group, d.name.lower())),
        titles={group.id: group.title for group in desk.groups()},
        written=written.devices,
        rooms=written.rooms,
        people=written.people,
        isolated={isolation.mac for isolation in desk.acts().isolations},
        may_change=fully(Act.PROPOSE),
    )


@bp.route("/<mac>", methods=["GET", "POST"])
@access.needs(Act.LEND)
def device(mac: str) -> ResponseReturnValue:
    """Show one device; name it and put it into a group."""
    desk = access.kept().services.desk
    its = _find(mac)
    now = value_at(document(), ("devices", mac))
    form = DeviceForm(data=_fill(now) | {"was": as_json(now)})
    if now is None and not form.is_submitted():
        form.reason.data = gettext("New device, put into its group.")
    _offer(form, desk.written())

    def change() -> None:
        need(Act.PROPOSE)
        # A time of day that somebody wrote stays, unless another day is chosen.
        until = end_of(form.until.data)
        if now and last_day(now["until"]) == form.until.data:
            until = now["until"]
        after = DeviceText(form.name.data, form.group.data, form.room.data, form.person.data, until)
        propose(form, form.reason.data, edit_of(form, ("devices", its.mac), entry(after)))

    acts = desk.acts()
    isolation = next((i for i in acts.isolations if i.mac == mac), None)
    context: dict[str, Any] = {
        "beside_the_box": _BESIDE,
        "device": its,
        "title": next((g.title for g in desk.groups() if g.id == its.group), its.group),
        "isolation": isolation,
        "isolated_by": name_of(isolation.by) if isolation else "",
        "suspension": next(
            (s for s in acts.suspensions if (s.kind, s.subject) == ("device", mac)), None
        ),
        "loan": next((n for n in acts.loans if n.mac == mac and not n.returned), None),
        "may_change": fully(Act.PROPOSE),
    }
    return form_page(
        form,
        change,
        heading=its.name or gettext("A device without a name"),
        back=url_for("devices.index"),
        template="device.html",
        **context,
    )


@bp.route("/<mac>/forget", methods=["GET", "POST"])
def forget(mac: str) -> ResponseReturnValue:
    """Take a device out of its group."""
    need(Act.PROPOSE)
    kind = entries.Kind("device", DeviceForm, _fill, entry, lambda _, now: f"“{now['name']}”")
    lead = (
        gettext(
            "Afterwards it is unknown again, and gets the strictest rules. Its name is forgotten."
        ),
        gettext("It is taken from the nominated devices too."),
    )
    return entries.remove(kind, ("devices",), mac, url_for("devices.index"), lead=lead, tidy=_tidy)


@bp.route("/<mac>/isolate", methods=["GET", "POST"])
@access.needs(Act.ISOLATE)
def isolate(mac: str) -> ResponseReturnValue:
    """Cut a device off at once."""
    its = _find(mac)
    form = WhyForm()

    def change() -> None:
        access.kept().services.desk.isolate(
            mac=its.mac, why=form.why.data, actor=access.person().username
        )
        flash(
            gettext("Cut off until somebody lets it back: %(called)s.", called=_called(its)),
            "success",
        )

    lead = (
        gettext(
            "The box stops all that this device sends and gets, at once and until somebody lets it back."
        ),
        gettext(
            "Nothing is sent to the device and nothing on it is touched. Do not switch it off: it may be evidence."
        ),
        _BESIDE,
    )
    return form_page(
        form,
        change,
        heading=gettext("Isolate %(called)s", called=_called(its)),
        lead=lead,
        send=gettext("Isolate now"),
        warning=True,
        back=url_for("devices.device", mac=mac),
    )


@bp.route("/<mac>/let-back", methods=["GET", "POST"])
@access.needs(Act.ISOLATE)
def let_back(mac: str) -> ResponseReturnValue:
    """End the isolation of a device."""
    desk = access.kept().services.desk
    its = next((i for i in desk.acts().isolations if i.mac == mac), None)
    if its is None:
        abort(404)
    form = WhyForm()

    def change() -> None:
        desk.end_isolation(mac=mac, why=form.why.data, actor=access.person().username)
        flash(
            gettext(
                "“%(device)s” is let back. It gets what its group gets.", device=its.name or mac
            ),
            "success",
        )

    return form_page(
        form,
        change,
        heading=gettext("Let “%(device)s” back", device=its.name or mac),
        lead=(gettext("Isolated by %(name)s: %(why)s", name=name_of(its.by), why=its.why),),
        send=gettext("Let it back"),
        back=url_for("holds.index"),
    )


def _visible() -> list[DeviceView]:
    """Return the devices: a teacher sees those of their own classes and rooms."""
    desk = access.kept().services.desk
    if fully(Act.LEND):
        return list(desk.devices())
    own, written = own_rooms(), desk.written().devices
    return [d for d in desk.devices() if d.known and {d.group, written[d.mac].room} & own]


def _find(mac: str) -> DeviceView:
    its = next((d for d in _visible() if d.mac == mac), None)
    if its is None:
        abort(404)
    return its


def _called(its: DeviceView) -> str:
    return f"“{its.name}”" if its.name else gettext("the device %(mac)s", mac=its.mac)


def _fill(now: dict[str, Any] | None) -> dict[str, Any]:
    return {**now, "until": last_day(now["until"])} if now else {}


def _offer(form: DeviceForm, written: WrittenPolicy) -> None:
    offer(
        form.group,
        [("", gettext("Choose a group")), *((i, g.title) for i, g in written.groups.items())],
    )
    offer(form.room, [("", gettext("No room")), *((i, r.title) for i, r in written.rooms.items())])
    people = sorted((p.name, i) for i, p in written.people.items())
    offer(
        form.person,
        [("", gettext("Nobody in particular")), *((i, f"{n} ({i})") for n, i in people)],
    )


def _tidy(new: dict[str, Any], mac: str) -> None:
    who = f"device:{mac}"
    new["nominees"] = {row: [w for w in its if w != who] for row, its in new["nominees"].items()}
