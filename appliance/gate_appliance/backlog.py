"""Events that wait to be sent or written: bounded, and what matters most is the last to go.

Where there is no room for more, the oldest lose first what was allowed. Of what was blocked go first the names, which
from then on is only counted by client and rule, then the clients, so that it is counted by rule, and only then that, too.
What is flooded by anybody, forged addresses and all, does not push out what weighs more: floods and tunnels are touched
only when nothing of other rules is left, and the illegal tier when nothing else is. What is lost is counted.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Final

from gate_core.events import ALLOW, BLOCK, MANY, Batch, Outcome, Who

_WEIGHTS: Final = {"flood": 1, "tunnel": 1, "illegal": 2}
"""By the reason of what was blocked; all other reasons weigh nothing."""


class Backlog:
    """Batches in the order of their coming; not for several threads at a time."""

    def __init__(self, capacity: int) -> None:
        """Hold at most ``capacity`` events."""
        self._capacity = capacity
        self._whole: deque[Batch] = deque()
        self._stages = (_Stage(), _Stage(), _Stage())
        """What was blocked, by weight."""
        self._count = 0
        self.dropped: Counter[str] = Counter({ALLOW: 0, BLOCK: 0})
        """Decisions lost for want of room, by action."""

    def __len__(self) -> int:
        return self._count

    def put(self, batch: Batch) -> None:
        """Take ``batch`` as the newest."""
        self._whole.append(batch)
        self._count += len(batch)
        self._make_room()

    def put_back(self, batch: Batch) -> None:
        """Take back what ``take`` gave."""
        self._whole.appendleft(batch)
        self._count += len(batch)
        self._make_room()

    def take(self) -> Batch | None:
        """Give away the oldest, first of what there was no room for as it came; None where nothing waits."""
        for held in (
            *(h for s in reversed(self._stages) for h in (s.folded, s.listed)),
            self._whole,
        ):
            if held:
                batch = held.popleft()
                self._count -= len(batch)
                return batch
        return None

    def _make_room(self) -> None:
        if self._count <= self._capacity:
            return
        # A quarter at a time, so that a full one does not cost something for each event.
        wanted = self._capacity * 3 // 4
        while self._count > wanted and self._whole:
            self._sort(self._whole.popleft())
        for stage in self._stages:
            if self._count <= wanted:
                return
            before = len(stage)
            self.dropped[BLOCK] += stage.shrink(before - (self._count - wanted))
            self._count += len(stage) - before

    def _sort(self, batch: Batch) -> None:
        """Put what ``batch`` says was blocked into the stages, and drop the rest."""
        weights = [_WEIGHTS.get(o.reason, 0) if o.action == BLOCK else -1 for o in batch.outcomes]
        if len(set(weights)) == 1 and weights[0] >= 0:
            self._stages[weights[0]].listed.append(batch)
            return
        self._count -= len(batch)
        for weight, stage in enumerate(self._stages):
            if weight in weights and (kept := _where(batch, weights, weight)):
                stage.listed.append(kept)
                self._count += len(kept)
        self.dropped[ALLOW] += batch.by_action()[ALLOW]


class _Stage:
    """Blocked decisions of one weight, the oldest first."""

    def __init__(self) -> None:
        self.folded: deque[Batch] = deque()
        """Older than those listed, and without names."""
        self.listed: deque[Batch] = deque()

    def __len__(self) -> int:
        return sum(map(len, self.folded)) + sum(map(len, self.listed))

    def shrink(self, wanted: int) -> int:
        """Shrink to ``wanted`` events, with the least loss; return how many decisions are lost altogether."""
        while (excess := len(self) - wanted) > 0 and self.listed:
            # Together, as there may be thousands of one event each; not all, as the newest are to keep their names.
            oldest: list[Batch] = []
            while self.listed and excess > 0:
                oldest.append(self.listed.popleft())
                excess -= len(oldest[-1])
            self.folded += _folded(oldest)
        if len(self) > wanted:
            self.folded = deque(_folded(self.folded))
        if len(self) > wanted:
            self.folded = deque(_folded(map(_without_clients, self.folded)))
        lost = 0
        while (excess := len(self) - wanted) > 0 and self.folded:
            batch = self.folded.popleft()
            lost += sum(batch.counts[:excess])
            if len(batch) > excess:
                self.folded.appendleft(batch.part(excess, len(batch)))
        return lost


def _where(batch: Batch, weights: list[int], weight: int) -> Batch:
    """Return the events of those outcomes that have ``weight``."""
    places = [place for place, its in enumerate(batch.outcome) if weights[its] == weight]
    return Batch(
        batch.source,
        batch.whos,
        batch.outcomes,
        [batch.at_ms[place] for place in places],
        [batch.who[place] for place in places],
        [batch.outcome[place] for place in places],
        [batch.names[place] for place in places],
        [batch.counts[place] for place in places],
        [batch.took_us[place] for place in places],
        [batch.remotes[place] for place in places] if batch.remotes else (),
    )


def _without_clients(batch: Batch) -> Batch:
    """Return ``batch`` without saying of anything who asked, for which type, and who answered."""
    return Batch(
        batch.source,
        [Who("", "", "", who.group, "") for who in batch.whos],
        [outcome._replace(kind="", upstream="") for outcome in batch.outcomes],
        batch.at_ms,
        batch.who,
        batch.outcome,
        batch.names,
        batch.counts,
        batch.took_us,
    )


def _folded(held: Iterable[Batch]) -> list[Batch]:
    """Return ``held`` as one batch of each source, with one event for each client and outcome."""
    by_source: dict[str, list[Batch]] = {}
    for batch in held:
        by_source.setdefault(batch.source.value, []).append(batch)
    return [_fold(batches) for batches in by_source.values()]


def _fold(held: list[Batch]) -> Batch:
    whos: dict[Who, int] = {}
    outcomes: dict[Outcome, int] = {}
    at: dict[tuple[int, int], int] = {}
    at_ms: list[int] = []
    names: list[str] = []
    counts: list[int] = []
    took_us: list[int] = []
    for batch in held:
        for place, (who, outcome) in enumerate(zip(batch.who, batch.outcome, strict=True)):
            pair = (
                whos.setdefault(batch.whos[who], len(whos)),
                outcomes.setdefault(batch.outcomes[outcome], len(outcomes)),
            )
            its = at.setdefault(pair, len(at))
            if its == len(names):
                at_ms.append(batch.at_ms[place])
                names.append(batch.names[place])
                counts.append(batch.counts[place])
                took_us.append(batch.took_us[place])
            else:
                counts[its] += batch.counts[place]
                if names[its] != batch.names[place]:
                    names[its] = MANY
    return Batch(
        held[0].source,
        tuple(whos),
        tuple(outcomes),
        at_ms,
        [who for who, _ in at],
        [outcome for _, outcome in at],
        names,
        counts,
        took_us,
    )
