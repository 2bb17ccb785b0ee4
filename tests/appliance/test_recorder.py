import shutil
import socket
import sqlite3
import time
from collections import namedtuple
from contextlib import closing
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from itertools import product
from random import Random
from zoneinfo import ZoneInfo

import pytest

from gate_appliance import activity as activity_module
from gate_appliance import outbox as outbox_module
from gate_appliance import recorder as recorder_module
from gate_appliance.activity import ActivityLog
from gate_appliance.outbox import Outbox
from gate_appliance.recorder import Recorder
from gate_core.categories import BY_ID
from gate_core.desk import ActivityFilter
from gate_core.events import (
    MANY,
    Counters,
    EndedFlows,
    Event,
    InForce,
    ReadableFlows,
    Source,
    Tagged,
    Traffic,
    Who,
)

LONDON = ZoneInfo("Europe/London")
AT_MS = int(datetime(2026, 11, 22, 10, 0, tzinfo=UTC).timestamp() * 1000)


def event(name="x.example", action="allow", at_ms=AT_MS, **more):
    fields = {
        "at_ms": at_ms, "source": Source.DNS, "address": "192.0.2.10", "mac": "00:00:5e:00:53:10",
        "device": "Laptop", "group": "ks2", "name": name, "kind": "A", "action": action,
        "reason": "default", "rule_id": "default:ks2", "categories": 0, "version": 1,
    }  # fmt: skip
    return Event(**fields | more)


