"""The acceptable-use table as the school printed it: all groups beside each other, and a tab for each.

A cell or a row is changed by a proposal; rows of illegal content have no way to change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

from flask import Blueprint, abort, render_template, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import Field

from gate_core.acceptable_use import Cell
from gate_core.categories import CATEGORIES, ILLEGAL_MASK
from gate_core.desk import GroupView, ProposalView, RowView
from gate_core.edits import Edit, new_id
from gate_core.roles import Act
from gate_core.services import SERVICES
from gate_core.written import UNKNOWN_GROUP, RowText
from gate_webui import access, proposals
from gate_webui.forms import PostForm, offer
from gate_webui.policy_forms import CellForm, ConnectingForm, RowForm, SearchingForm
from gate_webui.proposing import need
from gate_webui.texts import gettext, known, lazy_gettext
from gate_webui.words import ADDRESS_WORDS, CELL_WORDS, QUIC_WORDS, SEARCH_WORDS, YOUTUBE_WORDS

bp = Blueprint("acceptable_use", __name__)

_LATEST: Final = 200
"""Changes that are looked through for those of a cell."""

_NEW_ROW: Final = lazy_gettext(
    "A new row is “unacceptable” for every group at first. Change its cells afterwards."
)


@bp.get("/acceptable-use")
@access.needs(Act.SEE_POLICY)
def index() -> ResponseReturnValue:
    """Show the table of all groups."""
    desk = access.kept().services.desk
    return render_template("acceptable_use_all.html", groups=desk.groups(), rows=desk.rows())


@bp.get("/acceptable-use/<group>")
@access.needs(Act.SEE_POLICY)
def table(group: str) -> ResponseReturnValue:
    """Show the table of one group."""
    desk = access.kept().services.desk
    groups = desk.groups()
    its = next((g for g in groups if g.id == group), None)
    if its is None:
        abort(404)
    return render_template(
        "acceptable_use.html",
        groups=groups,
        group=its,
        rows=desk.rows(),
        unknown_group=UNKNOWN_GROUP,
    )


@bp.route("/acceptable-use/<group>/<row>", methods=["GET", "POST"])
@access.needs(Act.SEE_POLICY)
def cell(group: str, row: str) -> ResponseReturnValue:
    """Show one cell, and what another one would mean."""
    desk = access.kept().services.desk
    its_group = next((g for g in desk.groups() if g.id == group), None)
    its_row = _find(row)
    if request.method == "POST":
        need(Act.PROPOSE)
    if its_group is None:
        abort(404)
    now = its_group.cells.get(row, Cell.UNACCEPTABLE.value)
    form = CellForm(cell=now)
    offered = {id_: words for id_, words in CELL_WORDS.items() if id_ != Cell.ILLEGAL.value}
    offer(form.cell, [(id_, heading) for id_, (heading, _) in offered.items()])
    if form.validate_on_submit():
        if form.cell.data != now:
            edit = Edit.of(
                ("groups", group, "cells", row), its_group.cells.get(row), form.cell.data
            )
            back = url_for("acceptable_use.table", group=group, _anchor=row)
            return proposals.review((edit,), back=back)
        form.cell.errors = [gettext("This is what it says already. Choose another, or go back.")]
    page = render_template(
        "cell.html",
        group=its_group,
        row=its_row,
        now=now,
        offered=offered,
        form=form,
        history=_history(("groups", group, "cells", row)),
    )
    return page, 422 if form.errors else 200


@bp.route("/searching/<group>", methods=["GET", "POST"])
def searching(group: str) -> ResponseReturnValue:
    """Show how a group searches, and what another way would mean."""
    its = _changeable(group)
    form = SearchingForm(safe_search="safe" if its.safe_search else "all", youtube=its.youtube)
    return _settings(
        its,
        form,
        "searching",
        gettext("Searching and YouTube"),
        {
            form.safe_search: (gettext("Search engines"), SEARCH_WORDS),
            form.youtube: (gettext("YouTube, where the table opens it"), YOUTUBE_WORDS),
        },
        lambda: {"safe_search": form.safe_search.data == "safe", "youtube": form.youtube.data},
    )


@bp.route("/connecting/<group>", methods=["GET", "POST"])
def connecting(group: str) -> ResponseReturnValue:
    """Show where the connections of a group may go, and what another way would mean."""
    its = _changeable(group)
    form = ConnectingForm(
        named_only="named" if its.named_only else "any", quic="open" if its.quic else "closed"
    )
    return _settings(
        its,
        form,
        "connecting",
        gettext("Connections"),
        {
            form.named_only: (gettext("Addresses"), ADDRESS_WORDS),
            form.quic: ("QUIC (HTTP/3)", QUIC_WORDS),
        },
        lambda: {"named_only": form.named_only.data == "named", "quic": form.quic.data == "open"},
    )


def _changeable(group: str) -> GroupView:
    """Return a group whose settings can be changed: those of unknown devices always stay the strictest."""
    need(Act.PROPOSE)
    its = next((g for g in access.kept().services.desk.groups() if g.id == group), None)
    if its is None or group == UNKNOWN_GROUP:
        abort(404)
    return its


def _settings(
    its: GroupView,
    form: PostForm,
    anchor: str,
    heading: str,
    fields: Mapping[Field, tuple[str, Mapping[str, tuple[str, str]]]],
    wanted: Callable[[], Mapping[str, Any]],
) -> ResponseReturnValue:
    """Show the settings of a group, or what others would mean.

    Args:
        its: The group.
        form: What holds now, or was sent.
        anchor: Where they stand on the page of the group.
        heading: What they are called.
        fields: Field to its legend, and to the heading and meaning of each choice.
        wanted: Returns the values that were sent, by their key in the written policy.
    """
    for field, (_, choices) in fields.items():
        offer(field, [(id_, words) for id_, (words, _) in choices.items()])
    back = url_for("acceptable_use.table", group=its.id, _anchor=anchor)
    if form.validate_on_submit():
        edits = tuple(
            Edit.of(("groups", its.id, key), getattr(its, key), value)
            for key, value in wanted().items()
            if getattr(its, key) != value
        )
        if edits:
            return proposals.review(edits, back=back)
        form.form_errors.append(
            gettext("This is what it says already. Choose something else, or go back.")
        )
    page = render_template(
        "group_settings.html", group=its, form=form, heading=heading, fields=fields, back=back
    )
    return page, 422 if form.errors else 200


@bp.route("/rows/new", methods=["GET", "POST"])
def new_row() -> ResponseReturnValue:
    """Add a row."""
    need(Act.PROPOSE)
    form = _row_form(None)
    if form.validate_on_submit():
        rows = access.kept().services.desk.written().rows
        id_ = new_id(form.title.data, rows)
        number = max(row.number for row in rows.values()) + 1
        edit = Edit.of(("rows", id_), None, _plain(form, number))
        back = url_for("acceptable_use.index", _anchor=id_)
        return proposals.review((edit,), back=back, note=_NEW_ROW)
    return render_template("row.html", form=form, row=None), 422 if form.errors else 200


@bp.route("/rows/<row>", methods=["GET", "POST"])
def row(row: str) -> ResponseReturnValue:
    """Word a row anew, and choose what it covers."""
    need(Act.PROPOSE)
    view = _find(row)
    now = access.kept().services.desk.written().rows[row]
    form = _row_form(now)
    if view.locked:
        if request.method == "POST":
            abort(403, gettext("This row is illegal content. Nobody can change it."))
    elif form.validate_on_submit():
        before, after = asdict(now), _plain(form, now.number)
        edits = tuple(
            Edit.of(("rows", row, key), _json(before[key]), after[key])
            for key in after
            if _json(before[key]) != after[key]
        )
        if edits:
            return proposals.review(edits, back=url_for("acceptable_use.index", _anchor=row))
        form.form_errors.append(gettext("Nothing is different. Change something, or go back."))
    return render_template("row.html", form=form, row=view), 422 if form.errors else 200


def _history(path: tuple[str, ...]) -> list[tuple[ProposalView, str, str]]:
    """Return the changes of a cell among the latest of all, newest first, each with the cell before and after."""
    actor = access.person().username
    found = []
    for proposal in access.kept().services.desk.proposals(actor=actor, limit=_LATEST):
        for edit in proposal.edits if proposal.state == "in force" else ():
            if edit.path == path:
                before, after = edit.values()
                none = Cell.UNACCEPTABLE.value
                found.append((proposal, before or none, after or none))
    return found


def _find(id_: str) -> RowView:
    row = next((r for r in access.kept().services.desk.rows() if r.id == id_), None)
    if row is None:
        abort(404)
    return row


def _row_form(now: RowText | None) -> RowForm:
    form = RowForm(obj=now)
    # Illegal content has rows of its own, in which it stays.
    offer(
        form.categories, [(c.id, known(c.title)) for c in CATEGORIES if not c.mask & ILLEGAL_MASK]
    )
    offer(form.services, sorted(((s.id, s.title) for s in SERVICES), key=lambda s: s[1].lower()))
    return form


def _plain(form: RowForm, number: int) -> dict[str, Any]:
    """Return the row of the form as the written policy has it."""
    return {
        "title": form.title.data,
        "number": number,
        "categories": list(form.categories.data or ()),
        "services": list(form.services.data or ()),
        "note": form.note.data or "",
    }


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
