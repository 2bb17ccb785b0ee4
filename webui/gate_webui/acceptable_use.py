"""The acceptable-use table as the school printed it, a tab for each group; a cell is changed with a reason."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from gate_core.acceptable_use import Cell
from gate_core.desk import GroupView, RefusedError
from gate_webui import access
from gate_webui.forms import CellForm, carry_out, offer
from gate_webui.words import CELL_WORDS

bp = Blueprint("acceptable_use", __name__, url_prefix="/acceptable-use")


@bp.get("")
def index() -> ResponseReturnValue:
    """Show the table of the first group."""
    return _table(access.kept().services.desk.groups(), None)


@bp.get("/<group>")
def table(group: str) -> ResponseReturnValue:
    """Show the table of one group."""
    return _table(access.kept().services.desk.groups(), group)


def _table(groups: tuple[GroupView, ...], wanted: str | None) -> ResponseReturnValue:
    group = next((g for g in groups if wanted in {None, g.id}), None)
    if group is None:
        abort(404)
    rows = access.kept().services.desk.rows()
    return render_template("acceptable_use.html", groups=groups, group=group, rows=rows)


@bp.route("/<group>/<row>", methods=["GET", "POST"])
def cell(group: str, row: str) -> ResponseReturnValue:
    """Show one cell, and change it."""
    desk = access.kept().services.desk
    its_group = next((g for g in desk.groups() if g.id == group), None)
    its_row = next((r for r in desk.rows() if r.id == row), None)
    if its_group is None or its_row is None:
        abort(404)
    now = its_group.cells.get(row, Cell.UNACCEPTABLE.value)
    form = CellForm(cell=now, was=now)
    offered = {id_: words for id_, words in CELL_WORDS.items() if id_ != Cell.ILLEGAL.value}
    offer(form.cell, [(id_, heading) for id_, (heading, _) in offered.items()])

    def change() -> None:
        if form.cell.data == now:
            return
        if form.was.data and form.was.data != now:
            form.was.data = now
            raise RefusedError(
                "somebody has changed this since you opened the page:"
                f" it now says “{CELL_WORDS[now][0]}”. Nothing was saved. Choose again",
                "cell",
            )
        desk.set_cell(
            group=group,
            row=row,
            cell=form.cell.data,
            reason=form.reason.data,
            actor=access.person().username,
        )

    if carry_out(form, change):
        cell_words = CELL_WORDS[form.cell.data][0].lower()
        verb = " was already" if form.cell.data == now else ":"
        flash(f"“{its_row.title}” for {its_group.title}{verb} {cell_words}.")
        return redirect(url_for("acceptable_use.table", group=group, _anchor=row))
    page = render_template(
        "cell.html", group=its_group, row=its_row, now=now, offered=offered, form=form
    )
    return page, 422 if form.errors else 200
