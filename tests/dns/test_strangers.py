from __future__ import annotations

from functools import partial
from ipaddress import ip_address

import pytest

from gate_dns.strangers import FIRST_LOOK_S, MAX_QUERIES, MAX_STRANGERS, WAIT_S, Strangers

ADDRESS = "192.0.2.20"
SOURCE = ip_address(ADDRESS).packed
MAC = "00:00:5e:00:53:20"


@pytest.fixture
def strangers(neighbours):
    neighbours.reachable.add(ADDRESS)
    return Strangers(neighbours)


@pytest.fixture
def taken():
    return []


def test_who_is_known_does_not_wait(strangers, neighbours, taken):
    neighbours.macs[ADDRESS] = MAC
    assert not strangers.wait(SOURCE, partial(taken.append, 1), 0.0)
    assert not neighbours.solicited
    assert not taken


def test_who_is_no_neighbour_does_not_wait(strangers, taken):
    assert not strangers.wait(ip_address("203.0.113.1").packed, partial(taken.append, 1), 0.0)
    strangers.look(WAIT_S)
    assert not taken


def test_queries_are_taken_up_in_order_once_the_kernel_knows_who_asks(strangers, neighbours, taken):
    assert strangers.wait(SOURCE, partial(taken.append, 1), 0.0)
    assert strangers.wait(SOURCE, partial(taken.append, 2), 0.0001)
    strangers.look(FIRST_LOOK_S)
    assert taken == []
    neighbours.macs[ADDRESS] = MAC
    strangers.look(3 * FIRST_LOOK_S)
    assert taken == [1, 2]
    assert not strangers
    strangers.look(WAIT_S)
    assert taken == [1, 2]
    assert neighbours.solicited[ADDRESS] == 1


def test_queries_are_taken_up_when_their_time_is_over(strangers, taken):
    strangers.wait(SOURCE, partial(taken.append, 1), 0.0)
    strangers.look(WAIT_S - 0.001)
    assert taken == []
    strangers.look(WAIT_S)
    assert taken == [1]
    assert not strangers


def test_the_kernel_is_asked_now_and_then(strangers, neighbours, taken):
    strangers.wait(SOURCE, partial(taken.append, 1), 0.0)
    neighbours.asked.clear()
    for ms in range(1, int(WAIT_S * 1000)):
        strangers.look(ms / 1000)
    assert 5 <= neighbours.asked[ADDRESS] <= 12


def test_who_is_taken_up_may_come_again(strangers, taken):
    def again():
        taken.append(strangers.wait(SOURCE, partial(taken.append, 2), WAIT_S))

    strangers.wait(SOURCE, again, 0.0)
    strangers.look(WAIT_S)
    assert taken == [True]
    strangers.look(2 * WAIT_S)
    assert taken == [True, 2]


def test_queries_of_one_address_are_bounded(strangers, taken):
    for number in range(MAX_QUERIES + 5):
        assert strangers.wait(SOURCE, partial(taken.append, number), 0.0)
    strangers.look(WAIT_S)
    assert taken == list(range(MAX_QUERIES))


def test_addresses_are_bounded_and_one_too_many_does_not_wait(strangers, neighbours, taken):
    forged = [str(ip_address("10.0.0.0") + n) for n in range(MAX_STRANGERS)]
    neighbours.reachable.update(forged)
    for address in forged:
        assert strangers.wait(ip_address(address).packed, partial(taken.append, address), 0.0)
    assert not strangers.wait(SOURCE, partial(taken.append, 1), 0.0)
    assert not neighbours.solicited[ADDRESS]
    strangers.look(WAIT_S)
    assert taken == forged
