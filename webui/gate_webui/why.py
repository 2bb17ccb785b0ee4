"""Check a site: what somebody gets for it, and which place of the order decides; and what the box cannot see."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gate_core.desk import ActivityFilter, ActivityRecord, Explanation, RefusedError
from gate_core.names import MalformedNameError, parse_name
from gate_core.protocols import BY_ID as PROTOCOLS
from gate_core.roles import Act
from gate_webui import access
from gate_webui.activity import ask_why, purpose
from gate_webui.forms import WhyForm, no_site, number, offer, refuse, text_of_page
from gate_webui.texts import gettext, known
from gate_webui.words import what_words

bp = Blueprint("why", __name__)


@bp.get("/why")
@access.needs(Act.EXPLAIN)
def page() -> ResponseReturnValue:
    """Ask for a person or device and a site, and explain the decision; first what a recorded one was made by."""
    desk = access.kept().services.desk
    recorded: ActivityRecord | None = None
    if "record" in request.args:
        access.require(Act.SEARCH_ACTIVITY)
        if not purpose():
            return ask_why()
        recorded = _recorded(number(request.args["record"]))
    asked = "client" in request.args
    form = WhyForm(request.args if asked else None, name=request.args.get("name", ""))
    choices = {
        group.id: gettext("Anyone in %(title)s", title=group.title) for group in desk.groups()
    }
    # Whoever has nothing to do with devices and people needs no list of them.
    if access.may(Act.LEND):
        people = [(id_, f"{p.name} ({p.kind})") for id_, p in desk.written().people.items()]
        devices = [
            (d.mac, d.name or gettext("Unknown device %(mac)s", mac=d.mac)) for d in desk.devices()
        ]
        for named in (people, devices):
            choices |= dict(sorted(named, key=lambda pair: pair[1].lower()))
    # A link from a record may name an address that belongs to no device any more.
    if client := request.args.get("client", ""):
        choices.setdefault(client, client[:60])
    offer(form.client, choices.items())
    offer(
        form.protocol,
        [("", gettext("Any, by its name")), *((p.id, known(p.title)) for p in PROTOCOLS.values())],
    )
    explanation: Explanation | None = None
    if asked and form.validate():
        try:
            name = parse_name(text_of_page(form.name.data)) if form.name.data else ""
            explanation = desk.explain(
                client=form.client.data, name=name, at=form.at.data, protocol=form.protocol.data
            )
        except MalformedNameError:
            refuse(form, RefusedError(no_site(form.name.data), "name"))
        except RefusedError as refusal:
            refuse(form, refusal)
    page = render_template(
        "why.html",
        form=form,
        explanation=explanation,
        what=what_words(explanation.name, form.protocol.data) if explanation else "",
        recorded=recorded,
        of_group=explanation and explanation.device == f"any device of {explanation.group_title}",
    )
    return page, 422 if form.errors else 200


def _recorded(id_: int) -> ActivityRecord | None:
    """Return the record that a link from Activity or Today names; None where it is kept no more."""
    found = access.kept().services.desk.activity(
        filter=ActivityFilter(before=id_ + 1, limit=1),
        actor=access.person().username,
        reason=purpose(),
    )
    return next((record for record in found.records if record.id == id_), None)


@bp.get("/why/code")
@access.needs(Act.EXPLAIN)
def code() -> ResponseReturnValue:
    """Lead from the code on a pupil's block page to what was blocked there, and why."""
    typed = request.args.get("code", "")
    shown = access.kept().services.codes.find(typed)
    if shown is None:
        flash(
            gettext(
                "No block page has shown the code “%(code)s” today. Codes have 4 letters.",
                code=typed[:20],
            ),
            "refused",
        )
        return redirect(url_for("why.page"))
    return redirect(url_for("why.page", client=shown.client, name=shown.name))


@bp.get("/cannot-see")
@access.public
def cannot_see() -> ResponseReturnValue:
    """Say what the box cannot see."""
    return render_template("cannot_see.html")
