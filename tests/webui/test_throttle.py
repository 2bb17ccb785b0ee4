import pytest

from gate_webui.throttle import (
    FORGET_S,
    FREE_FAILURES,
    LONGEST_WAIT_S,
    MAX_FAMILIAR,
    MAX_KEYS,
    STRANGERS_AT_ONCE,
    STRANGERS_EVERY_S,
    Throttle,
)


class Hand:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def throttle(hand: Hand) -> Throttle:
    return Throttle(hand)


def fail(throttle: Throttle, times: int, *keys: str) -> None:
    for _ in range(times):
        throttle.fail(*keys)


def test_wait_s_first_failures_are_free(throttle: Throttle):
    fail(throttle, FREE_FAILURES - 1, "account a")
    assert throttle.wait_s("account a") == 0


def test_wait_s_doubles_up_to_a_bound(throttle: Throttle):
    waits = []
    fail(throttle, FREE_FAILURES - 1, "account a")
    for _ in range(12):
        throttle.fail("account a")
        waits.append(throttle.wait_s("account a"))
    assert waits[:3] == [5, 10, 20]
    assert waits[-1] == LONGEST_WAIT_S


def test_wait_s_runs_down(throttle: Throttle, hand: Hand):
    fail(throttle, FREE_FAILURES, "account a")
    hand.now += 3
    assert throttle.wait_s("account a") == 2
    hand.now += 2
    assert throttle.wait_s("account a") == 0


def test_wait_s_is_that_of_the_worst_key(throttle: Throttle):
    fail(throttle, FREE_FAILURES, "address 192.0.2.1")
    assert throttle.wait_s("account b", "address 192.0.2.1") == 5
    assert throttle.wait_s("account b") == 0


def test_succeed_forgets(throttle: Throttle):
    fail(throttle, 9, "account a")
    throttle.succeed("192.0.2.1", "account a")
    assert throttle.wait_s("account a") == 0


def test_fail_counts_anew_after_an_hour(throttle: Throttle, hand: Hand):
    fail(throttle, 30, "account a")
    hand.now += FORGET_S + 1
    throttle.fail("account a")
    assert throttle.wait_s("account a") == 0


def test_fail_keeps_a_bounded_number_of_keys(throttle: Throttle):
    fail(throttle, FREE_FAILURES, "account first")
    for number in range(MAX_KEYS):
        throttle.fail(f"account {number}")
    assert throttle.wait_s("account first") == 0


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_place_is_the_64_of_a_strange_ipv6_address(throttle: Throttle, address: str, place: str):
    assert throttle.place(address) == place


def test_place_of_a_familiar_address_is_itself(throttle: Throttle):
    throttle.succeed("2001:db8::1")
    assert throttle.place("2001:db8::1") == "2001:db8::1"
    assert throttle.place("2001:db8::2") == "2001:db8::/64"


def test_admit_bounds_strangers_together(throttle: Throttle, hand: Hand):
    throttle.succeed("192.0.2.1")
    assert all(throttle.admit(f"198.51.100.{n}") for n in range(STRANGERS_AT_ONCE))
    assert not throttle.admit("198.51.100.99")
    assert throttle.admit("192.0.2.1")
    hand.now += STRANGERS_EVERY_S
    assert throttle.admit("198.51.100.99")
    assert not throttle.admit("198.51.100.99")


def test_succeed_remembers_a_bounded_number_of_addresses(throttle: Throttle):
    for number in range(MAX_FAMILIAR + 1):
        throttle.succeed(f"address {number}")
    assert not throttle.knows("address 0")
    assert throttle.knows("address 1")
