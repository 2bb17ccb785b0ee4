"""Serves the pages over HTTPS and the block page over HTTP, in one process, until told to stop.

Its rule: a client that is slow, silent or greedy costs a bounded amount of memory and nobody else's turn.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import socket
import ssl
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from gate_core.ports import Clock
from gate_webui.access import roomy_paths
from gate_webui.app import create_app
from gate_webui.block import create_block_app
from gate_webui.certificate import is_current, make_certificate, write_secret
from gate_webui.http import Application, Ends, converse
from gate_webui.settings import Services, WebSettings

__all__ = ["Services", "WebSettings", "serve"]

_log = logging.getLogger(__name__)

HANDSHAKE_S: Final = 10.0
MAX_CONNECTIONS: Final = 300
"""Connections a site may have open: with two sites well below the usual 1,024 descriptors of a process."""
MAX_PER_ADDRESS: Final = 48
"""Of these, how many may come from one address: several browsers, each with six to a host name."""

_CLOSE_S: Final = 2.0
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)
_PAGE_THREADS: Final = 8
_BLOCK_THREADS: Final = 4


def serve(settings: WebSettings, services: Services) -> None:
    """Serve until SIGTERM or SIGINT, in the main thread.

    Raises:
        OSError: An address cannot be listened on, or the certificate cannot be read (``ssl.SSLError``).
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.load_cert_chain(_certificate(settings, services.clock))
    tls.set_alpn_protocols(["http/1.1"])
    app = create_app(services, settings, secret_key=_secret_key(settings.folder))
    block_app = create_block_app(
        services.block_desk or services.desk,
        https_port=settings.port,
        names=settings.names,
        codes=services.codes,
    )
    pages = ThreadPoolExecutor(_PAGE_THREADS, thread_name_prefix="page")
    blocks = ThreadPoolExecutor(_BLOCK_THREADS, thread_name_prefix="block")
    # Each site has its own threads, so that a class on the block page never keeps the coordinator waiting.
    sites = (
        _Site(Application(app, pages, roomy_paths(app)), settings.port, tls),
        _Site(Application(block_app, blocks), settings.block_page_port, None),
    )
    listeners: list[tuple[_Site, socket.socket]] = []
    try:
        for site in sites:
            listeners += [(site, _listen(address, site.port)) for address in settings.listen]
        _log.info(
            "action=serve addresses=%s port=%d block_page_port=%d",
            ",".join(settings.listen),
            settings.port,
            settings.block_page_port,
        )
        # The wiring's handler raises SystemExit wherever the process happens to be, in a loop half made too.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        with suppress(asyncio.CancelledError):
            asyncio.run(_accept_all(listeners))
    finally:
        for _, listener in listeners:
            listener.close()
        for site in sites:
            site.application.pool.shutdown(wait=False, cancel_futures=True)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)


def _certificate(settings: WebSettings, clock: Clock) -> Path:
    """Return the certificate, made anew where there is none, it is about to end, or addresses have changed."""
    path = settings.folder / "certificate.pem"
    # While the time is not known the system's will do: the next start makes a better one.
    now = clock.now() or datetime.fromtimestamp(time.time(), UTC)
    if not is_current(path, names=settings.names, addresses=settings.addresses, now=now):
        make_certificate(path, names=settings.names, addresses=settings.addresses, now=now)
        _log.info("action=make_certificate path=%s", path)
    return path


def _secret_key(folder: Path) -> str:
    """Return the key that signs cookies, made at first start."""
    path = folder / "secret"
    try:
        return path.read_text("ascii")
    except FileNotFoundError:
        write_secret(path, secrets.token_hex(32).encode("ascii"))
    return path.read_text("ascii")


def _listen(address: str, port: int) -> socket.socket:
    ipv6 = ip_address(address).version == 6
    listener = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections take it over. Otherwise the end of an answer waits 40 ms for the browser's word on its beginning:
        # asyncio does this only where the socket was made with the number of TCP.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if ipv6:
            # Beside a listener for 0.0.0.0 the one for :: must not take IPv4 as well.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(128)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


async def _accept_all(listeners: Iterable[tuple[_Site, socket.socket]]) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        # Within a connection the wiring's SystemExit would be taken for that connection's fault.
        for number in _STOPS:
            loop.add_signal_handler(number, task.cancel)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    async with asyncio.TaskGroup() as group:
        for site, listener in listeners:
            group.create_task(site.accept(listener))


@dataclass(eq=False, slots=True)
class _Guest:
    """One open connection."""

    address: str
    busy: bool = False
    """Whether a request of it is being worked on."""
    task: asyncio.Task[None] | None = None

    def set_busy(self, busy: bool, /) -> None:
        self.busy = busy


class _Stream(asyncio.StreamReaderProtocol):
    """Knows whether its connection is gone."""

    lost = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        super().connection_lost(exc)


@dataclass(slots=True)
class _Site:
    """One application on one port."""

    application: Application
    port: int
    tls: ssl.SSLContext | None
    guests: dict[_Guest, None] = field(default_factory=dict)
    """In the order of their arrival."""

    async def accept(self, listener: socket.socket) -> None:
        """Accept connections for ever; each gets a task of its own."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(listener)
            except ConnectionError:
                continue  # The client has gone already.
            except OSError as e:
                # Descriptors or memory are short: the listener stays readable, so that only a pause helps.
                _log.warning("action=accept port=%d fault=%s", self.port, e)
                await asyncio.sleep(0.1)
                continue
            guest = _Guest(_address(peer[0]))
            if not self._make_room(guest.address):
                connection.close()
                continue
            self.guests[guest] = None
            guest.task = loop.create_task(self._serve(guest, connection))
            guest.task.add_done_callback(partial(self._farewell, guest))

    def _make_room(self, address: str) -> bool:
        """Tell whether one more may come; who has waited longest without a request makes room."""
        mine = [guest for guest in self.guests if guest.address == address]
        crowd = mine if len(mine) >= MAX_PER_ADDRESS else list(self.guests)
        if crowd is not mine and len(crowd) < MAX_CONNECTIONS:
            return True
        idle = next((guest for guest in crowd if not guest.busy), None)
        if idle is None or idle.task is None:
            return False
        idle.task.cancel()
        del self.guests[idle]
        return True

    def _farewell(self, guest: _Guest, task: asyncio.Task[None]) -> None:
        self.guests.pop(guest, None)
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            _log.error("action=serve port=%d fault=%r", self.port, fault, exc_info=fault)

    async def _serve(self, guest: _Guest, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        server = _address(connection.getsockname()[0])
        scheme = "https" if self.tls else "http"
        reader = asyncio.StreamReader()
        protocol = _Stream(reader)
        limits = {"ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": _CLOSE_S}
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self.tls, **(limits if self.tls else {})
            )
        except OSError:  # ssl.SSLError and timeouts too: no handshake came of it.
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        ends = Ends(guest.address, server, self.port, scheme)
        try:
            await converse(reader, writer, ends, self.application, guest.set_busy)
            writer.close()
            async with asyncio.timeout(_CLOSE_S):
                await writer.wait_closed()
        except OSError:
            return  # It broke, or took too long: either way it ends here.
        finally:
            # Python 3.11 fails at aborting a TLS transport that is gone already.
            if not protocol.lost:
                transport.abort()


def _address(text: str) -> str:
    """Return a socket's address without the zone of a link-local one."""
    return text.partition("%")[0]
