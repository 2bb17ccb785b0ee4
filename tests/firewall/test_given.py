import socket
import stat
from contextlib import closing
from ipaddress import ip_network

import pytest

import gate_firewall.given
from gate_appliance.private_socket import open_private
from gate_core.direct import DirectService
from gate_core.given import LEARNT_S, Given, News, Request, parse_request, render_news
from gate_firewall.given import (
    ALIVE_S,
    HELD_S,
    MAX_CLIENTS,
    MAX_WORKERS,
    GivenSocket,
    GivenTable,
    is_exempt,
)
from gate_firewall.packet import TCP, UDP

CLIENT, OTHER, THERE = bytes((10, 0, 0, 7)), bytes((10, 0, 0, 8)), bytes((203, 0, 113, 5))
MAC = "00:00:5e:00:53:10"
ROW = Given(CLIENT, MAC, False, "a.example", (THERE,))


@pytest.fixture
def table():
    table = GivenTable()
    table.take(ROW, 100.0)
    return table


@pytest.mark.parametrize(
    ("client", "mac", "name", "address", "known"),
    [
        (CLIENT, MAC, "a.example", THERE, True),
        (CLIENT, None, "a.example", THERE, True),
        (OTHER, MAC, "a.example", THERE, True),
        (CLIENT, MAC, "", THERE, True),
        (OTHER, None, "a.example", THERE, False),
        (OTHER, "00:00:5e:00:53:11", "a.example", THERE, False),
        (CLIENT, MAC, "b.example", THERE, False),
        (CLIENT, MAC, "a.example", OTHER, False),
    ],
)
def test_knows_what_was_given(table, client, mac, name, address, *, known):
    assert table.knows(client, mac, name, address, 100.0) is known


def test_knows_for_a_school_day(table):
    assert table.knows(CLIENT, MAC, "a.example", THERE, 100.0 + HELD_S)
    assert not table.knows(CLIENT, MAC, "a.example", THERE, 101.0 + HELD_S)


def test_knows_for_everyone_what_a_server_of_the_school_was_given(table):
    table.take(Given(OTHER, "", True, "b.example", (OTHER,)), 100.0)
    assert table.knows(CLIENT, MAC, "b.example", OTHER, 100.0)


@pytest.mark.parametrize(
    ("address", "protocol", "port", "exempt"),
    [
        ("10.1.2.3", TCP, 9100, True),
        ("fd00::1", UDP, 5353, True),
        ("17.57.144.10", TCP, 5223, True),
        ("17.57.144.10", TCP, 443, False),
        ("52.113.0.1", UDP, 3480, True),
        ("52.113.0.1", TCP, 3480, False),
        ("203.0.113.5", UDP, 3478, False),
        ("100.64.0.1", TCP, 80, False),
    ],
)
def test_is_exempt(address, protocol, port, *, exempt):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    assert is_exempt(socket.inet_pton(family, address), protocol, port, ()) is exempt


@pytest.mark.parametrize(("port", "exempt"), [(8801, True), (8811, False)])
def test_is_exempt_by_the_policy(port, *, exempt):
    direct = (DirectService((ip_network("203.0.113.0/24"),), UDP, range(8801, 8811)),)
    assert is_exempt(THERE, UDP, port, direct) is exempt


@pytest.fixture
def given(short_path):
    with closing(open_private(short_path / "given.sock")) as private:
        yield GivenSocket(private)


@pytest.fixture
def worker(short_path, given):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        own.bind(str(short_path / "given-0.sock"))
        own.connect(str(short_path / "given.sock"))
        own.settimeout(5)
        yield own


def say(given, worker, news, now=100.0):
    worker.send(render_news(news))
    given.serve(now)


def test_serve_wants_everything_of_a_worker_that_it_does_not_know(given, worker):
    say(given, worker, News(0, 1.0, 0))
    say(given, worker, News(0, 1.0, 0))
    assert [parse_request(worker.recv(99)) for _ in range(2)] == [
        Request(0, everything=True),
        Request(0),
    ]


def test_serve_takes_what_was_given(given, worker):
    say(given, worker, News(0, 1.0, 0, (ROW,)))
    assert given.table.knows(CLIENT, MAC, "a.example", THERE, 100.0)


