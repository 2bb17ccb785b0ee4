"""The coordinator's pages as one Flask application.

Views turn a form into values, ask the desk, and redirect; policy and data are the desk's.
"""

from __future__ import annotations

import logging
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from flask import Flask, Response, g, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_wtf import CSRFProtect
from flask_wtf.csrf import CSRFError
from govuk_frontend_wtf.main import WTFormsHelpers
from jinja2 import ChoiceLoader, PackageLoader, PrefixLoader
from werkzeug.exceptions import (
    HTTPException,
    InternalServerError,
    ServiceUnavailable,
    UnprocessableEntity,
)

from gate_core.desk import RefusedError, UnavailableError
from gate_core.roles import Act
from gate_webui import (
    acceptable_use,
    access,
    account,
    accounts,
    activity,
    compression,
    devices,
    direct,
    exceptions,
    holds,
    language,
    lessons,
    lists,
    navigation,
    own_account,
    people,
    places,
    policy_text,
    proposals,
    record,
    times,
    today,
    usage,
    why,
    words,
)
from gate_webui.forms import PressForm, faults
from gate_webui.passwords import Passwords
from gate_webui.proposing import fully
from gate_webui.sentences import said
from gate_webui.sessions import Sessions
from gate_webui.settings import Services, WebSettings
from gate_webui.texts import gettext, known, lazy_gettext
from gate_webui.throttle import Throttle

_log = logging.getLogger(__name__)

MAX_FORM_OCTETS: Final = 16_384

# No Strict-Transport-Security: with a certificate of our own making, a browser that remembers it would
# refuse the page for good.
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'; object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # The check of CSRF tokens over HTTPS wants to see that a form came from here.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_PARTS: Final = (
    account,
    own_account,
    language,
    today,
    acceptable_use,
    exceptions,
    policy_text,
    lists,
    proposals,
    devices,
    direct,
    places,
    people,
    times,
    lessons,
    holds,
    accounts,
    activity,
    usage,
    why,
    record,
)

_FAULT_WORDS: Final = {
    400: (lazy_gettext("This request was not understood"), lazy_gettext("Go back and try again.")),
    403: (lazy_gettext("This page is not for you"), lazy_gettext("Ask the e-safety coordinator.")),
    404: (
        lazy_gettext("Page not found"),
        lazy_gettext("Check the address, or choose a page above."),
    ),
    405: (
        lazy_gettext("This page cannot be used in this way"),
        lazy_gettext("Go back and try again."),
    ),
    413: (lazy_gettext("That was too long"), lazy_gettext("Go back and write less.")),
    422: (lazy_gettext("This cannot be done"), lazy_gettext("Go back and try again.")),
    500: (
        lazy_gettext("Something went wrong on this page"),
        lazy_gettext("Filtering goes on. Try again in a minute."),
    ),
    503: (
        lazy_gettext("The steward does not answer"),
        lazy_gettext("Filtering goes on with the rules it has. Try again in a minute."),
    ),
}


def create_app(services: Services, settings: WebSettings, *, secret_key: str) -> Flask:
    """Return the coordinator's pages.

    Args:
        services: Whom the pages ask.
        settings: Names of the appliance, and how long sessions last.
        secret_key: Signs cookies; made for this appliance alone.
    """
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=secret_key,
        # The prefix makes browsers refuse the cookie unless it is Secure, for "/" and for this host alone.
        SESSION_COOKIE_NAME="__Host-schoolgate",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=MAX_FORM_OCTETS,
        MAX_FORM_MEMORY_SIZE=MAX_FORM_OCTETS,
        # The token lives as long as the cookie: a form left open over lunch can still be sent.
        WTF_CSRF_TIME_LIMIT=None,
    )
    app.extensions["schoolgate"] = access.Kept(
        services, Sessions(settings.idle_s, settings.session_s), Throttle(), Passwords()
    )
    access.guard(app, settings)  # Before the CSRF check: who is not signed in is told that first.
    CSRFProtect(app)
    WTFormsHelpers(app)
    for part in _PARTS:
        app.register_blueprint(part.bp)
    _set_up_templates(app, services)
    language.set_up(app)
    _set_up_faults(app)
    # In the order from last to first.
    app.after_request(_set_headers)
    app.after_request(compression.compress_with(Path(str(app.static_folder))))
    return app


