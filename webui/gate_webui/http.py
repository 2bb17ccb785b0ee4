"""One HTTP/1.1 connection, bounded in time and octets at every step, in front of a WSGI application.

A thread is used only while the application runs: it is handed a whole request and gives a whole response,
so that whoever sends or reads slowly holds a few kilobytes, not a thread.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

import h11

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_log = logging.getLogger(__name__)

MAX_HEAD_OCTETS: Final = 16_384
MAX_BODY_OCTETS: Final = 65_536
MAX_LARGE_BODY_OCTETS: Final = 655_360
"""Largest body where a whole policy may be sent."""
_LARGE_AT_ONCE: Final = 4
"""Bodies beyond ``MAX_BODY_OCTETS`` that are received at a time: a whole school of them would fill the memory."""
RECEIVE_S: Final = 15.0
"""Longest time from the last response (or the start of the connection) to a whole request."""
SEND_S: Final = 30.0
"""Longest time for the client to take a response."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The two ends of a connection."""

    client: str
    """Address, without a zone."""
    server: str
    port: int
    scheme: str


@dataclass(frozen=True, slots=True)
class Application:
    """A WSGI application and the threads that it runs in."""

    wsgi: WSGIApplication
    pool: ThreadPoolExecutor
    roomy: frozenset[str] = frozenset()
    """Paths to which a whole policy may be sent."""
    large: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LARGE_AT_ONCE))
    """Taken while a large body is received."""


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class _FaultError(Exception):
    """A request that is answered here, after which the connection ends."""

    def __init__(self, status: int, words: str = "") -> None:
        super().__init__(status)
        self.status = status
        self.words = words
        """What the client is told; "" for the name of the status."""


async def converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    ends: Ends,
    application: Application,
    on_busy: Callable[[bool], None],
) -> None:
    """Answer the requests of one connection until it ends.

    Args:
        reader: From the client.
        writer: To the client; the caller closes it.
        ends: Who talks to whom.
        application: Answers each request.
        on_busy: Told whether the application is at work on a request of this connection.

    Raises:
        OSError: The connection broke.
        TimeoutError: The client took longer than ``RECEIVE_S`` or ``SEND_S``.
    """
    loop = asyncio.get_running_loop()
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_OCTETS)
    while True:
        try:
            async with asyncio.timeout(RECEIVE_S):
                received = await _receive(connection, reader, writer, application)
        except (_FaultError, h11.RemoteProtocolError) as fault:
            if isinstance(fault, _FaultError):
                answer = _plain(fault.status, fault.words)
            else:
                answer = _plain(fault.error_status_hint)
            async with asyncio.timeout(SEND_S):
                await _send(connection, writer, answer, last=True)
            return
        if received is None:
            return
        on_busy(True)
        response = await loop.run_in_executor(
            application.pool, _call, application.wsgi, _environ(*received, ends)
        )
        on_busy(False)
        async with asyncio.timeout(SEND_S):
            await _send(connection, writer, response)
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return
        connection.start_next_cycle()


async def _receive(
    connection: h11.Connection,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    application: Application,
) -> tuple[h11.Request, bytes] | None:
    """Return the next request with its body; None where the client has gone."""
    request: h11.Request | None = None
    body = bytearray()
    async with AsyncExitStack() as large:
        most = MAX_BODY_OCTETS
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=HTTPStatus.CONTINUE, headers=[])
                    writer.write(connection.send(go_on))
                connection.receive_data(await reader.read(16_384))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data) and request is not None:
                body += event.data
                if len(body) > most == MAX_BODY_OCTETS and _is_roomy(request, application):
                    await large.enter_async_context(application.large)
                    most = MAX_LARGE_BODY_OCTETS
                if len(body) > most:
                    words = (
                        f"That was too long: at most {most:,} octets are taken. Send it in parts."
                    )
                    raise _FaultError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, words)
            elif isinstance(event, h11.EndOfMessage) and request is not None:
                return request, bytes(body)
            else:
                return None


def _is_roomy(request: h11.Request, application: Application) -> bool:
    return request.target.decode("latin-1").partition("?")[0] in application.roomy


async def _send(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    response: _Response,
    *,
    last: bool = False,
) -> None:
    """Send ``response``, unless the other side has broken off."""
    if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    headers = [*response.headers, *([(b"connection", b"close")] if last else [])]
    writer.write(connection.send(h11.Response(status_code=response.status, headers=headers)))
    writer.write(connection.send(h11.Data(data=response.body)))
    writer.write(connection.send(h11.EndOfMessage()))
    await writer.drain()


def _environ(request: h11.Request, body: bytes, ends: Ends) -> dict[str, Any]:
    """Return the request as PEP 3333 wants it."""
    path, _, query = _origin_form(request.target.decode("latin-1")).partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method.decode("ascii"),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": f"HTTP/{request.http_version.decode('ascii')}",
        "SERVER_NAME": ends.server,
        "SERVER_PORT": str(ends.port),
        "REMOTE_ADDR": ends.client,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": ends.scheme,
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name_octets, value_octets in request.headers:
        name = name_octets.decode("ascii")
        # "X_A" and "X-A" would meet in one variable; the body is whole, whatever framed it on the wire.
        if "_" in name or name in {"content-length", "transfer-encoding"}:
            continue
        key = name.upper().replace("-", "_")
        key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
        value = value_octets.decode("latin-1")
        separator = "; " if name == "cookie" else ", "
        environ[key] = f"{environ[key]}{separator}{value}" if key in environ else value
    return environ


def _origin_form(target: str) -> str:
    """Return path and query of a request target (RFC 9112, section 3.2: a server takes the absolute form too)."""
    if target.startswith("/"):
        return target
    try:
        parts = urlsplit(target)
    except ValueError:
        return "/"
    return f"/{parts.path.removeprefix('/')}?{parts.query}"


def _call(app: WSGIApplication, environ: dict[str, Any]) -> _Response:
    """Run ``app`` to its end, in a thread of the pool."""
    started: list[tuple[str, list[tuple[str, str]]]] = []
    parts: list[bytes] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], _exc_info: object = None, /
    ) -> Callable[[bytes], object]:
        started.append((status, headers))
        return parts.append

    try:
        chunks = app(environ, start_response)
        try:
            parts.extend(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        status, headers = started[-1]
        code = int(status.split(" ", 1)[0])
        body = b"".join(parts)
    except Exception as e:  # noqa: BLE001  # the server loop: one request's fault must not end the others' service
        _log.exception(
            "action=respond path=%r fault=%s", environ["PATH_INFO"][:80], type(e).__name__
        )
        return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)
    lines = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers]
    # RFC 9110, sections 15.3.5 and 15.4.5: these answers have no body, and none is measured.
    if (
        code in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
        or environ["REQUEST_METHOD"] == "HEAD"
    ):
        return _Response(code, lines, b"")
    if all(name.lower() != b"content-length" for name, _ in lines):
        lines.append((b"content-length", str(len(body)).encode()))
    return _Response(code, lines, body)


def _plain(status: int, words: str = "") -> _Response:
    body = f"{words or HTTPStatus(status).phrase}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")]
    return _Response(status, [*headers, (b"content-length", str(len(body)).encode())], body)
