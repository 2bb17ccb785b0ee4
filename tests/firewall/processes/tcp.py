"""Connect, send octets in segments of a size, print what comes back or how it ended: ADDRESS PORT SIZE TTL HEX|tls:NAME."""

import socket
import ssl
import sys


def hello(name):
    context = ssl.create_default_context()
    outgoing = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


address, port, size, ttl, what = sys.argv[1:]
octets = hello(what[4:]) if what.startswith("tls:") else bytes.fromhex(what)
try:
    with socket.create_connection((address, int(port)), 3) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if ":" not in address:
            connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(ttl))
        for start in range(0, len(octets), int(size)):
            connection.sendall(octets[start : start + int(size)])
        print(connection.recv(2000).hex() or "end")
except TimeoutError:
    print("silence")
except ConnectionResetError:
    print("reset")
except BrokenPipeError:
    print("reset")
except ConnectionRefusedError:
    print("refused")
