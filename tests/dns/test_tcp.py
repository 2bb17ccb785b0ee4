from __future__ import annotations

import contextlib
import socket

import pytest

from gate_dns.messages.wire import render_frame
from gate_dns.poll import Poll
from gate_dns.tcp import IDLE_S, MAX_CONNECTIONS, MAX_FOR_ADDRESS, MAX_PENDING, StreamServer, listen


class Listening:
    """A server whose messages are put into ``taken``, and whose time stands still until it is moved."""

    def __init__(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.time = 1000.0
        self.poll = Poll()
        self.taken = []
        self.listening = listen(address, 0, family)
        self.server = StreamServer(self.listening, self.poll, self._take, lambda: self.time)
        self.clients = []

    def _take(self, message, source, reply) -> None:
        self.taken.append((message, source, reply))
        if message.startswith(b"now"):
            reply(message.upper())
        elif message.startswith(b"silence"):
            reply(None)

    def connect(self, source: str | None = None) -> socket.socket:
        client = socket.create_connection(
            self.listening.getsockname()[:2],
            timeout=5,
            source_address=(source, 0) if source else None,
        )
        self.clients.append(client)
        self.turn(1)
        return client

    def turn(self, rounds: int = 6) -> None:
        for _ in range(rounds):
            self.poll.wait(0.005)

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.server.close()
        self.listening.close()
        self.poll.close()


@pytest.fixture(params=["127.0.0.1", "::1"])
def server(request):
    listening = Listening(request.param)
    yield listening
    listening.close()


@pytest.fixture
def server4():
    listening = Listening("127.0.0.1")
    yield listening
    listening.close()


def closed(client) -> bool:
    client.settimeout(1)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_server_answers_several_queries_of_a_connection(server):
    client = server.connect()
    client.sendall(render_frame(b"now one") + render_frame(b"now two"))
    server.turn()
    assert client.recv(100) == render_frame(b"NOW ONE") + render_frame(b"NOW TWO")
    family = client.family
    assert server.taken[0][1] == socket.inet_pton(family, client.getsockname()[0])


def test_server_takes_a_query_that_comes_octet_by_octet(server4):
    client = server4.connect()
    for octet in render_frame(b"now one"):
        client.sendall(bytes([octet]))
        server4.turn(2)
    assert client.recv(100) == render_frame(b"NOW ONE")


def test_server_answers_in_the_order_of_the_answers(server4):
    client = server4.connect()
    client.sendall(render_frame(b"later") + render_frame(b"now"))
    server4.turn()
    assert client.recv(100) == render_frame(b"NOW")
    server4.taken[0][2](b"at last")
    assert client.recv(100) == render_frame(b"at last")


def test_server_answers_a_client_that_has_said_all(server4):
    client = server4.connect()
    client.sendall(render_frame(b"later"))
    client.shutdown(socket.SHUT_WR)
    server4.turn()
    server4.taken[0][2](b"at last")
    assert client.recv(100) == render_frame(b"at last")
    assert closed(client)


def test_server_ends_what_is_to_get_silence(server4):
    client = server4.connect()
    client.sendall(render_frame(b"silence") + render_frame(b"now"))
    server4.turn()
    assert closed(client)
    assert len(server4.taken) == 1


def test_server_drops_an_answer_whose_client_has_gone(server4):
    client = server4.connect()
    client.sendall(render_frame(b"later"))
    server4.turn()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    server4.turn()
    server4.taken[0][2](b"at last")
    server4.turn()
    other = server4.connect()
    other.sendall(render_frame(b"now"))
    server4.turn()
    assert other.recv(100) == render_frame(b"NOW")


def test_server_leaves_queries_unread_while_many_wait(server4):
    client = server4.connect()
    client.sendall(render_frame(b"later") * (MAX_PENDING + 5))
    server4.turn()
    assert len(server4.taken) == MAX_PENDING
    for _, _, reply in tuple(server4.taken):
        reply(b"x")
    server4.turn()
    assert len(server4.taken) == MAX_PENDING + 5


def test_server_does_not_read_on_for_a_client_that_takes_no_answers(server4):
    client = server4.connect()
    client.setblocking(False)
    answer = render_frame(b"now" + bytes(60_000))
    sent = 0
    for _ in range(300):
        with contextlib.suppress(BlockingIOError):
            sent += client.send(answer)
        server4.turn(1)
    # Two socket buffers and the bound of ours are full, and what has been read is far from all.
    assert sent < 200 * len(answer)
    assert len(server4.taken) * len(answer) < sent


def test_expire_ends_connections_without_a_whole_query(server4):
    idle, busy = server4.connect(), server4.connect()
    server4.time += IDLE_S - 1
    idle.sendall(b"\0\x10half")
    busy.sendall(render_frame(b"now"))
    server4.turn()
    server4.time += 1
    server4.server.expire()
    assert closed(idle)
    busy.sendall(render_frame(b"now"))
    server4.turn()
    assert busy.recv(100) == render_frame(b"NOW") * 2


def test_server_bounds_the_connections_of_an_address(server4):
    kept = [server4.connect("127.0.0.5") for _ in range(MAX_FOR_ADDRESS)]
    assert closed(server4.connect("127.0.0.5"))
    server4.connect("127.0.0.6").sendall(render_frame(b"now"))
    server4.turn()
    assert len(server4.taken) == 1
    kept[0].close()
    server4.turn()
    server4.connect("127.0.0.5").sendall(render_frame(b"now"))
    server4.turn()
    assert len(server4.taken) == 2


def test_server_ends_the_longest_idle_connection_for_a_new_one(server4):
    first = server4.connect("127.0.1.1")
    server4.time += 1
    for number in range(MAX_CONNECTIONS):
        server4.connect(f"127.0.2.{1 + number // MAX_FOR_ADDRESS}")
    assert closed(first)
    server4.connect("127.0.1.2").sendall(render_frame(b"now"))
    server4.turn()
    assert len(server4.taken) == 1
