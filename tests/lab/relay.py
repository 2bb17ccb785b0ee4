"""Makes a port of a laboratory's host reachable at the machine's own loopback address.

The listening socket belongs to the machine's network, the process that accepts from it lives in the host's: it connects
inside what came from outside. It ends with the laboratory.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

from laboratory import Laboratory


def relay(
    lab: Laboratory, host: str, port: int, *, outer_port: int = 0, address: str = "127.0.0.1"
) -> int:
    """Relay a port of 127.0.0.1 to ``port`` at ``address`` as seen from ``host``; return the outer port.

    Args:
        lab: The laboratory.
        host: Where the connections are made.
        port: Port there.
        outer_port: First port to try outside; 0 for any that is free.
        address: Address to connect to.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for candidate in range(outer_port, outer_port + 50):
            try:
                listener.bind(("127.0.0.1", candidate))
                break
            except OSError:  # taken
                continue
        listener.listen(64)
        fd = listener.fileno()
        argv = [sys.executable, str(Path(__file__)), str(fd), address, str(port)]
        lab.popen(host, argv, log=f"relay-{host}-{port}", pass_fds=[fd])
        return int(listener.getsockname()[1])


async def _serve(fd: int, address: str, port: int) -> None:
    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while octets := await source.read(65536):
                sink.write(octets)
                await sink.drain()
            if sink.can_write_eof():
                sink.write_eof()
        except OSError:
            sink.close()  # one side has gone: the other direction ends by itself

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(address, port)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        finally:
            writer.close()
            far_writer.close()

    server = await asyncio.start_server(connected, sock=socket.socket(fileno=fd))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
