"""Who may see a page: nobody who is not signed in, unless the page says otherwise.

A view is closed by default; ``public`` opens it. Each change is a POST with a CSRF token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import wraps
from ipaddress import ip_address
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote, unquote

from flask import Flask, abort, current_app, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user
from werkzeug.exceptions import HTTPException

from gate_core.desk import USERNAME
from gate_core.roles import TITLES, Act, Leave, Role, holders, leave
from gate_webui.passwords import Passwords
from gate_webui.sessions import Sessions
from gate_webui.settings import Services, WebSettings
from gate_webui.texts import gettext, known
from gate_webui.throttle import Throttle
from gate_webui.words import join_words

_View = TypeVar("_View", bound=Callable[..., Any])

ROOMY_OCTETS: Final = 524_288
"""A policy with a thousand devices has about 150,000; a table copied from a word processor twice as many."""

_HALF_S: Final = 300.0

LANGUAGE: Final = "language"
"""Key of the session: the language that was chosen in this browser."""

# A path of this site: neither "//host" nor "/\host", which browsers take for another one.
_OWN_PATH: Final = re.compile(r"/(?:[^/\\\x00-\x20\x7f][^\\\x00-\x20\x7f]*)?")


@dataclass(frozen=True)
class Person(UserMixin):  # type: ignore[misc]  # the package has no types
    """Who is signed in."""

    username: str
    full_name: str
    role: str
    language: str = ""
    """As ``gate_core.desk.Account`` has it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the application keeps between requests."""

    services: Services
    sessions: Sessions
    throttle: Throttle
    passwords: Passwords
    halves: Sessions = field(default_factory=lambda: Sessions(_HALF_S, _HALF_S))
    """Those who have given their password, and not yet the code that is asked for besides."""


def kept() -> Kept:
    """Return what the application of this request keeps."""
    return cast("Kept", current_app.extensions["schoolgate"])


def public(view: _View) -> _View:
    """Open ``view`` to everybody."""
    view.is_public = True  # type: ignore[attr-defined]  # functions take attributes
    return view


def polled(view: _View) -> _View:
    """Mark a ``view`` that pages ask for by themselves: it keeps no session from growing idle."""
    view.is_polled = True  # type: ignore[attr-defined]  # functions take attributes
    return view


def roomy(view: _View) -> _View:
    """Mark a ``view`` that takes a whole policy: its forms may be ``ROOMY_OCTETS`` long."""
    view.is_roomy = True  # type: ignore[attr-defined]  # functions take attributes
    return view


def roomy_paths(app: Flask) -> frozenset[str]:
    """Return the paths of the views marked so."""
    views = app.view_functions
    return frozenset(
        r.rule for r in app.url_map.iter_rules() if hasattr(views[r.endpoint], "is_roomy")
    )


def needs(act: Act) -> Callable[[_View], _View]:
    """Show a view only to roles that may do ``act``; what they may do in truth, the desk decides."""

    def guarded(view: _View) -> _View:
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            require(act)
            return view(*args, **kwargs)

        return cast("_View", checked)

    return guarded


def require(act: Act) -> None:
    """End the request with a page that says who may do ``act``, unless who is signed in may."""
    if not may(act):
        abort(403, who_may(act))


def may(act: Act) -> bool:
    """Tell whether the role of who is signed in may do ``act`` in some way."""
    return g.person is not None and leave(Role(g.person.role), act) is not Leave.NO


def who_may(act: Act) -> str:
    """Return a sentence about who may do ``act``."""
    titles = [known(TITLES[role]) for role in holders(act)]
    return gettext(
        "Your role may not %(act)s. These roles may: %(who)s.",
        act=known(act.value),
        who=join_words(titles),
    )


def person() -> Person:
    """Return who is signed in."""
    return cast("Person", g.person)


def full_names(usernames: Iterable[str]) -> dict[str, str]:
    """Return the full names of those that have an account, by user name."""
    desk = kept().services.desk
    wanted = sorted({name for name in usernames if USERNAME.fullmatch(name)})
    found = {name: desk.account(username=name) for name in wanted}
    return {name: account.full_name for name, account in found.items() if account}


def sign_in(username: str, epoch: int) -> None:
    """Begin a session in a clean cookie, so that no id or token from before it is worth anything."""
    sign_out()
    session["sid"] = kept().sessions.begin(username, epoch)


def half_sign_in(username: str, epoch: int) -> None:
    """Note in a clean cookie that somebody has given their password, and has to give a code."""
    sign_out()
    session["half"] = kept().halves.begin(username, epoch)


def half_signed_in() -> str | None:
    """Return who has given their password in this browser, and has to give a code; None where it is nobody."""
    its = kept().halves.find(session.get("half", ""), touch=False)
    account = kept().services.desk.account(username=its.username) if its else None
    # Whose password has changed meanwhile begins anew.
    return account.username if its and account and account.session_epoch == its.epoch else None


def sign_out() -> None:
    """End the session of this browser."""
    kept().sessions.end(session.get("sid", ""))
    kept().halves.end(session.get("half", ""))
    language = session.get(LANGUAGE)
    session.clear()
    if language:
        session[LANGUAGE] = language


def own_path(target: str | None) -> str | None:
    """Return ``target`` if it is a path of this site: nobody is sent elsewhere after signing in."""
    return target if target and _OWN_PATH.fullmatch(target) else None


def page_path(target: str | None) -> str | None:
    """Return ``target`` if it is a path of this site that can be looked at: what takes forms only cannot."""
    path = own_path(target)
    adapter = current_app.create_url_adapter(request)
    if path is None or adapter is None:
        return None
    try:
        adapter.match(unquote(re.split("[?#]", path)[0]), method="GET")
    except HTTPException:
        return None
    return path


def guard(app: Flask, settings: WebSettings) -> None:
    """Have ``app`` check host and person before each request."""
    manager = LoginManager()
    manager.init_app(app, add_context_processor=False)
    # Who somebody is comes from our own sessions, with each request: nothing of Flask-Login's own is ever in the
    # cookie, so that nobody is remembered beyond a session, and signing out ends it whoever has a copy.
    manager.session_protection = None
    manager.request_loader(lambda _: _find_person())
    manager.unauthorized_handler(_to_sign_in)

    @app.before_request
    def _check() -> ResponseReturnValue | None:
        # Set before anything can fail, because the pages that tell of faults look at it.
        g.person = None
        if not _is_our_host(request.environ.get("HTTP_HOST", ""), settings.names):
            abort(400, gettext("The address in your browser is not one of this box."))
        if request.endpoint == "static":
            return None
        g.person = current_user if current_user.is_authenticated else None
        view = app.view_functions.get(request.endpoint or "")
        if g.person and hasattr(view, "is_roomy"):
            request.max_content_length = request.max_form_memory_size = ROOMY_OCTETS
        # An unknown path is shown as such to everybody: that tells nothing.
        if g.person or view is None or hasattr(view, "is_public"):
            return None
        return cast("ResponseReturnValue", manager.unauthorized())


def _find_person() -> Person | None:
    view = current_app.view_functions.get(request.endpoint or "")
    sid = session.get("sid", "")
    its = kept().sessions.find(sid, touch=not hasattr(view, "is_polled"))
    if its is None:
        return None
    account = kept().services.desk.account(username=its.username)
    if account is None or account.session_epoch > its.epoch:
        kept().sessions.end(sid)
        return None
    return Person(account.username, account.full_name, account.role, account.language)


def _to_sign_in() -> ResponseReturnValue:
    # A form is not sent again; its page can be asked for again, unless what it was sent to is no page.
    wanted = request.full_path.rstrip("?") if request.method in {"GET", "HEAD"} else request.path
    wanted = page_path(wanted) or url_for("today.page")
    # Where a poll came from, the whole page is wanted.
    if "HX-Request" in request.headers:
        return "", 204, {"HX-Redirect": url_for("account.sign_in")}
    return redirect(f"{url_for('account.sign_in')}?next={quote(wanted)}")


def _is_our_host(host: str, names: tuple[str, ...]) -> bool:
    """Tell whether a Host field names this appliance: by an address, ``localhost`` or one of ``names``."""
    name = re.sub(r":[0-9]*$", "", host.lower())
    if name in {"localhost", *names}:
        return True
    try:
        ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        return False
    return True