def until(condition, within_s=5.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    """What is heard is written every half second; here every fiftieth."""
    monkeypatch.setattr(recorder_module, "WRITE_EVERY_S", 0.02)


@pytest.fixture
def log(short_path):
    log = ActivityLog(short_path / "activity", LONDON)
    yield log
    log.close()


@pytest.fixture
def recorder(short_path, log):
    recorder = Recorder(short_path / "events", log)
    recorder.start()
    yield recorder
    recorder.close()


@pytest.fixture
def outbox(short_path):
    outbox = Outbox(short_path / "events")
    yield outbox
    outbox.close()


def found(log, **wanted):
    return [r.event.name for r in log.search(ActivityFilter(**wanted)).records]


def test_events_reach_the_log(recorder, outbox, log):
    outbox.put(event("a.example"))
    outbox.put(event("b.example", "block"))
    outbox.flush()
    until(lambda: len(found(log)) == 2)
    assert found(log) == ["b.example", "a.example"]


def test_search_narrows_by_each_field(log):
    log.append(
        [
            event("a.example"),
            event("b.example", "block", group="staff", source=Source.FIREWALL),
            event("c.example", device="Tablet", mac="00:00:5e:00:53:11", person="2b-07"),
        ]
    )
    assert found(log, text="B.EX") == ["b.example"]
    assert found(log, text="tabl") == ["c.example"]
    assert found(log, group="staff") == ["b.example"]
    assert found(log, device="00:00:5e:00:53:11") == ["c.example"]
    assert found(log, person="2b-07") == ["c.example"]
    assert found(log, action="block") == ["b.example"]
    assert found(log, source="firewall") == ["b.example"]
    assert found(log, text="%") == []


def fits(e, text="", group="", device="", person="", action="", source="", category=""):
    """Tell whether a search for these finds ``e``, in the plainest way."""
    return (
        any(text.lower() in said for said in (e.name, e.remote, e.device.lower()))
        and group in {"", e.group}
        and device in {"", e.mac}
        and person in {"", e.person}
        and action in {"", e.action}
        and source in {"", e.source.value}
        and (not category or bool(e.categories & BY_ID[category].mask))
    )


CONDITIONS = {
    "text": ["", "n7", ".example", "203.0.113.9", "PAD 3", "nowhere", "7.*l", "n?.", "[n]7."],
    "group": ["", "g1", "g9"],
    "device": ["", "00:00:5e:00:53:02"],
    "person": ["", "p1"],
    "action": ["", "block"],
    "source": ["", "firewall"],
    "category": ["", "games"],
}


@pytest.mark.parametrize("few", [0, 10_000])
def test_search_finds_the_same_with_and_without_indexes(log, monkeypatch, few):
    monkeypatch.setattr(activity_module, "_FEW", few)
    random = Random(8)  # noqa: S311  # not for secrets
    made = []
    for n in range(600):
        at_ms = AT_MS + n * 240_000
        source = random.choice([Source.DNS, Source.DNS, Source.FIREWALL])
        remote = f"203.0.113.{random.randrange(12)} 443/tcp" if source is Source.FIREWALL else ""
        device = random.randrange(6)
        more = {"mac": f"00:00:5e:00:53:0{device}", "device": f"Pad {device}"}
        more |= {"group": f"g{device % 3}", "person": random.choice(["", "p1"])}
        name = f"n{random.randrange(30)}.example"
        action = random.choice(["allow", "allow", "block"])
        mask = random.choice([0, 0, BY_ID["games"].mask])
        made.append(
            event(name, action, at_ms, source=source, remote=remote, categories=mask, **more)
        )
    log.append(made)
    assert len(log.days()) == 3
    for _ in range(2):
        for values in product(*CONDITIONS.values()):
            wanted = dict(zip(CONDITIONS, values, strict=True))
            found = log.search(ActivityFilter(**wanted, limit=20))
            expected = [e for e in reversed(made) if fits(e, **wanted)]
            assert [r.event for r in found.records] == expected[:20], wanted
            assert bool(found.older) == (len(expected) > 20)
        log.settle(date(2026, 11, 24))
        assert [log._form(day) for day in log.days()] == [4, 4, 3]


def test_append_goes_on_in_a_settled_file(log):
    log.append([event("a.example")])
    log.settle(date(2026, 11, 23))
    log.close()
    log.append([event("b.example"), event("a.example")])
    for _ in range(2):
        assert found(log) == ["a.example", "b.example", "a.example"]
        assert found(log, text="b.ex") == ["b.example"]
        log.close()
        log.settle(date(2026, 11, 23))


def test_search_narrows_by_time_of_the_school(log):
    hours = [datetime(2026, 7, 1, hour, tzinfo=LONDON) for hour in (8, 9, 10)]
    log.append(event(f"{at.hour}.example", at_ms=int(at.timestamp() * 1000)) for at in hours)
    log.append([event("later.example")])
    assert found(log, since="2026-07-01T09:00", until="2026-07-01T10:00") == ["9.example"]
    assert found(log, since="2026-07-01T09:00", until="2026-07-02") == ["10.example", "9.example"]
    assert found(log, until="2026-07-01T08:30") == ["8.example"]
    assert found(log, since="2026-07-02") == ["later.example"]


def test_search_says_how_far_back_it_came_where_it_takes_long(log, monkeypatch):
    day_ms = 86_400_000
    log.append(event(f"{n}.example", at_ms=AT_MS - n * day_ms) for n in range(3))
    monkeypatch.setattr(activity_module, "PATIENCE_S", 0.0)
    seen, before = [], 0
    for _ in range(3):
        found = log.search(ActivityFilter(before=before))
        seen += [(r.event.name, found.back_to) for r in found.records]
        before = found.older
    assert seen == [
        ("0.example", date(2026, 11, 22)),
        ("1.example", date(2026, 11, 21)),
        ("2.example", None),
    ]
    assert before == 0


def test_search_pages_over_days_newest_first(log):
    day_ms = 86_400_000
    log.append(event(f"{n}.example", at_ms=AT_MS + n * day_ms // 2) for n in range(6))
    assert len(log.days()) == 3
    names, before = [], None
    while before != 0:
        found = log.search(ActivityFilter(limit=2, before=before or 0))
        names.append([r.event.name for r in found.records])
        before = found.older
    assert names == [
        ["5.example", "4.example"],
        ["3.example", "2.example"],
        ["1.example", "0.example"],
    ]


def test_log_of_a_day_begins_at_local_midnight(log):
    log.append([event(at_ms=int(datetime(2026, 7, 1, 23, 30, tzinfo=UTC).timestamp() * 1000))])
    assert [d.isoformat() for d in log.days()] == ["2026-07-02"]


def test_totals_add_up_aggregated_events(log):
    log.append(
        [event(count=5), event(action="block", count=2), event(mac="", address="192.0.2.77")]
    )
    totals = log.totals(datetime.fromtimestamp(AT_MS / 1000, LONDON).date())
    assert (totals.allowed, totals.blocked, totals.devices) == (6, 2, 2)


def test_totals_tell_hours_groups_and_what_was_blocked_most(log):
    hour_ms = 3_600_000
    log.append(
        [
            event("a.example", count=5),
            event("b.example", "block", group="staff", count=2),
            event("b.example", "block", at_ms=AT_MS + hour_ms),
            event("c.example", "block", at_ms=AT_MS + hour_ms, source=Source.FIREWALL),
            event("", "block", remote="203.0.113.5 443/tcp"),
            event(MANY, "block"),
        ]
    )
    day = date(2026, 11, 22)
    first = log.totals(day)
    assert first.hours == ((AT_MS, "ks2", 5, 2), (AT_MS, "staff", 0, 2), (AT_MS + hour_ms, "ks2", 0, 2))  # fmt: skip
    assert first.blocked_most == (("b.example", 3), ("c.example", 1))
    log.append([event("c.example", "block", count=9)])
    then = log.totals(day)
    assert then.blocked_most == (("c.example", 10), ("b.example", 3))
    assert then.hours[0] == (AT_MS, "ks2", 5, 11)
    assert (then.allowed, then.blocked) == (5, 15)


def test_append_sets_a_damaged_file_aside_and_goes_on(log, short_path):
    path = short_path / "activity" / "activity-2026-11-22.db"
    path.write_bytes(b"this is no database, and it is long enough to be looked at" * 20)
    log.append([event()])
    assert found(log) == ["x.example"]
    assert path.with_suffix(".damaged").exists()


def test_search_of_a_damaged_file_is_empty_and_said(log, short_path, caplog):
    (short_path / "activity" / "activity-2026-11-22.db").write_bytes(b"no database" * 100)
    assert found(log) == []
    assert "activity-2026-11-22.db" in caplog.text


def test_append_sets_a_file_of_another_form_aside(log, short_path):
    path = short_path / "activity" / "activity-2026-11-22.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table decision (at_ms integer, name text)")
    assert found(log) == []
    log.append([event()])
    assert found(log) == ["x.example"]
    assert path.with_suffix(".damaged").exists()


def test_log_keeps_every_field(log):
    events = [
        event("a.example", count=4, person="2b-07", took_us=1234, upstream="192.0.2.1"),
        event("b.example", "block", source=Source.FIREWALL, kind="tls", categories=1 << 61),
        event("", source=Source.FIREWALL, kind="wireguard", remote="203.0.113.5 51820/udp"),
    ]
    log.append(events)
    assert [r.event for r in log.search(ActivityFilter()).records] == events[::-1]


def test_search_finds_where_a_connection_went(log):
    log.append([event("a.example"), event("b.example", remote="203.0.113.5 443/tcp")])
    assert found(log, text="203.0.113.5") == ["b.example"]
    assert found(log, text="443/tcp") == ["b.example"]


def test_append_goes_on_where_somebody_deleted_the_file(log, short_path):
    log.append([event("old.example")])
    for path in (short_path / "activity").iterdir():
        path.unlink()
    log.append([event("new.example")])
    assert found(log) == ["new.example"]
    assert (short_path / "activity" / "activity-2026-11-22.db").exists()


def test_append_of_what_the_disk_refuses_leaves_nothing_half_done(log, monkeypatch):
    log.append([event("a.example")])
    monkeypatch.setattr(log._open, "_ids", lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("full")))  # fmt: skip
    with pytest.raises(sqlite3.OperationalError):
        log.append([event("b.example", mac="")])
    log.append([event("c.example", mac="")])
    assert found(log) == ["c.example", "a.example"]


def test_append_splits_what_was_decided_around_midnight(log):
    midnight_ms = int(datetime(2026, 11, 23, tzinfo=LONDON).timestamp() * 1000)
    log.append([event("old.example", at_ms=midnight_ms - 1), event("new.example", at_ms=midnight_ms)])  # fmt: skip
    assert [d.isoformat() for d in log.days()] == ["2026-11-22", "2026-11-23"]
    assert found(log) == ["new.example", "old.example"]


def test_totals_go_on_from_what_was_counted(log, short_path):
    day = datetime.fromtimestamp(AT_MS / 1000, LONDON).date()
    log.append([event(count=5)])
    assert log.totals(day).allowed == 5
    log.append([event(count=2), event(action="block", mac="00:00:5e:00:53:11")])
    assert (log.totals(day).allowed, log.totals(day).blocked, log.totals(day).devices) == (7, 1, 2)
    # A file in its place, as after a restore, is counted from its beginning.
    log.close()
    (short_path / "activity" / "activity-2026-11-22.db").unlink()
    log.append([event(action="block", count=3)])
    assert (log.totals(day).allowed, log.totals(day).blocked, log.totals(day).devices) == (0, 3, 1)
    assert log.totals(day.replace(year=2025)).allowed == 0


def test_recorder_hands_vlans_on(short_path, log, outbox):
    heard = []
    recorder = Recorder(
        short_path / "events", log, on_tagged=lambda mac, vlan: heard.append((mac, vlan))
    )
    recorder.start()
    outbox.put(Tagged(["00:00:5e:00:53:10", "00:00:5e:00:53:11"], [20, 30]))
    outbox.put(Tagged(["00:00:5e:00:53:10"], [0]))
    outbox.flush()
    until(lambda: len(heard) == 3)
    recorder.close()
    assert heard == [
        ("00:00:5e:00:53:10", 20),
        ("00:00:5e:00:53:11", 30),
        ("00:00:5e:00:53:10", 0),
    ]


LAPTOP = Who("192.0.2.10", "00:00:5e:00:53:10", "Laptop", "ks2", "")


def traffic(name="x.example", down=1, at_ms=AT_MS):
    return Traffic(at_ms, (LAPTOP,), (0,), (name,), (down,), (2,), (3,))


def carried(log, day="2026-11-22"):
    query = "select hour_ms, mac, name, down, up, flows from traffic join who on who.id = who order by 1, 3"
    return [tuple(row) for row in log.read_sums("traffic", date.fromisoformat(day), query, ())]


def shown(log, day="2026-11-22"):
    query = "select * from readable order by grp"
    return [tuple(row) for row in log.read_sums("readable", date.fromisoformat(day), query, ())]


def test_sums_reach_the_log_when_it_is_time_or_the_end(recorder, outbox, log):
    outbox.put(traffic())
    outbox.put(ReadableFlows(AT_MS, ["ks2"], [9], [10]))
    outbox.put(ended())
    outbox.put(remote_of("x.example"))
    outbox.flush()
    until(lambda: found(log) == ["x.example"])
    recorder.close()
    assert carried(log) == [(AT_MS, LAPTOP.mac, "x.example", 1, 2, 3)]
    assert shown(log) == [("ks2", 9, 10)]
    assert octets(log) == {"x.example": (1000, 10)}


def test_sums_that_could_not_be_written_are_written_later(recorder, outbox, log, monkeypatch):
    monkeypatch.setattr(recorder_module, "SUMS_EVERY_S", 0.0)
    append, refused = log.append_sums, []

    def refuse(them):
        if not refused and list(them):
            refused.append(them)
            raise OSError("the disk is full")
        append(them)

    monkeypatch.setattr(log, "append_sums", refuse)
    recorder._sums_due_at = 0.0
    outbox.put(traffic())
    outbox.flush()
    until(lambda: carried(log))
    assert refused
    assert len(carried(log)) == 1


def test_append_sums_adds_up_by_hour_client_and_name(log):
    later = AT_MS + 3_600_000
    log.append_sums([traffic(), traffic(down=10), traffic("y.example"), traffic(at_ms=later)])
    log.append_sums([traffic(at_ms=later + 1), traffic(at_ms=AT_MS + 86_400_000)])
    assert carried(log) == [
        (AT_MS, LAPTOP.mac, "x.example", 11, 4, 6),
        (AT_MS, LAPTOP.mac, "y.example", 1, 2, 3),
        (later, LAPTOP.mac, "x.example", 2, 4, 6),
    ]
    assert len(carried(log, "2026-11-23")) == 1
    log.append_sums([ReadableFlows(AT_MS, ["ks2", "staff"], [1, 2], [3, 4])] * 2)
    assert shown(log) == [("ks2", 2, 6), ("staff", 4, 8)]


def test_append_sums_bounds_the_names_and_clients_of_an_hour(log, monkeypatch):
    monkeypatch.setattr(activity_module, "MAX_TRAFFIC_ROWS", 2)
    log.append_sums(traffic(f"{n}.example") for n in range(5))
    first = [(MANY, 3, 6, 9), ("0.example", 1, 2, 3), ("1.example", 1, 2, 3)]
    assert [row[2:] for row in carried(log)] == first
    others = (LAPTOP._replace(mac=f"00:00:5e:00:53:2{n}") for n in range(3))
    log.append_sums(replace(traffic(), whos=(other,)) for other in others)
    assert [row[1:4] for row in carried(log) if row[2] == MANY] == [
        (LAPTOP.mac, MANY, 3),
        ("00:00:5e:00:53:20", MANY, 1),
        ("", MANY, 2),
    ]


def remote_of(name, at_ms=AT_MS, **more):
    remote = "203.0.113.5 443/tcp"
    return event(name, at_ms=at_ms, source=Source.FIREWALL, kind="tls", remote=remote, **more)


def ended(at_ms=AT_MS, down=1000, up=10, address="192.0.2.10", remote="203.0.113.5 443/tcp"):
    return EndedFlows([at_ms], [address], [remote], [down], [up])


def octets(log, **wanted):
    return {r.event.name: r.carried for r in log.search(ActivityFilter(**wanted)).records}


def test_append_sums_adds_to_a_flow_what_it_carried(log):
    day_ms = 86_400_000
    log.append(
        [
            event("looked-up.example"),
            remote_of("a.example"),
            remote_of("open.example", AT_MS + 1),
            remote_of("mate.example", address="192.0.2.11"),
            remote_of("later.example", AT_MS + day_ms),
        ]
    )
    both = EndedFlows(*zip(*(_row(ended(AT_MS + n * day_ms, n + 7)) for n in (0, 1)), strict=True))
    log.append_sums([ended(), both, ended(address="192.0.2.12"), ended(remote="203.0.113.5")])
    assert octets(log) == {
        "looked-up.example": None,
        "a.example": (1007, 20),
        "open.example": None,
        "mate.example": None,
        "later.example": (8, 10),
    }


def _row(message):
    return [getattr(message, f.name)[0] for f in fields(message)]


def test_append_sums_leaves_a_settled_day_as_it_is(log):
    log.append([remote_of("a.example"), remote_of("b.example", AT_MS + 86_400_000)])
    log.append_sums([ended()])
    log.settle(date(2026, 11, 23))
    log.append_sums([ended(), ended(AT_MS + 86_400_000), ended(AT_MS - 86_400_000)])
    assert octets(log) == {"a.example": (1000, 10), "b.example": (1000, 10)}
    assert octets(log, text="a.example") == {"a.example": (1000, 10)}
    assert len(log.days()) == 2
    log.thin(date(2026, 11, 23))
    rows = log.read_sums("ended", date(2026, 11, 22), "select * from ended", ())
    assert rows == []


def test_a_log_from_before_there_were_sums_goes_on(log, short_path, caplog):
    log.append([event()])
    log.close()
    with closing(sqlite3.connect(short_path / "activity" / "activity-2026-11-22.db")) as old:
        old.executescript("drop table traffic; drop table ended; drop table readable")
    assert carried(log) == shown(log) == []
    assert octets(log) == {"x.example": None}
    assert not caplog.records
    log.append_sums([traffic()])
    assert len(carried(log)) == 1
    assert found(log) == ["x.example"]


def test_recorder_counts_what_is_no_batch_and_goes_on(recorder, outbox, log, short_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"\xff\x00nonsense", str(short_path / "events"))
    outbox.put(event())
    outbox.flush()
    until(lambda: found(log) == ["x.example"])
    assert recorder.malformed == 1


def test_in_force_is_the_lowest_version_of_the_living_workers(recorder, outbox):
    assert recorder.in_force(Source.DNS) is None
    outbox.put(InForce(Source.DNS, 1, 5))
    outbox.put(InForce(Source.DNS, 2, 4))
    outbox.flush()
    until(lambda: recorder.in_force(Source.DNS) == 4)
    assert recorder.in_force(Source.FIREWALL) is None


def test_outbox_keeps_events_while_the_recorder_is_away(short_path, outbox, log):
    outbox.put(event())
    outbox.flush()
    recorder = Recorder(short_path / "events", log)
    recorder.start()

    def arrived():
        outbox.flush()
        return found(log) == ["x.example"]

    until(arrived)
    recorder.close()


def test_outbox_leaves_a_recorder_alone_that_took_nothing(short_path, outbox, monkeypatch):
    outbox.put(event())
    outbox.flush()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as recorder:
        recorder.setblocking(False)
        recorder.bind(str(short_path / "events"))
        outbox.flush()
        with pytest.raises(BlockingIOError):
            recorder.recv(1 << 16)
        monkeypatch.setattr(outbox, "_retry_at_s", 0.0)
        outbox.flush()
        assert recorder.recv(1 << 16)


def test_append_stops_before_the_disk_is_full(log, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 0, (64 << 20) - 1))
    with pytest.raises(OSError, match="kept for the policy"):
        log.append([event()])
    # A small card keeps a fifth.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100 << 20, 0, 21 << 20))
    log.append([event()])
    assert found(log) == ["x.example"]


