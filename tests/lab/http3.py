"""HTTP/3 and DNS over QUIC by aioquic, as a server and as a client.

``python http3.py serve DIRECTORY NAME...`` answers on UDP 443 and 8853 at the addresses of each NAME, of both families; each
request is in the log of what was served. ``python http3.py get ADDRESS NAME v1|v2 [JUNK]`` asks for ``/`` and prints the page, or
``cut`` or ``timeout``; from the same port it sends so many datagrams before which are none of QUIC.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import Any

import dns.message
from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.asyncio.server import QuicServer
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, QuicEvent
from aioquic.quic.events import StreamDataReceived as StreamData
from aioquic.quic.packet import QuicProtocolVersion
from certificates import Authority
from internet import Log, answer
from plan import address6_of, address_of

VERSIONS = {"v1": QuicProtocolVersion.VERSION_1, "v2": QuicProtocolVersion.VERSION_2}
PORTS = (443, 8853)
TIMEOUT_S = 2
JUNK = bytes(64)
"""No QUIC: its first octet lacks the fixed bit (RFC 9000, section 17.2). A server drops it."""


class Server(QuicConnectionProtocol):
    """One connection: HTTP/3, or DNS over QUIC where the client has offered that."""

    def __init__(self, *args: Any, log: Log, address: str, port: int, **more: Any) -> None:
        super().__init__(*args, **more)
        self._put = partial(self._log, log, address, port)
        self._http: H3Connection | None = None

    def _log(self, log: Log, address: str, port: int, kind: str, name: str, path: str) -> None:
        client = self._quic._network_paths[0].addr[0]  # nothing else tells it
        log.put(kind, (client, address, port), name, path)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated) and event.alpn_protocol in H3_ALPN:
            self._http = H3Connection(self._quic)
        if self._http:
            for one in self._http.handle_event(event):
                if isinstance(one, HeadersReceived):
                    self._page(self._http, one)
        elif isinstance(event, StreamData) and event.end_stream:
            self._name(event)
        self.transmit()

    def _page(self, http: H3Connection, request: HeadersReceived) -> None:
        headers = {key: value.decode() for key, value in request.headers}
        name = headers[b":authority"].partition(":")[0]
        self._put("h3", name, headers[b":path"])
        page = f"<!doctype html><title>{name}</title><h1>This is {name}, by QUIC</h1>\n"
        fields = [(b":status", b"200"), (b"content-type", b"text/html")]
        http.send_headers(request.stream_id, fields)
        http.send_data(request.stream_id, page.encode(), end_stream=True)

    def _name(self, event: StreamData) -> None:
        # RFC 9250, section 4.2: a length of two octets before each message.
        query = dns.message.from_wire(event.data[2:])
        self._put("doq", query.question[0].name.to_text(omit_final_dot=True), "")
        response = answer(query).to_wire()
        octets = len(response).to_bytes(2) + response
        self._quic.send_stream_data(event.stream_id, octets, end_stream=True)


async def serve(directory: Path, names: list[str]) -> None:
    own = directory / "quic"
    own.mkdir(exist_ok=True)
    Authority(own).write_leaf(own / "leaf.pem", *names)
    settings = QuicConfiguration(alpn_protocols=[*H3_ALPN, "doq"], is_client=False)
    settings.supported_versions = list(VERSIONS.values())
    settings.load_cert_chain(own / "leaf.pem")
    log = Log(directory / "served.jsonl")
    loop = asyncio.get_running_loop()
    for address in {str(of(name)) for name in names for of in (address_of, address6_of)}:
        for port in PORTS:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # IP_FREEBIND, <linux/in.h>: only a local route makes these addresses ours.
            sock.setsockopt(socket.IPPROTO_IP, 15, 1)
            sock.bind((address, port))
            protocol = partial(Server, log=log, address=address, port=port)
            one = partial(QuicServer, configuration=settings, create_protocol=protocol)
            await loop.create_datagram_endpoint(one, sock=sock)
    print("ready", flush=True)
    await asyncio.Event().wait()


class Client(QuicConnectionProtocol):
    """Asks for one page."""

    def __init__(self, *args: Any, junk: int, **more: Any) -> None:
        super().__init__(*args, **more)
        self._http = H3Connection(self._quic)
        self._junk = junk
        self.page = b""
        self.end = asyncio.Event()

    def connect(self, addr: Any, transmit: bool = True) -> None:
        for _ in range(self._junk):
            self._transport.sendto(JUNK, addr)
        super().connect(addr, transmit)

    def ask(self, name: str) -> None:
        fields = {":method": "GET", ":scheme": "https", ":authority": name, ":path": "/"}
        stream = self._quic.get_next_available_stream_id()
        headers = [(key.encode(), value.encode()) for key, value in fields.items()]
        self._http.send_headers(stream, headers, end_stream=True)
        self.transmit()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            self.end.set()
        for one in self._http.handle_event(event):
            self._take(one)

    def _take(self, event: H3Event) -> None:
        if isinstance(event, DataReceived):
            self.page += event.data
            if event.stream_ended:
                self.end.set()


async def get(address: str, name: str, version: str, junk: str = "0") -> str:
    settings = QuicConfiguration(alpn_protocols=H3_ALPN, server_name=name)
    settings.verify_mode = ssl.CERT_NONE
    settings.original_version = VERSIONS[version]
    settings.supported_versions = [VERSIONS[version]]
    protocol = partial(Client, junk=int(junk))
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            connect(address, 443, configuration=settings, create_protocol=protocol) as client,
        ):
            assert isinstance(client, Client)
            client.ask(name)
            await client.end.wait()
            return client.page.decode()
    except TimeoutError:
        return "timeout"
    except ConnectionError:
        return "cut"


def main() -> None:
    act, *words = sys.argv[1:]
    if act == "serve":
        directory, *names = words
        asyncio.run(serve(Path(directory), names))
    else:
        print(asyncio.run(get(*words)))


if __name__ == "__main__":
    main()
