"""A TLS client whose ClientHello travels in small TCP segments: ``python segments.py ADDRESS NAME OCTETS [PAUSE_S]``.

Prints the first line of the server's answer to ``GET /``; ends with status 1 and a word where the connection is cut.
"""

from __future__ import annotations

import socket
import ssl
import sys
import time


def main() -> int:
    address, name, octets, *pause = sys.argv[1:]
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with socket.create_connection((address, 443), timeout=5) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def send() -> None:
            data = outgoing.read()
            for start in range(0, len(data), int(octets)):
                sock.sendall(data[start : start + int(octets)])
                time.sleep(float(pause[0]) if pause else 0)

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
