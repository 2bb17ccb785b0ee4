"""The internet of the laboratory: ``python internet.py DIRECTORY``, in the router's namespace.

Every name resolves, and every address serves every name: HTTP on 80, TLS on 443, DNS on 53, DoT on 853, DoH at
``/dns-query``, an echo on UDP 443. Special names: ``X.chain.example`` is an alias, over another alias, of ``X``;
``nx.example`` and what is under it do not exist; ``t.example`` is another server's. What was served is written to
``served.jsonl``, so that a test can ask the server whether a blocked name ever got through. Ready when ``internet.ready`` exists.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
import traceback
from base64 import urlsafe_b64decode
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from certificates import Authority
from plan import RESOLVER, RESOLVER_V6, ROUTER, UNRESOLVED, UNRESOLVED_V6, address6_of, address_of

TTL_S = 60
MAX_CONNECTIONS = 256
"""Served at once, for each port; more wait."""
MAX_LOG_OCTETS = 64 * 2**20
MAX_SLOW_S = 600.0
MAX_RATE = 10_000_000
"""Octets a second of one slow download."""
PAUSE_S = 0.1
TUNNEL, TUNNEL_PORT = "t.example", 5353
"""A zone whose name server is another program, where a test runs one on this port."""


Ends = tuple[str, str, int]
"""Client, server address and server port."""
Respond = Callable[[bytes, Ends], bytes | None]


class Log:
    """A line of JSON for everything served; begins anew when it has grown too long."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab", buffering=0)
        self._lock = threading.Lock()

    def put(self, kind: str, where: Ends, name: str = "", path: str = "") -> None:
        client, address, port = where
        fields = {
            "at": time.time(),
            "kind": kind,
            "client": client,
            "address": address,
            "port": port,
            "name": name,
            "path": path,
        }
        with self._lock:
            if self._file.tell() > MAX_LOG_OCTETS:
                self._file.truncate(0)
            self._file.write(json.dumps(fields).encode() + b"\n")


def plain(address: str) -> str:
    """Return an address as people write it: IPv4 where a socket of both families shows it mapped into IPv6."""
    parsed = ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)


def answer(query: dns.message.Message) -> dns.message.Message:
    """Return the authoritative answer to a query."""
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA | dns.flags.RA
    question = query.question[0]
    name = question.name.to_text(omit_final_dot=True).lower()
    if name == "nx.example" or name.endswith(".nx.example"):
        response.set_rcode(dns.rcode.NXDOMAIN)
    for suffix, next_suffix in ((".chain.example", ".hop.example"), (".hop.example", "")):
        if name.endswith(suffix):
            target = name.removesuffix(suffix) + next_suffix
            response.answer.append(
                dns.rrset.from_text(name + ".", TTL_S, "IN", "CNAME", target + ".")
            )
            name = target
    data = {dns.rdatatype.A: address_of(name), dns.rdatatype.AAAA: address6_of(name)}.get(
        question.rdtype
    )
    if response.rcode() == dns.rcode.NOERROR and data:
        response.answer.append(
            dns.rrset.from_text(name + ".", TTL_S, "IN", question.rdtype, str(data))
        )
    else:
        soa = f"ns.example. host.example. 1 3600 600 86400 {TTL_S}"
        response.authority.append(dns.rrset.from_text(".", TTL_S, "IN", "SOA", soa))
    return response


def delegated(octets: bytes) -> bytes | None:
    """Return what the name server of ``TUNNEL`` answers, if it does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(PAUSE_S)
        asking.connect(("127.0.0.1", TUNNEL_PORT))
        try:
            asking.send(octets)
            return asking.recv(0xFFFF)
        except OSError:
            return None


class Internet:
    """What all servers share."""

    def __init__(self, directory: Path) -> None:
        self.log = Log(directory / "served.jsonl")
        self.authority = Authority(directory)

    def respond(self, octets: bytes, kind: str, where: Ends) -> bytes | None:
        """Return the response to a DNS message and log it; None for what is no query."""
        try:
            query = dns.message.from_wire(octets)
            name = query.question[0].name.to_text(omit_final_dot=True).lower()
        except (dns.exception.DNSException, IndexError):
            return None
        self.log.put(kind, where, name, dns.rdatatype.to_text(query.question[0].rdtype))
        if name.endswith(f".{TUNNEL}"):
            return delegated(octets)
        return answer(query).to_wire(max_size=0xFFFF)

    def tls(self) -> ssl.SSLContext:
        """Return the context that takes the certificate of whatever server name the client says."""
        context = self.authority.context(
            RESOLVER, RESOLVER_V6, UNRESOLVED, UNRESOLVED_V6, ROUTER.v4, ROUTER.v6
        )

        def named(connection: Any, name: str | None, _: ssl.SSLContext) -> None:
            if name:
                connection.context = self.authority.context(name)
            self.log.put("hello", connection.ends, name or "")

        context.sni_callback = named
        context.sslsocket_class = NamedSocket
        return context


class NamedSocket(ssl.SSLSocket):
    """A TLS socket that knows both ends of its connection."""

    @property
    def ends(self) -> Ends:
        return ends(self)


def ends(connection: socket.socket) -> Ends:
    """Return client, server address and server port of a connection."""
    here = connection.getsockname()
    return plain(connection.getpeername()[0]), plain(here[0]), here[1]


class Server(socketserver.ThreadingTCPServer):
    """A TCP server of both families, with a bounded number of threads."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, internet: Internet, port: int, handler: type, *, tls: bool = False) -> None:
        self.internet = internet
        self.tls = internet.tls() if tls else None
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(("::", port), handler)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Only where net.ipv4.tcp_fastopen has it as well.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, self.request_queue_size)
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._room.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        where = ends(request)
        self.internet.log.put("accepted", where)
        request.settimeout(10)
        if self.tls:
            with self.tls.wrap_socket(request, server_side=True) as wrapped:
                self.internet.log.put("tls", where)
                super().finish_request(wrapped, client_address)
                wrapped.unwrap()
        else:
            super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away, or is cut off, is what happens here all day.
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


