"""My class: what a teacher does for a lesson from a phone. What a teacher may not do alone, they ask for here."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Literal, cast

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gate_core.desk import RefusedError
from gate_core.edits import Edit
from gate_core.roles import Act
from gate_core.services import SERVICES
from gate_core.written import ExceptionText, WrittenPolicy
from gate_webui import access
from gate_webui.fields import end_of
from gate_webui.forms import PressForm, carry_out, offer
from gate_webui.holds_forms import AskForm, LessonForm, MinutesForm
from gate_webui.lengths import minutes_of, offer_lengths
from gate_webui.proposing import entry, form_page, fully, own_rooms, press, propose
from gate_webui.texts import gettext

bp = Blueprint("lessons", __name__, url_prefix="/my-class")

_REQUESTS = 10
"""Requests on the page; all are on the page Changes."""

_LESSON_MINUTES = (10, 20, 30, 45, 60, 90, 120, 240)


@dataclass(frozen=True, slots=True)
class Class:
    """A group or room that somebody takes lessons in."""

    kind: Literal["group", "room"]
    id: str
    title: str

    @property
    def key(self) -> str:
        """What stands for it in addresses."""
        return f"{self.kind}:{self.id}"


@bp.route("", methods=["GET", "POST"])
@access.needs(Act.LESSON)
def index() -> ResponseReturnValue:
    """Show one class and what can be done for it; pause it."""
    desk = access.kept().services.desk
    written = desk.written()
    classes = _classes(written)
    actor = access.person().username
    if not classes:
        return render_template("no_class.html")
    its = _chosen(classes)
    form = MinutesForm()
    offer_lengths(form.minutes, *_LESSON_MINUTES, first=30)

    def pause() -> None:
        desk.start_pause(
            groups=(its.id,) if its.kind == "group" else (),
            rooms=(its.id,) if its.kind == "room" else (),
            minutes=minutes_of(form.minutes),
            actor=actor,
        )

    if carry_out(form, pause):
        flash(gettext("The internet of %(title)s is paused.", title=its.title), "success")
        return redirect(url_for("lessons.index", of=its.key))
    acts = desk.acts()
    page = render_template(
        "my_class.html",
        form=form,
        classes=classes,
        its=its,
        pauses=[p for p in acts.pauses if its.id in (p.groups if its.kind == "group" else p.rooms)],
        lessons=[n for n in acts.lessons if its.id == (n.group if its.kind == "group" else n.room)],
        services={service.id: service.title for service in SERVICES},
        requests=[
            p
            for p in desk.proposals(actor=actor)
            if p.username == actor and any(e.path[0] == "exceptions" for e in p.edits)
        ][:_REQUESTS],
        alone=None if fully(Act.LESSON) else _minutes_alone(written, its),
        names=access.full_names([p.by for p in acts.pauses] + [n.by for n in acts.lessons]),
        press=PressForm(formdata=None),
    )
    return page, 422 if form.errors else 200


@bp.route("/lesson/<mode>", methods=["GET", "POST"])
@access.needs(Act.LESSON)
def lesson(mode: str) -> ResponseReturnValue:
    """Begin a lesson with a list of its own."""
    if mode not in {"only", "also"}:
        abort(404)
    desk = access.kept().services.desk
    written = desk.written()
    classes = _classes(written)
    if not classes:
        return redirect(url_for("lessons.index"))
    its = _chosen(classes)
    form = LessonForm()
    offer(form.services, [(s.id, s.title) for s in SERVICES])
    offer_lengths(form.minutes, *_LESSON_MINUTES, first=60)

    def start() -> None:
        desk.start_lesson(
            group=its.id if its.kind == "group" else "",
            room=its.id if its.kind == "room" else "",
            mode=cast('Literal["only", "also"]', mode),
            names=form.rules,
            services=tuple(form.services.data or ()),
            minutes=minutes_of(form.minutes),
            actor=access.person().username,
        )
        flash(gettext("The lesson of %(title)s has begun.", title=its.title), "success")

    lead = {
        "only": (gettext("Everything else is closed until the lesson ends. It ends by itself."),),
        "also": (
            gettext("They are open besides what is open anyway. It ends by itself."),
            gettext("What the school calls unacceptable stays closed: ask for that instead."),
        ),
    }[mode]
    return form_page(
        form,
        start,
        caption=its.title,
        heading=gettext("Only these sites") if mode == "only" else gettext("Also these sites"),
        lead=lead,
        send=gettext("Begin"),
        back=url_for("lessons.index", of=its.key),
    )


@bp.post("/lesson/<id_>/end")
@access.needs(Act.LESSON)
def end_lesson(id_: str) -> ResponseReturnValue:
    """End a lesson before its time."""
    desk = access.kept().services.desk
    press(
        lambda: desk.end_lesson(id=id_, actor=access.person().username),
        gettext("The lesson has ended."),
    )
    return redirect(access.page_path(request.form.get("back")) or url_for("lessons.index"))


@bp.route("/ask", methods=["GET", "POST"])
@access.needs(Act.LESSON)
def ask() -> ResponseReturnValue:
    """Ask that sites are opened for a class for some days."""
    services = access.kept().services
    written = services.desk.written()
    classes = _classes(written)
    own = {c.id for c in classes if c.kind == "group"}
    # Who teaches in rooms alone may ask for any group of pupils: an exception is for a group, never for a room.
    groups = [
        (i, g.title) for i, g in written.groups.items() if i in own or (not own and g.pausable)
    ]
    form = AskForm()
    offer(form.services, [(s.id, s.title) for s in SERVICES])
    offer(form.subject, [("", gettext("Choose")), *groups])
    now = services.clock.now()
    if form.until.data is None and not form.is_submitted() and now:
        form.until.data = now.date()
    its = _chosen(classes) if classes else None
    if its and its.kind == "group" and not form.is_submitted():
        form.subject.data = its.id

    def carry() -> None:
        if now is None:
            raise RefusedError(gettext("the box does not know the time yet; try again in a minute"))
        after = ExceptionText(
            action="allow",
            scope="group",
            since=now.replace(second=0, microsecond=0).isoformat(),
            until=end_of(form.until.data),
            why=form.reason.data,
            subject=form.subject.data,
            names=form.rules,
            services=tuple(form.services.data or ()),
        )
        # Not the next number: others may ask before this one is approved.
        path = ("exceptions", f"asked-{secrets.token_hex(4)}")
        propose(form, form.reason.data, Edit.of(path, None, entry(after)))

    return form_page(
        form,
        carry,
        heading=gettext("Ask for a site"),
        lead=(
            gettext(
                "Somebody else looks at it before it opens. Two have to agree where it opens what the"
                " school calls unacceptable. Nobody can open illegal content."
            ),
        ),
        send=gettext("Ask"),
        back=url_for("lessons.index", of=its.key if its else ""),
    )


def _classes(written: WrittenPolicy) -> list[Class]:
    """Return the rooms and groups of whoever is signed in: a teacher's own, anybody else's all."""
    rooms = [Class("room", i, r.title) for i, r in written.rooms.items()]
    groups = [Class("group", i, g.title) for i, g in written.groups.items() if g.pausable]
    if fully(Act.LESSON):
        return groups + rooms
    own = own_rooms()
    every = [Class("group", i, g.title) for i, g in written.groups.items()]
    return [c for c in rooms + every if c.id in own]


def _chosen(classes: list[Class]) -> Class:
    wanted = request.args.get("of")
    return next((c for c in classes if c.key == wanted), classes[0])


def _minutes_alone(written: WrittenPolicy, its: Class) -> int:
    """Return for how long a teacher may change what is open for ``its`` without anybody's approval; the desk decides."""
    if its.kind == "group":
        return written.groups[its.id].teacher_minutes
    groups = {device.group for device in written.devices.values() if device.room == its.id}
    return min((written.groups[group].teacher_minutes for group in groups), default=0)
