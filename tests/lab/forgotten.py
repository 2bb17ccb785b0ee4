"""A hello in another one: ``forgotten.py ADDRESS DECOY NAME MAC ROUTER_MAC``, as root on a client.

Sends the first half of a hello for NAME, opens so many connections that a filter may have forgotten the first one, then
sends a SYN within it and the other half, which itself is a hello for DECOY. Prints ``served`` or what happened instead.
"""

from __future__ import annotations

import socket
import ssl
import sys
import time

from scapy.all import IP, TCP, Ether, IPv6, conf  # type: ignore[attr-defined]

OTHERS = 2100
"""More than a device's part of the classifier's table."""
AT_ONCE = 400
UNSERVED = 9
"""Port."""
WAIT_S = 5.0


def hidden(name: str) -> bytes:
    """Return a hello for ``name``, and the head of a record behind it that takes whatever follows."""
    host = name.encode()
    extension = b"\0\0" + (len(host) + 5).to_bytes(2) + (len(host) + 3).to_bytes(2)
    extension += b"\0" + len(host).to_bytes(2) + host
    body = b"\3\3" + b"r" * 32 + b"\0" + b"\0\2\x13\1" + b"\1\0"
    body += len(extension).to_bytes(2) + extension
    message = b"\1" + len(body).to_bytes(3) + body
    return b"\x16\3\1" + len(message).to_bytes(2) + message + b"\x17\3\3\x7f\x7f"


def open_others(address: str, family: socket.AddressFamily) -> None:
    held: list[socket.socket] = []
    for number in range(OTHERS):
        one = socket.socket(family)
        one.setblocking(False)
        one.connect_ex((address, UNSERVED))
        held.append(one)
        if len(held) > AT_ONCE:
            held.pop(0).close()
        if number % 10 == 0:
            time.sleep(0.01)  # no faster than the classifier is asked
    for one in held:
        one.close()


def main() -> str:
    address, decoy, name, mac, router_mac = sys.argv[1:]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    context = ssl.create_default_context()
    inner = hidden(decoy)
    context.set_alpn_protocols(["http/1.1", inner.decode("ascii")])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    link = conf.L2socket(iface="eth0")
    with socket.socket(family) as connection:
        connection.settimeout(WAIT_S)
        connection.connect((address, 443))
        here, port = connection.getsockname()[:2]
        while (frame := link.recv()) is None or TCP not in frame or frame[TCP].dport != port:
            pass
        first = frame[TCP].ack
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            octets = outgoing.read()
        place = octets.index(inner)
        connection.sendall(octets[:place])
        open_others(address, family)
        syn = TCP(sport=port, dport=443, flags="S", seq=(first + place - 1) % 2**32, window=64_000)
        ip = (IPv6 if ":" in address else IP)(src=here, dst=address)
        link.send(Ether(src=mac, dst=router_mac) / ip / syn)
        time.sleep(0.3)  # on another way than what follows
        connection.sendall(octets[place:])
        while True:
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                if not (octets := connection.recv(65536)):
                    return "end"
                incoming.write(octets)
            else:
                return "served"


if __name__ == "__main__":
    try:
        print(main())  # for the test
    except OSError as e:
        print(type(e).__name__)