def test_outbox_without_room_drops_the_oldest_and_says_how_many(short_path, log, monkeypatch):
    monkeypatch.setattr(outbox_module, "CAPACITY", 3)
    outbox = Outbox(short_path / "events")
    for n in range(5):
        outbox.put(event(f"{n}.example", "block" if n == 2 else "allow", count=10))
        outbox.flush()
    outbox.put(InForce(Source.DNS, 1, 1))
    recorder = Recorder(short_path / "events", log)
    recorder.start()
    monkeypatch.setattr(outbox, "_retry_at_s", 0.0)
    outbox.flush()
    until(lambda: recorder.in_force(Source.DNS))
    until(lambda: "4.example" in found(log))
    recorder.close()
    outbox.close()
    assert "2.example" in found(log)
    assert recorder.lost() == {"allow": 50 - 10 * len(found(log)), "block": 0}


def test_outbox_sends_long_batches_in_datagrams_that_fit(recorder, outbox, log):
    names = [f"{n}.{'x' * 60}.{'y' * 60}.{'z' * 60}.example" for n in range(500)]
    for name in names:
        outbox.put(event(name))

    def arrived():
        outbox.flush()
        return len(found(log, limit=500)) == 500

    until(arrived)
    assert recorder.malformed == 0
    assert found(log, limit=500) == names[::-1]


