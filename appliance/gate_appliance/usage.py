"""Who used the internet most, from what flows carried (``activity``)."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import Final, NamedTuple

from gate_appliance.activity import ActivityLog
from gate_core.suffixes import registered

MAX_CONSUMERS: Final = 20

# By MAC address, or by address where that is unknown; a device in the hands of two people counts twice.
_KEY: Final = "coalesce(nullif(mac, ''), address)"

_SUMS: Final = f"""
    select {_KEY} as key, grp, person, mac, max(device) as device, sum(down) as down, sum(up) as up, sum(flows) as flows
    from traffic join who on who.id = traffic.who group by key, grp, person"""  # noqa: S608  # constants

_NAMES: Final = f"""
    select {_KEY} as key, grp, person, name, sum(down + up) as octets
    from traffic join who on who.id = traffic.who where key in (%s) group by key, grp, person, name"""  # noqa: S608


class ConsumerKey(NamedTuple):
    """Who it is."""

    device: str
    """MAC address; the IP address where that is unknown, "" where too many were to be told apart."""
    group: str
    person: str


@dataclass(slots=True)
class Consumed:
    """How much."""

    mac: str = ""
    name: str = ""
    """Of the device, as on the last day."""
    down: int = 0
    """Octets towards it."""
    up: int = 0
    flows: int = 0
    sites: Counter[str] = field(default_factory=Counter)
    """Octets both ways by the name that somebody has registered; ``MANY`` and "" as in events."""

    def add(self, row: sqlite3.Row) -> None:
        """Add the sums of a day."""
        self.mac, self.name = row["mac"], row["device"]
        self.down += row["down"]
        self.up += row["up"]
        self.flows += row["flows"]


@dataclass(frozen=True, slots=True)
class Consumption:
    """What the school used in some days."""

    down: int
    up: int
    most: tuple[tuple[ConsumerKey, Consumed], ...]
    """Who used the most, the first first; at most ``MAX_CONSUMERS``."""


def consumption(
    log: ActivityLog, since: date, until: date, *, with_people: bool = True
) -> Consumption:
    """Return what was used from the day ``since`` to the day ``until``.

    Args:
        log: Where it was written down.
        since: The first day.
        until: The last day.
        with_people: Whether to tell who used a device; else all its users are one.
    """
    days = [day for day in log.days() if since <= day <= until]
    found: dict[ConsumerKey, Consumed] = {}
    for day in days:
        for row in log.read_sums("traffic", day, _SUMS, ()):
            found.setdefault(_key(row, with_people), Consumed()).add(row)
    most = sorted(found.items(), key=lambda item: item[1].down + item[1].up, reverse=True)
    most = most[:MAX_CONSUMERS]
    devices = list({key.device for key, _ in most})
    shown = dict(most)
    query = _NAMES % ", ".join("?" * len(devices))
    for day in days:
        for row in log.read_sums("traffic", day, query, devices):
            consumed = shown.get(_key(row, with_people))
            if consumed:
                consumed.sites[_site(row["name"])] += row["octets"]
    return Consumption(
        sum(c.down for c in found.values()), sum(c.up for c in found.values()), tuple(most)
    )


def _key(row: sqlite3.Row, with_people: bool) -> ConsumerKey:
    return ConsumerKey(row["key"], row["grp"], row["person"] if with_people else "")


def _site(name: str) -> str:
    return registered(name) if name else name
