import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.events import (
    Batch,
    Counters,
    EndedFlows,
    Event,
    Findings,
    InForce,
    MalformedDatagramError,
    Outcome,
    ReadableFlows,
    Source,
    Tagged,
    Traffic,
    Who,
    batches,
    parse_datagram,
    render_datagram,
)

TEXT = st.text(max_size=40)
INTS = st.integers(0, (1 << 62) - 1)
EVENTS = st.builds(
    Event,
    st.integers(0, (1 << 43) - 1),
    st.sampled_from(Source),
    *([TEXT] * 9),
    INTS,
    INTS,
    INTS,
    TEXT,
    INTS,
    TEXT,
)
TIMES = st.integers(0, (1 << 43) - 1)


def lists(*kinds):
    """Draw columns of one length, at least one row."""
    return st.lists(st.tuples(*kinds), min_size=1, max_size=5).map(
        lambda rows: [*map(list, zip(*rows, strict=True))]
    )


NEWS = (
    st.builds(InForce, st.sampled_from(Source), INTS, INTS, INTS, INTS)
    | st.builds(lambda rows: Tagged(*rows), lists(TEXT, INTS))
    | st.builds(Findings, st.sampled_from(Source), st.lists(TEXT, max_size=3))
    | st.builds(
        lambda at_ms, columns: Traffic(at_ms, [Who("192.0.2.10", "", "d", "ks2", "")], *columns),
        TIMES,
        lists(st.just(0), TEXT, INTS, INTS, INTS),
    )
    | st.builds(lambda rows: EndedFlows(*rows), lists(TIMES, TEXT, TEXT, INTS, INTS))
    | st.builds(
        lambda at_ms, columns: ReadableFlows(at_ms, *columns), TIMES, lists(TEXT, INTS, INTS)
    )
    | st.builds(
        Counters,
        st.sampled_from(Source),
        INTS,
        st.dictionaries(TEXT, st.dictionaries(TEXT, INTS, max_size=3), max_size=3),
    )
)


def event(name="x.example", action="allow", **more):
    return Event(
        **{
            "at_ms": 1, "source": Source.DNS, "address": "192.0.2.10", "mac": "", "device": "d",
            "group": "ks2", "name": name, "kind": "A", "action": action, "reason": "default",
            "rule_id": "default:ks2", "categories": 0, "version": 1,
        } | more
    )  # fmt: skip


@given(st.lists(EVENTS, max_size=30))
def test_events_round_trip_in_order(events):
    datagrams = [render_datagram(batch) for batch in batches(events)]
    assert [e for d in datagrams for e in parse_datagram(d).events()] == events


@given(NEWS)
def test_news_round_trips(message):
    assert parse_datagram(render_datagram(message)) == message


def test_a_batch_holds_once_what_events_share():
    (batch,) = batches([event(f"{n}.example", took_us=n) for n in range(100)])
    assert len(batch) == 100
    assert batch.whos == (Who("192.0.2.10", "", "d", "ks2", ""),)
    assert batch.outcomes == (Outcome("A", "allow", "default", "default:ks2", 0, 1, ""),)


def test_a_batch_without_remotes_holds_none():
    (queries,) = batches([event(), event()])
    (flows,) = batches([event(), event(remote="203.0.113.5 443/tcp")])
    assert (queries.remotes, flows.remotes) == ((), ["", "203.0.113.5 443/tcp"])


def test_batches_are_of_one_source():
    mixed = [event(), event(source=Source.FIREWALL), event()]
    assert [b.source for b in batches(mixed)] == [Source.DNS, Source.FIREWALL, Source.DNS]
    assert list(batches([])) == []


def test_a_batch_can_be_taken_apart():
    events = [event("a.example", count=2), event("b.example", "block", count=3), event("c.example")]
    (batch,) = batches(events)
    assert list(batch.part(1, 3).events()) == events[1:]
    assert batch.by_action() == {"allow": 3, "block": 3}


def batch_row(**columns):
    row = {
        "source": "dns",
        "whos": [["192.0.2.10", "", "d", "ks2", ""]],
        "outcomes": [["A", "allow", "default", "r", 0, 1, ""]],
        "at_ms": [1], "who": [0], "outcome": [0], "names": ["x.example"], "counts": [1], "took_us": [0], "remotes": [],
    } | columns  # fmt: skip
    return json.dumps(["b", *row.values()]).encode()


