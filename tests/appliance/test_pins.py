import socket

import pytest

from gate_appliance.pins import PinPost
from gate_core.pins import Pin, parse_pins

GOOGLE, BING = "forcesafesearch.google.com", "strict.bing.com"
ONE, TWO = bytes((192, 0, 2, 1)), bytes(15) + b"\1"


@pytest.fixture
def path(short_path):
    return short_path / "pins.sock"


@pytest.fixture
def firewall(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(5)
        yield listening


@pytest.fixture
def post(path):
    post = PinPost([path])
    yield post
    post.close()


def heard(firewall):
    return parse_pins(firewall.recv(65535))


def test_put_sends_at_once(firewall, post):
    post.put(GOOGLE, [ONE, TWO], 300.0)
    assert heard(firewall) == (Pin(GOOGLE, (ONE, TWO), 300.0),)


def test_renew_says_again_what_still_holds(firewall, post):
    post.put(GOOGLE, [ONE], 300.0)
    post.put(GOOGLE, [TWO], 200.0)
    post.put(BING, [ONE], 0.0)
    for _ in range(3):
        heard(firewall)
    post.renew()
    (pin,) = heard(firewall)
    assert (pin.target, pin.addresses) == (GOOGLE, (TWO,))
    assert 190 < pin.lasts_s <= 200


def test_post_without_a_firewall_neither_waits_nor_raises(path, post):
    post.put(GOOGLE, [ONE], 300.0)
    post.renew()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as late:
        late.bind(str(path))
        late.settimeout(5)
        post.renew()
        assert [pin.target for pin in heard(late)] == [GOOGLE]


def test_put_to_a_firewall_that_does_not_read_neither_waits_nor_raises(firewall, post):
    for _ in range(5000):
        post.put(GOOGLE, [ONE], 300.0)
    assert heard(firewall)
