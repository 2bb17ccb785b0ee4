"""Today: is filtering working, what is the panel showing, what was decided last, and the internet pause."""

from __future__ import annotations

from hashlib import sha256

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gate_core.desk import ActivityFilter, GroupView, RefusedError, Status, UnavailableError
from gate_webui import access
from gate_webui.forms import PauseForm, carry_out, offer
from gate_webui.words import headline, visits

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
    status, groups, parts = _render_parts()
    form = _pause_form(groups)
    return render_template("today.html", status=status, parts=parts, seen=_marks(parts), form=form)


@bp.get("/live")
@access.polled
def live() -> ResponseReturnValue:
    """Return the parts of the page that differ from what the browser has, or nothing."""
    _, _, parts = _render_parts()
    return _changes(parts)


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
def start_pause() -> ResponseReturnValue:
    """Start the internet pause."""
    services = access.kept().services
    groups = services.desk.groups()
    form = _pause_form(groups)

    def start() -> None:
        chosen = (form.group.data,) if form.group.data else ()
        services.desk.start_pause(
            groups=chosen, minutes=form.minutes.data, actor=access.person().username
        )

    if carry_out(form, start):
        return redirect(url_for("today.page"))
    status, _, parts = _render_parts()
    return (
        render_template("today.html", status=status, parts=parts, seen=_marks(parts), form=form),
        422,
    )


@bp.post("/pause/end")
def end_pause() -> ResponseReturnValue:
    """End the internet pause."""
    try:
        access.kept().services.desk.end_pause(actor=access.person().username)
    except RefusedError as refusal:
        flash(str(refusal).capitalize() + ".")
    return redirect(url_for("today.page"))


@bp.post("/panel/press")
def press() -> ResponseReturnValue:
    """Press the pause button of a panel whose pins are simulated."""
    try:
        access.kept().services.panel.press(button="pause")
    except RefusedError as refusal:
        flash(str(refusal).capitalize() + ".")
    except UnavailableError:
        flash("The panel does not answer. Use the button on this page instead.")
    return redirect(url_for("today.page"))


def _pause_form(groups: tuple[GroupView, ...]) -> PauseForm:
    form = PauseForm()
    pausable = [(group.id, group.title) for group in groups if group.pausable]
    offer(form.group, [("", "Pupils, guests and new devices"), *pausable])
    return form


def _render_parts() -> tuple[Status, tuple[GroupView, ...], dict[str, str]]:
    services = access.kept().services
    status = services.desk.status()
    groups = services.desk.groups()
    facts = {
        "status": status,
        "headline": headline(status),
        "titles": {group.id: group.title for group in groups},
        "visits": visits(services.desk.activity(filter=ActivityFilter(limit=_LAST_RECORDS)))[
            :_LAST
        ],
    }
    parts = {name: render_template(f"live/{name}.html", **facts) for name in _LIVE}
    return status, groups, parts


def _marks(parts: dict[str, str]) -> dict[str, str]:
    return {name: sha256(part.encode()).hexdigest()[:12] for name, part in parts.items()}
