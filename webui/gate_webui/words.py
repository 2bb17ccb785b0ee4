"""What the pages say for the desk's values: times, states and actions in plain words, as template filters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gate_core.acceptable_use import Cell
from gate_core.desk import ActivityRecord, AuditEntry, Lamp, Status

CELL_WORDS: Final = {
    Cell.ACCEPTABLE.value: ("Acceptable", "Open at any time."),
    Cell.TIMES.value: (
        "Acceptable at certain times",
        "Open only at the times in the school's timetable.",
    ),
    Cell.NOMINATED.value: (
        "Acceptable for nominated users",
        "Open only for people or devices the school has named. While none are named, closed for everyone.",
    ),
    Cell.UNACCEPTABLE.value: ("Unacceptable", "Closed."),
    Cell.ILLEGAL.value: ("Unacceptable and illegal", "Closed for everyone. Nobody can open it."),
}
"""Cell to the heading of its column, as printed, and what it means here."""

PART_WORDS: Final = {
    "dns": "Site names (DNS)",
    "firewall": "Connections (packet filter)",
    "lists": "Block lists",
    "clock": "Clock",
    "panel": "Panel",
    "recorder": "Activity record",
}

STATE_WORDS: Final = {
    "ok": ("Working", "green"),
    "starting": ("Starting", "blue"),
    "degraded": ("Needs attention", "yellow"),
    "down": ("Not working", "red"),
    "off": ("Switched off", "grey"),
}

PLACE_WORDS: Final = {
    "illegal tier": "Is it illegal content?",
    "device isolated or suspended": "Is the device cut off?",
    "internet pause": "Is the internet pause on?",
    "canaries and protected names": "Is it a way round the filter, or a site that is always protected?",
    "dated exceptions": "Is there an exception for it?",
    "lesson mode": "Does a lesson's list say something?",
    "acceptable-use table": "What does the acceptable-use table say?",
    "default of the group": "What does the group get for sites on no list?",
}
"""Place of the order of decisions to the question it asks."""

ACTION_WORDS: Final = {"allow": "Allowed", "block": "Blocked"}

_PATTERN_WORDS: Final = {"off": "off", "on": "lit", "blink": "blinking", "flash": "flashing"}


@dataclass(frozen=True, slots=True)
class Headline:
    """How the appliance does, in one sentence."""

    tone: str
    """``good``, ``warn``, ``bad`` or ``pause``: colour and icon."""
    sentence: str
    detail: str


def headline(status: Status) -> Headline:
    """Return the state of filtering as one sentence, the worst first."""
    ill = [part_words(c.name) for c in status.components if c.state in {"down", "degraded"}]
    attention = f"Needs attention: {', '.join(ill)}." if ill else ""
    if not status.filtering:
        if any(c.state == "starting" for c in status.components) and not ill:
            return Headline("warn", "Filtering is starting", "This takes a few seconds.")
        return Headline("bad", "Filtering is not fully working", attention)
    if status.pause:
        words = "Internet pause is on" if status.pause.on_the_wire else "Internet pause is starting"
        return Headline("pause", f"{words}. Filtering is working", attention)
    if ill:
        return Headline("warn", "Filtering is working, but something needs attention", attention)
    return Headline("good", "Filtering is working", "")


def part_words(name: str) -> str:
    """Return what the pages call a component."""
    return PART_WORDS.get(name, name.capitalize())


def lamp_words(lamp: Lamp) -> str:
    """Return what can be seen of a lamp: colour and rhythm."""
    if lamp.pattern == "off":
        return "off"
    return f"{lamp.colour}, {_PATTERN_WORDS.get(lamp.pattern, lamp.pattern)}"


VISIT_S: Final = 5.0
"""A device looks a name up in two or three ways and then connects: equal decisions this close are one visit."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Equal decisions within a moment, shown as one."""

    record: ActivityRecord
    """The newest of them."""
    lookups: int
    connections: int

    @property
    def how(self) -> str:
        """How often it was looked up and connected to, in words."""
        connect = "tried to connect" if self.record.action == "block" else "connected"
        ways = ((self.lookups, "looked up"), (self.connections, connect))
        return ", ".join(f"{way} {n} times" if n > 1 else way for n, way in ways if n).capitalize()


