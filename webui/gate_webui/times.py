"""Times: the week, terms and holidays behind “acceptable at certain times”; a group may have times of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from flask import Blueprint, abort, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gate_core.roles import Act
from gate_core.timetable import parse_weekdays, write_weekdays
from gate_core.written import OneOffText, TermText, TimesText, timetable, weekly
from gate_webui import access, entries
from gate_webui.forms import ChangeForm, offer
from gate_webui.proposing import document, edit_of, entry, form_page, fully, need, propose, value_at
from gate_webui.texts import gettext, lazy_gettext
from gate_webui.times_forms import (
    DAY_CHOICES,
    CertainTimesForm,
    HolidayForm,
    HolidaysForm,
    LessonPeriodForm,
    OneOffForm,
    TermForm,
)
from gate_webui.week import WIDTH, week_of

bp = Blueprint("times", __name__, url_prefix="/times")


def _fill_span(now: dict[str, Any]) -> dict[str, Any]:
    days = [str(day) for day in sorted(parse_weekdays(now["days"]))]
    return {**now, "days": days, "until": "00:00" if now["until"] == "24:00" else now["until"]}


def _read_span(form: Any) -> Any:
    days = write_weekdays(frozenset(map(int, form.days.data)))
    # What a browser offers for a time of day ends at 23:59; midnight is the end of the day.
    until = "24:00" if form.until.data == "00:00" else form.until.data
    return entry(TimesText(days, form.since.data, until, form.title.data))


def _span(add: str, form: type[ChangeForm]) -> entries.Kind:
    return entries.Kind(
        add,
        form,
        fill=_fill_span,
        read=_read_span,
        title=lambda _, now: now["title"] or f"{now['days']} {now['since']}-{now['until']}",
        prepare=lambda form: offer(form.days, DAY_CHOICES),
    )


def _read_term(form: Any) -> Any:
    return entry(TermText(form.first.data.isoformat(), form.last.data.isoformat(), form.title.data))


def _read_one_off(form: Any) -> Any:
    spans = tuple(line.replace(" ", "") for line in form.open.data.splitlines() if line.strip())
    return entry(OneOffText(form.title.data, spans, form.school.data == "open"))


def _fill_one_off(now: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": now["title"],
        "school": "open" if now["school"] else "closed",
        "open": "\n".join(now["open"]),
    }


_KINDS = {
    "times": _span(lazy_gettext("Add a certain time"), CertainTimesForm),
    "periods": _span(lazy_gettext("Add a lesson period"), LessonPeriodForm),
    "terms": entries.Kind(
        lazy_gettext("Add a term"),
        TermForm,
        fill=lambda now: {
            **now,
            "first": date.fromisoformat(now["first"]),
            "last": date.fromisoformat(now["last"]),
        },
        read=_read_term,
        title=lambda _, now: (
            now["title"] or gettext("%(first)s to %(last)s", first=now["first"], last=now["last"])
        ),
    ),
    "holidays": entries.Kind(
        lazy_gettext("Add a holiday"),
        HolidayForm,
        fill=lambda now: {"title": now},
        read=lambda form: form.title.data,
        title=lambda id_, now: f"{now}, {id_}",
    ),
    "one_off": entries.Kind(
        lazy_gettext("Add a one-off day"),
        OneOffForm,
        fill=_fill_one_off,
        read=_read_one_off,
        title=lambda id_, now: f"{now['title']}, {id_}",
    ),
}


@bp.get("")
@access.needs(Act.SEE_POLICY)
def index() -> ResponseReturnValue:
    """Show the timetable of the school, or the certain times of one group."""
    written = access.kept().services.desk.written()
    chosen = _group()
    group = written.groups[chosen] if chosen else None
    own = weekly(group.times) if group and group.times else None
    return render_template(
        "times.html",
        written=written,
        chosen=chosen,
        group=group,
        times=group.times if group and group.times else written.timetable.times,
        own=own is not None,
        week=week_of(timetable(written.timetable), own),
        width=WIDTH,
        may_change=fully(Act.PROPOSE),
    )


@bp.route("/<kind>/add", methods=["GET", "POST"])
def add(kind: str) -> ResponseReturnValue:
    """Add an entry."""
    return _on_entry(kind, entries.add)


@bp.route("/<kind>/<id_>/change", methods=["GET", "POST"])
def change(kind: str, id_: str) -> ResponseReturnValue:
    """Change an entry."""
    return _on_entry(
        kind, lambda its, path, back, caption: entries.change(its, path, id_, back, caption)
    )


@bp.route("/<kind>/<id_>/remove", methods=["GET", "POST"])
def remove(kind: str, id_: str) -> ResponseReturnValue:
    """Remove an entry."""
    return _on_entry(kind, lambda its, path, back, _: entries.remove(its, path, id_, back))


@bp.route("/holidays/list", methods=["GET", "POST"])
def holidays() -> ResponseReturnValue:
    """Add several holidays at once."""
    need(Act.PROPOSE)
    form = HolidaysForm()
    bank = "bank" in request.args
    if bank and not form.is_submitted():
        found = access.kept().services.desk.bank_holidays()
        form.days.data = "\n".join(f"{e.path[-1]} {e.values()[1]}" for e in found)
        form.reason.data = gettext("Bank holidays")

    def carry() -> None:
        now = value_at(document(), ("timetable", "holidays"))
        found = form.holidays()
        edits = [
            edit_of(form, ("timetable", "holidays", day), title)
            for day, title in found.items()
            if now.get(day) != title
        ]
        propose(form, form.reason.data, *edits)

    return form_page(
        form,
        carry,
        caption=gettext("Times"),
        heading=gettext("Add the bank holidays of these terms")
        if bank
        else gettext("Add several holidays"),
        lead=(
            gettext("Days within a term on which school is closed."),
            gettext(
                "These are the bank holidays of England that are not among them yet. Take out what does not fit."
            )
            if bank and form.days.data
            else "",
        ),
        send=gettext("Add"),
        back=url_for("times.index"),
    )


def _on_entry(
    kind: str, do: Callable[[entries.Kind, tuple[str, ...], str, str], ResponseReturnValue]
) -> ResponseReturnValue:
    need(Act.PROPOSE)
    if kind not in _KINDS:
        abort(404)
    group = _group()
    if group and kind == "times":
        title = access.kept().services.desk.written().groups[group].title
        path: tuple[str, ...] = ("groups", group, "times")
        return do(
            _KINDS[kind],
            path,
            url_for("times.index", group=group),
            gettext("Times of %(title)s", title=title),
        )
    return do(_KINDS[kind], ("timetable", kind), url_for("times.index"), gettext("Times"))


def _group() -> str:
    """Return the group whose own times are asked for; "" for those of the school."""
    group = request.args.get("group", "")
    if group and group not in access.kept().services.desk.written().groups:
        abort(404)
    return group
