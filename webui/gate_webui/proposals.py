"""Changes of the written policy: what one would do, who wants it, and what others say of it.

A page whose change opens or closes much shows it by ``review`` before it is proposed here.
"""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from gate_core.desk import Preview, ProposalView, Status
from gate_core.edits import Edit
from gate_core.roles import Act, Leave, Role, leave
from gate_webui import access
from gate_webui.forms import PressForm, carry_out, number
from gate_webui.policy_forms import AnswerForm, ProposeForm, WhatIfForm
from gate_webui.sentences import said
from gate_webui.texts import gettext, ngettext
from gate_webui.words import PROPOSAL_WORDS, with_times

bp = Blueprint("proposals", __name__, url_prefix="/proposals")

_PAGE = 25

_WAITING = 200
"""Those that wait and are looked at."""

_LONGEST = 250
"""Characters of a sentence in a banner."""


def review(edits: tuple[Edit, ...], *, back: str, note: str = "") -> ResponseReturnValue:
    """Show what ``edits`` would mean, ask for the reason, and offer to propose them.

    Args:
        edits: The change.
        back: Path of the page to go on with.
        note: A sentence above the effects.
    """
    form = ProposeForm(formdata=None, edits=edits, back=back)
    return _review(form, access.kept().services.desk.preview(edits=edits), note)


def _review(form: ProposeForm, preview: Preview, note: str = "") -> ResponseReturnValue:
    page = render_template(
        "review.html",
        form=form,
        preview=preview,
        note=note,
        back=access.page_path(form.back.data) or url_for("proposals.index"),
        trial=WhatIfForm(formdata=None, edits=form.edits.data),
    )
    return page, 422 if form.errors or preview.faults else 200


@bp.post("")
@access.roomy
@access.needs(Act.PROPOSE)
def propose() -> ResponseReturnValue:
    """Propose a change whose effect has been shown."""
    desk = access.kept().services.desk
    form = ProposeForm()
    made: list[ProposalView] = []

    def change() -> None:
        actor = access.person().username
        made.append(desk.propose(edits=form.edits.data, reason=form.reason.data, actor=actor))

    if carry_out(form, change):
        tell(made[0])
        back = access.page_path(form.back.data) or url_for("proposals.index")
        # A fragment would have the browser scroll past the banner.
        return redirect(back.partition("#")[0])
    edits = form.edits.data
    return _review(form, desk.preview(edits=edits) if edits else Preview((), 0, ()))


def tell(proposal: ProposalView) -> None:
    """Say at the top of the next page whether a change is in force, or whom it waits for."""
    if proposal.state == "in force":
        flash(gettext("In force now: %(sentences)s.", sentences=_sentences(proposal)), "success")
    else:
        text = gettext(
            "%(link)sChange %(number)s%(end)s waits: %(sentences)s. Nothing has changed yet. %(waits_for)s"
        )
        link = Markup('<a class="govuk-notification-banner__link" href="{}">')
        values = {
            "link": link.format(url_for("proposals.page", id_=proposal.id)),
            "number": proposal.id,
            "end": Markup("</a>"),
            "sentences": _sentences(proposal, 1),
            "waits_for": said(proposal.waits_for),
        }
        flash(Markup(text) % values, "waiting")  # noqa: S704  # the text is ours, and the values are escaped


def _sentences(proposal: ProposalView, most: int = 3) -> str:
    more = len(proposal.sentences) - most
    # A banner travels in the cookie, of which browsers keep 4 KiB; a sentence may name a thousand sites.
    short = (
        s if len(s) <= _LONGEST else f"{s[: _LONGEST - 1]}…" for s in proposal.sentences[:most]
    )
    shown = "; ".join(short) + (
        ngettext("; and %(num)s more", "; and %(num)s more", more) if more > 0 else ""
    )
    return with_times(shown, access.kept().services.clock.now())


@bp.get("")
@access.needs(Act.SEE_POLICY)
def index() -> ResponseReturnValue:
    """List those that wait, and those that have been decided, newest first."""
    desk = access.kept().services.desk
    before = number(request.args.get("before", "0"))
    actor = access.person().username
    waiting = desk.proposals(actor=actor, waiting=True, limit=_WAITING)
    found = desk.proposals(actor=actor, before=before, limit=_PAGE + 1)
    shown = found[:_PAGE]
    return render_template(
        "proposals.html",
        waiting=() if before else waiting,
        decided=[proposal for proposal in shown if proposal.state != "waiting"],
        names=access.full_names(proposal.username for proposal in (*waiting, *shown)),
        before=before,
        older=shown[-1].id if len(found) > _PAGE else None,
    )


@bp.get("/<int(max=999999999):id_>")
@access.needs(Act.SEE_POLICY)
def page(id_: int) -> ResponseReturnValue:
    """Show one change."""
    return _page(_find(id_), AnswerForm(formdata=None))


