"""Accounts: who may sign in, in which role; somebody new is invited by a code that is shown once."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from gate_core.desk import Invitation
from gate_core.roles import TITLES, Act, Role
from gate_webui import access
from gate_webui.accounts_forms import InviteForm
from gate_webui.entries import RemoveForm
from gate_webui.fields import end_of
from gate_webui.forms import PressForm, carry_out, offer
from gate_webui.proposing import form_page, press
from gate_webui.texts import gettext, known

bp = Blueprint("accounts", __name__, url_prefix="/accounts")


@bp.get("")
@access.needs(Act.GRANT)
def index() -> ResponseReturnValue:
    """List the accounts."""
    desk = access.kept().services.desk
    written = desk.written()
    return render_template(
        "accounts.html",
        accounts=desk.accounts(actor=access.person().username),
        roles={role.value: known(title) for role, title in TITLES.items()},
        titles={i: g.title for i, g in written.groups.items()}
        | {i: r.title for i, r in written.rooms.items()},
        press=PressForm(),
    )


@bp.route("/invite", methods=["GET", "POST"])
@access.needs(Act.GRANT)
def invite() -> ResponseReturnValue:
    """Invite somebody, and show the code once."""
    desk = access.kept().services.desk
    written = desk.written()
    form = InviteForm()
    rooms = [(i, r.title) for i, r in written.rooms.items()]
    groups = [(i, g.title) for i, g in written.groups.items() if g.pausable]
    offer(form.rooms, [*groups, *rooms])
    made: list[Invitation] = []

    def carry() -> None:
        made.append(
            desk.invite(
                username=form.username.data,
                full_name=form.full_name.data,
                role=form.role.data,
                rooms=tuple(form.rooms.data or ()) if form.role.data == Role.TEACHER.value else (),
                until=end_of(form.until.data),
                reason=form.reason.data,
                actor=access.person().username,
            )
        )

    if carry_out(form, carry):
        # Not after a redirect: the code is kept nowhere, so it can't be shown again.
        return render_template(
            "invitation.html",
            invitation=made[0],
            full_name=form.full_name.data,
            role=known(TITLES[Role(form.role.data)]),
            welcome=url_for("account.welcome", _external=True),
        )
    page = render_template(
        "one_form.html",
        form=form,
        caption=gettext("Accounts"),
        heading=gettext("Invite somebody"),
        lead=(gettext("They set their own password with a code that you hand to them."),),
        send=gettext("Invite"),
        back=url_for("accounts.index"),
    )
    return page, 422 if form.errors else 200


@bp.route("/<username>/remove", methods=["GET", "POST"])
@access.needs(Act.GRANT)
def remove(username: str) -> ResponseReturnValue:
    """End an account."""
    desk = access.kept().services.desk
    actor = access.person().username
    its = next((a for a in desk.accounts(actor=actor) if a.username == username), None)
    if its is None:
        abort(404)
    form = RemoveForm()

    def carry() -> None:
        waits = desk.remove_account(username=username, reason=form.reason.data, actor=actor)
        if waits:
            flash(
                gettext(
                    "The account of %(full_name)s goes on for now. %(waits)s",
                    full_name=its.full_name,
                    waits=waits,
                )
            )
        else:
            flash(
                gettext(
                    "The account of %(full_name)s has ended, and its sessions with it.",
                    full_name=its.full_name,
                ),
                "success",
            )

    return form_page(
        form,
        carry,
        caption=gettext("Accounts"),
        heading=gettext("Remove the account of %(full_name)s", full_name=its.full_name),
        lead=(
            gettext(
                "Once it ends they are signed out. What they did stays in the record, with their name."
            ),
        ),
        send=gettext("Remove"),
        warning=True,
        back=url_for("accounts.index"),
    )


@bp.post("/<username>/sign-out")
@access.needs(Act.GRANT)
def sign_out(username: str) -> ResponseReturnValue:
    """End every session of an account."""
    desk = access.kept().services.desk
    press(
        lambda: desk.end_sessions(username=username, actor=access.person().username),
        gettext("%(username)s is signed out everywhere.", username=username),
    )
    return redirect(url_for("accounts.index"))


@bp.post("/<username>/code")
@access.needs(Act.GRANT)
def end_code(username: str) -> ResponseReturnValue:
    """Let somebody in without a code again, whose phone is lost."""
    desk = access.kept().services.desk
    press(
        lambda: desk.end_second_factor(username=username, actor=access.person().username),
        gettext("%(full_name)s signs in by the password alone again.", full_name=username),
    )
    return redirect(url_for("accounts.index"))
