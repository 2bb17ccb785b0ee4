import socket
import stat

import pytest

from gate_appliance.given import GivenPost
from gate_core.given import Given, News, Request, parse_news, render_request

NEWS = News(1, 5.0, 2, (Given(b"four", "", False, "a.example", (b"addr",)),))


@pytest.fixture
def firewall(short_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(short_path / "given.sock"))
        listening.settimeout(5)
        yield listening


@pytest.fixture
def post(short_path):
    post = GivenPost(short_path / "given-1.sock", short_path / "given.sock")
    yield post
    post.close()


def test_send_reaches_the_firewall_which_can_answer(firewall, post):
    assert post.send(NEWS)
    datagram, sender = firewall.recvfrom(65535)
    assert parse_news(datagram) == NEWS
    firewall.sendto(render_request(Request(7)), sender)
    firewall.sendto(b"nonsense", sender)
    firewall.sendto(render_request(Request(0, everything=True)), sender)

    assert post.requests() == [Request(7), Request(0, everything=True)]
    assert post.requests() == []


def test_send_without_a_firewall_says_so(post):
    assert not post.send(NEWS)


def test_send_to_a_firewall_that_does_not_read_says_so(firewall, post):
    sent = 0
    while post.send(NEWS):
        sent += 1
    assert sent > 0


def test_only_this_user_can_send_to_a_worker(short_path, post):
    mode = (short_path / "given-1.sock").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    post.close()
    assert not (short_path / "given-1.sock").exists()
