"""A TLS server that asks for a second hello, and a client whose second hello has another name.

``retry.py serve PORT`` prints each server name that it is asked for; ``retry.py connect ADDRESS PORT FIRST SECOND`` prints how
far it came. Both names have the same length.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

CURVE = "secp384r1"
"""No client sends a key share for it unasked."""
WAIT_S = 3.0


def serve(port: int) -> None:
    """Serve until killed, one connection after the other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as directory:
        key, certificate = (str(Path(directory, name)) for name in ("key.pem", "certificate.pem"))
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x"
        subprocess.run(
            [*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True
        )
        context.load_cert_chain(certificate, key)
    context.set_ecdh_curve(CURVE)
    context.sni_callback = lambda _connection, name, _context: print(
        name, flush=True
    )  # for the test
    with socket.create_server(("0.0.0.0", port)) as listening:  # the laboratory's internet
        print("ready", flush=True)  # for the test
        while True:
            connection, _ = listening.accept()
            connection.settimeout(WAIT_S)
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                connection.close()


def connect(address: str, port: int, first: str, second: str) -> str:
    """Shake hands, with another name in the second hello; return what came of it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=first)
    with socket.create_connection((address, port), WAIT_S) as connection:
        connection.settimeout(WAIT_S)
        for hello in range(3):
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                # What the server has signed is not what this client has sent: but it has answered.
                return "answered"
            octets = outgoing.read()
            connection.sendall(octets.replace(first.encode(), second.encode()) if hello else octets)
            received = connection.recv(65_536)
            if not received:
                return "end"
            incoming.write(received)
    return "answered"


match sys.argv[1:]:
    case ["serve", port]:
        serve(int(port))
    case ["connect", address, port, first, second]:
        try:
            outcome = connect(address, int(port), first, second)
        except OSError as e:
            outcome = type(e).__name__
        print(outcome)  # for the test
