"""Connections right behind answers, and whom they reach: ``connects.py serve PORT``, ``connect RESOLVER PORT COUNT`` or
``once ADDRESS PORT [NAME]``.
"""

from __future__ import annotations

import json
import socket
import sys
from asyncio import StreamReader, StreamWriter, run, start_server

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

NAME = "n{}.given.example"
WAIT_S = 3.0


def given(resolver: str, name: str) -> str:
    """Return the address that the resolver gives for ``name``."""
    query = dns.message.make_query(name, dns.rdatatype.AAAA)
    for _ in range(5):
        try:
            answer = dns.query.udp(query, resolver, timeout=WAIT_S).answer
        except dns.exception.Timeout:
            continue
        return str(answer[0][0])
    raise TimeoutError(f"no answer for {name}")


def once(address: str, port: int, name: str = "") -> str:
    """Say something, to the host ``name`` where there is one; return ``echoed``, or what happened instead."""
    line = b"GET / HTTP/1.1\r\n" if name else b"hello\r\n"
    fields = f"Host: {name}\r\n\r\n" if name else ""
    try:
        with socket.create_connection((address, port), WAIT_S) as connection:
            connection.sendall(line + fields.encode())
            return "echoed" if connection.recv(64) == line else "end"
    except OSError as e:
        return type(e).__name__


def connect(resolver: str, port: int, count: int) -> None:
    """Ask for each name, connect at once, and print what came of all."""
    lost = {}
    for number in range(count):
        name = NAME.format(number)
        outcome = once(given(resolver, name), port, name)
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
    case ["once", address, port, *name]:
        print(once(address, int(port), *name))  # for the test
