import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.pins import (
    MAX_ADDRESSES,
    MAX_DATAGRAM_OCTETS,
    MalformedPinsError,
    Pin,
    parse_pins,
    render_pins,
)
from gate_core.safesearch import TARGETS

ADDRESSES = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
PINS = st.builds(
    Pin,
    st.sampled_from(sorted(TARGETS)),
    st.lists(ADDRESSES, max_size=MAX_ADDRESSES).map(tuple),
    st.floats(0, 86400),
)


@given(st.lists(PINS, max_size=5).map(tuple))
def test_pins_round_trip(pins):
    assert parse_pins(render_pins(pins)) == pins


def test_render_pins_of_every_safe_version_fits_a_datagram():
    full = [Pin(target, (bytes(16),) * 100, 86399.123456789) for target in TARGETS]
    datagram = render_pins(full)
    assert len(datagram) <= MAX_DATAGRAM_OCTETS
    assert {len(pin.addresses) for pin in parse_pins(datagram)} == {MAX_ADDRESSES}


@pytest.mark.parametrize(
    "row",
    [
        "strict.bing.com",
        [],
        ["strict.bing.com"],
        [7, 60.0],
        ["strict.bing.com", "60"],
        ["strict.bing.com", True],
        ["strict.bing.com", -1.0],
        ["strict.bing.com", float("nan")],
        ["strict.bing.com", float("inf")],
        ["strict.bing.com", 60.0, "c000020"],
        ["strict.bing.com", 60.0, "c0000201aa"],
        ["strict.bing.com", 60.0, 7],
        {"strict.bing.com": 60.0},
        None,
    ],
)
def test_parse_pins_refuses_a_row(row):
    with pytest.raises(MalformedPinsError, match=r"^parsing \d+ octets: "):
        parse_pins(json.dumps([row]).encode())


@given(st.binary(max_size=100) | st.text('[]{}",0123456789abcdef.e-', max_size=60).map(str.encode))
def test_parse_pins_of_any_octets_is_pins_or_malformed(octets):
    try:
        pins = parse_pins(octets)
    except MalformedPinsError:
        return
    assert all(isinstance(pin, Pin) for pin in pins)