def _page(proposal: ProposalView, form: AnswerForm) -> ResponseReturnValue:
    actor = access.person().username
    page = render_template(
        "proposal.html",
        proposal=proposal,
        names=access.full_names([proposal.username, *(a.username for a in proposal.answers)]),
        own=proposal.username == actor,
        may_answer=_may_answer(proposal),
        answered=_has_answered(proposal),
        form=form,
        press=PressForm(formdata=None),
        trial=WhatIfForm(formdata=None, edits=proposal.edits),
    )
    return page, 422 if form.errors else 200


def to_answer(status: Status) -> int:
    """Return how many of the changes that wait can be answered by who is signed in."""
    if not status.waiting:
        return 0
    desk = access.kept().services.desk
    waiting = desk.proposals(actor=access.person().username, waiting=True, limit=_WAITING)
    return sum(_may_answer(proposal) for proposal in waiting)


def _may_answer(proposal: ProposalView) -> bool:
    return (
        proposal.state == "waiting"
        and proposal.username != access.person().username
        and not _has_answered(proposal)
        and _is_asked(proposal)
    )


def _has_answered(proposal: ProposalView) -> bool:
    return any(answer.username == access.person().username for answer in proposal.answers)


def _is_asked(proposal: ProposalView) -> bool:
    """Tell whether the role of who is signed in can answer at this point."""
    role = Role(access.person().role)
    if not proposal.edits:  # An account: governors too, for the case that nobody else is left.
        return access.may(Act.APPROVE) or role is Role.GOVERNOR
    first = any(leave(Role(a.role), Act.APPROVE) is Leave.YES for a in proposal.answers)
    says = leave(role, Act.APPROVE)
    return says is Leave.YES or (says is Leave.SECOND and first)


@bp.post("/<int(max=999999999):id_>/answer")
@access.needs(Act.SEE_POLICY)
def answer(id_: int) -> ResponseReturnValue:
    """Approve or refuse a change of somebody else."""
    desk = access.kept().services.desk
    form = AnswerForm()
    answered: list[ProposalView] = []

    def say() -> None:
        answered.append(
            desk.answer(
                id=id_,
                approve=form.approve.data == "yes",
                note=form.note.data or "",
                actor=access.person().username,
            )
        )

    if carry_out(form, say):
        match answered[0].state:
            case "in force":
                flash(
                    gettext(
                        "Approved, and in force now: %(sentences)s.",
                        sentences=_sentences(answered[0]),
                    ),
                    "success",
                )
            case "waiting":
                flash(
                    gettext(
                        "Approved by you. %(waits_for)s", waits_for=said(answered[0].waits_for)
                    ),
                    "waiting",
                )
            case "refused":
                flash(
                    gettext("Change %(number)s is refused. Nothing has changed.", number=id_),
                    "success",
                )
            case state:
                flash(
                    gettext(
                        "Change %(number)s: %(state)s. Nothing has changed.",
                        number=id_,
                        state=PROPOSAL_WORDS[state][0],
                    ),
                    "success",
                )
        return redirect(url_for("proposals.page", id_=id_))
    return _page(_find(id_), form)


@bp.post("/<int(max=999999999):id_>/withdraw")
@access.needs(Act.PROPOSE)
def withdraw(id_: int) -> ResponseReturnValue:
    """Take back one's own."""
    access.kept().services.desk.withdraw(id=id_, actor=access.person().username)
    flash(gettext("Change %(number)s is withdrawn. Nothing has changed.", number=id_), "success")
    return redirect(url_for("proposals.index"))


def _find(id_: int) -> ProposalView:
    found = access.kept().services.desk.proposals(
        actor=access.person().username, before=id_ + 1, limit=1
    )
    if not found or found[0].id != id_:
        abort(404)
    return found[0]


# A replay tells which sites were asked for: it is for those who may search the log.


@bp.post("/what-if")
@access.roomy
@access.needs(Act.SEARCH_ACTIVITY)
def start_what_if() -> ResponseReturnValue:
    """Begin to replay what was decided against a change."""
    desk = access.kept().services.desk
    form = WhatIfForm()
    begun: list[str] = []

    def start() -> None:
        begun.append(
            desk.start_what_if(
                edits=form.edits.data, days=int(form.days.data), actor=access.person().username
            )
        )

    if carry_out(form, start):
        return redirect(url_for("proposals.what_if", id_=begun[0]))
    return render_template("what_if_start.html", form=form), 422


@bp.get("/what-if/<id_>")
@access.needs(Act.SEARCH_ACTIVITY)
def what_if(id_: str) -> ResponseReturnValue:
    """Show how far a replay is, and what it found."""
    view = access.kept().services.desk.what_if(id=id_)
    return render_template("what_if.html", view=view, id_=id_)


@bp.get("/what-if/<id_>/live")
@access.polled
@access.needs(Act.SEARCH_ACTIVITY)
def what_if_live(id_: str) -> ResponseReturnValue:
    """Return how far it is, for the page that shows it; once it is done, have the page load again."""
    view = access.kept().services.desk.what_if(id=id_)
    if view.state != "running":
        return "", 204, {"HX-Refresh": "true"}
    return render_template("live/what_if.html", view=view, id_=id_)
