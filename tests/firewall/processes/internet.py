"""What is behind the router: web servers, name-less servers, echoes. Prints a line when all listen."""

import asyncio
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

BODY = b"from the internet\n"


def certificate(directory):
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=internet"
        " -keyout key.pem -out certificate.pem"
    )
    subprocess.run(command.split(), cwd=directory, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    return context


async def web(reader, writer):
    """Answer one request; ``/endless`` goes on until somebody cuts it."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        endless = b"/endless" in head.split(b"\r\n")[0]
        length = b"" if endless else b"Content-Length: %d\r\n" % len(BODY)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + length + b"\r\n" + BODY)
        while endless:
            writer.write(bytes(2000))
            await writer.drain()
            await asyncio.sleep(0.01)
        await writer.drain()
        writer.close()
    except (OSError, asyncio.IncompleteReadError):
        writer.transport.abort()


async def banner(reader, writer):
    writer.write(b"220 banner\r\n")
    try:
        writer.write(await reader.read(100))
        await writer.drain()
    except OSError:
        pass
    writer.close()


async def echo(reader, writer):
    try:
        while octets := await reader.read(1000):
            writer.write(octets)
            await writer.drain()
    except OSError:
        pass
    writer.close()


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


async def main():
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as directory:
        context = certificate(Path(directory))
    for address in sys.argv[1:]:
        await asyncio.start_server(web, address, 80)
        await asyncio.start_server(web, address, 443, ssl=context)
        await asyncio.start_server(banner, address, 2222)
        await asyncio.start_server(echo, address, 7000)
        await asyncio.start_server(echo, address, 853)
        for port in (443, 853, 53, 123, 9000, 9001, 9002, 9003, 9004):
            await loop.create_datagram_endpoint(Echo, local_addr=(address, port))
    print("listening", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
