"""Activity: what was allowed and blocked, newest first, narrowed by a form and paged by record; also as a file.

Who looks says why first; that is kept in the record, and asked again after an hour.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

from flask import Blueprint, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from gate_core.desk import MAX_RECORDS, ActivityFilter, ActivityRecord, ActivityView, RefusedError
from gate_core.roles import Act, Leave, Role, leave
from gate_webui import access
from gate_webui.forms import ActivityForm, PurposeForm, number, offer, refuse
from gate_webui.policy_text import attachment
from gate_webui.sentences import said
from gate_webui.texts import gettext, known, lazy_gettext
from gate_webui.words import ACTION_WORDS, asked_for, visits

bp = Blueprint("activity", __name__)

PURPOSE_S: Final = 3600.0
"""A reason to look is good for so long."""

COPIED: Final = 10_000
"""Decisions that a copy holds at most, the newest."""

_PAGE: Final = 50
_COLUMNS: Final = (
    lazy_gettext("When"), lazy_gettext("Device"), lazy_gettext("MAC address"), lazy_gettext("IP address"), lazy_gettext("Group"), lazy_gettext("Site"), lazy_gettext("Went to"), lazy_gettext("Kind"), lazy_gettext("What happened"), lazy_gettext("Why"), lazy_gettext("Categories"),
    lazy_gettext("Times"), lazy_gettext("Bytes received"), lazy_gettext("Bytes sent"),
)  # fmt: skip


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
    asked = _Asked.of_request()
    before = number(request.args.get("before", "0"))
    found = ActivityView(())
    if asked.form.validate():
        try:
            found = asked.search(reason, before=before, limit=_PAGE)
        except RefusedError as refusal:
            refuse(asked.form, refusal)
    page = render_template(
        "activity.html",
        form=asked.form,
        purpose=reason,
        visits=visits(found.records),
        older={**asked.narrowing, "before": found.older} if found.older else None,
        back_to=found.back_to,
        before=before,
        narrowing=asked.narrowing,
        titles=asked.titles,
        people=asked.people,
        names_people=asked.names_people,
        copied=COPIED,
    )
    return page, 422 if asked.form.errors else 200


@bp.get("/activity/copy")
@access.needs(Act.SEARCH_ACTIVITY)
def copy() -> ResponseReturnValue:
    """Send what fits as a file for a spreadsheet; that it was taken is kept in the record."""
    reason = purpose()
    if not reason:
        return ask_why()
    asked = _Asked.of_request()
    records: list[ActivityRecord] = []
    try:
        if not asked.form.validate():
            return redirect(asked.page_path())
        found = asked.search(reason, copy=True)
        while found.older and len(records) + len(found.records) < COPIED:
            records += found.records
            found = asked.search(reason, before=found.older)
    except RefusedError:
        return redirect(asked.page_path())
    records += found.records
    return attachment(asked.table(records[:COPIED]), "activity.csv", "text/csv")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for, and what it is offered from."""

    form: ActivityForm
    titles: dict[str, str]
    """Of groups, by their ids."""
    people: dict[str, str]
    """Names by ids; none for whoever may not see them."""
    names_people: bool

    @classmethod
    def of_request(cls) -> _Asked:
        desk = access.kept().services.desk
        titles = {group.id: group.title for group in desk.groups()}
        names_people = leave(Role(access.person().role), Act.SEARCH_ACTIVITY) is Leave.YES
        written = desk.written()
        people = {id_: p.name for id_, p in written.people.items()} if names_people else {}
        form = ActivityForm(request.args)
        offer(form.group, [("", gettext("All groups")), *titles.items()])
        known = [
            (d.mac, d.name or gettext("Unknown device %(mac)s", mac=d.mac)) for d in desk.devices()
        ]
        for field, first, choices in (
            (form.device, gettext("All devices"), known),
            (form.person, gettext("Everybody"), people.items()),
        ):
            offer(field, [("", first), *sorted(choices, key=lambda pair: pair[1].lower())])
        return cls(form, titles, people, names_people)

    @property
    def narrowing(self) -> dict[str, str]:
        """Return the conditions that are set."""
        return {key: value for key, value in self.form.data.items() if value}

    def page_path(self) -> str:
        """Return the path of the page, which says what is wrong."""
        return url_for("activity.page", **cast("dict[str, Any]", self.narrowing))

    def search(
        self, reason: str, *, before: int = 0, limit: int = MAX_RECORDS, copy: bool = False
    ) -> ActivityView:
        wanted = ActivityFilter(**self.form.data, before=before, limit=limit)
        return access.kept().services.desk.activity(
            filter=wanted, actor=access.person().username, reason=reason, copy=copy
        )

    def table(self, records: Iterable[ActivityRecord]) -> str:
        """Return ``records`` as CSV (RFC 4180)."""
        text = io.StringIO()
        # Who opens it in a spreadsheet reads it rightly by the mark at its beginning alone.
        text.write("\ufeff")
        writer = csv.writer(text)
        people = [gettext("Person")] if self.names_people else []
        writer.writerow([*_COLUMNS[:5], *people, *_COLUMNS[5:]])
        for r in records:
            used_by = [self.people.get(r.person, r.person)] if self.names_people else []
            group = self.titles.get(r.group, r.group)
            row = (
                r.at, r.device, r.mac, r.address, group, *used_by, asked_for(r), r.remote, r.kind,
                ACTION_WORDS.get(r.action, r.action), said(r.sentence), ", ".join(map(known, r.categories)), r.count,
                *("" if octets is None else octets for octets in (r.down, r.up)),
            )  # fmt: skip
            writer.writerow(map(_inert, row))
        return text.getvalue()


def _inert(value: object) -> str:
    """Return what a spreadsheet shows as it is: names come from anybody, and some beginnings make it a formula."""
    text = str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


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
