"""Data use: which devices used the internet most, today or this week; for whoever has said why they look."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from gate_core.desk import UsageSpan
from gate_core.roles import Act, Leave, Role, leave
from gate_webui import access
from gate_webui.activity import ask_why, purpose

bp = Blueprint("usage", __name__)


@bp.get("/usage")
@access.needs(Act.SEARCH_ACTIVITY)
def today() -> ResponseReturnValue:
    """Show who used the most today."""
    return _page("day")


@bp.get("/usage/week")
@access.needs(Act.SEARCH_ACTIVITY)
def week() -> ResponseReturnValue:
    """Show who used the most since Monday."""
    return _page("week")


def _page(span: UsageSpan) -> ResponseReturnValue:
    reason = purpose()
    if not reason:
        return ask_why()
    desk = access.kept().services.desk
    return render_template(
        "usage.html",
        used=desk.usage(span=span, actor=access.person().username, reason=reason),
        mode=desk.status().mode,
        purpose=reason,
        titles={group.id: group.title for group in desk.groups()},
        people={id_: person.name for id_, person in desk.written().people.items()},
        names_people=leave(Role(access.person().role), Act.SEARCH_ACTIVITY) is Leave.YES,
    )
