"""Activity: what was allowed and blocked, newest first, narrowed by a form and paged by record."""

from __future__ import annotations

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from gate_core.desk import ActivityFilter, ActivityRecord, RefusedError
from gate_webui import access
from gate_webui.forms import ActivityForm, offer, refuse
from gate_webui.words import visits

bp = Blueprint("activity", __name__)

_PAGE = 50


@bp.get("/activity")
def page() -> ResponseReturnValue:
    """List decisions."""
    desk = access.kept().services.desk
    groups = desk.groups()
    form = ActivityForm(request.args)
    offer(form.group, [("", "All groups"), *((group.id, group.title) for group in groups)])
    known = [(d.mac, d.name or f"Unknown device {d.mac}") for d in desk.devices()]
    offer(form.device, [("", "All devices"), *sorted(known, key=lambda pair: pair[1].lower())])
    before = number(request.args.get("before", "0"))
    records: tuple[ActivityRecord, ...] = ()
    if form.validate():
        # One more than is shown tells whether there are older ones.
        wanted = ActivityFilter(**form.data, before=before, limit=_PAGE + 1)
        try:
            records = desk.activity(filter=wanted)
        except RefusedError as refusal:
            refuse(form, refusal)
    older = {**form.data, "before": records[_PAGE - 1].id} if len(records) > _PAGE else None
    page = render_template(
        "activity.html",
        form=form,
        visits=visits(records[:_PAGE]),
        older={key: value for key, value in older.items() if value} if older else None,
        before=before,
        narrowed=any(form.data.values()),
        titles={group.id: group.title for group in groups},
    )
    return page, 422 if form.errors else 200


def number(text: str) -> int:
    """Return the id in a link to an older page; a link that nobody made here is answered with 400."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        abort(400, "This link is not complete. Go back and choose it again.")
    return int(text)
