from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from gate_appliance.activity import ActivityLog
from gate_appliance.usage import MAX_CONSUMERS, consumption
from gate_core.events import MANY, Event, Source, Traffic, Who

MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)
LAPTOP = Who("192.0.2.10", "00:00:5e:00:53:10", "Laptop", "ks2", "p-17")
STRANGER = Who("192.0.2.11", "", "192.0.2.11", "quarantine", "")


@pytest.fixture
def log(tmp_path):
    log = ActivityLog(tmp_path, ZoneInfo("Europe/London"))
    yield log
    log.close()


def note(log, day, who, name, down, up=0):
    at = datetime(day.year, day.month, day.day, 10, tzinfo=UTC)
    at_ms = int(at.timestamp() * 1000)
    log.append_sums([Traffic(at_ms, (who,), (0,), (name,), (down,), (up,), (1,))])


def most(log, since=MONDAY, until=TUESDAY, **more):
    """Return device, person, octets and sites of whoever used the most."""
    return [
        (key.device, key.person, used.down + used.up, dict(used.sites))
        for key, used in consumption(log, since, until, **more).most
    ]


def test_consumption_adds_up_devices_and_sites_over_the_days(log):
    note(log, MONDAY, LAPTOP, "www.sums.example", 10, 1)
    note(log, TUESDAY, LAPTOP._replace(address="2001:db8::10"), "cdn.sums.example", 20, 2)
    note(log, TUESDAY, LAPTOP, "", 5)
    note(log, TUESDAY, STRANGER, "films.example", 100, 3)
    both = consumption(log, MONDAY, TUESDAY)
    assert (both.down, both.up) == (135, 6)
    assert [(used.mac, used.name, used.flows) for _, used in both.most] == [
        ("", "192.0.2.11", 1),
        (LAPTOP.mac, "Laptop", 3),
    ]
    assert most(log) == [
        (STRANGER.address, "", 103, {"films.example": 103}),
        (LAPTOP.mac, "p-17", 38, {"sums.example": 33, "": 5}),
    ]
    assert most(log, until=MONDAY) == [(LAPTOP.mac, "p-17", 11, {"sums.example": 11})]


def test_consumption_tells_people_apart_only_where_it_may(log):
    note(log, MONDAY, LAPTOP, "x.example", 10)
    note(log, MONDAY, LAPTOP._replace(person="p-18"), "x.example", 20)
    assert most(log) == [
        (LAPTOP.mac, "p-18", 20, {"x.example": 20}),
        (LAPTOP.mac, "p-17", 10, {"x.example": 10}),
    ]
    assert most(log, with_people=False) == [(LAPTOP.mac, "", 30, {"x.example": 30})]


def test_consumption_is_of_the_most_and_all_in_the_sum(log):
    for n in range(MAX_CONSUMERS + 5):
        note(log, MONDAY, STRANGER._replace(address=f"192.0.2.{n}"), MANY, n)
    used = consumption(log, MONDAY, MONDAY)
    assert [its.down for _, its in used.most] == list(range(MAX_CONSUMERS + 4, 4, -1))
    assert used.down == sum(range(MAX_CONSUMERS + 5))


def test_consumption_of_days_without_traffic_is_nothing(log):
    assert consumption(log, MONDAY, TUESDAY).most == ()
    at_ms = int(datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp() * 1000)
    log.append(
        [Event(at_ms, Source.DNS, "192.0.2.10", "", "d", "g", "n", "A", "allow", "r", "i", 0, 1)]
    )
    assert consumption(log, MONDAY, TUESDAY).most == ()
