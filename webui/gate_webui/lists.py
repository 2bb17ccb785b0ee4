"""Lists: where the names of sites come from, what came of looking for newer ones, and who let what in."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gate_core.categories import BY_ID, CATEGORIES
from gate_core.desk import without_errno
from gate_core.roles import TITLES, Act, holders
from gate_core.sources import TRUST_TITLES, ListSource, SourcesView, SourceView
from gate_webui import access
from gate_webui.forms import carry_out, offer
from gate_webui.lists_forms import ChooseForm, DecideForm, PressAllForm, SourceForm
from gate_webui.proposing import fully
from gate_webui.texts import gettext, known, lazy_gettext

bp = Blueprint("lists", __name__, url_prefix="/lists")

PHASES = {
    "connecting": lazy_gettext("Asking for it"),
    "downloading": lazy_gettext("Downloading"),
    "checking": lazy_gettext("Reading it and comparing it with the one before"),
    "reading": lazy_gettext("Putting all lists together"),
    "compiling": lazy_gettext("Putting all lists together"),
}

STATES = {
    "new": (lazy_gettext("Not there yet"), "blue"),
    "failed": (lazy_gettext("Did not come"), "yellow"),
    "ok": (lazy_gettext("Up to date"), "green"),
    "stale": (lazy_gettext("Old"), "yellow"),
    "refused": (lazy_gettext("Refused"), "yellow"),
}
"""State of a source to the words and the colour of its tag; ``failed`` is ``new`` after a look that failed."""

WITHOUT_SITES = ("malware", "phishing", "self-harm", "discrimination", "misinformation")
"""Categories that the box brings no sites for: these change daily, or need somebody who answers for them."""

TRUST = {trust.value: title for trust, title in TRUST_TITLES.items()}


@bp.get("")
@access.needs(Act.SEE_POLICY)
def index() -> ResponseReturnValue:
    """List the sources, and published lists that may be chosen."""
    desk = access.kept().services.desk
    its = desk.sources()
    there = {view.source.id for view in its.sources}
    own = desk.own_lists()
    listed = {view.source.category for view in its.sources if view.names}
    listed |= {added.category for added in own if added.names}
    titles = {c.id: known(c.title) for c in CATEGORIES}
    return render_template(
        "lists.html",
        sources=its.sources,
        own=own,
        faults=its.faults,
        suggestions=[s for s in its.suggestions if s.id not in there],
        may_manage=access.may(Act.MANAGE_LISTS),
        may_decide=fully(Act.APPROVE),
        press=PressAllForm(),
        states=STATES,
        titles=titles,
        missing=[titles[id_] for id_ in WITHOUT_SITES if id_ not in listed],
        next_step=_next_step,
        **_progress(its),
    )


def _next_step(its: SourceView) -> str:
    """Return what becomes of a list that did not come, as a sentence."""
    if its.acceptable:
        return gettext("Whoever may approve changes can accept it.")
    if its.state == "refused":
        return gettext(
            "The box looks again in time. If that goes on, ask who publishes it, or remove it."
        )
    return gettext("The box tries again within the hour.")


@bp.get("/live")
@access.polled
@access.needs(Act.SEE_POLICY)
def live() -> ResponseReturnValue:
    """Return how far an update is; once it is done, have the page load again."""
    its = access.kept().services.desk.sources()
    if its.progress is None:
        return "", 204, {"HX-Refresh": "true"}
    return render_template("live/lists.html", **_progress(its))


def _progress(its: SourcesView) -> dict[str, object]:
    if its.progress is None:
        return {"progress": None}
    title = next((v.source.title for v in its.sources if v.source.id == its.progress.id), "")
    return {"progress": its.progress, "phase": PHASES[its.progress.phase], "title": title}


@bp.post("/update")
@access.needs(Act.MANAGE_LISTS)
def update() -> ResponseReturnValue:
    """Look at all sources now."""
    access.kept().services.desk.update_lists(actor=access.person().username)
    return redirect(url_for("lists.index"))


@bp.route("/add", methods=["GET", "POST"])
@access.needs(Act.MANAGE_LISTS)
def add() -> ResponseReturnValue:
    """Add a source that the school knows of."""
    form = SourceForm()
    offer(
        form.category,
        [("", gettext("Choose a category")), *((c.id, known(c.title)) for c in CATEGORIES)],
    )
    offer(
        form.trust,
        [("", gettext("Choose who answers for it")), *((i, known(t)) for i, t in TRUST.items())],
    )

    def do() -> None:
        source = ListSource(
            form.id.data,
            form.title.data,
            form.url.data,
            form.licence.data,
            form.category.data,
            form.trust.data,
            form.format.data,
            int(form.interval_h.data),
            form.key_name.data,
            form.key_algorithm.data if form.key_name.data else "",
        )
        _add(source, form.secret.data or "")

    if carry_out(form, do):
        return redirect(url_for("lists.index"))
    lead = (
        gettext(
            "Here you add a list that the school knows of, such as one of its trust or provider. Published lists are on the"
            " page before."
        ),
    )
    return _form(form, gettext("Add a list"), send=gettext("Add the list"), lead=lead)


@bp.route("/choose/<id_>", methods=["GET", "POST"])
@access.needs(Act.MANAGE_LISTS)
def choose(id_: str) -> ResponseReturnValue:
    """Add a published list that the program knows of."""
    its = access.kept().services.desk.sources()
    found = next((s for s in its.suggestions if s.id == id_), None)
    if found is None:
        abort(404)
    form = ChooseForm()

    def do() -> None:
        _add(
            ListSource(
                found.id, found.title, found.url, found.licence, found.category, found.trust
            ),
            "",
        )

    if carry_out(form, do):
        return redirect(url_for("lists.index"))
    lead = (
        gettext(
            "About %(names)s sites. The acceptable-use table decides on them as “%(title)s”.",
            names=f"{found.names:,}",
            title=known(BY_ID[found.category].title),
        ),
        gettext(
            "Licence: %(licence)s. Who answers for it: %(trust)s, %(home)s",
            licence=found.licence,
            trust=_lower_first(known(TRUST[found.trust])),
            home=found.home,
        ),
        gettext(
            "The box downloads it from %(url)s and looks for a newer one once a day.", url=found.url
        ),
    )
    return _form(form, found.title, send=gettext("Add this list"), lead=lead)


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _add(source: ListSource, secret: str) -> None:
    desk = access.kept().services.desk
    desk.add_source(source=source, secret=secret, actor=access.person().username)
    flash(gettext("“%(title)s” is added. The box looks at it now.", title=source.title), "success")


@bp.route("/<id_>/remove", methods=["GET", "POST"])
@access.needs(Act.SEE_POLICY)
def remove(id_: str) -> ResponseReturnValue:
    """Remove a source."""
    its = _decided(id_)
    form = DecideForm()
    desk = access.kept().services.desk

    def do() -> None:
        desk.remove_source(id=id_, reason=form.reason.data, actor=access.person().username)
        flash(gettext("“%(title)s” is removed.", title=its.source.title), "success")

    if carry_out(form, do):
        return redirect(url_for("lists.index"))
    if its.source.is_illegal:
        lead = gettext("The sites on it stay closed: nobody can open illegal content.")
    elif its.names:
        lead = gettext(
            "Its %(names)s sites are on it no more then. Those that nothing else closes open.",
            names=f"{its.names:,}",
        )
    else:
        lead = gettext("Nothing of it has come into force, so no site opens.")
    return _form(
        form,
        gettext("Remove “%(title)s”", title=its.source.title),
        send=gettext("Remove the list"),
        lead=(lead,),
        warning=True,
    )


@bp.route("/<id_>/accept", methods=["GET", "POST"])
@access.needs(Act.SEE_POLICY)
def accept(id_: str) -> ResponseReturnValue:
    """Let a list in that was refused for what it lacks."""
    its = _decided(id_)
    form = DecideForm()
    desk = access.kept().services.desk

    def do() -> None:
        desk.accept_list(id=id_, reason=form.reason.data, actor=access.person().username)
        flash(
            gettext("“%(title)s” is accepted. The box gets it again now.", title=its.source.title),
            "success",
        )

    if carry_out(form, do):
        return redirect(url_for("lists.index"))
    lead = (
        gettext(
            "The newest list was refused: %(why)s.",
            why=without_errno(its.reason),
        ),
        gettext(
            "Sites that it lacks, and that nothing else closes, open. This accepts it once, and only if it lacks no more"
            " than this."
        ),
    )
    return _form(
        form,
        gettext("Accept “%(title)s”", title=its.source.title),
        send=gettext("Accept the list"),
        lead=lead,
        warning=True,
    )


def _decided(id_: str) -> SourceView:
    if not fully(Act.APPROVE):
        # IT may be the second of two to approve something, but there is no second here.
        alone = ", ".join(known(TITLES[role]) for role in holders(Act.APPROVE))
        abort(403, gettext("What may open sites, these roles decide: %(alone)s.", alone=alone))
    views = access.kept().services.desk.sources().sources
    found = next((view for view in views if view.source.id == id_), None)
    if found is None:
        abort(404)
    return found


def _form(
    form: DecideForm | ChooseForm | SourceForm, heading: str, **more: object
) -> ResponseReturnValue:
    page = render_template(
        "one_form.html", form=form, heading=heading, back=url_for("lists.index"), **more
    )
    return page, 422 if request.method == "POST" else 200
