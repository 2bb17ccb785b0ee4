"""The page a pupil sees in the place of a blocked site: kind, short, and there even if the steward is not.

It answers any name, path and method with 403: every blocked name leads here. Its one question to the desk is why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from werkzeug.wrappers import Request, Response

from gate_core.desk import Desk, Explanation, RefusedError, UnavailableError
from gate_core.names import MalformedNameError, parse_name

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
        "This page cannot be opened",
        "If something online worries you, tell a grown-up you trust. You have done nothing wrong by telling."
        " You can also call Childline on 0800\u00a01111. It is free.",
    ),
    "paused": (
        "Internet pause",
        "The internet is having a break. Look up, and listen to your teacher. It will come back.",
    ),
    "isolated": (
        "This device is not on the internet now",
        "Someone at school needs to look at it first. Please tell your teacher.",
    ),
    "lesson": (
        "Not in this lesson",
        "Your class is using other websites right now. Ask your teacher which ones.",
    ),
    "default": (
        "Your school has not checked this website yet",
        "Do you need it for your work? Ask your teacher.",
    ),
    "open": (
        "This website is open now",
        "Wait one minute. Then load the page again.",
    ),
    "": (
        "This website is closed at school",
        "That is all right, nothing is broken. Do you need it for your work? Ask your teacher.",
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
) -> WSGIApplication:
    """Return the block page.

    Args:
        desk: Tells why; should give up after about two seconds.
        https_port: Where the coordinator's pages are: whoever asks for the box itself is sent there.
        names: Names of the box, besides the address that the request came to.
    """
    style = (Path(__file__).parent / "static" / "block.css").read_bytes()
    # The autoescaping is for HTML, which is all that is made here.
    templates = Environment(
        loader=PackageLoader("gate_webui"), autoescape=True, undefined=StrictUndefined
    )
    page = templates.get_template("block.html")

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
        explanation = _explain(desk, request.remote_addr or "", host)
        return _response(_render(page.render, host, explanation), 403)

    return app


def _render(render: Callable[..., str], host: str, explanation: Explanation | None) -> str:
    kind = ""
    if explanation is not None:
        kind = "open" if explanation.action == "allow" else explanation.reason
    title, advice = _WORDS.get(_LIKE.get(kind, kind), _WORDS[""])
    return render(
        title=title,
        advice=advice,
        name="" if kind in _NAMELESS else host,
        why="" if explanation is None or kind in {*_NAMELESS, "open"} else explanation.sentence,
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
