"""In which language a page speaks: that of who is signed in, else of this browser's choice, else the browser's own.

Texts are marked with ``gettext`` and its kin (``_`` in templates), and taken from ``translations/``, which
``make catalogues`` keeps. What the school has written itself is shown as it is.
"""

from __future__ import annotations

from flask import Blueprint, Flask, abort, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import Babel, get_locale

from gate_core.desk import LANGUAGES
from gate_webui import access
from gate_webui.texts import catalogue, gettext, preferred

bp = Blueprint("language", __name__)


def set_up(app: Flask) -> None:
    """Have ``app`` choose a language for each request."""
    Babel(app, locale_selector=_choose)
    app.jinja_env.policies["ext.i18n.trimmed"] = True
    # In the place of Babel's own, which ask for the language with each text: that was a third of a long page.
    app.jinja_env.install_gettext_callables(  # type: ignore[attr-defined]  # of the extension
        gettext=lambda text: catalogue().gettext(text),
        ngettext=lambda one, several, num: catalogue().ngettext(one, several, num),
        newstyle=True,
    )
    app.jinja_env.globals.update(languages=LANGUAGES, language=lambda: get_locale().language)


@bp.post("/language")
@access.public
def choose() -> ResponseReturnValue:
    """Have the pages speak another language from here on: to who is signed in, else to this browser."""
    language = request.form.get("language", "")
    if language not in LANGUAGES:
        abort(400, gettext("This is no language of these pages."))
    if g.person:
        access.kept().services.desk.choose_language(language=language, actor=g.person.username)
    else:
        session[access.LANGUAGE] = language
    return redirect(access.page_path(request.form.get("next")) or url_for("today.page"))


def _choose() -> str:
    if g.get("person") and g.person.language:
        return str(g.person.language)
    if session.get(access.LANGUAGE) in LANGUAGES:
        return str(session[access.LANGUAGE])
    return preferred(request.accept_languages)
