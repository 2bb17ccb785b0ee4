"""Changes: who changed what, when and why; and the page about what the box cannot see. Nothing changes here."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from gate_webui import access
from gate_webui.activity import number

bp = Blueprint("changes", __name__)

_PAGE = 50


@bp.get("/changes")
def page() -> ResponseReturnValue:
    """List changes, newest first."""
    before = number(request.args.get("before", "0"))
    entries = access.kept().services.desk.audit(before=before, limit=_PAGE + 1)
    older = entries[_PAGE - 1].id if len(entries) > _PAGE else None
    return render_template("changes.html", entries=entries[:_PAGE], older=older, before=before)


@bp.get("/cannot-see")
@access.public
def cannot_see() -> ResponseReturnValue:
    """Say what the box cannot see."""
    return render_template("cannot_see.html")
