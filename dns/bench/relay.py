"""The floor of a miss in Python: ``python -m bench.relay PORT UPSTREAM`` forwards each query, looking at its ID alone.

It sends and receives by the batches of the sinkhole, and does nothing of what a sinkhole is for: it reads no message,
decides, keeps and records nothing, and trusts whatever comes back. Until a signal ends it.
"""

from __future__ import annotations

import select
import socket
import sys
from ipaddress import IPv4Address
from itertools import cycle
from typing import Final

from gate_core.upstreams import Upstream
from gate_dns.batch import open_socket
from gate_dns.forwarding.exchange import connect
from gate_dns.mmsg import BATCH, Vector

_NAME_OCTETS: Final = 16
"""Of struct sockaddr_in."""
_OCTETS: Final = 1500


def main() -> None:
    """Forward."""
    port, upstream = map(int, sys.argv[1:])
    here = open_socket("127.0.0.1", port, socket.AF_INET)
    there = connect(Upstream(IPv4Address("127.0.0.1"), upstream), socket.SOCK_DGRAM)
    asked, answered = Vector(_OCTETS, _NAME_OCTETS), Vector(_OCTETS, _NAME_OCTETS)
    out, back = Vector(_OCTETS), Vector(_OCTETS)
    ids = cycle([n.to_bytes(2, "big") for n in range(1 << 16)])
    waiting: dict[bytes, tuple[bytes, bytes]] = {}
    poll = select.epoll()
    for each in (here, there):
        poll.register(each, select.EPOLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == here.fileno():
                messages = asked.receive(descriptor)
                names = bytes(asked.names[: len(messages) * _NAME_OCTETS])
                sent = []
                for place, message in enumerate(messages):
                    new = next(ids)
                    name = names[place * _NAME_OCTETS : (place + 1) * _NAME_OCTETS]
                    waiting[new] = (name, message[:2])
                    sent.append(new + message[2:])
                _send(out, there.fileno(), sent)
            else:
                ways, texts = [], []
                for message in back.receive(descriptor):
                    name, old = waiting.pop(message[:2])
                    ways.append(name)
                    texts.append(old + message[2:])
                octets = b"".join(ways)
                answered.names[: len(octets)] = octets
                _send(answered, here.fileno(), texts)


def _send(vector: Vector, descriptor: int, texts: list[bytes]) -> None:
    for first in range(0, len(texts), BATCH):
        some = texts[first : first + BATCH]
        vector.put(some)
        for _, fault in vector.send(descriptor, len(some)):
            raise fault


if __name__ == "__main__":
    main()
