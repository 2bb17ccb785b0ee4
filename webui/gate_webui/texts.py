"""The texts of the pages, in the language of the request: what is not in its catalogue is said as it is written here.

Values stand as ``%(name)s``, and a per cent sign beside them as ``%%``.
"""

from __future__ import annotations

from datetime import date
from gettext import NullTranslations
from typing import cast

import flask_babel
from babel.dates import format_date
from flask import g, has_request_context
from flask_babel.speaklater import LazyString
from werkzeug.datastructures import LanguageAccept

from gate_core.desk import LANGUAGES


def preferred(accepted: LanguageAccept) -> str:
    """Return the one of our languages that a browser asks for first, in whatever country; English where it asks for none."""
    ours = (language.partition("-")[0] for language in accepted.values())
    return next((language for language in ours if language in LANGUAGES), "en")


def current() -> str:
    """Return the language of the request; English outside of one."""
    locale = flask_babel.get_locale() if has_request_context() else None
    return str(locale.language) if locale else "en"


def catalogue() -> NullTranslations:
    """Return the catalogue for the request, found once; outside of one, that which has nothing."""
    if not has_request_context():
        return NullTranslations()
    found = g.get("catalogue")
    if found is None:
        found = g.catalogue = flask_babel.get_translations()
    return cast("NullTranslations", found)


def gettext(text: str, /, **values: object) -> str:
    """Return ``text`` with ``values``."""
    said = catalogue().gettext(text)
    return said % values if values else said


def ngettext(one: str, several: str, num: int, /, **values: object) -> str:
    """Return the text for ``num`` things, which it knows as ``%(num)s``."""
    return catalogue().ngettext(one, several, num) % {"num": num, **values}


def lazy_gettext(text: str, /, **values: object) -> str:
    """Return what becomes the text when it is shown, for what is written once and shown to many."""
    return cast("str", LazyString(gettext, text, **values))


def marked(text: str, /) -> str:
    """Return ``text`` as it is, for whoever translates it where it is shown."""
    return text


def known(text: str) -> str:
    """Return a ``text`` of the core, such as the title of a role; what the school has written itself stays as it is."""
    # The catalogue's own head is what it has for the empty text.
    return gettext(text) if text else ""


def written_day(day: date, pattern: str) -> str:
    """Return a day by a ``pattern`` of Unicode TR 35, such as ``d MMMM y``, with the names of months and weekdays."""
    return format_date(day, pattern, locale=flask_babel.get_locale() or "en")
