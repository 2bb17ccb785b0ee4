"""A TLS client whose ClientHello is cut: ``python segments.py ADDRESS NAME OCTETS [CUT]``.

Its octets travel in TCP segments of OCTETS, and in TLS records that end where CUT (one of ``CUTS``) says. Prints the first line
of the server's answer to ``GET /``; ends with status 1 and a word where the connection is cut.
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final

RECORD_OCTETS: Final = 5
"""Of a record's header (RFC 8446, section 5.1)."""
EXTENSION_OCTETS: Final = 9
"""Of what stands before the name: of the extension and its list, each with type and length (RFC 6066, section 3)."""

CUTS: Final[dict[str, Callable[[int, int, int], Iterable[int]]]] = {
    "in the header": lambda _name, _behind, _end: (1, 3),
    "before the name": lambda name, _behind, _end: (name,),
    "in the name": lambda name, behind, _end: ((name + behind) // 2,),
    "around the name": lambda name, behind, _end: (name, behind),
    "in the extension": lambda name, behind, _end: range(name - EXTENSION_OCTETS + 1, behind),
    "before the last octet": lambda _name, _behind, end: (end - 1,),
    "octet by octet": lambda _name, _behind, end: range(1, end),
}
"""Where records end within the ClientHello, from the places where the name and what follows it begin, and its end."""


def records(data: bytes, name: str, cut: str) -> bytes:
    """Return the single record of a hello as several; all else as it is."""
    if not cut or name.encode() not in data:
        return data
    message = data[RECORD_OCTETS:]
    place = message.index(name.encode())
    inner = CUTS[cut](place, place + len(name), len(message))
    parts = [message[a:b] for a, b in pairwise([0, *inner, len(message)])]
    return b"".join(data[:3] + len(part).to_bytes(2) + part for part in parts)


def main() -> int:
    address, name, octets, *cut = sys.argv[1:]
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with socket.create_connection((address, 443), timeout=5) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send() -> None:
            data = records(outgoing.read(), name, "".join(cut))
            for start in range(0, len(data), int(octets)):
                sock.sendall(data[start : start + int(octets)])

        def step(action: object, *args: object) -> bytes:
            while True:
                try:
                    result = action(*args)  # type: ignore[operator]
                except ssl.SSLWantReadError:
                    send()
                    data = sock.recv(65536)
                    if not data:
                        raise ConnectionResetError from None
                    incoming.write(data)
                else:
                    send()
                    return result

        try:
            step(tls.do_handshake)
            step(tls.write, f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            print(step(tls.read, 4096).split(b"\r\n")[0].decode())
        except TimeoutError:
            print("timeout")
            return 1
        except ConnectionError:
            print("cut")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
