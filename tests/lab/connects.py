"""Connections right behind answers, and whom they reach: ``connects.py serve PORT``, ``connect RESOLVER PORT COUNT`` or
``once ADDRESS PORT``.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from asyncio import StreamReader, StreamWriter, run, start_server

NAME = "n{}.given.example"
WAIT_S = 3.0


def query(name: str, number: int) -> bytes:
    """Return a query for the IPv6 address of ``name``."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return (
        struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, 28, 1)
    )


def given(resolver: str, name: str, number: int) -> str:
    """Return the address that the resolver gives for ``name``."""
    for _ in range(5):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(WAIT_S)
            asking.sendto(query(name, number), (resolver, 53))
            try:
                return socket.inet_ntop(socket.AF_INET6, asking.recv(512)[-16:])
            except TimeoutError:
                continue
    raise TimeoutError(f"no answer for {name}")


def once(address: str, port: int) -> str:
    """Return ``echoed``, or what happened instead."""
    try:
        with socket.create_connection((address, port), WAIT_S) as connection:
            connection.sendall(b"hello\n")
            return "echoed" if connection.recv(16) == b"hello\n" else "end"
    except OSError as e:
        return type(e).__name__


def connect(resolver: str, port: int, count: int) -> None:
    """Ask for each name, connect at once, and print what came of all."""
    lost = {}
    for number in range(count):
        name = NAME.format(number)
        outcome = once(given(resolver, name, number), port)
        if outcome != "echoed":
            lost[name] = outcome
    print(json.dumps({"echoed": count - len(lost), "lost": list(lost.items())}))  # for the test


async def echo(reader: StreamReader, writer: StreamWriter) -> None:
    """Give the first line back."""
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    """Echo at every address, until killed."""
    server = await start_server(
        echo, ["0.0.0.0", "::"], port, backlog=1024
    )  # the laboratory's internet
    print("ready", flush=True)  # for the test
    await server.serve_forever()


match sys.argv[1:]:
    case ["serve", port]:
        run(serve(int(port)))
    case ["connect", resolver, port, count]:
        connect(resolver, int(port), int(count))
    case ["once", address, port]:
        print(once(address, int(port)))  # for the test
