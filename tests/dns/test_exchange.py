from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from gate_dns.exchange import StreamExchange
from gate_dns.poll import Poll
from gate_dns.wire import render_frame


class Streaming:
    """An exchange over TCP with a listening socket that the test plays the upstream on."""

    def __init__(self) -> None:
        self.received, self.failed = [], []
        self.poll = Poll()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.listening.settimeout(5)
        endpoint = (ip_address("127.0.0.1"), self.listening.getsockname()[1])
        self.exchange = StreamExchange(
            self.poll, endpoint, b"question" * 1000, self.received.append, self.failed.append
        )
        self.upstream, _ = self.listening.accept()
        self.upstream.settimeout(5)

    def turn(self) -> None:
        for _ in range(4):
            self.poll.wait(0.01)

    def close(self) -> None:
        self.exchange.close()
        for end in (self.upstream, self.listening, self.poll):
            end.close()


@pytest.fixture
def streaming():
    made = Streaming()
    yield made
    made.close()


def test_stream_sends_the_question_and_takes_the_answer_in_pieces(streaming):
    streaming.turn()
    assert streaming.upstream.recv(8002, socket.MSG_WAITALL) == render_frame(b"question" * 1000)
    for piece in (b"\0", b"\6ans", b"wer"):
        assert not streaming.received
        streaming.upstream.sendall(piece)
        streaming.turn()
    assert streaming.received == [b"answer"]
    assert not streaming.failed


@pytest.mark.parametrize("said", [b"", b"\0", render_frame(b"answer")[:-1]])
def test_stream_fails_when_the_upstream_ends_it_early(streaming, said):
    streaming.turn()
    streaming.upstream.recv(9000)
    streaming.upstream.sendall(said)
    streaming.upstream.shutdown(socket.SHUT_WR)
    streaming.turn()
    assert not streaming.received
    assert streaming.failed
    assert all(isinstance(fault, OSError) for fault in streaming.failed)


def test_stream_fails_where_nobody_listens():
    failed = []
    poll = Poll()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    exchange = StreamExchange(poll, (ip_address("127.0.0.1"), port), b"x", print, failed.append)
    poll.wait(1)
    assert isinstance(failed[0], ConnectionRefusedError)
    exchange.close()
    poll.close()
