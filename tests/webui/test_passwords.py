import threading

import pytest
from argon2 import PasswordHasher

from gate_webui.passwords import NOBODYS, BusyError, Passwords, fault_of


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("short", id="short"),
        pytest.param("elevenchars", id="one too short"),
        pytest.param("x" * 201, id="too long"),
        pytest.param("passwordpassword", id="obvious twice"),
        pytest.param("Password1234", id="obvious with digits"),
        pytest.param("qwertyuiop12qwerty", id="keyboard"),
        pytest.param("123456789012", id="digits in order"),
        pytest.param("aaaaaaaaaaaa", id="one letter"),
        pytest.param("schoolgate2027", id="the product"),
        pytest.param("ExamplePrimary1", id="the school"),
        pytest.param("robin.example.r.example", id="the person"),
    ],
)
def test_fault_of_refuses(password: str):
    assert fault_of(password, "Example Primary School", "Robin Example", "r.example")


@pytest.mark.parametrize(
    "password", ["copper otter umbrella", "hwyaden las bore", "9f!Kq2-zLm0w", "ŵyau a llaeth oer"]
)
def test_fault_of_takes_what_is_long_and_odd(password: str):
    assert fault_of(password, "Example Primary School", "Robin Example", "r.example") is None


def test_hash_is_argon2id_and_matches():
    passwords = Passwords()
    stored = passwords.hash("copper otter umbrella")
    assert stored.startswith("$argon2id$")
    assert passwords.matches("copper otter umbrella", stored)
    assert not passwords.matches("copper otter umbrellas", stored)


@pytest.mark.parametrize("stored", [None, "", "$argon2id$nonsense"])
def test_matches_nothing_stored_is_never_right(stored: str | None):
    assert not Passwords().matches("copper otter umbrella", stored)


def test_nobodys_hash_costs_what_a_real_one_does():
    assert not PasswordHasher().check_needs_rehash(NOBODYS)


def test_matches_more_than_two_strangers_at_once_are_told_to_come_back_and_a_place_is_kept(
    monkeypatch: pytest.MonkeyPatch,
):
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(*_: object) -> bool:
        begun.release()
        return go_on.wait(10)

    monkeypatch.setattr(PasswordHasher, "verify", slow)
    passwords = Passwords()
    threads = [threading.Thread(target=passwords.matches, args=("x", NOBODYS)) for _ in range(2)]
    familiar = threading.Thread(
        target=passwords.matches, args=("x", NOBODYS), kwargs={"familiar": True}
    )
    for thread in threads:
        thread.start()
    try:
        assert begun.acquire(timeout=10)
        while passwords._places._value:  # until both are in
            pass
        with pytest.raises(BusyError):
            passwords.matches("x", NOBODYS)
        familiar.start()
        while passwords._kept_place._value:  # until it is in
            pass
        with pytest.raises(BusyError):
            passwords.matches("x", NOBODYS, familiar=True)
    finally:
        go_on.set()
        for thread in (*threads, familiar):
            thread.join()
    assert passwords.matches("x", NOBODYS)
