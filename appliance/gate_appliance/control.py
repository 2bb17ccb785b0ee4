"""The control protocol over unix stream sockets: a server for one object, and a client that looks like it."""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import threading
from pathlib import Path
from typing import Any, TypeVar, cast

from gate_core.control import (
    MAX_ANSWER_OCTETS,
    MAX_LINE_OCTETS,
    MalformedMessageError,
    arguments_of,
    hints_of,
    parse_answer,
    parse_request,
    render_answer,
    render_fault,
    render_refusal,
    render_request,
)
from gate_core.desk import RefusedError, UnavailableError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

ANSWER_TIMEOUT_S = 15.0
"""Longest wait for an answer: more than the longest wait a method offers."""

_IDLE_TIMEOUT_S = 60.0


class ControlServer:
    """Serves the methods of one protocol at a socket; each connection has a thread of its own."""

    def __init__(self, path: Path, protocol: type, target: object) -> None:
        path.unlink(missing_ok=True)
        methods = {
            name: getattr(target, name)
            for name, member in vars(protocol).items()
            if callable(member) and not name.startswith("_")
        }

        class Handler(socketserver.StreamRequestHandler):
            timeout = _IDLE_TIMEOUT_S

            def handle(self) -> None:
                try:
                    while line := self.rfile.readline(MAX_LINE_OCTETS + 1):
                        self.wfile.write(_answer(protocol, methods, line))
                except OSError:
                    return  # The other side went away, or stayed silent too long.

        self._server = _Server(str(path), Handler)
        path.chmod(0o660)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def start(self) -> None:
        """Begin to serve, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving and free the socket."""
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    # Ended by close_connections; socketserver itself would wait for each to go idle.
    block_on_close = False
    request_queue_size = 64

    def __init__(self, path: str, handler: type[socketserver.BaseRequestHandler]) -> None:
        super().__init__(path, handler)
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):  # It may have ended just now.
                connection.shutdown(socket.SHUT_RDWR)


def _answer(protocol: type, methods: dict[str, Any], line: bytes) -> bytes:
    try:
        op, args = parse_request(line)
        if op not in methods:
            return render_fault(f"unknown method {op!r}")
        return render_answer(methods[op](**arguments_of(getattr(protocol, op), args)))
    except RefusedError as refusal:
        return render_refusal(refusal)
    except MalformedMessageError as e:
        return render_fault(str(e))
    except Exception as e:  # noqa: BLE001  # the wiring: one method's fault must not end the others' service
        _log.exception("action=control fault=%s", type(e).__name__)
        return render_fault(f"{type(e).__name__}: {e}")


def control_client(protocol: type[_T], path: Path, timeout_s: float = ANSWER_TIMEOUT_S) -> _T:
    """Return an object with the methods of ``protocol`` that asks the server at ``path``.

    Each thread keeps a connection of its own. Methods raise ``RefusedError``, and ``UnavailableError``
    where nobody answers.
    """
    return cast("_T", _Client(protocol, path, timeout_s))


class _Client:
    def __init__(self, protocol: type, path: Path, timeout_s: float) -> None:
        self._protocol = protocol
        self._path = path
        self._timeout_s = timeout_s
        self._local = threading.local()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in vars(self._protocol):
            raise AttributeError(name)
        annotation = hints_of(getattr(self._protocol, name)).get("return")

        def call(**args: Any) -> Any:
            line = self._exchange(render_request(name, args))
            try:
                return parse_answer(line, annotation)
            except MalformedMessageError as e:
                raise UnavailableError(f"{self._path.name}: {name}: {e}") from e

        return call

    def _exchange(self, request: bytes) -> bytes:
        kept = getattr(self._local, "stream", None)
        # A kept connection may have ended with its server: then the request goes once more, over a new one.
        # Only when nothing came back: a method that changes something answers before the connection ends.
        for stream in [kept, None] if kept else [None]:
            try:
                stream = stream or self._connect()  # noqa: PLW2901  # the kept one or a new one
                stream.write(request)
                stream.flush()
                if line := stream.readline(MAX_ANSWER_OCTETS + 1):
                    return cast("bytes", line)
            except TimeoutError as e:
                self._local.stream = None
                raise UnavailableError(f"{self._path.name}: no answer in time") from e
            except OSError as e:
                if stream is not kept or stream is None:
                    self._local.stream = None
                    raise UnavailableError(f"{self._path.name}: {e}") from e
        self._local.stream = None
        raise UnavailableError(f"{self._path.name}: closed without an answer")

    def _connect(self) -> Any:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._timeout_s)
        try:
            connection.connect(str(self._path))
            stream = connection.makefile("rwb")
        finally:
            connection.close()  # The stream keeps the descriptor open.
        self._local.stream = stream
        return stream
