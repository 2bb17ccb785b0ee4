"""What the pages say for the desk's values: times, states and actions in plain words, as template filters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gate_core.acceptable_use import Cell
from gate_core.desk import Lamp, Status

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