def test_recorder_keeps_what_workers_count(recorder, outbox):
    outbox.put(Counters(Source.DNS, 1, {"cache": {"hit": 1}}))
    outbox.put(Counters(Source.DNS, 1, {"cache": {"hit": 3}}))
    outbox.put(Counters(Source.DNS, 2, {"cache": {"hit": 2}}))
    outbox.put(event(count=5))
    outbox.put(event(action="block", reason="matrix", count=2))
    outbox.flush()
    until(lambda: len(recorder.decisions()) == 2)
    assert {c.worker: c.counts["cache"]["hit"] for c in recorder.counters()} == {1: 3, 2: 2}
    assert recorder.decisions() == {
        (Source.DNS, "allow", "default"): 5,
        (Source.DNS, "block", "matrix"): 2,
    }


def test_recorder_keeps_what_the_disk_refuses_for_later(
    short_path, log, outbox, monkeypatch, caplog
):
    refused = []

    def refuse(_):
        refused.append(1)
        raise OSError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(log, "append_batches", refuse)
        recorder = Recorder(short_path / "events", log)
        recorder.start()
        outbox.put(event())
        outbox.flush()
        until(lambda: refused)
        until(lambda: recorder.waiting() == 1)
        assert recorder.fault == "no room"
    until(lambda: found(log) == ["x.example"])
    until(lambda: not recorder.fault)
    recorder.close()
