"""Events that wait to be sent or written: bounded, and blocked decisions are the last to go.

Where there is no room for more, the oldest lose first what was allowed, then the names of what was blocked, which from
then on is only counted by client and rule, and only then that, too. What is lost is counted.
"""

from __future__ import annotations

from collections import Counter, deque

from gate_core.events import ALLOW, BLOCK, MANY, Batch


class Backlog:
    """Batches in the order of their coming; not for several threads at a time."""

    def __init__(self, capacity: int) -> None:
        """Hold at most ``capacity`` events."""
        self._capacity = capacity
        self._whole: deque[Batch] = deque()
        self._blocked: deque[Batch] = deque()
        self._folded: deque[Batch] = deque()
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
        """Give the oldest away; None where nothing waits."""
        for stage in (self._folded, self._blocked, self._whole):
            if stage:
                batch = stage.popleft()
                self._count -= len(batch)
                return batch
        return None

    def _make_room(self) -> None:
        if self._count <= self._capacity:
            return
        # A quarter at a time, so that a full one does not cost something for each event.
        wanted = self._capacity * 3 // 4
        while self._count > wanted and self._whole:
            batch = self._whole.popleft()
            self._reduce(batch, batch.of_action(BLOCK), self._blocked)
        while self._count > wanted and self._blocked:
            batch = self._blocked.popleft()
            self._reduce(batch, _folded(batch), self._folded)
        while self._count > wanted and self._folded:
            batch = self._folded.popleft()
            self._reduce(batch, batch.part(0, 0), self._folded)

    def _reduce(self, batch: Batch, kept: Batch, into: deque[Batch]) -> None:
        self._count -= len(batch) - len(kept)
        self.dropped += batch.by_action() - kept.by_action()
        if kept:
            into.append(kept)


def _folded(batch: Batch) -> Batch:
    """Return ``batch`` with one event for each client and outcome."""
    at: dict[tuple[int, int], int] = {}
    counts: list[int] = []
    first: list[int] = []
    names: list[str] = []
    for place, pair in enumerate(zip(batch.who, batch.outcome, strict=True)):
        its = at.setdefault(pair, len(at))
        if its == len(counts):
            counts.append(batch.counts[place])
            first.append(place)
            names.append(batch.names[place])
        else:
            counts[its] += batch.counts[place]
            if names[its] != batch.names[place]:
                names[its] = MANY
    return Batch(
        batch.source,
        batch.whos,
        batch.outcomes,
        [batch.at_ms[place] for place in first],
        [who for who, _ in at],
        [outcome for _, outcome in at],
        names,
        counts,
        [batch.took_us[place] for place in first],
    )
