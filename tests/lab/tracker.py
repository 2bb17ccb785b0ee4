"""A BitTorrent tracker on this computer that knows one peer: ``python tracker.py PEER``."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Address

PORT, PEER_PORT = 6969, 6882


class Tracker(BaseHTTPRequestHandler):
    """Tells everybody about the same peer."""

    def do_GET(self) -> None:
        # BEP 23: four octets of address and two of port.
        peer = IPv4Address(sys.argv[1]).packed + PEER_PORT.to_bytes(2)
        body = b"d8:intervali60e5:peers6:%se" % peer
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", PORT), Tracker).serve_forever()
