"""First run, signing in and signing out."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from gate_core.desk import Account, RefusedError
from gate_webui import access
from gate_webui.accounts_forms import CodeForm, RecoverForm, WelcomeForm
from gate_webui.forms import FirstRunForm, SignInForm, refuse
from gate_webui.passwords import BusyError
from gate_webui.texts import gettext, lazy_gettext, ngettext

bp = Blueprint("account", __name__)


@bp.route("/first-run", methods=["GET", "POST"])
@access.public
def first_run() -> ResponseReturnValue:
    """Set up the school and its first coordinator, with the first-run code."""
    if access.kept().services.desk.is_set_up():
        return redirect(url_for("account.sign_in"))
    form = FirstRunForm(
        data=None if request.method == "POST" else {"code": request.args.get("code", "")}
    )
    if form.validate_on_submit() and _set_up(form):
        access.kept().throttle.succeed(request.remote_addr or "")
        _enter(form.username.data)
        flash(gettext("Schoolgate is set up, and you are signed in."))
        return redirect(url_for("today.page"))
    return render_template("first_run.html", form=form), 422 if form.errors else 200


def _set_up(form: FirstRunForm) -> bool:
    kept = access.kept()
    keys = keys_of("first run")
    if wait_s := kept.throttle.wait_s(*keys):
        form.form_errors.append(wait_words(wait_s))
        return False
    try:
        kept.services.desk.set_up(
            code=form.code.data,
            school=form.school.data,
            username=form.username.data,
            full_name=form.full_name.data,
            password_hash=kept.passwords.hash(form.password.data),
        )
    except BusyError:
        form.form_errors.append(BUSY)
    except RefusedError as refusal:
        if refusal.field == "code":
            kept.throttle.fail(*keys)
        refuse(form, refusal)
    return not form.errors


@bp.route("/sign-in", methods=["GET", "POST"])
@access.public
def sign_in() -> ResponseReturnValue:
    """Ask for user name and password."""
    if g.person:
        return redirect(url_for("today.page"))
    form = SignInForm(next=request.args.get("next", ""))
    if form.validate_on_submit() and (account := _checked(form)):
        onward = access.page_path(form.next.data)
        if account.second_factor:
            access.half_sign_in(account.username, account.session_epoch)
            return redirect(url_for("account.code", next=onward))
        _admitted(account.username)
        return redirect(onward or url_for("today.page"))
    if request.method == "GET" and not access.kept().services.desk.is_set_up():
        return redirect(url_for("account.first_run"))
    return render_template("sign_in.html", form=form), 422 if form.errors else 200


@bp.route("/sign-in/code", methods=["GET", "POST"])
@access.public
def code() -> ResponseReturnValue:
    """Ask whoever has given their password for the code that their app shows."""
    half = access.half_signed_in()
    if g.person or half is None:
        return redirect(url_for("account.sign_in"))
    form = CodeForm(next=request.args.get("next", ""))
    if form.validate_on_submit() and _code_checked(form, half):
        _admitted(half)
        return redirect(access.page_path(form.next.data) or url_for("today.page"))
    return render_template("sign_in_code.html", form=form), 422 if form.errors else 200


def _code_checked(form: CodeForm, username: str) -> bool:
    kept = access.kept()
    keys = keys_of(f"account {username}")
    if wait_s := kept.throttle.wait_s(*keys):
        form.form_errors.append(wait_words(wait_s))
        return False
    if kept.services.desk.check_second_factor(username=username, code=form.code.data):
        return True
    # A code is guessed more easily than a password: each failure counts like one of those.
    kept.throttle.fail(*keys)
    kept.services.desk.record_sign_in(
        username=username, address=request.remote_addr or "", succeeded=False
    )
    form.code.errors = [
        gettext(
            "This is not the code that your app shows now. Each is good once, for half a minute."
        )
    ]
    return False


def _admitted(username: str) -> None:
    """Let somebody in whose password, and code where one is asked for, were right."""
    kept = access.kept()
    address = request.remote_addr or ""
    kept.services.desk.record_sign_in(username=username, address=address, succeeded=True)
    kept.throttle.succeed(address, *keys_of(f"account {username}"))
    _enter(username)


def _checked(form: SignInForm) -> Account | None:
    kept = access.kept()
    desk = kept.services.desk
    username = form.username.data.lower()
    address = request.remote_addr or ""
    keys = keys_of(f"account {username}")
    if wait_s := kept.throttle.wait_s(*keys):
        form.form_errors.append(wait_words(wait_s))
        return None
    account = desk.account(username=username)
    if not kept.throttle.admit(address):
        form.form_errors.append(BUSY)
        return None
    try:
        matches = kept.passwords.matches(
            form.password.data,
            account.password_hash if account else None,
            familiar=kept.throttle.knows(address),
        )
    except BusyError:
        form.form_errors.append(BUSY)
        return None
    if matches:
        return account
    desk.record_sign_in(username=username, address=address, succeeded=False)
    kept.throttle.fail(*keys)
    form.form_errors.append(gettext("The user name or the password is wrong."))
    return None


@bp.route("/sign-in/recover", methods=["GET", "POST"])
@access.public
def recover() -> ResponseReturnValue:
    """Let somebody in by a recovery code, who sets another password."""
    if g.person:
        return redirect(url_for("today.page"))
    form = RecoverForm()
    if form.validate_on_submit() and _recovered(form):
        _admitted(form.username.data)
        flash(
            gettext(
                "Your new password is set. Everybody who looks after the box is told. Print new codes now: this one is used up."
            ),
            "success",
        )
        return redirect(url_for("own_account.page"))
    return render_template("recover.html", form=form), 422 if form.errors else 200


def _recovered(form: RecoverForm) -> bool:
    return _by_code(
        form,
        lambda password_hash: access.kept().services.desk.recover(
            username=form.username.data, code=form.code.data, password_hash=password_hash
        ),
    )


@bp.route("/welcome", methods=["GET", "POST"])
@access.public
def welcome() -> ResponseReturnValue:
    """Have somebody who has been invited set their first password, with the code of the invitation."""
    if g.person:
        return redirect(url_for("today.page"))
    form = WelcomeForm()
    if form.validate_on_submit() and _accepted(form):
        if access.kept().services.desk.account(username=form.username.data):
            _enter(form.username.data)
            flash(gettext("Your password is set, and you are signed in."), "success")
            return redirect(url_for("today.page"))
        flash(
            gettext(
                "Your password is set, but the account cannot be used now. Ask who invited you."
            ),
            "waiting",
        )
        return redirect(url_for("account.sign_in"))
    return render_template("welcome.html", form=form), 422 if form.errors else 200


def _accepted(form: WelcomeForm) -> bool:
    return _by_code(
        form,
        lambda password_hash: access.kept().services.desk.accept_invitation(
            username=form.username.data, code=form.code.data, password_hash=password_hash
        ),
    )


def _by_code(form: WelcomeForm | RecoverForm, set_password: Callable[[str], None]) -> bool:
    """Have the password of a form set, which takes its hash, by the code on the form."""
    kept = access.kept()
    address = request.remote_addr or ""
    # A code is guessed like a password, and its failures count like those of one.
    keys = keys_of(f"account {form.username.data}")
    if wait_s := kept.throttle.wait_s(*keys):
        form.form_errors.append(wait_words(wait_s))
        return False
    if not kept.throttle.admit(address):
        form.form_errors.append(BUSY)
        return False
    try:
        set_password(kept.passwords.hash(form.password.data))
    except BusyError:
        form.form_errors.append(BUSY)
    except RefusedError as refusal:
        kept.throttle.fail(*keys)
        refuse(form, refusal)
    else:
        kept.throttle.succeed(address, *keys)
    return not form.errors


@bp.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """End the session of this browser."""
    access.sign_out()
    flash(gettext("You have signed out."))
    return redirect(url_for("account.sign_in"))


BUSY = lazy_gettext("Others are signing in at this moment. Wait a few seconds and try again.")


def _enter(username: str) -> None:
    account = access.kept().services.desk.account(username=username)
    if account is None:
        raise AssertionError("an account that has just been found")
    access.sign_in(account.username, account.session_epoch)


def keys_of(what: str) -> tuple[str, str]:
    """Return what a failure counts against: ``what`` from this place, and the place.

    ``what`` is "first run", or "account" and a name: no name that can be typed makes one of the other.
    """
    place = access.kept().throttle.place(request.remote_addr or "")
    return f"{what} from {place}", f"address {place}"


def wait_words(wait_s: float) -> str:
    """Return what somebody is told who has to wait for so long."""
    seconds = ceil(wait_s)
    wait = (
        ngettext("%(num)s second", "%(num)s seconds", seconds)
        if seconds <= 90
        else ngettext("%(num)s minute", "%(num)s minutes", ceil(seconds / 60))
    )
    return gettext("Too many wrong attempts. Wait %(wait)s and try again.", wait=wait)
