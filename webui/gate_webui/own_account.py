"""One's own account: another password, and a second factor (TOTP, RFC 6238) besides it."""

from __future__ import annotations

from typing import Any

import pyotp
import segno
from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from gate_core.desk import Account
from gate_webui import access
from gate_webui.account import BUSY, keys_of, wait_words
from gate_webui.accounts_forms import OwnerForm, PasswordForm, SecondFactorForm
from gate_webui.forms import carry_out
from gate_webui.passwords import BusyError
from gate_webui.texts import gettext

bp = Blueprint("own_account", __name__, url_prefix="/account")


@bp.get("")
def page() -> ResponseReturnValue:
    """Show what one may change of one's own account."""
    desk, username = access.kept().services.desk, access.person().username
    return render_template(
        "own_account.html", account=_own(), codes=desk.recovery_codes(actor=username)
    )


@bp.route("/password", methods=["GET", "POST"])
def password() -> ResponseReturnValue:
    """Ask for another password; every other session of the account ends."""
    form = PasswordForm()
    if form.validate_on_submit() and _is_right(form):
        desk, passwords = access.kept().services.desk, access.kept().passwords
        username = access.person().username
        try:
            desk.change_password(password_hash=passwords.hash(form.password.data), actor=username)
        except BusyError:
            form.form_errors.append(BUSY)
        else:
            access.sign_in(username, _own().session_epoch)
            flash(
                gettext("Your password is changed. Everywhere else you are signed out."), "success"
            )
            return redirect(url_for("own_account.page"))
    return _form(form, gettext("Change your password"))


@bp.route("/second-factor", methods=["GET", "POST"])
def second_factor() -> ResponseReturnValue:
    """Show a secret for the app, and ask for a code of it."""
    desk, username = access.kept().services.desk, access.person().username
    form = SecondFactorForm()
    if request.method == "GET":
        form.secret.data = desk.offer_second_factor(actor=username)

    def begin() -> None:
        desk.begin_second_factor(secret=form.secret.data or "", code=form.code.data, actor=username)
        flash(gettext("From now on you are asked for a code when you sign in."), "success")

    if carry_out(form, begin):
        return redirect(url_for("own_account.page"))
    school = desk.written().school
    uri = pyotp.TOTP(form.secret.data or "").provisioning_uri(
        name=username, issuer_name=f"Schoolgate {school}".strip().replace(":", " ")
    )
    shown = render_template(
        "second_factor.html",
        form=form,
        secret=" ".join((form.secret.data or "")[at : at + 4] for at in range(0, 32, 4)),
        # Made by the library, of a text that is escaped for an address.
        picture=Markup(segno.make(uri, error="m").svg_inline(scale=5, border=4)),  # noqa: S704
    )
    return shown, 422 if form.errors else 200


@bp.route("/second-factor/end", methods=["GET", "POST"])
def end_second_factor() -> ResponseReturnValue:
    """Ask for the password once more, and do without codes."""
    form = OwnerForm()
    if form.validate_on_submit() and _is_right(form):
        username = access.person().username
        access.kept().services.desk.end_second_factor(username=username, actor=username)
        flash(gettext("You sign in by your password alone again."), "success")
        return redirect(url_for("own_account.page"))
    return _form(form, gettext("Sign in without a code"), warning=True)


@bp.route("/recovery-codes", methods=["GET", "POST"])
def recovery_codes() -> ResponseReturnValue:
    """Ask for the password once more, and show new codes, this once."""
    desk, username = access.kept().services.desk, access.person().username
    form = OwnerForm()
    codes: tuple[str, ...] = ()
    if form.validate_on_submit() and _is_right(form):
        codes = desk.make_recovery_codes(actor=username)
    shown = render_template(
        "recovery_codes.html",
        form=form,
        codes=codes,
        account=_own(),
        school=desk.written().school,
        left=desk.recovery_codes(actor=username),
    )
    return shown, 422 if form.errors else 200


def _own() -> Account:
    found = access.kept().services.desk.account(username=access.person().username)
    if found is None:
        raise AssertionError("the account of who is signed in")
    return found


def _form(form: Any, heading: str, *, warning: bool = False) -> ResponseReturnValue:
    return render_template(
        "one_form.html",
        form=form,
        heading=heading,
        back=url_for("own_account.page"),
        warning=warning,
    ), 422 if form.errors else 200


def _is_right(form: Any) -> bool:
    """Check the password that is asked for once more: a browser left open is not its owner."""
    kept, username = access.kept(), access.person().username
    address = request.remote_addr or ""
    keys = keys_of(f"account {username}")
    if wait_s := kept.throttle.wait_s(*keys):
        form.form_errors.append(wait_words(wait_s))
        return False
    try:
        right = kept.passwords.matches(
            form.current.data, _own().password_hash, familiar=kept.throttle.knows(address)
        )
    except BusyError:
        form.form_errors.append(BUSY)
        return False
    if not right:
        kept.throttle.fail(*keys)
        form.current.errors = [gettext("This is not your password.")]
    return right