def test_parse_datagram_takes_the_row_that_the_next_test_breaks():
    assert isinstance(parse_datagram(batch_row()), Batch)


@pytest.mark.parametrize(
    "columns",
    [
        {"source": "web"},
        {"remotes": ["203.0.113.5 443/tcp", ""]},
        {"remotes": [1]},
        {"whos": [["192.0.2.10", "", "d", "ks2"]]},
        {"whos": [["192.0.2.10", "", "d", "ks2", 1]]},
        {"outcomes": [["A", "allow", "default", "r", "0", 1, ""]]},
        {"outcomes": [["A", "allow", "default", "r", -1, 1, ""]]},
        {"outcomes": []},
        {"at_ms": [1.0]},
        {"at_ms": [-1]},
        {"at_ms": [1 << 43]},
        {"at_ms": [1, 2]},
        {"at_ms": 1},
        {"who": [1]},
        {"outcome": [-1]},
        {"names": [1]},
        {"names": ["\ud800"]},
        {"names": []},
        {"counts": [True]},
        {"counts": [1 << 62]},
        {"took_us": [None]},
        {name: [] for name in ("at_ms", "who", "outcome", "names", "counts", "took_us")},
    ],
    ids=str,
)
def test_parse_datagram_refuses_a_batch(columns):
    with pytest.raises(MalformedDatagramError):
        parse_datagram(batch_row(**columns))


@pytest.mark.parametrize(
    "datagram",
    [b"", b"{}", b"[]", b"1", b"[1]", b"[[]]", b'["x"]', b'["b"]', b'["b","dns"]', b'["v","dns",1,2,3]',
     b'["v","dns","1",2,3,4]', b'["v","dns",true,2,3,4]', b'["v","web",1,2,3,4]', b'["t","m"]', b'["t","m","20"]',
     b'["t","\\ud800",20]', b'["c","dns",1,[]]', b'["c","dns",1,{"a":1}]', b'["c","dns",1,{"a":{"b":"1"}}]',
     b'["c","dns",1,{"a":{"b":-1}}]', b'["c","dns","1",{}]', b"\xff", b"[" * 100_000,
     b'["u",1,[],[],[],[],[],[]]', b'["u",1,[],[0],["n"],[1],[1],[1]]',
     b'["u",1,[["a","","d","g",""]],[0],["n","m"],[1],[1],[1]]', b'["u",1,[["a","","d","g",""]],[0],["n"],[1],[1],[-1]]',
     b'["u",8796093022208,[["a","","d","g",""]],[0],["n"],[1],[1],[1]]', b'["u",1,[["a","","d","g",""]],[0],["n"],[1],[1]]',
     b'["u",1,[["a"]],[0],["n"],[1],[1],[1]]', b'["r",1,[],[],[]]', b'["e",[],[],[],[],[]]',
     b'["e",[1],["a"],["r"],[1]]', b'["e",[1],["a"],["r"],[1],[1,2]]', b'["e",[1],["a"],["r"],[1],[-1]]',
     b'["e",[8796093022208],["a"],["r"],[1],[1]]', b'["e",["1"],["a"],["r"],[1],[1]]', b'["e",[1],[2],["r"],[1],[1]]', b'["r",1,["g"],[1],[1,2]]', b'["r",-1,["g"],[1],[1]]',
     b'["r",1,[1],[1],[1]]', b'["r",1,["g"],[1]]',
     b'["f","web",[]]', b'["f","firewall",[1]]', b'["f","firewall","text"]', b'["f","firewall"]'],
)  # fmt: skip
def test_parse_datagram_refuses(datagram):
    with pytest.raises(MalformedDatagramError):
        parse_datagram(datagram)


@given(st.binary(max_size=200))
def test_parse_datagram_of_any_octets_is_a_message_or_malformed(datagram):
    try:
        message = parse_datagram(datagram)
    except MalformedDatagramError:
        return
    assert isinstance(
        message, Batch | InForce | Counters | Tagged | Traffic | EndedFlows | ReadableFlows
    )
