import os
import select
import socket
import stat
from contextlib import closing

import pytest

from gate_appliance.private_socket import open_private
from gate_core.pins import Pin, render_pins
from gate_firewall.pins import GRACE_S, MAX_HELD, Pins, PinSocket

GOOGLE, BING = "forcesafesearch.google.com", "strict.bing.com"
ONE, TWO = bytes((192, 0, 2, 1)), bytes(15) + b"\1"


def said(*pins):
    return render_pins(pins)


def test_take_holds_each_address_for_as_long_as_it_lasts_and_a_while():
    pins = Pins()
    pins.take(said(Pin(GOOGLE, (ONE, TWO), 300.0), Pin(BING, (TWO,), 60.0)), 1000.0)
    pins.take(said(Pin(GOOGLE, (TWO,), 900.0)), 1000.0)
    assert pins.addresses(GOOGLE, 1000.0) == {ONE, TWO}
    assert pins.addresses(GOOGLE, 1000.0 + 300 + GRACE_S) == {TWO}
    assert pins.addresses(GOOGLE, 1000.0 + 900 + GRACE_S) == frozenset()
    assert pins.addresses(BING, 1000.0) == {TWO}
    assert pins.has(BING, TWO, 1000.0)
    assert not pins.has(BING, ONE, 1000.0)


def test_take_of_a_shorter_time_leaves_the_longer():
    pins = Pins()
    pins.take(said(Pin(GOOGLE, (ONE,), 900.0)), 0.0)
    pins.take(said(Pin(GOOGLE, (ONE,), 1.0)), 0.0)
    assert pins.addresses(GOOGLE, 800.0 + GRACE_S) == {ONE}


def test_addresses_of_what_was_never_said_are_none():
    assert Pins().addresses(GOOGLE, 0.0) == frozenset()


def test_take_keeps_to_the_safe_versions():
    pins = Pins()
    pins.take(said(Pin("www.google.com", (ONE,), 300.0)), 0.0)
    assert pins.addresses("www.google.com", 0.0) == frozenset()


def test_take_is_bounded_and_keeps_the_latest():
    pins = Pins()
    for number in range(4 * MAX_HELD):
        pins.take(said(Pin(GOOGLE, (number.to_bytes(4, "big"),), 300.0)), float(number))
    held = pins.addresses(GOOGLE, 0.0)
    assert held == {n.to_bytes(4, "big") for n in range(3 * MAX_HELD, 4 * MAX_HELD)}


def test_take_counts_what_is_malformed_and_goes_on():
    pins = Pins()
    pins.take(said(Pin(GOOGLE, (ONE,), 300.0)), 0.0)
    for octets in (b"", b"{}x", b'[["strict.bing.com"]]', b"\xff" * 100):
        pins.take(octets, 0.0)
    assert pins.malformed == 4
    assert pins.addresses(GOOGLE, 0.0) == {ONE}


@pytest.fixture
def path(tmp_path, monkeypatch):
    # The name of a socket may have 107 octets.
    monkeypatch.chdir(tmp_path)
    return tmp_path.relative_to(tmp_path) / "pins.sock"


@pytest.fixture
def listening(path):
    path.write_text("left by a process before")
    with closing(open_private(path)) as private:
        yield PinSocket(private)


def test_socket_takes_what_workers_send(listening, path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as worker:
        worker.sendto(said(Pin(GOOGLE, (ONE,), 300.0)), str(path))
        worker.sendto(said(Pin(BING, (TWO,), 300.0)), str(path))
    for _ in range(2):
        assert select.select([listening], [], [], 5)[0]
        listening.serve(0.0)
    assert listening.pins.addresses(GOOGLE, 0.0) == {ONE}
    assert listening.pins.addresses(BING, 0.0) == {TWO}
    listening.serve(0.0)  # nothing is there, and nobody waits


def test_socket_is_for_this_user_alone(listening, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_socket_takes_nothing_from_other_users(listening, path):
    child = os.fork()
    if not child:
        os.setuid(65534)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            try:
                stranger.sendto(said(Pin(GOOGLE, (ONE,), 300.0)), str(path))
            except PermissionError:
                os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
