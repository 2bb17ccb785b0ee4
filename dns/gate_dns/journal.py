"""What is recorded: queries counted where they are answered, and put out as events about once a second.

Counting loses nothing: equal queries of a client become one event with their number, blocked ones too.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from gate_core.events import BLOCK, Batch, Counters, InForce, Outcome, Source, Who
from gate_core.policy import Decision
from gate_core.ports import EventSink
from gate_dns.askers import Asker
from gate_dns.cache import Note

INTERVAL_S: Final = 1.0
CAPACITY: Final = 32_768
"""Pairs of client and question counted at a time: more are put out at once."""
PORTION: Final = 100
"""Events put out in one round of the loop: what takes longer would hold up answers."""

FLOOD: Final = "flood"
"""Reason of queries that were left unanswered because a device asked for too many."""

_MAX_OUTCOMES: Final = 4096

Hits = Counter[tuple[Asker, Note]]
"""How often each client got each kept answer."""
Made = tuple[Asker, Note, float, float]
"""Who asked what, the monotonic time of the query, and the seconds to its response."""
_Columns = tuple[Sequence[tuple[Asker, Note]], Sequence[int], Sequence[int], Sequence[int]]


class Journal:
    """What a worker has counted, and its way to the recorder."""

    def __init__(self, events: EventSink, worker: int, now: float) -> None:
        self._events = events
        self._worker = worker
        self._began = now
        self._version = 0
        self._made: list[Made] = []
        self._ending = _Interval(Counter(), [], now)
        self._outcomes: dict[tuple[int, str, str], tuple[Outcome, Decision]] = {}
        self._totals: dict[str, Counter[str]] = {
            "responses": Counter(kept=0, made=0, refused=0),
            "response_us": Counter(made=0),
            "upstream_responses": Counter(),
            "upstream_response_us": Counter(),
        }
        self.hits: Hits = Counter()
        """Queries answered by what was kept; another counter after each interval."""

    def count(self, asker: Asker, note: Note, now: float, took_s: float = 0.0) -> None:
        """Count one query whose response was made for it; one that was kept is counted in ``hits``.

        Args:
            asker: Who asked.
            note: What was decided.
            now: Monotonic time in seconds.
            took_s: Seconds since it came; 0 where it was answered at once.
        """
        self._made.append((asker, note, now - took_s, took_s))

    def refused(self, asker: Asker, count: int, now: float) -> None:
        """Record that ``count`` queries were left unanswered because ``asker`` sent too many."""
        at_ms = _ms(now)
        who = _who(asker)
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
        full = len(self.hits) + len(self._made) >= CAPACITY
        if full or (not self._ending.left and now - self._began >= INTERVAL_S):
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
        self._version = version
        self._events.put(InForce(Source.DNS, self._worker, version))
        if counts is not None:
            mine = {what: dict(kinds) for what, kinds in self._totals.items()}
            self._events.put(Counters(Source.DNS, self._worker, {**mine, **counts}))
        self._events.flush()

    def _end_interval(self, now: float) -> None:
        self._ending = _Interval(self.hits, self._made, self._began)
        self.hits, self._made = Counter(), []
        self._began = now

    def _put_rest(self) -> None:
        while self._ending.left:
            self._put_portion()

    def _put_portion(self) -> None:
        kind, (pairs, at_ms, counts, took_us) = self._ending.take(PORTION)
        if not pairs:
            return
        whos: dict[Asker, int] = {}
        outcomes: dict[int, int] = {}
        listed: list[Outcome] = []
        who, outcome, names = [], [], []
        for asker, note in pairs:
            place = whos.get(asker)
            if place is None:
                place = whos[asker] = len(whos)
            who.append(place)
            says = note.outcome or self._outcome(note)
            # By identity, as a look at each of its parts would take longer.
            place = outcomes.get(id(says))
            if place is None:
                place = outcomes[id(says)] = len(listed)
                listed.append(says)
            outcome.append(place)
            names.append(note.qname)
        self._totals["responses"][kind] += sum(counts)
        if kind == "made":
            self._add_up(listed, outcome, took_us)
        by = tuple(map(_who, whos))
        self._events.put(Batch(Source.DNS, by, listed, at_ms, who, outcome, names, counts, took_us))

    def _add_up(
        self, listed: Sequence[Outcome], outcome: Sequence[int], took_us: Sequence[int]
    ) -> None:
        totals = self._totals
        totals["response_us"]["made"] += sum(took_us)
        for place, us in zip(outcome, took_us, strict=True):
            # At once, its answer was one that had been kept.
            if us and (upstream := listed[place].upstream):
                totals["upstream_responses"][upstream] += 1
                totals["upstream_response_us"][upstream] += us

    def _outcome(self, note: Note) -> Outcome:
        """Return what ``note`` says, as one object for all that say the same."""
        decision = note.decision
        # By identity: a policy decides alike with one object. It is kept beside, so that its identity stays its own.
        key = (id(decision), note.kind, note.upstream)
        known = self._outcomes.get(key)
        if known is None:
            if len(self._outcomes) >= _MAX_OUTCOMES:
                self._outcomes.clear()
            says = Outcome(
                note.kind,
                decision.action.value,
                decision.reason.value,
                decision.rule_id,
                decision.categories,
                note.version,
                note.upstream,
            )
            known = self._outcomes[key] = (says, decision)
        note.outcome = known[0]
        return note.outcome


class _Interval:
    """What was counted in one interval, until it has been put out."""

    def __init__(self, hits: Hits, made: list[Made], began: float) -> None:
        self._hits = hits
        self._rest = iter(hits.items())
        self._made = made
        self._at_ms = _ms(began)
        self.left = len(hits) + len(made)
        """Events not yet taken."""

    def take(self, most: int) -> tuple[str, _Columns]:
        """Return who asked what, when, how often, and how long it took, of at most so many events of one kind."""
        if hits := list(islice(self._rest, most)):
            self.left -= len(hits)
            pairs, counts = zip(*hits, strict=True)
            return "kept", (pairs, [self._at_ms] * len(hits), counts, [0] * len(hits))
        made = self._made[:most]
        del self._made[:most]
        self.left -= len(made)
        offset = time.time() - time.monotonic()
        return "made", (
            [(asker, note) for asker, note, _, _ in made],
            [int((asked_at + offset) * 1000) for _, _, asked_at, _ in made],
            [1] * len(made),
            [int(took_s * 1e6) for *_, took_s in made],
        )


def _who(asker: Asker) -> Who:
    client = asker.client
    return Who(
        str(client.address), client.mac or "", client.name, client.group, client.person or ""
    )


def _ms(now: float) -> int:
    """Return the monotonic time ``now`` as milliseconds since 1970."""
    return int((time.time() - time.monotonic() + now) * 1000)
