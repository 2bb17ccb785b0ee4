from __future__ import annotations

from functools import partial
from ipaddress import ip_address

import pytest

from gate_dns.strangers import (
    FIRST_LOOK_S,
    MAX_ALL_QUERIES,
    MAX_QUERIES,
    MAX_STRANGERS,
    WAIT_S,
    Strangers,
)

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


def drop() -> None:
    raise AssertionError("there is room")


def test_who_is_known_does_not_wait(strangers, neighbours, taken):
    neighbours.macs[ADDRESS] = MAC
    assert not strangers.wait(SOURCE, partial(taken.append, 1), drop, 0.0)
    assert not neighbours.solicited
    assert not taken


def test_who_is_no_neighbour_does_not_wait(strangers, taken):
    assert not strangers.wait(ip_address("203.0.113.1").packed, partial(taken.append, 1), drop, 0.0)
    strangers.look(WAIT_S)
    assert not taken


def test_queries_are_taken_up_in_order_once_the_kernel_knows_who_asks(strangers, neighbours, taken):
    assert strangers.wait(SOURCE, partial(taken.append, 1), drop, 0.0)
    assert strangers.wait(SOURCE, partial(taken.append, 2), drop, 0.0001)
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
    strangers.wait(SOURCE, partial(taken.append, 1), drop, 0.0)
    strangers.look(WAIT_S - 0.001)
    assert taken == []
    strangers.look(WAIT_S)
    assert taken == [1]
    assert not strangers


def test_the_kernel_is_asked_now_and_then(strangers, neighbours, taken):
    strangers.wait(SOURCE, partial(taken.append, 1), drop, 0.0)
    neighbours.asked.clear()
    for ms in range(1, int(WAIT_S * 1000)):
        strangers.look(ms / 1000)
    assert 5 <= neighbours.asked[ADDRESS] <= 12


def test_who_is_taken_up_may_come_again(strangers, taken):
    def again():
        taken.append(strangers.wait(SOURCE, partial(taken.append, 2), drop, WAIT_S))

    strangers.wait(SOURCE, again, drop, 0.0)
    strangers.look(WAIT_S)
    assert taken == [True]
    strangers.look(2 * WAIT_S)
    assert taken == [True, 2]


def test_queries_of_one_address_are_bounded_and_the_rest_is_let_go_at_once(strangers, taken):
    dropped = []
    for number in range(MAX_QUERIES + 5):
        let_go = partial(dropped.append, number)
        assert strangers.wait(SOURCE, partial(taken.append, number), let_go, 0.0)
    assert dropped == list(range(MAX_QUERIES, MAX_QUERIES + 5))
    strangers.look(WAIT_S)
    assert taken == list(range(MAX_QUERIES))


def test_queries_of_all_are_bounded(strangers, neighbours, taken):
    dropped = []
    sources = [str(ip_address("10.0.0.0") + n) for n in range(MAX_ALL_QUERIES // MAX_QUERIES + 2)]
    neighbours.reachable.update(sources)
    for _ in range(2):
        for source in sources:
            for _ in range(MAX_QUERIES):
                go, let_go = partial(taken.append, source), partial(dropped.append, source)
                assert strangers.wait(ip_address(source).packed, go, let_go, 0.0)
        strangers.look(WAIT_S)
        assert len(taken) == MAX_ALL_QUERIES
        assert len(dropped) == 2 * MAX_QUERIES
        # There is as much room as before.
        taken.clear()
        dropped.clear()


def test_a_fault_of_the_kernel_lets_queries_go_on(strangers, neighbours, taken):
    strangers.wait(SOURCE, partial(taken.append, 1), drop, 0.0)

    def refuse(_):
        raise OSError("the kernel refuses")

    neighbours.mac = refuse
    strangers.look(FIRST_LOOK_S)
    assert taken == [1]


def test_addresses_are_bounded_and_one_too_many_does_not_wait(strangers, neighbours, taken):
    forged = [str(ip_address("10.0.0.0") + n) for n in range(MAX_STRANGERS)]
    neighbours.reachable.update(forged)
    for address in forged:
        assert strangers.wait(ip_address(address).packed, partial(taken.append, address), drop, 0.0)
    assert not strangers.wait(SOURCE, partial(taken.append, 1), drop, 0.0)
    assert not neighbours.solicited[ADDRESS]
    strangers.look(WAIT_S)
    assert taken == forged
