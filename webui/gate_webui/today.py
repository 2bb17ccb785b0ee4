"""Today: is filtering working, what is the panel showing, what was decided last, and the internet pause."""

from __future__ import annotations

from hashlib import sha256

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gate_core.desk import ActivityFilter, GroupView, Status, UnavailableError
from gate_core.roles import Act
from gate_webui import access
from gate_webui.activity import purpose
from gate_webui.day import picture_of
from gate_webui.forms import PauseForm, carry_out, offer
from gate_webui.proposals import to_answer
from gate_webui.proposing import fully, name_of, need, press
from gate_webui.texts import gettext
from gate_webui.words import Visit, banners, headline, visits

bp = Blueprint("today", __name__)

_LAST = 10
"""Visits on the page."""

_LAST_RECORDS = 40
"""Records asked for: a visit makes three or four."""

_LIVE = ("state", "pause", "counts", "parts", "panel", "last")
"""Parts of the page that are asked for again each second; each has a template of its own."""


@bp.get("/")
def page() -> ResponseReturnValue:
    """Show the day."""
    return _page(_pause_form(access.kept().services.desk.groups()))


def _page(form: PauseForm) -> ResponseReturnValue:
    status, parts = _render_parts()
    page = render_template(
        "today.html",
        status=status,
        to_answer=to_answer(status),
        parts=parts,
        seen=_marks(parts),
        day=_render_day(status),
        form=form,
        may_pause=fully(Act.PAUSE),
    )
    return page, 422 if form.errors else 200


@bp.get("/live")
@access.polled
def live() -> ResponseReturnValue:
    """Return the parts of the page that differ from what the browser has, or nothing."""
    _, parts = _render_parts()
    return _changes(parts)


@bp.get("/day")
@access.polled
def day() -> ResponseReturnValue:
    """Return the picture of the day, which the page asks for each minute."""
    return _render_day(access.kept().services.desk.status())


def _render_day(status: Status) -> str:
    desk = access.kept().services.desk
    may_search = access.may(Act.SEARCH_ACTIVITY)
    titles = {group.id: group.title for group in desk.groups()}
    today = status.at[:10]
    new = [d for d in desk.devices() if today and d.first_seen[:10] == today]
    return render_template(
        "live/day.html",
        picture=picture_of(desk.hours(), titles),
        blocked=desk.blocked_most(actor=access.person().username) if may_search else (),
        new_devices=new,
        titles=titles,
    )


def away() -> ResponseReturnValue:
    """Return, in the place of ``live``, that the steward does not answer; the page goes on asking."""
    return _changes({"state": render_template("live/away.html")})


def _changes(parts: dict[str, str]) -> ResponseReturnValue:
    marks = _marks(parts)
    changed = {name: part for name, part in parts.items() if request.args.get(name) != marks[name]}
    if not changed:
        return "", 204
    seen = {name: request.args.get(name, "") for name in _LIVE} | marks
    return render_template("live/changes.html", changed=changed, seen=seen)


@bp.post("/pause")
@access.needs(Act.PAUSE)
def start_pause() -> ResponseReturnValue:
    """Start the internet pause."""
    desk = access.kept().services.desk
    form = _pause_form(desk.groups())

    def start() -> None:
        chosen = (form.group.data,) if form.group.data else ()
        desk.start_pause(groups=chosen, minutes=form.minutes.data, actor=access.person().username)

    if carry_out(form, start):
        return redirect(url_for("today.page"))
    return _page(form)


@bp.post("/pause/end")
@access.needs(Act.PAUSE)
def end_pause() -> ResponseReturnValue:
    """End every internet pause."""
    desk = access.kept().services.desk
    press(lambda: desk.end_pause(actor=access.person().username), "")
    return redirect(url_for("today.page"))


@bp.post("/panel/press")
def press_button() -> ResponseReturnValue:
    """Press the pause button of a panel whose pins are simulated."""
    need(Act.PAUSE)
    try:
        press(lambda: access.kept().services.panel.press(button="pause"), "")
    except UnavailableError:
        flash(gettext("The panel does not answer. Use the button on this page instead."), "refused")
    return redirect(url_for("today.page"))


def _pause_form(groups: tuple[GroupView, ...]) -> PauseForm:
    form = PauseForm()
    pausable = [(group.id, group.title) for group in groups if group.pausable]
    offer(form.group, [("", gettext("Pupils, guests and new devices")), *pausable])
    return form


def _render_parts() -> tuple[Status, dict[str, str]]:
    desk = access.kept().services.desk
    status = desk.status()
    written = desk.written()
    facts = {
        "status": status,
        "headline": headline(status),
        "banners": banners(status),
        "titles": {i: r.title for i, r in written.rooms.items()}
        | {i: g.title for i, g in written.groups.items()},
        "pauses": len(desk.acts().pauses),
        "by": name_of(status.pause.by) if status.pause else "",
        "visits": _last_visits(),
        "may_pause": fully(Act.PAUSE),
    }
    parts = {name: render_template(f"live/{name}.html", **facts) for name in _LIVE}
    return status, parts


def _last_visits() -> list[Visit] | None:
    """Return the last visits; None for whoever may not look, or has not said why (see the page Activity)."""
    if not access.may(Act.SEARCH_ACTIVITY) or not purpose():
        return None
    found = access.kept().services.desk.activity(
        filter=ActivityFilter(limit=_LAST_RECORDS),
        actor=access.person().username,
        reason=purpose(),
    )
    return visits(found.records)[:_LAST]


def _marks(parts: dict[str, str]) -> dict[str, str]:
    return {name: sha256(part.encode()).hexdigest()[:12] for name, part in parts.items()}
