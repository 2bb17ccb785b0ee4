"""Queries as fast as they go: ``python flood_dns.py COUNT ADDRESS``, each for another name, at most COUNT."""

from __future__ import annotations

import socket
import sys


def main() -> None:
    count, address = int(sys.argv[1]), sys.argv[2]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.connect((address, 53))
        for number in range(count):
            label = b"%08d" % number
            head = (number % 65536).to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0\x08"
            asking.send(head + label + b"\5flood\7example\0\0\1\0\1")


if __name__ == "__main__":
    main()