def _set_up_templates(app: Flask, services: Services) -> None:
    app.jinja_options = {
        **app.jinja_options,
        "trim_blocks": True,
        "lstrip_blocks": True,
    }
    app.jinja_loader = ChoiceLoader(
        [
            PackageLoader("gate_webui"),
            PrefixLoader(
                {
                    "govuk_frontend_jinja": PackageLoader("govuk_frontend_jinja"),
                    "govuk_frontend_wtf": PackageLoader("govuk_frontend_wtf"),
                }
            ),
        ]
    )
    marks = _content_marks(Path(str(app.static_folder)))

    def asset(name: str) -> str:
        return url_for("static", filename=name, v=marks[name])

    app.jinja_env.globals.update(
        asset=asset,
        faults=faults,
        cell_words=words.CELL_WORDS,
        short_words=words.SHORT_WORDS,
        address_words=words.ADDRESS_WORDS,
        quic_words=words.QUIC_WORDS,
        search_words=words.SEARCH_WORDS,
        youtube_words=words.YOUTUBE_WORDS,
        state_words=words.STATE_WORDS,
        action_words=words.ACTION_WORDS,
        place_words=words.PLACE_WORDS,
        proposal_words=words.PROPOSAL_WORDS,
        approval_words=words.APPROVAL_WORDS,
        sections=navigation.sections,
        may=lambda act: access.may(Act[act]),
        fully=lambda act: fully(Act[act]),
    )
    app.jinja_env.filters.update(
        when=lambda iso: words.when(iso, services.clock.now()),
        last_moment=lambda until: words.last_moment(until, services.clock.now()),
        day_words=lambda iso: words.day_words(iso, services.clock.now()),
        with_times=lambda text: words.with_times(text, services.clock.now()),
        minutes_left=lambda until: words.minutes_left(until, services.clock.now()),
        time_left=lambda until: words.time_left(until, services.clock.now()),
        name_in=words.name_in,
        known=known,
        said=said,
        lamp_name=words.lamp_name,
        join_words=words.join_words,
        capitalize_first=words.capitalize_first,
        clock_time=words.clock_time,
        exact_time=words.exact_time,
        lamp_words=words.lamp_words,
        part_words=words.part_words,
        role_words=words.role_words,
        thousands=words.thousands,
        detail_words=words.detail_words,
        reason_words=words.reason_words,
        banner_words=words.banner_words,
        amount=words.amount,
        asked_for=words.asked_for,
        explained=words.explained,
        place_words=words.place_words,
        megabytes=words.megabytes,
    )

    @app.context_processor
    def _person() -> dict[str, Any]:
        return {
            "person": g.get("person"),
            "press_form": PressForm(None),
        }


def _content_marks(folder: Path) -> dict[str, str]:
    """Return a mark of the content of each static file, so that browsers may keep them for ever."""
    return {path.name: sha256(path.read_bytes()).hexdigest()[:12] for path in folder.iterdir()}


def _set_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers[name] = value
    if request.endpoint == "static" and "v" in request.args:
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    else:
        response.headers["Cache-Control"] = "no-store"
    return response


def _set_up_faults(app: Flask) -> None:
    def page(fault: HTTPException, detail: str = "") -> ResponseReturnValue:
        status = fault.code or 500
        if status == 413:
            most = request.max_content_length or MAX_FORM_OCTETS
            detail = gettext(
                "Go back and send it in parts: a page sends at most %(most)s characters in all.",
                most=f"{most:,}",
            )
        title, hint = _FAULT_WORDS.get(status, _FAULT_WORDS[400 if status < 500 else 500])
        # Fields such as Allow belong to the answer; its content is ours.
        headers = [(k, v) for k, v in fault.get_headers() if not k.lower().startswith("content-")]
        return render_template("fault.html", title=title, hint=detail or hint), status, headers

    @app.errorhandler(HTTPException)
    def _refused(fault: HTTPException) -> ResponseReturnValue:
        # A description that is not the library's comes from abort() in our own code, and is meant for people.
        own = fault.description != type(fault).description
        return page(fault, (fault.description or "") if own else "")

    @app.errorhandler(CSRFError)
    def _stale(fault: CSRFError) -> ResponseReturnValue:
        _log.debug("action=check path=%r fault=%r", request.path[:80], fault.description)
        return page(
            fault,
            gettext("The page was open for too long. Go back, reload it and send the form again."),
        )

    @app.errorhandler(RefusedError)
    def _not_done(fault: RefusedError) -> ResponseReturnValue:
        # Where there is a form, its page tells of it; here somebody pressed a button.
        message = words.capitalize_first(said(str(fault)))
        return page(
            UnprocessableEntity(), gettext("%(message)s. Nothing has changed.", message=message)
        )

    @app.errorhandler(UnavailableError)
    def _away(fault: UnavailableError) -> ResponseReturnValue:
        # Whoever watches the steward tells that it is away; an open page would tell it each second.
        _log.debug("action=ask path=%r fault=%s", request.path[:80], fault)
        return today.away() if request.endpoint == "today.live" else page(ServiceUnavailable())

    @app.errorhandler(Exception)
    def _broken(fault: Exception) -> ResponseReturnValue:
        _log.exception("action=render path=%r fault=%s", request.path[:80], type(fault).__name__)
        return page(InternalServerError())
