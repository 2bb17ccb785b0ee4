"""Many live connections for ``bench_changes.py``, and who sees what of them crosses the bridge.

``flood.py serve PORT`` answers a request for WebSocket and then echoes; ``flood.py keep ADDRESS PORT NAME COUNT RATE DIRECTORY`` holds COUNT
connections to it, over which RATE lines a second go to and fro; ``flood.py watch INTERFACE PORT FILE`` writes the time of
every packet with a payload that arrives: eight octets each, seconds since 1970 as a double.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
import sys
from pathlib import Path

MAX_CONNECTIONS = 6_000
MAX_RATE = 5_000
MAX_SECONDS = 1_800
"""A flood left alone ends by itself."""

UPGRADE = b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
"""What follows is read by nobody, so that the kernel carries it."""
_SO_TIMESTAMPNS = 35
"""Absent from the module socket: asm-generic/socket.h."""
_OUTGOING = 4
"""PACKET_OUTGOING, linux/if_packet.h."""


class Echo(asyncio.Protocol):
    """Answers the request, then sends back each line."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        if self._answered:
            self._transport.write(data)
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            self._answered = True
            self._transport.write(b"HTTP/1.1 101 Switching Protocols" + UPGRADE)


class Kept(asyncio.Protocol):
    """One connection: asks, and is ready once it was answered."""

    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        self.transport: asyncio.Transport | None = None
        self.ready = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"GET /flood HTTP/1.1\r\nHost: " + self._flood.name + UPGRADE)

    def data_received(self, data: bytes) -> None:
        self.ready = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._flood.alive.discard(self)


class Flood:
    """Holds the connections: opens those that are missing while the file ``go`` exists."""

    def __init__(
        self, address: str, port: int, name: str, count: int, rate: int, directory: Path
    ) -> None:
        self._where = (address, port)
        self.name = name.encode()
        self._count, self._rate = min(count, MAX_CONNECTIONS), min(rate, MAX_RATE)
        self._directory = directory
        self.alive: set[Kept] = set()

    async def run(self) -> None:
        """Hold and use the connections."""
        await asyncio.gather(self._open(), self._talk(), self._tell())

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            missing = self._count - len(self.alive)
            if missing <= 0 or not (self._directory / "go").exists():
                await asyncio.sleep(0.05)
                continue
            tries = [
                asyncio.wait_for(loop.create_connection(lambda: Kept(self), *self._where), 5)
                for _ in range(min(missing, 100))
            ]
            for result in await asyncio.gather(*tries, return_exceptions=True):
                if isinstance(result, tuple):
                    self.alive.add(result[1])
            await asyncio.sleep(0)

    async def _talk(self) -> None:
        while True:
            turn = [k for k in list(self.alive) if k.ready]
            for number, kept in enumerate(turn):
                if kept.transport is not None and not kept.transport.is_closing():
                    kept.transport.write(b"one line of the flood\n")
                # In bursts of a hundredth of a second.
                if number % max(1, self._rate // 100) == 0:
                    await asyncio.sleep(0.01)
            if not turn:
                await asyncio.sleep(0.05)

    async def _tell(self) -> None:
        while True:
            ready = sum(k.ready for k in self.alive)
            fresh = self._directory / "ready.new"
            fresh.write_text(str(ready))
            fresh.replace(self._directory / "ready")
            await asyncio.sleep(0.1)


async def serve(port: int) -> None:
    """Serve on every address."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "0.0.0.0", port, backlog=4096)
    await server.serve_forever()


def watch(interface: str, port: int, file: Path) -> None:
    """Write the time of each arriving TCP packet with a payload, from or to ``port``."""
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as sniffer,
        file.open("ab", 0) as out,
    ):
        sniffer.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        sniffer.bind((interface, 0x0800))
        while True:
            frame, ancillary, _, where = sniffer.recvmsg(128, 64)
            ip = frame[14:]
            if (
                where[2] == _OUTGOING
                or len(ip) < 40
                or ip[0] >> 4 != 4
                or ip[9] != socket.IPPROTO_TCP
            ):
                continue
            head = (ip[0] & 15) * 4
            ports = struct.unpack_from("!HH", ip, head)
            payload = int.from_bytes(ip[2:4], "big") - head - (ip[head + 12] >> 4) * 4
            if port in ports and payload > 0:
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16])
                out.write(struct.pack("d", seconds + nanoseconds / 1e9))


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))
    match sys.argv[1:]:
        case ["serve", port]:
            asyncio.run(asyncio.wait_for(serve(int(port)), MAX_SECONDS))
        case ["keep", address, port, name, count, rate, directory]:
            flood = Flood(address, int(port), name, int(count), int(rate), Path(directory))
            asyncio.run(asyncio.wait_for(flood.run(), MAX_SECONDS))
        case ["watch", interface, port, file]:
            watch(interface, int(port), Path(file))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
