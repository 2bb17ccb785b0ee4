"""People whom rules may name, who of them is nominated for what, and who has which device for a while."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gate_core.roles import Act
from gate_core.written import PersonText, Plain
from gate_webui import access, entries
from gate_webui.forms import PressForm, offer
from gate_webui.lengths import minutes_of, offer_lengths
from gate_webui.people_forms import LoanForm, NomineesForm, PersonForm
from gate_webui.proposing import (
    as_json,
    document,
    edit_of,
    entry,
    form_page,
    fully,
    need,
    own_rooms,
    press,
    propose,
    value_at,
)
from gate_webui.texts import gettext, lazy_gettext

bp = Blueprint("people", __name__, url_prefix="/people")

_KIND_WORDS = {
    "pupil": lazy_gettext("Pupil"),
    "staff": lazy_gettext("Staff"),
    "visitor": lazy_gettext("Visitor"),
}


def _read(form: PersonForm) -> Any:
    return entry(PersonText(form.name.data, form.kind.data))


_PERSON = entries.Kind(
    lazy_gettext("Add a person"),
    PersonForm,
    fill=dict,
    read=_read,
    title=lambda id_, now: f"{now['name']} ({id_})",
)


@bp.get("")
@access.needs(Act.LEND)
def index() -> ResponseReturnValue:
    """List the people; a teacher needs the loans alone."""
    if not fully(Act.PROPOSE):
        return redirect(url_for("people.loans"))
    written = access.kept().services.desk.written()
    devices: dict[str, list[str]] = {}
    for device in written.devices.values():
        devices.setdefault(device.person, []).append(device.name)
    rows: dict[str, list[str]] = {}
    for row, who in written.nominees.items():
        for each in who:
            rows.setdefault(each.removeprefix("person:"), []).append(written.rows[row].title)
    return render_template(
        "people.html",
        people=sorted(written.people.items(), key=lambda item: item[1].name.lower()),
        devices=devices,
        rows=rows,
        kind_words=_KIND_WORDS,
    )


@bp.route("/add", methods=["GET", "POST"])
def add() -> ResponseReturnValue:
    """Register somebody."""
    need(Act.PROPOSE)
    return entries.add(_PERSON, ("people",), url_for("people.index"), gettext("People"))


@bp.route("/<id_>/change", methods=["GET", "POST"])
def change(id_: str) -> ResponseReturnValue:
    """Change what is registered of somebody."""
    need(Act.PROPOSE)
    return entries.change(_PERSON, ("people",), id_, url_for("people.index"), gettext("People"))


@bp.route("/<id_>/remove", methods=["GET", "POST"])
def remove(id_: str) -> ResponseReturnValue:
    """Take somebody out of the register, and out of what refers to them."""
    need(Act.PROPOSE)
    lead = (
        gettext("Devices of this person stay in their groups, as nobody's. Nominations go too."),
        gettext("What was written down until now stays in the record."),
    )
    back = url_for("people.index")
    return entries.remove(_PERSON, ("people",), id_, back, lead=lead, tidy=_tidy)


def _tidy(new: Plain, id_: str) -> None:
    for device in new["devices"].values():
        if device["person"] == id_:
            device["person"] = ""
    for row, who in new["nominees"].items():
        new["nominees"][row] = [each for each in who if each != f"person:{id_}"]


@bp.get("/nominees")
def nominees() -> ResponseReturnValue:
    """List the rows of the table, with those nominated for each."""
    need(Act.PROPOSE)
    desk = access.kept().services.desk
    written = desk.written()
    open_to = {
        row.id: [g.title for g in desk.groups() if g.cells.get(row.id) == "nominated"]
        for row in desk.rows()
    }
    return render_template(
        "nominees.html",
        # First those for which a nomination does something.
        rows=sorted(desk.rows(), key=lambda row: (not open_to[row.id], row.number)),
        open_to=open_to,
        names={row: [_who(written, w) for w in who] for row, who in written.nominees.items()},
    )


@bp.route("/nominees/<row>", methods=["GET", "POST"])
def nominate(row: str) -> ResponseReturnValue:
    """Say who is nominated for one row."""
    need(Act.PROPOSE)
    written = access.kept().services.desk.written()
    its = written.rows.get(row)
    if its is None:
        abort(404)
    now = value_at(document(), ("nominees", row))
    form = NomineesForm(keep=now or [], was=as_json(now))
    offer(form.keep, [(who, _who(written, who)) for who in now or ()])
    people = sorted((p.name, i) for i, p in written.people.items())
    devices = sorted((d.name, mac) for mac, d in written.devices.items())
    offer(
        form.person, [("", gettext("Nobody")), *((f"person:{i}", f"{n} ({i})") for n, i in people)]
    )
    offer(form.device, [("", gettext("None")), *((f"device:{mac}", n) for n, mac in devices)])
    if not now:
        del form.keep

    def carry() -> None:
        kept = list(form.keep.data) if "keep" in form else []
        more = [who for who in (form.person.data, form.device.data) if who and who not in kept]
        after = [*kept, *more]
        edit = edit_of(form, ("nominees", row), after or (None if now else now))
        propose(form, form.reason.data, edit)

    return form_page(
        form,
        carry,
        caption=gettext("Nominated users"),
        heading=f"{its.number}. {its.title}",
        lead=(
            gettext(
                "Where a group's column says “for nominated users”, these may, and nobody else."
            ),
        ),
        back=url_for("people.nominees"),
    )


def _who(written: Any, who: str) -> str:
    kind, _, rest = who.partition(":")
    if kind == "person":
        return f"{written.people[rest].name} ({rest})" if rest in written.people else rest
    return written.devices[rest].name if rest in written.devices else rest


@bp.get("/loans")
@access.needs(Act.LEND)
def loans() -> ResponseReturnValue:
    """List what is lent, and what was."""
    found = access.kept().services.desk.acts().loans
    if not fully(Act.LEND):
        own = set(_lendable())
        found = tuple(n for n in found if n.mac in own or n.by == access.person().username)
    return render_template(
        "loans.html",
        names=access.full_names(loan.by for loan in found),
        registers=fully(Act.PROPOSE),
        out=[loan for loan in found if not loan.returned],
        back=[loan for loan in found if loan.returned],
        press=PressForm(),
    )


@bp.route("/loans/lend", methods=["GET", "POST"])
@access.needs(Act.LEND)
def lend() -> ResponseReturnValue:
    """Write down who has a device for a while."""
    desk = access.kept().services.desk
    written = desk.written()
    form = LoanForm(mac=request.args.get("device", ""))
    devices = sorted((name, mac) for mac, name in _lendable().items())
    people = sorted((p.name, i) for i, p in written.people.items())
    offer(form.mac, [("", gettext("Choose a device")), *((mac, name) for name, mac in devices)])
    offer(form.person, [("", gettext("Choose who")), *((i, f"{name} ({i})") for name, i in people)])
    offer_lengths(form.minutes, 30, 60, 120, 240, 480, 1440, first=60)

    def carry() -> None:
        desk.lend(
            mac=form.mac.data,
            person=form.person.data,
            lesson=form.lesson.data,
            minutes=minutes_of(form.minutes),
            actor=access.person().username,
        )
        names = written.devices[form.mac.data].name, written.people[form.person.data].name
        flash(
            gettext("“%(device)s” is lent to %(person)s.", device=names[0], person=names[1]),
            "success",
        )

    return form_page(
        form,
        carry,
        heading=gettext("Lend a device"),
        lead=(
            gettext(
                "So that the record can say who used it. The device stays in its group;"
                " what is nominated or excepted for the person goes with them."
            ),
        ),
        send=gettext("Lend"),
        back=url_for("people.loans"),
    )


def _lendable() -> dict[str, str]:
    """Return the devices that whoever is signed in may lend, by MAC address: a teacher those of their own classes."""
    devices = access.kept().services.desk.written().devices
    own = None if fully(Act.LEND) else own_rooms()
    return {m: d.name for m, d in devices.items() if own is None or {d.group, d.room} & own}


@bp.post("/loans/<id_>/back")
@access.needs(Act.LEND)
def take_back(id_: str) -> ResponseReturnValue:
    """Note that a device is back."""
    desk = access.kept().services.desk
    press(
        lambda: desk.take_back(id=id_, actor=access.person().username),
        gettext("The device is back."),
    )
    return redirect(url_for("people.loans"))
