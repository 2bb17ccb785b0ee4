from gate_core.events import ReadableFlows
from gate_firewall.readable import EVERY_S, Readable


def note(readable, *groups_and_names):
    for group, name in groups_and_names:
        readable.note(group, readable=name)


def test_take_tells_each_flow_once_and_no_oftener_than_every_minute():
    readable = Readable()
    assert readable.take(1, 0.0) == []
    note(readable, ("ks2", True), ("ks2", False), ("staff", False))
    assert readable.take(2, EVERY_S - 1) == []
    assert readable.take(3, EVERY_S) == [ReadableFlows(3, ["ks2", "staff"], [1, 0], [2, 1])]
    note(readable, ("ks2", True))
    assert readable.take(4, 2 * EVERY_S) == [ReadableFlows(4, ["ks2"], [1], [1])]
    assert readable.take(5, 3 * EVERY_S) == []


def test_counts_are_of_all_flows():
    readable = Readable()
    note(readable, ("ks2", True), ("staff", False))
    readable.take(1, 0.0)
    note(readable, ("ks2", True))
    assert readable.counts() == {
        "flows": {"ks2": 2, "staff": 1},
        "flows_readable": {"ks2": 2, "staff": 0},
    }
