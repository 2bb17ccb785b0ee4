"""What is recorded: queries counted where they are answered, and put out as events about twice a second.

Counting loses nothing: equal queries of a client become one event with their number, blocked ones too.
"""

from __future__ import annotations

import time
from typing import Final

from gate_core.events import Event, InForce, Source
from gate_core.ports import EventSink
from gate_dns.askers import Asker
from gate_dns.cache import Note

INTERVAL_S: Final = 0.5
CAPACITY: Final = 8192
"""Pairs of client and question counted at a time: more are put out at once."""


class Seen:
    """How often one client asked one question."""

    __slots__ = ("count", "first")

    def __init__(self, first: float) -> None:
        self.first = first
        """Monotonic time in seconds."""
        self.count = 1


Tally = dict[tuple[Asker, Note], Seen]


class Journal:
    """The tally of a worker, and its way to the recorder."""

    def __init__(self, events: EventSink, worker: int, now: float) -> None:
        self._events = events
        self._worker = worker
        self._due = now + INTERVAL_S
        self.tally: Tally = {}
        """Always the same dictionary; the batch loop counts in it."""

    def count(self, asker: Asker, note: Note, now: float) -> None:
        """Count one query."""
        seen = self.tally.get((asker, note))
        if seen is None:
            self.tally[asker, note] = Seen(now)
        else:
            seen.count += 1

    def put_due(self, now: float) -> None:
        """Put out what has been counted, where it is time or too much to hold."""
        if now < self._due and len(self.tally) < CAPACITY:
            return
        self._due = now + INTERVAL_S
        if self.tally:
            self.put_all(now)

    def put_all(self, now: float) -> None:
        """Put out what has been counted."""
        offset = time.time() - now
        for (asker, note), seen in self.tally.items():
            self._events.put(_event(asker, note, seen, offset))
        self.tally.clear()
        self._events.flush()

    def in_force(self, version: int) -> None:
        """Say which policy version this worker acts on."""
        self._events.put(InForce(Source.DNS, self._worker, version))
        self._events.flush()


def _event(asker: Asker, note: Note, seen: Seen, offset: float) -> Event:
    client, decision = asker.client, note.decision
    return Event(
        at_ms=int((seen.first + offset) * 1000),
        source=Source.DNS,
        address=str(client.address),
        mac=client.mac or "",
        device=client.name,
        group=client.group,
        name=note.qname,
        kind=note.kind,
        action=decision.action.value,
        reason=decision.reason.value,
        rule_id=decision.rule_id,
        categories=decision.categories,
        version=note.version,
        count=seen.count,
        person=client.person or "",
    )
