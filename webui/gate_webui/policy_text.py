"""The policy as text: export and import of the whole, and the table pasted from a printed policy.

Nothing that comes in changes anything: it becomes edits, which are shown and proposed like any other.
"""

from __future__ import annotations

from flask import Blueprint, Response, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gate_core.desk import ImportView, TableView
from gate_core.roles import Act
from gate_webui import access, proposals
from gate_webui.forms import carry_out, number, offer
from gate_webui.policy_forms import PolicyTextForm, ProposeForm, TableForm
from gate_webui.proposing import need
from gate_webui.texts import gettext
from gate_webui.words import CELL_WORDS

bp = Blueprint("policy_text", __name__, url_prefix="/policy-text")


@bp.get("")
def index() -> ResponseReturnValue:
    """Offer what can be done."""
    need(Act.PROPOSE)
    return render_template("policy_text.html")


@bp.get("/export")
def export() -> ResponseReturnValue:
    """Send the policy as a file."""
    need(Act.PROPOSE)
    text = access.kept().services.desk.export_policy(actor=access.person().username)
    return attachment(text, "policy.toml", "application/toml")


def attachment(text: str, name: str, kind: str) -> Response:
    """Return ``text`` as a file to be saved as ``name``."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, content_type=f"{kind}; charset=utf-8", headers=headers)


@bp.route("/import", methods=["GET", "POST"])
@access.roomy
def import_() -> ResponseReturnValue:
    """Show what a policy as text would change."""
    need(Act.PROPOSE)
    form = PolicyTextForm()
    read: list[ImportView] = []

    def look() -> None:
        read.append(access.kept().services.desk.read_policy(text=form.text.data))

    faults: tuple[str, ...] = ()
    if carry_out(form, look):
        its = read[0]
        faults = its.preview.faults
        if its.edits and not faults:
            back = url_for("policy_text.index")
            return proposals.review(its.edits, back=back, note=its.signature)
        if not faults:
            form.text.errors = [gettext("This is the policy in force: nothing would change.")]
    page = render_template("policy_import.html", form=form, faults=faults)
    return page, 422 if form.errors or faults else 200


@bp.route("/table", methods=["GET", "POST"])
@access.roomy
def table() -> ResponseReturnValue:
    """Show what was understood of a pasted table, and what it would change."""
    need(Act.PROPOSE)
    desk = access.kept().services.desk
    form = TableForm()
    offer(form.groups, [(group.id, group.title) for group in desk.groups()])
    read: list[TableView] = []

    def look() -> None:
        take = tuple(number(line) for line in request.form.getlist("take"))
        groups = tuple(form.groups.data)
        read.append(desk.read_table(text=form.text.data, groups=groups, take=take))

    if not carry_out(form, look):
        return render_template("policy_table.html", form=form), 422 if form.errors else 200
    its = read[0]
    page = render_template(
        "policy_table_read.html",
        its=its,
        table=form,
        taken=set(request.form.getlist("take")),
        cells={cell: heading for cell, (heading, _) in CELL_WORDS.items()},
        form=ProposeForm(
            formdata=None,
            edits=its.edits,
            back=url_for("acceptable_use.index"),
            reason=gettext("The table of our printed policy."),
        ),
    )
    return page, 422 if its.preview.faults else 200
