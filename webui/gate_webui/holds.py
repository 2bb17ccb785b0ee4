"""What holds somebody back for a while: pauses of the internet, isolated devices, suspensions; each can be ended here."""

from __future__ import annotations

from datetime import date
from typing import Literal, cast

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gate_core.roles import Act
from gate_webui import access
from gate_webui.fields import end_of
from gate_webui.forms import PressForm, offer
from gate_webui.holds_forms import ScopedPauseForm, SuspendForm
from gate_webui.lengths import minutes_of, offer_lengths
from gate_webui.people_forms import WhyForm
from gate_webui.proposing import form_page, fully, name_of, own_rooms, press
from gate_webui.texts import gettext
from gate_webui.words import last_moment

bp = Blueprint("holds", __name__, url_prefix="/holds")

_PAUSE_MINUTES = (10, 20, 30, 60, 120, 240, 480)


@bp.app_template_filter()
def long_day(iso: str) -> str:
    """Return a date as people write it, such as ``Monday 3 May 2027``."""
    day = date.fromisoformat(iso)
    return f"{day:%A} {day.day} {day:%B %Y}"


@bp.get("")
@access.needs(Act.PAUSE)
def index() -> ResponseReturnValue:
    """List what is in force."""
    desk = access.kept().services.desk
    acts = desk.acts()
    written = desk.written()
    return render_template(
        "holds.html",
        pauses=acts.pauses,
        isolations=acts.isolations if access.may(Act.ISOLATE) else None,
        suspensions=acts.suspensions if access.may(Act.SUSPEND) else None,
        titles={i: g.title for i, g in written.groups.items()}
        | {i: r.title for i, r in written.rooms.items()},
        names=access.full_names(
            [p.by for p in acts.pauses]
            + [i.by for i in acts.isolations]
            + [s.by for s in acts.suspensions]
        ),
        press=PressForm(),
    )


@bp.route("/pause", methods=["GET", "POST"])
@access.needs(Act.PAUSE)
def pause() -> ResponseReturnValue:
    """Pause groups and rooms."""
    desk = access.kept().services.desk
    written = desk.written()
    form = ScopedPauseForm()
    own = set(written.groups) | set(written.rooms)
    if not fully(Act.PAUSE):
        own = set(own_rooms())
        form.rooms.description = ""
    offer(form.groups, [(i, g.title) for i, g in written.groups.items() if g.pausable and i in own])
    offer(form.rooms, [(i, r.title) for i, r in written.rooms.items() if i in own])
    for name in ("groups", "rooms"):
        if not form[name].choices:
            del form[name]
    offer_lengths(form.minutes, *_PAUSE_MINUTES, first=30)

    def carry() -> None:
        desk.start_pause(
            groups=tuple(form.groups.data or ()) if "groups" in form else (),
            rooms=tuple(form.rooms.data or ()) if "rooms" in form else (),
            minutes=minutes_of(form.minutes),
            why=form.why.data,
            actor=access.person().username,
        )
        flash(gettext("The internet pause is on."), "success")

    return form_page(
        form,
        carry,
        heading=gettext("Pause the internet"),
        lead=(
            gettext(
                "It stops at once and comes back by itself. What the school calls essential stays."
            ),
        ),
        send=gettext("Pause now"),
        back=url_for("holds.index"),
    )


@bp.post("/pauses/<id_>/end")
@access.needs(Act.PAUSE)
def end_pause(id_: str) -> ResponseReturnValue:
    """End one pause."""
    desk = access.kept().services.desk
    press(
        lambda: desk.end_pause(id=id_, actor=access.person().username),
        gettext("The pause has ended."),
    )
    return redirect(access.page_path(request.form.get("back")) or url_for("holds.index"))


@bp.route("/suspend", methods=["GET", "POST"])
@access.needs(Act.SUSPEND)
def suspend() -> ResponseReturnValue:
    """Suspend a person's or a device's internet."""
    desk = access.kept().services.desk
    written = desk.written()
    form = SuspendForm(subject=request.args.get("subject", ""))
    people = sorted((p.name, i) for i, p in written.people.items())
    devices = sorted((d.name, mac) for mac, d in written.devices.items())
    offer(
        form.subject,
        [
            ("", gettext("Choose")),
            *((f"person:{i}", f"{name} ({i})") for name, i in people),
            *((f"device:{mac}", gettext("Device: %(name)s", name=name)) for name, mac in devices),
        ],
    )

    def carry() -> None:
        kind, _, subject = form.subject.data.partition(":")
        desk.suspend(
            kind=cast('Literal["person", "device"]', kind),
            subject=subject,
            until=end_of(form.until.data),
            review=form.review.data.isoformat() if form.review.data else "",
            why=form.why.data,
            essentials_stay=form.essentials_stay.data,
            actor=access.person().username,
        )
        name = {c.value: c.label for c in form.subject.choices}[form.subject.data]
        flash(gettext("The internet of %(name)s is suspended.", name=name), "success")

    return form_page(
        form,
        carry,
        heading=gettext("Suspend somebody's internet"),
        lead=(
            gettext(
                "For a person, all devices that are theirs or lent to them. It ends by itself after the last day."
            ),
        ),
        send=gettext("Suspend"),
        warning=True,
        back=url_for("holds.index"),
    )


@bp.route("/suspensions/<id_>/end", methods=["GET", "POST"])
@access.needs(Act.SUSPEND)
def end_suspension(id_: str) -> ResponseReturnValue:
    """End a suspension early."""
    desk = access.kept().services.desk
    its = next((s for s in desk.acts().suspensions if s.id == id_), None)
    if its is None:
        abort(404)
    form = WhyForm()
    until = last_moment(its.until, access.kept().services.clock.now())

    def carry() -> None:
        desk.end_suspension(id=id_, why=form.why.data, actor=access.person().username)
        flash(
            gettext("The suspension of %(name)s has ended.", name=its.name or its.subject),
            "success",
        )

    return form_page(
        form,
        carry,
        heading=gettext("End the suspension of %(name)s", name=its.name or its.subject),
        lead=(
            gettext(
                "It would last until %(until)s. Begun by %(name)s: %(why)s",
                until=until,
                name=name_of(its.by),
                why=its.why,
            ),
        ),
        send=gettext("End it now"),
        back=url_for("holds.index"),
    )
