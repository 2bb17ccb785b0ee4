from __future__ import annotations

import socket

import pytest

from gate_dns.poll import WRITE, Poll


@pytest.fixture
def poll():
    made = Poll()
    yield made
    made.close()


@pytest.fixture
def pairs():
    made = [socket.socketpair() for _ in range(6)]
    yield made
    for pair in made:
        for end in pair:
            end.close()


def test_wait_calls_the_urgent_one_first(poll, pairs):
    called = []
    for number, (near, _) in enumerate(pairs):
        poll.watch(near.fileno(), lambda _, n=number: called.append(n), urgent=number == 3)
    for _, far in pairs:
        far.send(b"x")
    poll.wait(1)
    assert called[0] == 3
    assert sorted(called) == list(range(6))


def test_wait_does_not_call_for_what_was_forgotten_in_the_same_round(poll, pairs):
    called = []

    def ready(number):
        called.append(number)
        for other, (near, _) in enumerate(pairs):
            if other != number:
                poll.forget(near.fileno())

    for number, (near, far) in enumerate(pairs):
        poll.watch(near.fileno(), lambda _, n=number: ready(n))
        far.send(b"x")
    poll.wait(1)
    assert len(called) == 1


def test_wait_returns_when_the_time_is_over(poll, pairs):
    poll.watch(pairs[0][0].fileno(), lambda _: pytest.fail("nothing is ready"))
    poll.wait(0.01)


def test_change_waits_for_something_else(poll, pairs):
    called = []
    poll.watch(pairs[0][0].fileno(), called.append)
    poll.wait(0)
    poll.change(pairs[0][0].fileno(), WRITE)
    poll.wait(1)
    assert called == [WRITE]