def test_ask_is_answered_when_all_who_live_have_said_so(short_path, given, worker):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        second.bind(str(short_path / "given-1.sock"))
        second.connect(str(short_path / "given.sock"))
        for number, own in enumerate((worker, second)):
            say(given, own, News(number, 1.0, 0))
            own.recv(99)
        number = given.ask()
        assert [parse_request(own.recv(99)) for own in (worker, second)] == [Request(number)] * 2
        say(given, worker, News(0, 1.0, number))
        assert not given.answered(number, 100.0)
        assert not given.answered(number, 99.9 + ALIVE_S)
        say(given, worker, News(0, 1.0, number), 102.0)
        assert given.answered(number, 101.0 + ALIVE_S)


def test_ask_without_a_worker_is_answered(given):
    assert given.answered(given.ask(), 100.0)


def test_is_learning_until_no_older_answer_lasts(given, worker):
    assert given.is_learning(100.0)
    say(given, worker, News(0, 90.0, 0))
    assert given.is_learning(89.0 + LEARNT_S)
    assert not given.is_learning(90.0 + LEARNT_S)


def test_is_learning_no_more_when_a_worker_begins_anew(given, worker):
    say(given, worker, News(0, 90.0, 0))
    say(given, worker, News(0, 5000.0, 0), 5000.0)
    assert not given.is_learning(5001.0)


def test_serve_counts_what_no_worker_sends(given, worker):
    worker.send(b"nonsense")
    for number in range(MAX_WORKERS + 5):
        worker.send(render_news(News(number, 1.0, 1)))
        given.serve(100.0)
    assert given.malformed == 1


def test_serve_answers_nobody_without_an_address(short_path, given):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nobody:
        nobody.sendto(render_news(News(0, 1.0, 0, (ROW,))), str(short_path / "given.sock"))
        given.serve(100.0)
    assert not given.table.knows(CLIENT, MAC, "a.example", THERE, 100.0)


def test_only_this_user_can_tell(short_path, given):
    assert stat.S_IMODE((short_path / "given.sock").stat().st_mode) == 0o600


def test_clients_have_no_more_than_there_is_place_for(monkeypatch):
    monkeypatch.setattr(gate_firewall.given, "MAX_ALL_ENTRIES", 40)
    table = GivenTable()
    clients = [number.to_bytes(4) for number in range(30)]
    for client in clients:
        table.take(ROW._replace(client=client, mac=""), 1.0)

    pairs = sum(table.knows(client, None, "a.example", THERE, 2.0) for client in clients)
    addresses = sum(table.knows(client, None, "", THERE, 2.0) for client in clients)
    assert 30 < pairs + addresses <= 40
    assert table.knows(clients[-1], None, "a.example", THERE, 2.0)


def test_clients_that_are_given_much_push_nobody_out_who_was_given_little(monkeypatch):
    monkeypatch.setattr(gate_firewall.given, "MAX_ALL_ENTRIES", 400)
    table = GivenTable()
    table.take(ROW, 1.0)
    for client in range(10):
        for number in range(50):
            its = Given(bytes(4), f"00:00:5e:00:54:{client:02x}", False, f"n{number}", (OTHER,))
            table.take(its, 2.0)

    # By its MAC address alone.
    assert table.knows(OTHER, MAC, "a.example", THERE, 3.0)
    assert table.knows(OTHER, "00:00:5e:00:54:09", "n49", OTHER, 3.0)


@pytest.mark.parametrize("everyone", [False, True])
def test_client_loses_its_own_oldest_entries(monkeypatch, everyone):
    monkeypatch.setattr(
        gate_firewall.given, "MAX_SHARED_ENTRIES" if everyone else "MAX_ENTRIES", 20
    )
    table = GivenTable()
    table.take(ROW, 1.0)
    for number in range(11):
        name = f"n{number}.example"
        table.take(Given(OTHER, "", everyone, name, (number.to_bytes(4),)), 1.0)

    known = [table.knows(OTHER, None, "", number.to_bytes(4), 2.0) for number in range(11)]
    assert known == [False] + [True] * 10
    assert table.knows(CLIENT, MAC, "a.example", THERE, 2.0)


def test_addresses_that_are_made_up_push_no_device_out():
    table = GivenTable()
    table.take(ROW, 0.0)
    for number in range(MAX_CLIENTS + 1):
        table.take(ROW._replace(client=number.to_bytes(4), mac=""), 1.0)

    assert table.knows(CLIENT, MAC, "a.example", THERE, 2.0)
    assert not table.knows((0).to_bytes(4), None, "a.example", THERE, 2.0)
    assert table.knows(MAX_CLIENTS.to_bytes(4), None, "a.example", THERE, 2.0)
