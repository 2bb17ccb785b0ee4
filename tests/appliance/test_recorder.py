import shutil
import socket
import sqlite3
import time
from collections import namedtuple
from contextlib import closing
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gate_appliance import outbox as outbox_module
from gate_appliance.activity import ActivityLog
from gate_appliance.outbox import Outbox
from gate_appliance.recorder import Recorder
from gate_core.desk import ActivityFilter
from gate_core.events import Event, InForce, Source, Tagged

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


@pytest.fixture
def log(short_path):
    return ActivityLog(short_path / "activity", LONDON)


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
    return [r.event.name for r in log.search(ActivityFilter(**wanted))]


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


def test_search_pages_over_days_newest_first(log):
    day_ms = 86_400_000
    log.append(event(f"{n}.example", at_ms=AT_MS + n * day_ms // 2) for n in range(6))
    assert len(log.days()) == 3
    names, before = [], 0
    while page := list(log.search(ActivityFilter(limit=2, before=before))):
        names += [r.event.name for r in page]
        before = page[-1].id
    assert names == [f"{n}.example" for n in reversed(range(6))]


def test_log_of_a_day_begins_at_local_midnight(log):
    log.append([event(at_ms=int(datetime(2026, 7, 1, 23, 30, tzinfo=UTC).timestamp() * 1000))])
    assert [d.isoformat() for d in log.days()] == ["2026-07-02"]


def test_totals_add_up_aggregated_events(log):
    log.append(
        [event(count=5), event(action="block", count=2), event(mac="", address="192.0.2.77")]
    )
    totals = log.totals(datetime.fromtimestamp(AT_MS / 1000, LONDON).date())
    assert (totals.allowed, totals.blocked, totals.devices) == (6, 2, 2)


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


@pytest.fixture
def unnamed(log, short_path):
    """A day's file with one decision, from before people were named."""
    log.append([event("old.example", person="2b-07")])
    path = short_path / "activity" / "activity-2026-11-22.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("alter table decision drop column person")
        connection.commit()


def test_search_reads_a_file_without_people(log, unnamed):
    assert [r.event for r in log.search(ActivityFilter())] == [event("old.example")]
    assert found(log, person="2b-07") == []


def test_append_adds_people_to_a_file_without_them(log, unnamed):
    log.append([event("new.example", person="2b-07")])
    assert found(log, person="2b-07") == ["new.example"]
    assert [r.event.person for r in log.search(ActivityFilter())] == ["2b-07", ""]


def test_recorder_hands_vlans_on(short_path, log, outbox):
    heard = []
    recorder = Recorder(
        short_path / "events", log, on_tagged=lambda mac, vlan: heard.append((mac, vlan))
    )
    recorder.start()
    outbox.put(Tagged("00:00:5e:00:53:10", 20))
    outbox.put(Tagged("00:00:5e:00:53:10", 0))
    outbox.flush()
    until(lambda: len(heard) == 2)
    recorder.close()
    assert heard == [("00:00:5e:00:53:10", 20), ("00:00:5e:00:53:10", 0)]


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


def test_outbox_without_room_drops_the_oldest_and_says_how_many(
    short_path, outbox, log, monkeypatch
):
    monkeypatch.setattr(outbox_module, "CAPACITY", 3)
    for n in range(5):
        outbox.put(event(f"{n}.example", count=10))
    outbox.put(InForce(Source.DNS, 1, 1))
    recorder = Recorder(short_path / "events", log)
    recorder.start()
    outbox.flush()
    until(lambda: recorder.lost() == 20)
    recorder.close()
    assert found(log) == ["4.example", "3.example"]
