"""A QUIC connection of Firefox, played again between two sockets of other namespaces."""

from __future__ import annotations

import ctypes
import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from scapy.layers.inet import UDP
from scapy.utils import rdpcap

from bench_firewall.network import SERVER, STAFF, Site

_CAPTURE: Final = Path("captures/suricata-verify/quic-frag.pcap")
_PORT: Final = 443
_CLONE_NEWNET: Final = 0x40000000
_PATIENCE_S: Final = 2.0


class Datagram(NamedTuple):
    """One of the connection."""

    from_client: bool
    payload: bytes


def read_connection(data: Path) -> list[Datagram]:
    """Return the datagrams of the capture in the folder of captures and lists, in their order.

    Raises:
        OSError: It is not there.
    """
    packets = rdpcap(str(data / _CAPTURE))
    return [Datagram(p[UDP].dport == _PORT, bytes(p[UDP].payload)) for p in packets if UDP in p]


def play(site: Site, connection: list[Datagram], times: int) -> None:
    """Play ``connection`` so many times from the address of the member of staff, each as a flow of its own.

    Raises:
        TimeoutError: A datagram did not arrive.
    """
    with ExitStack() as stack:
        server = stack.enter_context(_bound(site.path("server"), SERVER, _PORT))
        for _ in range(times):
            with _bound(site.path("client"), STAFF, 0) as client:
                for datagram in connection:
                    sender, receiver = (
                        (client, server) if datagram.from_client else (server, client)
                    )
                    sender.sendto(datagram.payload, receiver.getsockname())
                    receiver.recv(1 << 16)


def _bound(namespace: Path, address: str, port: int) -> socket.socket:
    """Return a socket for datagrams in ``namespace``: it stays where this thread was when it was made."""
    with namespace.open("rb") as there, Path("/proc/thread-self/ns/net").open("rb") as here:
        _enter(there.fileno())
        try:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        finally:
            _enter(here.fileno())
    made.settimeout(_PATIENCE_S)
    made.bind((address, port))
    return made


def _enter(namespace: int) -> None:
    # os.setns came with Python 3.12.
    if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
