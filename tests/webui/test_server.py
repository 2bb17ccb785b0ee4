import asyncio
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509

from gate_core.config import WebConfig
from gate_webui.server import MAX_PER_ADDRESS, Services, WebSettings, _listen, serve


def curl(*arguments: str) -> tuple[str, str]:
    """Return status and body of one request."""
    done = subprocess.run(
        ["curl", "-sk", "--max-time", "10", "-w", "\n%{http_code}", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    body, _, status = done.stdout.rpartition("\n")
    return status, body


def test_serve_both_sites(shared_server):
    status, body = curl(f"{shared_server.url}/sign-in")
    assert (status, "Sign in" in body) == ("200", True)
    status, body = curl(f"https://[::1]:{shared_server.port}/sign-in")
    assert (status, "Sign in" in body) == ("200", True)
    site = f"www.games.example:{shared_server.block_page_port}"
    status, body = curl("--resolve", f"{site}:127.0.0.1", f"http://{site}/play")
    assert (status, "This website is closed at school" in body) == ("403", True)
    status, body = curl(
        "-w", "\n%{redirect_url} %{http_code}", f"http://127.0.0.1:{shared_server.block_page_port}/"
    )
    assert status == f"https://127.0.0.1:{shared_server.port}/ 302"


def test_serve_keeps_its_keys_and_tells_them_nobody(shared_server):
    paths = sorted(shared_server.folder.iterdir())
    assert [path.name for path in paths] == ["certificate.pem", "secret"]
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o600, 0o600]


def test_serve_certificate_is_the_one_kept_and_for_its_addresses(shared_server):
    served = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", shared_server.port)))
    kept = x509.load_pem_x509_certificate((shared_server.folder / "certificate.pem").read_bytes())
    assert x509.load_der_x509_certificate(served) == kept
    names = kept.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["schoolgate.local", "schoolgate"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_serve_refuses_old_tls(shared_server, version: str):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSVersion"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with (
        socket.create_connection(("127.0.0.1", shared_server.port), 5) as raw,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(raw)


def test_serve_half_open_handshakes_keep_nobody_out(shared_server):
    idle = [
        socket.create_connection(("127.0.0.1", shared_server.port))
        for _ in range(MAX_PER_ADDRESS + 50)
    ]
    try:
        for connection in idle[::2]:
            # The first octets of a ClientHello, and never the rest: more may have been cut off already.
            try:
                connection.sendall(b"\x16\x03\x01\x02\x00\x01")
            except ConnectionError:
                continue
        assert curl(f"{shared_server.url}/sign-in")[0] == "200"
    finally:
        for connection in idle:
            connection.close()


def test_serve_slow_requests_take_no_threads(shared_server):
    slow = []
    try:
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", shared_server.block_page_port))
            connection.sendall(
                b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\nx"
            )
            slow.append(connection)
        status, _ = curl(f"http://127.0.0.1:{shared_server.block_page_port}/")
        assert status == "302"
        assert curl(f"{shared_server.url}/sign-in")[0] == "200"
        threads = (
            Path(f"/proc/{shared_server.process.pid}/status")
            .read_text()
            .split("Threads:")[1]
            .split()[0]
        )
        assert int(threads) < 20
    finally:
        for connection in slow:
            connection.close()


def test_serve_drops_who_waited_longest_when_one_address_wants_too_much(shared_server):
    crowd = [
        socket.create_connection(("127.0.0.1", shared_server.block_page_port))
        for _ in range(MAX_PER_ADDRESS)
    ]
    try:
        wait_until_served(crowd[-1])
        newest = socket.create_connection(("127.0.0.1", shared_server.block_page_port))
        wait_until_served(newest)
        newest.close()
        crowd[0].settimeout(5)
        assert crowd[0].recv(1) == b""
    finally:
        for connection in crowd:
            connection.close()


def wait_until_served(connection: socket.socket) -> None:
    connection.settimeout(5)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert connection.recv(12) == b"HTTP/1.1 403"


def test_serve_hostile_octets_do_not_end_it(shared_server):
    for octets in (
        b"\x00" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n" * 500,
        b"GET http://[x HTTP/1.1\r\nHost: [x\r\n\r\n",
    ):
        for port in (shared_server.port, shared_server.block_page_port):
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.sendall(octets)
    assert curl(f"{shared_server.url}/sign-in")[0] == "200"
    assert shared_server.process.poll() is None


def test_serve_ends_at_sigterm_with_clients_connected(server):
    held = socket.create_connection(("127.0.0.1", server.port))
    began = time.monotonic()
    server.process.terminate()
    assert server.process.wait(timeout=10) == 0
    assert time.monotonic() - began < 10
    held.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_serve_ends_at_a_signal_that_comes_while_its_loop_is_made(tmp_path, monkeypatch):
    make = asyncio.new_event_loop

    def make_in_trouble() -> asyncio.AbstractEventLoop:
        signal.raise_signal(signal.SIGTERM)
        return make()

    monkeypatch.setattr(asyncio.events, "new_event_loop", make_in_trouble)
    config = WebConfig(listen=("127.0.0.1",), port=0, block_page_port=0)
    clock = SimpleNamespace(now=lambda: None)
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit("within the making of a loop"))
    try:
        serve(WebSettings.of(config, tmp_path, ()), Services(None, None, clock))
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_answers_are_not_held_back(address):
    """By Nagle's algorithm (RFC 896), which waits for the browser's delayed acknowledgement."""
    with (
        _listen(address, 0) as listener,
        socket.create_connection(listener.getsockname()[:2]),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
