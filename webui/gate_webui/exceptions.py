"""Services and exceptions: what is allowed or blocked for a while, for a person, a device, a group or the school."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, time, timedelta, tzinfo
from secrets import token_hex
from typing import Final, Literal

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gate_core.categories import BY_ID as CATEGORIES
from gate_core.desk import ProposalView, RefusedError
from gate_core.edits import Edit
from gate_core.names import MalformedNameError, parse_rule
from gate_core.roles import Act
from gate_core.services import BY_ID as SERVICES_BY_ID
from gate_core.services import SERVICES, Service
from gate_core.suffixes import too_wide
from gate_core.written import ExceptionText, WrittenPolicy, aware
from gate_webui import access, proposals
from gate_webui.forms import carry_out, no_site, offer, text_of_page
from gate_webui.policy_forms import ExceptionForm, NoteForm
from gate_webui.proposing import propose
from gate_webui.texts import gettext, known, written_day

bp = Blueprint("exceptions", __name__, url_prefix="/exceptions")

_SCHOOL_ENDS: Final = time(15, 30)
_FRIDAY: Final = 4
_FORM_TIME: Final = "%Y-%m-%dT%H:%M"
_LATEST: Final = 200
"""Changes that are looked through for who asked and who approved."""
_STATES: Final = ("active", "coming", "ended")


@dataclass(frozen=True, slots=True)
class _Shown:
    """An exception in words."""

    id: str
    text: ExceptionText
    what: tuple[str, ...]
    whom: str
    state: Literal["active", "coming", "ended"]
    proposal: ProposalView | None
    """The change that made it, where it is a recent one."""


@bp.get("")
@access.needs(Act.SEE_POLICY)
def index() -> ResponseReturnValue:
    """List services, and exceptions: those that wait, are active, come or have ended."""
    desk = access.kept().services.desk
    written = desk.written()
    text = request.args.get("text", "").strip()[:60]
    made = _proposals()
    waiting = [p for p in made if p.state == "waiting" and any(_is_exception(e) for e in p.edits)]
    shown = [_show(id_, e, written, made) for id_, e in written.exceptions.items()]
    return render_template(
        "exceptions.html",
        text=text,
        services=[
            s for s in _services() if text.lower() in f"{s.title} {' '.join(s.names)}".lower()
        ],
        kinds={id_: known(category.title) for id_, category in CATEGORIES.items()},
        waiting=waiting,
        shown={state: [s for s in shown if s.state == state] for state in _STATES},
        names=_full_names([*waiting, *(s.proposal for s in shown if s.proposal)]),
    )


@bp.route("/new", methods=["GET", "POST"])
@access.needs(Act.PROPOSE)
def new() -> ResponseReturnValue:
    """Allow or block something for a while."""
    desk = access.kept().services.desk
    written = desk.written()
    now = access.kept().services.clock.now()
    ends = dict(_ends(written, now)) if now else {}
    form = ExceptionForm(
        action=request.args.get("action", ""),
        services=request.args.getlist("service"),
        names=request.args.get("name", ""),
    )
    offer(form.services, [(s.id, s.title) for s in _services()])
    offer(form.whom, [("", gettext("Choose for whom")), *_subjects(written)])
    offer(
        form.until,
        [*((at, label) for at, label in ends.items()), ("time", gettext("Another time"))],
    )

    def change() -> None:
        propose(form, form.reason.data, _edit(form, now))

    if carry_out(form, change):
        return redirect(url_for("exceptions.index"))
    return render_template("exception_new.html", form=form), 422 if form.errors else 200


@bp.get("/<id_>")
@access.needs(Act.SEE_POLICY)
def page(id_: str) -> ResponseReturnValue:
    """Show one exception."""
    return _page(id_, NoteForm(formdata=None))


def _page(id_: str, form: NoteForm) -> ResponseReturnValue:
    written = access.kept().services.desk.written()
    shown = _show(id_, _find(written, id_), written, _proposals())
    page = render_template(
        "exception.html",
        shown=shown,
        form=form,
        names=_full_names([shown.proposal] if shown.proposal else []),
    )
    return page, 422 if form.errors else 200


@bp.post("/<id_>/end")
@access.needs(Act.PROPOSE)
def end(id_: str) -> ResponseReturnValue:
    """Show what it means to end one at once."""
    services = access.kept().services
    its = _find(services.desk.written(), id_)
    now = services.clock.now()
    if now and aware(its.since, _zone(now)) < _minute(now):
        # What has been in force stays written until somebody has looked at it.
        edit = Edit.of(("exceptions", id_, "until"), its.until, now.strftime(_FORM_TIME))
    else:
        edit = Edit.of(("exceptions", id_), _plain(its), None)
    return proposals.review((edit,), back=url_for("exceptions.index"))


@bp.post("/<id_>/audit")
@access.needs(Act.APPROVE)
def audit(id_: str) -> ResponseReturnValue:
    """Tick one that has ended as looked at."""
    desk = access.kept().services.desk
    form = NoteForm()

    def tick() -> None:
        desk.audit_exception(id=id_, note=form.note.data, actor=access.person().username)

    if carry_out(form, tick):
        flash(
            gettext("Looked at. The exception has left the policy; the record keeps it."), "success"
        )
        return redirect(url_for("exceptions.index"))
    return _page(id_, form)


def _services() -> list[Service]:
    return sorted(SERVICES, key=lambda s: s.title.lower())


def _find(written: WrittenPolicy, id_: str) -> ExceptionText:
    its = written.exceptions.get(id_)
    if its is None:
        abort(404)
    return its


def _plain(its: ExceptionText) -> dict[str, object]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(its).items()}


def _subjects(written: WrittenPolicy) -> Iterator[tuple[str, str]]:
    """Yield what the form sends for each subject, and what it shows."""
    yield "school:", gettext("The whole school")
    yield from ((f"group:{id_}", g.title) for id_, g in written.groups.items())
    people = sorted(written.people.items(), key=lambda item: item[1].name.lower())
    yield from ((f"person:{id_}", f"{p.name} ({p.kind})") for id_, p in people)
    devices = sorted(written.devices.items(), key=lambda item: item[1].name.lower())
    yield from ((f"device:{mac}", d.name) for mac, d in devices)


def _ends(written: WrittenPolicy, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield the usual ends that are still to come, as times and in words."""
    today = datetime.combine(now.date(), _SCHOOL_ENDS)
    week = today + timedelta(days=(_FRIDAY - now.weekday()) % 7)
    clock = now.replace(tzinfo=None)
    if clock < today:
        yield today.strftime(_FORM_TIME), gettext("Today, until %(time)s", time=f"{today:%H:%M}")
    if clock < week and week != today:
        yield (
            week.strftime(_FORM_TIME),
            gettext("This week, until Friday, %(time)s", time=f"{week:%H:%M}"),
        )
    for term in written.timetable.terms.values():
        if term.first <= now.date().isoformat() <= term.last:
            last = datetime.fromisoformat(term.last)
            yield (
                f"{term.last}T23:59",
                gettext("This term, until %(day)s", day=written_day(last, "d MMMM")),
            )


