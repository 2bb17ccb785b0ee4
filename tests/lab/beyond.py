"""What else the laboratory's internet has, for tests of protocols: ``python beyond.py DIRECTORY``, in the router's namespace.

Unlike ``internet.py``, which every laboratory has, it is started by the tests that want it. All of it is in the same log.
"""

from __future__ import annotations

import socketserver
import sys
import threading
from functools import partial
from pathlib import Path

from internet import (
    Ends,
    Internet,
    Log,
    Pages,
    Resolver,
    Server,
    datagram_socket,
    ends,
    serve_datagrams,
)

CALL_PORTS = (3478, 3479, 3480, 3481, 8801, 19302)
"""UDP: STUN, and what follows it in a call."""
ECHO_PORTS = (123, 5060, 6881, 6969, *CALL_PORTS)
"""UDP: NTP, SIP, DHT, tracker, calls. Nobody answers in the protocol; the octets come back."""
STREAM_PORTS = (554, 1723, 3389, 7000)
"""TCP: RTSP, PPTP, RDP, AirPlay; the same."""
NAME_PORT = 5300
"""DNS on a port that is not its own, UDP and TCP."""
DOT_PORT = 8853
PUSH_PORT = 5223
"""TLS, as Apple's notifications use it."""
CAST_PORT = 8009
"""TLS, as a Chromecast is spoken to."""


class Echo(socketserver.BaseRequestHandler):
    """Gives back what it gets."""

    server: Server

    def handle(self) -> None:
        while octets := self.request.recv(4096):
            self.server.internet.log.put("stream", ends(self.request))
            self.request.sendall(octets)


def main() -> None:
    directory = Path(sys.argv[1])
    own = directory / "beyond"
    own.mkdir()
    internet = Internet(own)
    internet.log = Log(directory / "served.jsonl")

    def echo(octets: bytes, where: Ends) -> bytes:
        internet.log.put("udp", where)
        return octets

    def name(octets: bytes, where: Ends) -> bytes | None:
        return internet.respond(octets, "dns", where)

    services = [
        *(partial(serve_datagrams, datagram_socket(port), port, echo) for port in ECHO_PORTS),
        *(Server(internet, port, Echo).serve_forever for port in STREAM_PORTS),
        partial(serve_datagrams, datagram_socket(NAME_PORT), NAME_PORT, name),
        Server(internet, NAME_PORT, Resolver).serve_forever,
        Server(internet, DOT_PORT, Resolver, tls=True).serve_forever,
        Server(internet, PUSH_PORT, Pages, tls=True).serve_forever,
        Server(internet, CAST_PORT, Pages, tls=True).serve_forever,
    ]
    for service in services:
        threading.Thread(target=service).start()
    print("ready", flush=True)


if __name__ == "__main__":
    main()
