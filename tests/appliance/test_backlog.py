from collections import Counter

import pytest

from gate_appliance.backlog import Backlog
from gate_core.events import MANY, Event, Source, batches


def event(name, action="allow", **more):
    return Event(
        **{
            "at_ms": 1, "source": Source.DNS, "address": "192.0.2.10", "mac": "", "device": "d",
            "group": "ks2", "name": name, "kind": "A", "action": action, "reason": "default",
            "rule_id": "default:ks2", "categories": 0, "version": 1,
        } | more
    )  # fmt: skip


def put(backlog, *events):
    for batch in batches(events):
        backlog.put(batch)


def taken(backlog):
    return [e for batch in iter(backlog.take, None) for e in batch.events()]


def test_backlog_gives_back_in_order():
    backlog = Backlog(10)
    put(backlog, event("a.example"), event("b.example", "block"))
    put(backlog, event("c.example"))
    first = backlog.take()
    backlog.put_back(first)
    assert len(backlog) == 3
    assert [e.name for e in taken(backlog)] == ["a.example", "b.example", "c.example"]
    assert len(backlog) == 0
    assert backlog.dropped == {"allow": 0, "block": 0}


def test_backlog_without_room_drops_allowed_decisions_first_and_the_oldest_of_them():
    backlog = Backlog(8)
    for n in range(4):
        put(backlog, event(f"a{n}.example", count=10), event(f"b{n}.example", "block", count=7))
    put(backlog, event("new.example"))
    names = [e.name for e in taken(backlog)]
    assert [n for n in names if n.startswith("b")] == [f"b{n}.example" for n in range(4)]
    assert names[-1] == "new.example"
    assert "a0.example" not in names
    assert backlog.dropped["allow"] == 10 * sum(f"a{n}.example" not in names for n in range(4)) > 0
    assert backlog.dropped["block"] == 0


def test_backlog_of_blocked_decisions_counts_what_it_can_not_list():
    backlog = Backlog(100)
    for n in range(5000):
        address = f"192.0.2.{n % 2}"
        put(backlog, *(event(f"{n}-{m}.example", "block", address=address) for m in range(10)))
    assert len(backlog) <= 100
    assert backlog.dropped == {"allow": 0, "block": 0} or backlog.dropped["block"] > 0
    left = taken(backlog)
    assert sum(e.count for e in left) + backlog.dropped["block"] == 50_000
    assert any(e.name == MANY for e in left)


def test_backlog_folds_equal_outcomes_of_a_client_and_keeps_a_name_that_all_share():
    backlog = Backlog(4)
    same = [event("a.example", "block", kind=k, count=2, at_ms=t) for k, t in (("A", 5), ("A", 6), ("AAAA", 7))]  # fmt: skip
    other = [event(f"{n}.example", "block", address="192.0.2.77") for n in range(3)]
    put(backlog, *same, *other)
    assert [(e.address, e.name, e.kind, e.count, e.at_ms) for e in taken(backlog)] == [
        ("192.0.2.10", "a.example", "A", 4, 5),
        ("192.0.2.10", "a.example", "AAAA", 2, 7),
        ("192.0.2.77", MANY, "A", 3, 1),
    ]


@pytest.mark.parametrize("action", ["allow", "block"])
def test_backlog_is_bounded_and_accounts_for_all(action):
    backlog = Backlog(50)
    for n in range(1000):
        put(backlog, event(f"{n}.example", action, address=f"2001:db8::{n:x}", count=3))
        assert len(backlog) <= 50
    assert sum(e.count for e in taken(backlog)) + backlog.dropped[action] == 3000


@pytest.mark.parametrize(
    "forged",
    [
        {"reason": "matrix", "rule_id": "matrix:advertising:ks2"},
        {"reason": "flood", "rule_id": "flood:{address}", "name": ""},
        {"reason": "tunnel", "rule_id": "tunnel:{name}"},
    ],
)
def test_backlog_keeps_an_illegal_look_up_whatever_is_blocked_of_forged_addresses(forged):
    backlog = Backlog(2000)
    sought = event("vile.example", "block", reason="illegal", rule_id="illegal:child-abuse")
    put(backlog, sought)
    for n in range(50_000):
        address, name = f"10.99.{n // 256}.{n % 256}", f"{n}.example"
        more = {"name": name, "address": address} | forged
        more["rule_id"] = more["rule_id"].format(address=address, name=name)
        put(backlog, event(**more, action="block"))
    assert len(backlog) <= 2000
    assert [*backlog.take().events()] == [sought]
    assert sum(e.count for e in taken(backlog)) + backlog.dropped["block"] == 50_000


def test_backlog_counts_illegal_look_ups_by_rule_before_it_drops_any():
    backlog = Backlog(100)
    for n in range(5000):
        address, rule = f"10.99.{n // 256}.{n % 256}", f"illegal:{n % 3}"
        put(
            backlog, event(f"{n}.example", "block", reason="illegal", rule_id=rule, address=address)
        )
    assert backlog.dropped["block"] == 0
    left = taken(backlog)
    assert sum(e.count for e in left) == 5000
    by_rule = [e for e in left if e.name == MANY]
    assert {e.rule_id for e in by_rule} == {f"illegal:{n}" for n in range(3)}
    assert {(e.address, e.mac, e.device, e.group, e.kind) for e in by_rule} == {
        ("", "", "", "ks2", "")
    }
    # The newest are as they came.
    assert left[-1].address == f"10.99.{4999 // 256}.{4999 % 256}"


def test_backlog_drops_what_weighs_least_first():
    backlog = Backlog(30)
    for n in range(10):
        for reason in ("illegal", "tunnel", "matrix"):
            put(backlog, event(f"{n}.example", "block", reason=reason, rule_id=f"{reason}:{n}"))
    put(backlog, event("new.example"))
    reasons = Counter(e.reason for e in taken(backlog))
    assert (reasons["illegal"], reasons["tunnel"]) == (10, 10)
    assert backlog.dropped == {"allow": 1, "block": 10 - reasons["matrix"]}


def test_backlog_keeps_sources_apart():
    backlog = Backlog(4)
    for n in range(8):
        source = (Source.DNS, Source.FIREWALL)[n % 2]
        put(backlog, event(f"{n}.example", "block", source=source, address=f"192.0.2.{n}"))
    left = taken(backlog)
    assert {e.source for e in left} == set(Source)
    assert {s: sum(e.count for e in left if e.source is s) for s in Source} == dict.fromkeys(
        Source, 4
    )


def test_backlog_keeps_where_a_blocked_flow_went():
    backlog = Backlog(8)
    put(backlog, *(event(f"a{n}.example") for n in range(4)))
    flows = [event("", "block", source=Source.FIREWALL, remote=f"203.0.113.{n}") for n in range(4)]
    put(backlog, event("b.example", source=Source.FIREWALL), *flows)
    assert [e.remote for e in taken(backlog) if e.remote] == [e.remote for e in flows]