def _edit(form: ExceptionForm, now: datetime | None) -> Edit:
    since = form.since.data
    if not since:
        if now is None:
            raise RefusedError(gettext("the box does not know the time: say from when"), "since")
        since = now.strftime(_FORM_TIME)
    scope, _, subject = form.whom.data.partition(":")
    until = form.until_time.data if form.until.data == "time" else form.until.data
    wanted = {
        "action": form.action.data,
        "scope": scope,
        "since": since,
        "until": until,
        "why": form.reason.data,
        "subject": subject,
        "names": _rules(form.names.data or ""),
        "services": form.services.data or [],
    }
    # By chance: a number that is free now may be that of another request that waits.
    return Edit.of(("exceptions", f"exception-{token_hex(4)}"), None, wanted)


def _rules(text: str) -> list[str]:
    rules = []
    for line in filter(None, map(str.strip, text.splitlines())):
        alone = "=" if line.startswith("=") else ""
        try:
            rule = parse_rule(alone + text_of_page(line.removeprefix("=")))
        except MalformedNameError:
            raise RefusedError(no_site(line), "names") from None
        if wide := too_wide(rule):
            raise RefusedError(
                gettext("“%(site)s” is too wide: %(why)s", site=line[:80], why=wide), "names"
            )
        rules.append(rule)
    return rules


def _show(
    id_: str, its: ExceptionText, written: WrittenPolicy, made: Iterable[ProposalView]
) -> _Shown:
    known: Mapping[str, Mapping[str, str]] = {
        "school": {"": gettext("The whole school")},
        "group": {k: v.title for k, v in written.groups.items()},
        "person": {k: v.name for k, v in written.people.items()},
        "device": {k: v.name for k, v in written.devices.items()},
    }
    titles = (SERVICES_BY_ID[s].title for s in its.services)
    return _Shown(
        id_,
        its,
        (*titles, *(_site(rule) for rule in its.names)),
        known[its.scope].get(its.subject, its.subject),
        _state(its, access.kept().services.clock.now()),
        next((p for p in made if any(e.path == ("exceptions", id_) for e in p.edits)), None),
    )


def _site(rule: str) -> str:
    return gettext("%(site)s only", site=rule[1:]) if rule.startswith("=") else rule


def _state(its: ExceptionText, now: datetime | None) -> Literal["active", "coming", "ended"]:
    if now is None:
        return "active"
    zone = _zone(now)
    if aware(its.until, zone) <= now:
        return "ended"
    return "coming" if aware(its.since, zone) > now else "active"


def _zone(now: datetime) -> tzinfo:
    if now.tzinfo is None:
        raise AssertionError("a clock that does not know its zone")
    return now.tzinfo


def _minute(now: datetime) -> datetime:
    return now.replace(second=0, microsecond=0)


def _is_exception(edit: Edit) -> bool:
    return edit.path[0] == "exceptions"


def _proposals() -> tuple[ProposalView, ...]:
    desk = access.kept().services.desk
    found = desk.proposals(actor=access.person().username, limit=_LATEST)
    return tuple(p for p in found if any(_is_exception(edit) for edit in p.edits))


def _full_names(made: Iterable[ProposalView]) -> dict[str, str]:
    return access.full_names(
        name for p in made for name in (p.username, *(a.username for a in p.answers))
    )
