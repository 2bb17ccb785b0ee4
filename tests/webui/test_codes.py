"""The short codes on block pages."""

from collections.abc import Iterator

import pytest

from gate_webui.codes import LASTS_S, LETTERS, MAX_CODES, MAX_PER_CLIENT, Codes


@pytest.fixture
def clock() -> Iterator[list[float]]:
    return [0.0]


@pytest.fixture
def codes(clock: list[float]) -> Codes:
    return Codes(lambda: clock[0])


def test_code_finds_its_page_however_it_is_typed(codes: Codes):
    code = codes.note("192.0.2.10", "games.example")
    assert len(code) == 4
    assert set(code) <= set(LETTERS)
    for typed in (code, code.lower(), f" {code[:2]}-{code[2:]} "):
        shown = codes.find(typed)
        assert shown is not None
        assert (shown.client, shown.name) == ("192.0.2.10", "games.example")


@pytest.mark.parametrize("typed", ["", "AEIO", "BBBBB", "games.example"])
def test_code_that_nobody_was_shown_finds_nothing(codes: Codes, typed: str):
    codes.note("192.0.2.10", "games.example")
    assert codes.find(typed) is None


def test_same_page_keeps_its_code_for_a_day(codes: Codes, clock: list[float]):
    code = codes.note("192.0.2.10", "games.example")
    clock[0] = LASTS_S
    assert codes.note("192.0.2.10", "games.example") == code
    assert codes.note("192.0.2.11", "games.example") != code
    clock[0] = LASTS_S + 1
    assert codes.find(code) is None
    assert codes.note("192.0.2.10", "games.example") != code


def test_one_device_takes_no_codes_from_others(codes: Codes):
    other = codes.note("192.0.2.11", "games.example")
    for number in range(MAX_CODES + 10):
        codes.note("192.0.2.10", f"n{number}.example")
    assert codes.find(other) is not None
    assert len(codes._shown) == MAX_PER_CLIENT + 1


def test_codes_are_no_more_than_there_is_room_for(codes: Codes):
    first = codes.note("2001:db8::1", "games.example")
    for number in range(MAX_CODES):
        codes.note(f"2001:db8::{number:x}:2", "games.example")
    assert codes.find(first) is None
    assert len(codes._shown) == MAX_CODES
