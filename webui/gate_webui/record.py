"""The record: who changed what, when and why; whether it holds; and that a governor has read it."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gate_core.record import Entry, Verdict
from gate_core.roles import Act
from gate_webui import access
from gate_webui.forms import number
from gate_webui.policy_forms import SignForm
from gate_webui.policy_text import attachment
from gate_webui.texts import gettext
from gate_webui.words import Titles, approvers_of, entry_words

bp = Blueprint("record", __name__, url_prefix="/record")

_PAGE = 50

_SIGNED = "has read the record"
"""Action of a signature; what it signs stands behind ``to entry``."""


@bp.get("")
@access.needs(Act.READ_RECORD)
def page() -> ResponseReturnValue:
    """List entries, newest first."""
    return _page(None)


@bp.get("/check")
@access.needs(Act.READ_RECORD)
def check() -> ResponseReturnValue:
    """Check the whole record, and tell whether it holds."""
    return _page(access.kept().services.desk.verify_record(actor=access.person().username))


def _page(verdict: Verdict | None) -> ResponseReturnValue:
    before = number(request.args.get("before", "0"))
    kept = access.kept()
    entries = kept.services.desk.record(
        before=before, limit=_PAGE + 1, actor=access.person().username
    )
    titles = _titles(entries)
    now = kept.services.clock.now()
    newest = 0 if before else _to_sign(entries)
    return render_template(
        "record.html",
        entries=[entry_words(entry, titles, now) for entry in entries[:_PAGE]],
        older=entries[_PAGE - 1].number if len(entries) > _PAGE else None,
        before=before,
        verdict=verdict,
        newest=newest,
        form=SignForm(formdata=None, number=newest),
    )


def _to_sign(entries: tuple[Entry, ...]) -> int:
    """Return the number of the newest entry; 0 where who is signed in has signed all but signatures already."""
    read = 0
    for entry in entries:
        if entry.action == _SIGNED and entry.actor == access.person().username:
            read = int(entry.subject.removeprefix("to entry "))
            break
    unread = any(entry.number > read and entry.action != _SIGNED for entry in entries)
    return entries[0].number if unread else 0


@bp.post("/sign")
@access.needs(Act.SIGN_RECORD)
def sign() -> ResponseReturnValue:
    """Note that a governor has read the record up to the entry that the page ended with."""
    form = SignForm()
    read = number(form.number.data or "")
    signature = access.kept().services.desk.sign_record(number=read, actor=access.person().username)
    flash(
        gettext(
            "Signed: you have read the record up to entry %(number)s."
            " Copy this onto paper and keep it: entry %(number)s, seal %(seal)s",
            number=read,
            seal=signature.after,
        ),
        "success",
    )
    return redirect(url_for("record.page"))


@bp.get("/evidence")
@access.needs(Act.READ_RECORD)
def evidence() -> ResponseReturnValue:
    """Send the whole record as a file that can be checked without this box."""
    text = access.kept().services.desk.evidence(actor=access.person().username)
    return attachment(text, "evidence.jsonl", "application/jsonl")


def _titles(entries: tuple[Entry, ...]) -> Titles:
    written = access.kept().services.desk.written()
    return Titles(
        groups={id_: group.title for id_, group in written.groups.items()},
        devices={mac: device.name for mac, device in written.devices.items()},
        people=access.full_names(
            name for e in entries for name in (e.actor, e.subject, *approvers_of(e))
        ),
    )
