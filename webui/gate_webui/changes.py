"""Changes: who changed what, when and why; and the page about what the box cannot see. Nothing changes here."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from gate_core.desk import USERNAME, AuditEntry, Desk
from gate_webui import access
from gate_webui.activity import number
from gate_webui.words import Titles, change_words

bp = Blueprint("changes", __name__)

_PAGE = 50


@bp.get("/changes")
def page() -> ResponseReturnValue:
    """List changes, newest first."""
    before = number(request.args.get("before", "0"))
    kept = access.kept()
    desk = kept.services.desk
    entries = desk.audit(before=before, limit=_PAGE + 1)
    older = entries[_PAGE - 1].id if len(entries) > _PAGE else None
    entries = entries[:_PAGE]
    titles = _titles(desk, entries)
    changes = [change_words(entry, titles, kept.services.clock.now()) for entry in entries]
    return render_template("changes.html", changes=changes, older=older, before=before)


def _titles(desk: Desk, entries: Iterable[AuditEntry]) -> Titles:
    actors = {entry.actor for entry in entries if USERNAME.fullmatch(entry.actor)}
    accounts = {actor: desk.account(username=actor) for actor in sorted(actors)}
    return Titles(
        rows={row.id: row.title for row in desk.rows()},
        groups={group.id: group.title for group in desk.groups()},
        devices={device.mac: device.name for device in desk.devices() if device.name},
        people={actor: account.full_name for actor, account in accounts.items() if account},
    )


@bp.get("/cannot-see")
@access.public
def cannot_see() -> ResponseReturnValue:
    """Say what the box cannot see."""
    return render_template("cannot_see.html")
