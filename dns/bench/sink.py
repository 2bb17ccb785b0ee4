"""A reader of what a server sends over TCP as its record: ``python -m bench.sink PORT FILE`` keeps all of it."""

from __future__ import annotations

import sys
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer


def main() -> None:
    """Take any number of connections at a time, until a signal ends it."""
    with Path(sys.argv[2]).open("ab", buffering=0) as file:

        class Keeper(BaseRequestHandler):
            def handle(self) -> None:
                while octets := self.request.recv(1 << 20):
                    file.write(octets)

        with ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Keeper) as server:
            server.serve_forever()


if __name__ == "__main__":
    main()
