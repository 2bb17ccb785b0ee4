import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.events import (
    MAX_BATCH_OCTETS,
    Event,
    InForce,
    MalformedBatchError,
    Source,
    Tagged,
    parse_batch,
    render_batches,
)

TEXT = st.text(max_size=40)
INTS = st.integers(0, 1 << 62)
EVENTS = (
    st.builds(Event, INTS, st.sampled_from(Source), *([TEXT] * 9), INTS, INTS, INTS, TEXT)
    | st.builds(InForce, st.sampled_from(Source), INTS, INTS, INTS)
    | st.builds(Tagged, TEXT, INTS)
)


@given(st.lists(EVENTS, max_size=30))
def test_batches_round_trip_in_order(messages):
    batches = list(render_batches(messages))
    assert [m for datagram, _ in batches for m in parse_batch(datagram)] == messages
    assert [count for _, count in batches] == [len(parse_batch(d)) for d, _ in batches]


def test_batches_keep_to_their_size():
    event = Event(1, Source.DNS, "a", "m", "d", "g", "n" * 253, "A", "allow", "default", "r", 0, 1)
    batches = list(render_batches([event] * 2000))
    assert len(batches) > 1
    assert all(len(datagram) <= MAX_BATCH_OCTETS for datagram, _ in batches)
    assert sum(count for _, count in batches) == 2000


@pytest.mark.parametrize(
    "datagram",
    [b"", b"{}", b"[1]", b"[[]]", b'[["x"]]', b'[["v","dns",1,2]]', b'[["v","dns","1",2,3]]',
     b'[["t","00:00:5e:00:53:10"]]', b'[["t","00:00:5e:00:53:10","20"]]', b'[["v","web",1,2,3]]', b'[["v","dns",true,2,3]]', b"\xff", b"[" * 100_000],
)  # fmt: skip
def test_parse_batch_refuses(datagram):
    with pytest.raises(MalformedBatchError):
        parse_batch(datagram)


@given(st.binary(max_size=200))
def test_parse_batch_of_any_octets_is_messages_or_malformed(datagram):
    try:
        messages = parse_batch(datagram)
    except MalformedBatchError:
        return
    assert all(isinstance(m, Event | InForce | Tagged) for m in messages)