class Pages(BaseHTTPRequestHandler):
    """The same few pages for every name."""

    protocol_version = "HTTP/1.1"
    timeout = 10
    server: Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        fields = {key: values[0] for key, values in parse_qs(url.query).items()}
        name = self.headers.get("Host", "").rpartition("@")[2].lower()
        name = name.partition(":")[0] if not name.startswith("[") else name
        self.server.internet.log.put("request", ends(self.connection), name, url.path)
        match url.path:
            case "/generate_204":
                self._send(HTTPStatus.NO_CONTENT, b"")
            case "/slow":
                self._slow(float(fields.get("seconds", 10)), int(fields.get("rate", 20_000)))
            case "/echo" if self.headers.get("Upgrade") == "websocket":
                self._echo()
            case "/dns-query" if "dns" in fields:
                self._dns(urlsafe_b64decode(fields["dns"] + "=="))
            case _:
                page = f"<!doctype html><title>{name}</title><h1>This is {name}</h1>\n"
                self._send(HTTPStatus.OK, page.encode(), "text/html; charset=utf-8")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length", 0)), 0xFFFF)
        self._dns(self.rfile.read(length))

    def _dns(self, octets: bytes) -> None:
        response = self.server.internet.respond(octets, "doh", ends(self.connection))
        if response is None:
            self.send_error(HTTPStatus.BAD_REQUEST)
        else:
            self._send(HTTPStatus.OK, response, "application/dns-message")

    def _send(self, status: HTTPStatus, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Cache-Control", "no-store")
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _echo(self) -> None:
        """Switch to another protocol, and send all that comes back."""
        self.send_response(HTTPStatus.SWITCHING_PROTOCOLS)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.end_headers()
        while octets := self.connection.recv(4096):
            self.connection.sendall(octets)
        self.close_connection = True

    def _slow(self, seconds: float, rate: int) -> None:
        """Send ``rate`` octets a second for ``seconds``, both within bounds."""
        piece = bytes(max(1, int(min(rate, MAX_RATE) * PAUSE_S)))
        pieces = max(1, int(min(seconds, MAX_SLOW_S) / PAUSE_S))
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(piece) * pieces))
        self.end_headers()
        where = ends(self.connection)  # which nobody can tell behind a reset
        try:
            for _ in range(pieces):
                self.wfile.write(piece)
                time.sleep(PAUSE_S)
        except OSError:
            self.server.internet.log.put("cut", where, self.headers.get("Host", ""), "/slow")
            raise

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Print nothing: ``Log`` has it."""


class Resolver(socketserver.StreamRequestHandler):
    """DNS over TCP and over TLS (RFC 7766, RFC 7858)."""

    server: Server

    def handle(self) -> None:
        kind = "dot" if self.server.tls else "dns"
        while len(head := self.rfile.read(2)) == 2:
            octets = self.rfile.read(int.from_bytes(head))
            response = self.server.internet.respond(octets, kind, ends(self.connection))
            if response is None:
                return
            self.wfile.write(len(response).to_bytes(2) + response)


def serve_datagrams(sock: socket.socket, port: int, respond: Respond) -> None:
    """Answer each datagram from the address it was sent to."""
    while True:
        octets, ancillary, _, client = sock.recvmsg(0xFFFF, 256)
        info = [data for level, kind, data in ancillary if kind == socket.IPV6_PKTINFO]
        here = plain(str(IPv6Address(info[0][:16])))
        response = respond(octets, (plain(client[0]), here, port))
        if response is not None:
            # Interface 0: the way back is the routing table's affair.
            back = struct.pack("16sI", info[0][:16], 0)
            try:
                sock.sendmsg(
                    [response], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, back)], 0, client
                )
            except OSError:
                traceback.print_exc()


def datagram_socket(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    # A server of one address only may take its port besides.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    # IP_FREEBIND, <linux/in.h>: to answer from addresses that only a local route makes ours.
    sock.setsockopt(socket.IPPROTO_IP, 15, 1)
    sock.bind(("::", port))
    return sock


def main() -> None:
    directory = Path(sys.argv[1])
    internet = Internet(directory)

    def echo(octets: bytes, where: Ends) -> bytes:
        internet.log.put("udp", where)
        return octets

    services = [
        Server(internet, 80, Pages).serve_forever,
        Server(internet, 443, Pages, tls=True).serve_forever,
        Server(internet, 53, Resolver).serve_forever,
        Server(internet, 853, Resolver, tls=True).serve_forever,
        partial(
            serve_datagrams,
            datagram_socket(53),
            53,
            lambda octets, where: internet.respond(octets, "dns", where),
        ),
        partial(serve_datagrams, datagram_socket(443), 443, echo),
    ]
    threads = [threading.Thread(target=service) for service in services]
    for thread in threads:
        thread.start()
    (directory / "internet.ready").touch()
    for thread in threads:
        thread.join()
    os._exit(1)


if __name__ == "__main__":
    main()
