"""What is recorded: queries counted where they are answered, and put out as events every two seconds.

Counting loses nothing: equal queries of a client become one event with their number, blocked ones too.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import compress, islice
from typing import Final

from gate_core.events import BLOCK, Batch, Counters, InForce, Outcome, Source, who_is
from gate_core.policy import Decision
from gate_core.ports import EventSink
from gate_dns.askers import Asker
from gate_dns.cache import Entry, Note
from gate_dns.given import GivenRecord
from gate_dns.messages.codes import mnemonic

INTERVAL_S: Final = 2.0
"""So long equal queries are counted together: pages tell of them a moment later."""
FLOOD_INTERVAL_S: Final = 10.0
"""The same at most while more is asked than any school asks, so that the record costs what it holds and not what is asked."""
FLOOD_S: Final = 0.5
"""So soon after one another ``UNCOUNTED`` queries are a flood."""
CAPACITY: Final = 32_768
"""Pairs of client and question counted at a time: more are put out at once."""
UNCOUNTED: Final = 16_384
"""Queries held until they are counted."""
PORTION: Final = 250
"""Events put out in one round of the loop: what takes longer would hold up answers."""

FLOOD: Final = "flood"
"""Reason of queries that were left unanswered because a device asked for too many."""

_MAX_NOTES: Final = 4096

Hits = defaultdict[Asker, list[Entry]]
"""What kept answers each client got, one by one."""
Made = tuple[Asker, str, Note, float, float]
"""Who asked for what name, what of it is recorded, the monotonic time of the query, and the seconds to its response."""


class Journal:
    """What a worker has counted, and its way to the recorder."""

    def __init__(
        self, events: EventSink, worker: int, now: float, given: Sequence[GivenRecord] = ()
    ) -> None:
        self._events = events
        self._given = given
        self._worker = worker
        self._began = now
        self._filled_at = self._flood_at = -math.inf
        """When ``UNCOUNTED`` queries were there last, and when they were so soon after those before."""
        self._version = 0
        self._made: list[Made] = []
        self._counted: defaultdict[Asker, Counter[Entry]] = defaultdict(Counter)
        """How often each client got each kept answer, but for ``hits``."""
        self._ending = _Interval({}, [], now)
        self._notes: dict[tuple[int, int, int, str], Note] = {}
        self._totals: dict[str, Counter[str]] = {
            "responses": Counter(kept=0, made=0, refused=0),
            "response_us": Counter(made=0),
            "upstream_responses": Counter(),
            "upstream_response_us": Counter(),
        }
        self.hits: Hits = defaultdict(list)
        """Queries answered by what was kept; always the same dictionary."""

    def note(self, decision: Decision, qtype: int, version: int, upstream: str = "") -> Note:
        """Return what is recorded of a query of the type ``qtype``.

        Args:
            decision: About it.
            qtype: What was asked for.
            version: Of the policy that decided.
            upstream: Who answered; "" where we did ourselves.
        """
        # By identity: a policy decides alike with one object. It is kept beside, so that its identity stays its own.
        key = (id(decision), qtype, version, upstream)
        note = self._notes.get(key)
        if note is None:
            if len(self._notes) >= _MAX_NOTES:
                self._notes.clear()
            outcome = Outcome(
                mnemonic(qtype),
                decision.action.value,
                decision.reason.value,
                decision.rule_id,
                decision.categories,
                version,
                upstream,
            )
            note = self._notes[key] = Note(decision, outcome)
        return note

    def count(self, asker: Asker, qname: str, note: Note, now: float, took_s: float = 0.0) -> None:
        """Count one query whose response was made for it; one that was kept is counted in ``hits``.

        Args:
            asker: Who asked.
            qname: For what name.
            note: What was decided.
            now: Monotonic time in seconds.
            took_s: Seconds since it came; 0 where it was answered at once.
        """
        self._made.append((asker, qname, note, now - took_s, took_s))

    def refused(self, asker: Asker, count: int, now: float) -> None:
        """Record that ``count`` queries were left unanswered because ``asker`` sent too many."""
        at_ms = _ms(now)
        who = who_is(asker.client)
        rule_id = f"{FLOOD}:{who.mac or who.address}"
        outcome = Outcome("", BLOCK, FLOOD, rule_id, 0, self._version, "")
        self._totals["responses"]["refused"] += count
        self._events.put(
            Batch(Source.DNS, (who,), (outcome,), (at_ms,), (0,), (0,), ("",), (count,), (0,))
        )

    def put_due(self, now: float) -> bool:
        """Put out some of what has been counted, where it is time or too much to hold.

        Returns:
            Whether there is more to put out in the next round.
        """
        if sum(map(len, self.hits.values())) >= UNCOUNTED:
            self.add_up(now)
            if now - self._filled_at < FLOOD_S:
                self._flood_at = now
            self._filled_at = now
        full = sum(map(len, self._counted.values())) + len(self._made) >= CAPACITY
        interval_s = FLOOD_INTERVAL_S if now - self._flood_at < FLOOD_S else INTERVAL_S
        if full or (not self._ending.left and now - self._began >= interval_s):
            self._put_rest()
            self._end_interval(now)
        self._put_portion()
        # Also what the recorder did not take before.
        self._events.flush()
        return bool(self._ending.left)

    def put_all(self, now: float) -> None:
        """Put out what has been counted."""
        self._put_rest()
        self._end_interval(now)
        self._put_rest()
        self._events.flush()

    def in_force(self, version: int, counts: Mapping[str, Mapping[str, int]] | None = None) -> None:
        """Say which policy version this worker acts on, and what it has counted since its start.

        Args:
            version: Of the policy.
            counts: What others have counted, by what and kind, besides what the journal itself has.
        """
        if version != self._version and not self._ending.left:
            # What was answered before a pause is not to be told after it, nor the other way round.
            self._end_interval(time.monotonic())
        self._version = version
        self._events.put(InForce(Source.DNS, self._worker, version))
        if counts is not None:
            mine = {what: dict(kinds) for what, kinds in self._totals.items()}
            self._events.put(Counters(Source.DNS, self._worker, {**mine, **counts}))
        self._events.flush()

    def _end_interval(self, now: float) -> None:
        self.add_up(now)
        self._ending = _Interval(self._counted, self._made, self._began)
        self._counted, self._made = defaultdict(Counter), []
        self._began = now

    def add_up(self, now: float) -> None:
        """Count the queries answered by what was kept."""
        for asker, entries in self.hits.items():
            for given in self._given:
                given.put_kept(asker, entries, now)
            self._counted[asker].update(entries)
        self.hits.clear()

    def _put_rest(self) -> None:
        while self._ending.left:
            self._put_portion()

    def _put_portion(self) -> None:
        ending = self._ending
        if hits := list(islice(ending.hits, PORTION)):
            ending.left -= len(hits)
            askers, entries, counts = zip(*hits, strict=True)
            self._totals["responses"]["kept"] += sum(counts)
            notes = [entry.note for entry in entries]
            names = [entry.qname for entry in entries]
            nothing = [0] * len(hits)
            self._put(askers, notes, names, [ending.at_ms] * len(hits), counts, nothing)
        elif made := list(islice(ending.made, PORTION)):
            ending.left -= len(made)
            self._put_made(made)

    def _put_made(self, made: Sequence[Made]) -> None:
        askers, names, notes, asked_at, took_s = zip(*made, strict=True)
        totals = self._totals
        took_us = [int(s * 1e6) for s in took_s]
        totals["responses"]["made"] += len(made)
        totals["response_us"]["made"] += sum(took_us)
        spent: defaultdict[Note, int] = defaultdict(int)
        for note, us in zip(notes, took_us, strict=True):
            spent[note] += us
        # At once, an answer was one that had been kept.
        for note, count in Counter(compress(notes, took_us)).items():
            if upstream := note.outcome.upstream:
                totals["upstream_responses"][upstream] += count
                totals["upstream_response_us"][upstream] += spent[note]
        offset = time.time() - time.monotonic()
        at_ms = [int((at + offset) * 1000) for at in asked_at]
        self._put(askers, notes, names, at_ms, [1] * len(made), took_us)

    def _put(
        self,
        askers: Sequence[Asker],
        notes: Sequence[Note],
        names: Sequence[str],
        at_ms: Sequence[int],
        counts: Sequence[int],
        took_us: Sequence[int],
    ) -> None:
        """Put out columns of events; clients and decisions that several share are put out once."""
        whos = {asker: place for place, asker in enumerate(dict.fromkeys(askers))}
        says = {note: place for place, note in enumerate(dict.fromkeys(notes))}
        batch = Batch(
            Source.DNS,
            tuple(who_is(asker.client) for asker in whos),
            tuple(note.outcome for note in says),
            at_ms,
            [whos[asker] for asker in askers],
            [says[note] for note in notes],
            names,
            counts,
            took_us,
        )
        self._events.put(batch)


class _Interval:
    """What was counted in one interval, until it has been put out."""

    def __init__(
        self, counted: Mapping[Asker, Counter[Entry]], made: list[Made], began: float
    ) -> None:
        self.hits = (
            (asker, entry, count)
            for asker, counts in counted.items()
            for entry, count in counts.items()
        )
        self.made = iter(made)
        self.at_ms = _ms(began)
        self.left = sum(map(len, counted.values())) + len(made)
        """Events not yet taken."""


def _ms(now: float) -> int:
    """Return the monotonic time ``now`` as milliseconds since 1970."""
    return int((time.time() - time.monotonic() + now) * 1000)
