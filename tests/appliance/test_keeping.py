import errno
import sqlite3
import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gate_appliance import steward as steward_module
from gate_appliance.activity import ActivityLog
from gate_appliance.keeping import DELETED, THINNED, keep
from gate_core.config import ActivityConfig, ConfigError, parse
from gate_core.desk import ActivityFilter
from gate_core.events import Event, Source, Traffic, Who

TODAY = date(2026, 11, 22)
CONFIG = ActivityConfig(days=3, blocked_days=6)


def event(days_ago, name, action="allow", device="Laptop", now=None):
    now = now or datetime(2026, 11, 22, 10, tzinfo=UTC)
    at_ms = int((now - timedelta(days=days_ago)).timestamp() * 1000)
    return Event(
        at_ms, Source.DNS, "192.0.2.10", "00:00:5e:00:53:10", device, "ks2", name, "A", action,
        "default", "default:ks2", 0, 1,
    )  # fmt: skip


@pytest.fixture
def log(tmp_path):
    log = ActivityLog(tmp_path / "activity", ZoneInfo("Europe/London"))
    yield log
    log.close()


def kept(log):
    return [r.event.name for r in log.search(ActivityFilter()).records]


def run(log, times=1, today=TODAY):
    notes = []
    for _ in range(times):
        keep(log, today, CONFIG, lambda *note: notes.append(note))
    return notes


def test_keep_deletes_what_is_over_its_time_and_nothing_else(log):
    for days_ago in range(9):
        log.append([event(days_ago, f"a{days_ago}.example")])
        log.append([event(days_ago, f"b{days_ago}.example", "block")])
    assert run(log) == [
        (DELETED, "2026-11-14"), (DELETED, "2026-11-15"),
    ]  # fmt: skip
    # What was not settled could not be thinned: that is the next run.
    assert run(log) == [(THINNED, "2026-11-16"), (THINNED, "2026-11-17")]
    assert run(log) == [(THINNED, "2026-11-18")]
    assert run(log) == []
    assert kept(log) == [
        "b0.example", "a0.example", "b1.example", "a1.example", "b2.example", "a2.example",
        "b3.example", "a3.example", "b4.example", "b5.example", "b6.example",
    ]  # fmt: skip


def test_deleted_names_and_devices_are_out_of_the_file(log, tmp_path):
    log.append([event(5, "secret.example", device="Laptop of Ada")])
    log.append([event(5, "games.example", "block", device="Tablet")])
    at_ms = event(5, "").at_ms
    who = Who("192.0.2.11", "00:00:5e:00:53:11", "Laptop of Bob", "ks2", "")
    log.append_sums([Traffic(at_ms, (who,), (0,), ("secret.example",), (1,), (2,), (3,))])
    log.close()

    def octets():
        return b"".join(p.read_bytes() for p in (tmp_path / "activity").iterdir())

    assert {b"secret", b"Ada", b"Bob"} <= {w for w in (b"secret", b"Ada", b"Bob") if w in octets()}
    run(log, 2)
    assert kept(log) == ["games.example"]
    assert kept_text(log, "games") == ["games.example"]
    assert not [w for w in (b"secret", b"Ada", b"Bob") if w in octets()]


def kept_text(log, text):
    return [r.event.name for r in log.search(ActivityFilter(text=text)).records]


def test_file_that_was_set_aside_goes_with_its_day(log, tmp_path):
    log.append([event(0, "new.example")])
    damaged = tmp_path / "activity" / "activity-2026-11-01.damaged"
    damaged.write_bytes(b"secret")
    assert run(log) == [(DELETED, "2026-11-01")]
    assert not damaged.exists()
    assert kept(log) == ["new.example"]


def test_wrong_time_deletes_little(log):
    for days_ago in range(6):
        log.append([event(days_ago, f"b{days_ago}.example", "block")])
    run(log, today=date(2027, 11, 22))
    assert kept(log) == ["b0.example", "b1.example", "b2.example", "b3.example"]


def test_damaged_file_is_left_until_its_time(log, tmp_path):
    path = tmp_path / "activity" / "activity-2026-11-18.db"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"no database" * 100)
    assert run(log) == []
    assert run(log, today=date(2026, 11, 30)) == [(DELETED, "2026-11-18")]


def test_late_events_of_a_thinned_day_are_kept_and_thinned_again(log):
    log.append([event(5, "a.example"), event(5, "b.example", "block")])
    run(log, 2)
    log.append([event(5, "late.example"), event(5, "late-games.example", "block")])
    assert kept(log) == ["late-games.example", "late.example", "b.example"]
    log.close()
    run(log, 2)
    assert kept(log) == ["late-games.example", "b.example"]


def test_blocked_decisions_are_kept_no_shorter():
    with pytest.raises(ConfigError, match=r"activity\.blocked_days: 20 is less than"):
        parse("[activity]\ndays = 28\nblocked_days = 20\n")


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(steward_module, "_KEEP_FIRST_S", 0.05)
    monkeypatch.setattr(steward_module, "_KEEP_EVERY_S", 0.05)


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def test_steward_deletes_and_says_so_in_the_record(soon, desk, steward):
    now = datetime.fromtimestamp(time.time(), UTC)
    steward.activity.append([event(200, "b.example", "block", now=now), event(1, "a.example", now=now)])  # fmt: skip
    until(lambda: not kept_text(steward.activity, "b.example"))
    day = (now - timedelta(days=200)).date().isoformat()
    until(lambda: steward.store.noted(DELETED) == {day})
    assert kept(steward.activity) == ["a.example"]


@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOSPC, "No space left"), sqlite3.OperationalError("disk I/O error")]
)
def test_steward_tells_that_it_cannot_delete(soon, steward, monkeypatch, fault):
    def refuse(_):
        raise fault

    def recorder():
        return next(c for c in steward.status(0, 0).components if c.name == "recorder")

    monkeypatch.setattr(steward.activity, "settle", refuse)
    until(lambda: recorder().detail.startswith("Old activity could not be deleted: "))
    assert recorder().state == "degraded"
    monkeypatch.undo()
    until(lambda: recorder().state == "ok")
