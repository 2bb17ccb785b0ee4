"""Activity: what was allowed and blocked, newest first, narrowed by a form and paged by record.

Who looks says why first; that is kept in the record, and asked again after an hour.
"""

from __future__ import annotations

import time
from typing import Final

from flask import Blueprint, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from gate_core.desk import ActivityFilter, ActivityView, RefusedError
from gate_core.roles import Act, Leave, Role, leave
from gate_webui import access
from gate_webui.forms import ActivityForm, PurposeForm, number, offer, refuse
from gate_webui.words import visits

bp = Blueprint("activity", __name__)

PURPOSE_S: Final = 3600.0
"""A reason to look is good for so long."""

_PAGE = 50


def purpose() -> str:
    """Return why who is signed in looks at what others did; "" where nobody has said it within the hour."""
    reason, said = session.get("purpose", ("", 0.0))
    return str(reason) if 0 <= time.monotonic() - said < PURPOSE_S else ""


@bp.get("/activity")
@access.needs(Act.SEARCH_ACTIVITY)
def page() -> ResponseReturnValue:
    """List decisions, for whoever has said why."""
    reason = purpose()
    if not reason:
        return ask_why()
    desk = access.kept().services.desk
    groups = desk.groups()
    written = desk.written()
    form = ActivityForm(request.args)
    offer(form.group, [("", "All groups"), *((group.id, group.title) for group in groups)])
    known = [(d.mac, d.name or f"Unknown device {d.mac}") for d in desk.devices()]
    offer(form.device, [("", "All devices"), *sorted(known, key=lambda pair: pair[1].lower())])
    names_people = leave(Role(access.person().role), Act.SEARCH_ACTIVITY) is Leave.YES
    people = {id_: p.name for id_, p in written.people.items()} if names_people else {}
    listed = sorted(people.items(), key=lambda pair: pair[1].lower())
    offer(form.person, [("", "Everybody"), *listed])
    before = number(request.args.get("before", "0"))
    found = ActivityView(())
    if form.validate():
        wanted = ActivityFilter(**form.data, before=before, limit=_PAGE)
        try:
            found = desk.activity(filter=wanted, actor=access.person().username, reason=reason)
        except RefusedError as refusal:
            refuse(form, refusal)
    older = {**form.data, "before": found.older} if found.older else None
    page = render_template(
        "activity.html",
        form=form,
        purpose=reason,
        visits=visits(found.records),
        older={key: value for key, value in older.items() if value} if older else None,
        back_to=found.back_to,
        before=before,
        narrowed=any(form.data.values()),
        titles={group.id: group.title for group in groups},
        people=people,
        names_people=names_people,
    )
    return page, 422 if form.errors else 200


@bp.post("/activity/reason")
@access.needs(Act.SEARCH_ACTIVITY)
def say() -> ResponseReturnValue:
    """Take why somebody looks."""
    form = PurposeForm()
    if not form.validate_on_submit():
        return _ask(form)
    session["purpose"] = (form.reason.data, time.monotonic())
    return redirect(access.page_path(form.next.data) or url_for("activity.page"))


def ask_why() -> ResponseReturnValue:
    """Ask why somebody looks, and go on with the page of this request then."""
    return _ask(PurposeForm(formdata=None, next=request.full_path.rstrip("?")))


def _ask(form: PurposeForm) -> ResponseReturnValue:
    return render_template("purpose.html", form=form), 422 if form.errors else 200