def visits(records: Iterable[ActivityRecord]) -> list[Visit]:
    """Return ``records``, newest first, with those joined that tell of one visit."""
    found: list[Visit] = []
    place: dict[tuple[str, ...], int] = {}
    for r in records:
        key = (r.mac or r.address, r.group, r.name, r.action, r.sentence)
        lookups, connections = (r.count, 0) if r.source == "dns" else (0, r.count)
        at = place.get(key)
        if r.name and at is not None and _near(found[at].record.at, r.at):
            its = found[at]
            found[at] = Visit(its.record, its.lookups + lookups, its.connections + connections)
        else:
            place[key] = len(found)
            found.append(Visit(r, lookups, connections))
    return found


def _near(newer: str, older: str) -> bool:
    a, b = _parse(newer), _parse(older)
    if a is None or b is None or (a.tzinfo is None) != (b.tzinfo is None):
        return False
    return abs((a - b).total_seconds()) <= VISIT_S


@dataclass(frozen=True, slots=True)
class Titles:
    """What the ids in the record of changes stand for."""

    rows: Mapping[str, str]
    groups: Mapping[str, str]
    devices: Mapping[str, str]
    """MAC address to name."""
    people: Mapping[str, str]
    """User name to full name."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change in words."""

    entry: AuditEntry
    who: str
    subject: str
    before: str
    after: str


def change_words(entry: AuditEntry, titles: Titles, now: datetime | None) -> Change:
    """Return ``entry`` with titles and names for ids; what has none any more keeps its id."""
    if entry.actor.startswith("command line"):
        person = entry.actor.removeprefix("command line").strip(" ()")
        # A number is nobody's name: who has none there, such as a service.
        named = f" ({person})" if person and not person.isdigit() else ""
        who = f"The command line of the box{named}"
    elif entry.actor == "button":
        who = titles.people.get("button", "The button on the panel")
    else:
        who = titles.people.get(entry.actor, entry.actor)
    subject = entry.subject
    row, _, group = subject.partition(" for ")
    if row in titles.rows and group in titles.groups:
        subject = f"“{titles.rows[row]}” for {titles.groups[group]}"
    elif subject in titles.devices:
        subject = titles.devices[subject]
    elif all(part in titles.groups for part in subject.split(", ")):
        subject = ", ".join(titles.groups[part] for part in subject.split(", "))
    before, after = (_value_words(value, titles, now) for value in (entry.before, entry.after))
    return Change(entry, who, subject, before, after)


def _value_words(value: str, titles: Titles, now: datetime | None) -> str:
    if value in CELL_WORDS:
        return CELL_WORDS[value][0]
    if value.startswith("until ") and _parse(value[6:]):
        return f"until {when(value[6:], now)}"
    # A device, as "name: group"; its name may hold colons.
    name, _, group = value.rpartition(": ")
    return f"{name}: {titles.groups[group]}" if group in titles.groups else value


def clock_time(iso: str) -> str:
    """Return the time of day of an ISO 8601 time, ``14:05``; the text itself where it is none."""
    at = _parse(iso)
    return f"{at:%H:%M}" if at else iso


def exact_time(iso: str) -> str:
    """Return the time of day with seconds, ``14:05:09``."""
    at = _parse(iso)
    return f"{at:%H:%M:%S}" if at else iso


def when(iso: str, now: datetime | None) -> str:
    """Return day and time, ``today, 14:05`` or ``3 November 2026, 14:05``; the day as of ``now``."""
    at = _parse(iso)
    if at is None:
        return iso or "never"
    day = f"{at.day} {at:%B %Y}"
    if now is not None:
        days = {now.date(): "today", now.date() - timedelta(days=1): "yesterday"}
        day = days.get(at.date(), day)
    return f"{day}, {at:%H:%M}"


def minutes_left(until: str, now: datetime | None) -> int | None:
    """Return the minutes from ``now`` to ``until``, rounded up; None where either is not known."""
    end = _parse(until)
    if end is None or now is None or end.tzinfo is None:
        return None
    return max(0, -int((now - end).total_seconds() // 60))


def thousands(number: int) -> str:
    """Return a number with commas, as it is written in the UK."""
    return f"{number:,}"


def _parse(iso: str) -> datetime | None:
    try:
        return datetime.fromisoformat(iso)
    except ValueError:
        return None
