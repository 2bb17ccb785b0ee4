"""The page a pupil sees in the place of a blocked site: kind, short, and there even if the steward is not.

It answers any name, path and method with 403: every blocked name leads here. Its one question to the desk is why.
"""

from __future__ import annotations

import logging
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from babel.support import Translations
from jinja2 import Environment, PackageLoader, StrictUndefined
from werkzeug.wrappers import Request, Response

from gate_core.desk import LANGUAGES, Desk, Explanation, RefusedError, UnavailableError
from gate_core.names import MalformedNameError, parse_name
from gate_webui.codes import Codes
from gate_webui.sentences import said_in
from gate_webui.texts import marked, preferred

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_log = logging.getLogger(__name__)

STYLE_PATH: Final = "/.schoolgate/block.css"
"""Unlike a path of any site, because the style comes from the blocked site's own name."""

# A blocked part of a page may show this in its frame: there is nothing in it to press.
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none';"
    " form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_WORDS: Final = {
    "illegal": (
        marked("This page cannot be opened"),
        marked(
            "If something online worries you, tell a grown-up you trust. You have done nothing wrong by telling."
            " You can also call Childline on 0800\u00a01111. It is free."
        ),
    ),
    "paused": (
        marked("Internet pause"),
        marked(
            "The internet is having a break. Look up, and listen to your teacher. It will come back."
        ),
    ),
    "isolated": (
        marked("This device is not on the internet now"),
        marked("Someone at school needs to look at it first. Please tell your teacher."),
    ),
    "lesson": (
        marked("Not in this lesson"),
        marked("Your class is using other websites right now. Ask your teacher which ones."),
    ),
    "default": (
        marked("Your school has not checked this website yet"),
        marked("Do you need it for your work? Ask your teacher."),
    ),
    "open": (
        marked("This website is open now"),
        marked("Wait one minute. Then load the page again."),
    ),
    "": (
        marked("This website is closed at school"),
        marked(
            "That is all right, nothing is broken. Do you need it for your work? Ask your teacher."
        ),
    ),
}
_LIKE: Final = {"suspended": "isolated"}
_NAMELESS: Final = frozenset({"illegal"})
"""What is on an illegal list is not spelt out to anybody."""


def create_block_app(
    desk: Desk,
    *,
    https_port: int = 8443,
    names: tuple[str, ...] = ("schoolgate.local", "schoolgate"),
    codes: Codes | None = None,
) -> WSGIApplication:
    """Return the block page.

    Args:
        desk: Tells why; should give up after about two seconds.
        https_port: Where the coordinator's pages are: whoever asks for the box itself is sent there.
        names: Names of the box, besides the address that the request came to.
        codes: Keeps what was shown to whom, for whoever is asked about it.
    """
    style = (Path(__file__).parent / "static" / "block.css").read_bytes()
    book = codes or Codes()
    pages = {language: _Page(language) for language in LANGUAGES}

    @Request.application
    def app(request: Request) -> Response:
        host = _host(request.environ.get("HTTP_HOST", ""))
        if _is_own(host, names, request.environ["SERVER_NAME"]):
            shown = f"[{host}]" if ":" in host else host
            return _response("", 302, {"Location": f"https://{shown}:{https_port}/"})
        if request.path == STYLE_PATH:
            # It may be kept for a while, so that a page with many blocked parts costs little.
            kept = {"Content-Type": "text/css", "Cache-Control": "max-age=3600"}
            return _response(style, 200, kept)
        client = request.remote_addr or ""
        explanation = _explain(desk, client, host)
        code = ""
        # Whoever may ask for it has a code to tell; nobody asks for illegal content.
        if explanation and explanation.action == "block" and explanation.reason not in _NAMELESS:
            code = book.note(client, host)
        page = pages[preferred(request.accept_languages)]
        answer = _response(page.render(host, explanation, code), 403)
        answer.vary.add("Accept-Language")
        return answer

    return app


class _Page:
    """The page in one language."""

    def __init__(self, language: str) -> None:
        self._language = language
        self._texts = Translations.load(Path(__file__).parent / "translations", [language])
        # The autoescaping is for HTML, which is all that is made here.
        templates = Environment(
            loader=PackageLoader("gate_webui"),
            autoescape=True,
            undefined=StrictUndefined,
            extensions=["jinja2.ext.i18n"],
        )
        templates.install_gettext_translations(self._texts, newstyle=True)  # type: ignore[attr-defined]  # of the extension
        self._template = templates.get_template("block.html")

    def render(self, host: str, explanation: Explanation | None, code: str) -> str:
        """Return the page for the site ``host``."""
        kind = ""
        if explanation is not None:
            kind = "open" if explanation.action == "allow" else explanation.reason
        title, advice = _WORDS.get(_LIKE.get(kind, kind), _WORDS[""])
        return self._template.render(
            language=self._language,
            title=self._texts.gettext(title),
            advice=self._texts.gettext(advice),
            name="" if kind in _NAMELESS else host,
            why=""
            if explanation is None or kind in {*_NAMELESS, "open"}
            else said_in(self._language, explanation.sentence),
            code=code,
            style=STYLE_PATH,
        )


def _explain(desk: Desk, client: str, host: str) -> Explanation | None:
    if not host:
        return None
    try:
        return desk.explain(client=client, name=host)
    except (RefusedError, UnavailableError) as e:
        _log.debug("action=explain fault=%s", e)  # Anybody on the network can cause it.
        return None


def _host(text: str) -> str:
    """Return the canonical name or address in a Host field; "" where there is none."""
    literal = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
    try:
        return str(ip_address(literal))
    except ValueError:
        pass
    try:
        return parse_name(literal)
    except MalformedNameError:
        return ""


def _is_own(host: str, names: tuple[str, ...], server: str) -> bool:
    return bool(host) and (host in names or host == server)


def _response(body: str | bytes, status: int, headers: dict[str, str] | None = None) -> Response:
    fields = {"Content-Type": "text/html; charset=utf-8", **HEADERS, **(headers or {})}
    return Response(body, status, fields)
