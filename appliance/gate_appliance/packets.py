"""How the firewall does, beyond being there.

Which of its processes are missing, what it has found wrong with the kernel, packets that it had no time for, and names that
it can't read any more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from statistics import median
from typing import Final

from gate_appliance.activity import ActivityLog
from gate_appliance.recorder import Recorder
from gate_core.clients import Group
from gate_core.config import FirewallConfig
from gate_core.desk import Component, QueueView
from gate_core.events import Counters, Source
from gate_core.ports import Clock

DROPS_TOLD_FOR_S: Final = 600.0

MIN_FLOWS: Final = 200
"""Of a group in a day: the share of fewer says nothing."""
MIN_DAYS: Final = 3
USUAL_DAYS: Final = 14
"""The newest days before today that tell what is usual."""
FALL: Final = 0.15
"""Below the usual share by so much is told: seven times what chance does to 200 flows of which nine in ten show
a name, as one device opens many flows that are alike."""

_LOOK_EVERY_S: Final = 60.0

_DROPPED: Final = ("queue_dropped_full", "queue_dropped_unread")
_PASSED: Final = ("passed_unjudged",)

_Shares = Mapping[str, float]
"""Group to its share of flows with a readable name."""


class Packets:
    """Looks at what the firewall has found and counted; used by one thread at a time."""

    def __init__(
        self,
        recorder: Recorder,
        activity: ActivityLog,
        clock: Clock,
        config: FirewallConfig,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know nothing yet.

        Args:
            recorder: Where the firewall's findings and counters arrive.
            activity: Where it is written how many flows of each day showed a name.
            clock: For what is today.
            config: How many processes it has, and which queues.
            now: Monotonic time in seconds.
        """
        self._recorder = recorder
        self._activity = activity
        self._clock = clock
        self._config = config
        self._now = now
        self._drops = _Lately(_DROPPED)
        self._passes = _Lately(_PASSED)
        self._looked_at = float("-inf")
        self._fallen: Mapping[str, tuple[float, float]] = {}
        """Group to today's share and the usual one."""
        self._usual: tuple[date, _Shares] = (date.min, {})

    def fault(self, groups: Mapping[str, Group]) -> Component | None:
        """Return what is wrong, as the state of the component ``firewall``; None where nothing is known to be."""
        now = self._now()
        for each in (self._drops, self._passes):
            each.count(self._counters(), now)
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._fallen, self._looked_at = self._find_fallen(), now
        found = self._recorder.findings(Source.FIREWALL)
        sentences = [
            *self._missing_words(),
            *found,
            *self._drop_words(),
            *self._pass_words(),
            *self._fall_words(groups),
        ]
        return (
            Component(Source.FIREWALL.value, "degraded", " ".join(sentences)) if sentences else None
        )

    def queues(self) -> tuple[QueueView, ...]:
        """Return how the queues of the processes that are alive do, by number."""
        alive, open_from = self._alive(), self._config.queue + self._config.workers
        found = []
        for counters in self._counters():
            if counters.worker in alive:
                counts = counters.counts
                found += [
                    QueueView(
                        int(number),
                        "closed" if int(number) < open_from else "open",
                        waiting,
                        sum(counts.get(what, {}).get(number, 0) for what in _DROPPED),
                    )
                    for number, waiting in counts.get("queue_waiting", {}).items()
                    # Of 16 bits; what a part sends is not taken on trust.
                    if number.isdecimal() and len(number) <= 5
                ]
        return tuple(sorted(found, key=lambda queue: queue.number))

    def _alive(self) -> set[int]:
        alive = self._recorder.alive()
        return {message.worker for message in alive if message.source is Source.FIREWALL}

    def _counters(self) -> list[Counters]:
        return [c for c in self._recorder.counters() if c.source is Source.FIREWALL]

    def _missing_words(self) -> Iterator[str]:
        alive = self._alive()
        for worker in range(1, self._config.workers + 1):
            if worker not in alive:
                name = "firewall" if worker == 1 else f"firewall-{worker}"
                yield (
                    f"The process {name}, one of {self._config.workers}, does not answer: new connections that it would look at"
                    " are held closed, or let through for groups that fail open."
                )

    def _find_fallen(self) -> dict[str, tuple[float, float]]:
        at = self._clock.now()
        if at is None:
            return {}
        today = at.date()
        if self._usual[0] != today:
            self._usual = (today, self._usual_before(today))
        usual = self._usual[1]
        return {
            group: (share, usual[group])
            for group, share in self._shares(today).items()
            if group in usual and share <= usual[group] - FALL
        }

    def _usual_before(self, today: date) -> _Shares:
        days = [day for day in self._activity.days() if day < today][-USUAL_DAYS:]
        shares: dict[str, list[float]] = {}
        for day in days:
            for group, share in self._shares(day).items():
                shares.setdefault(group, []).append(share)
        return {group: median(its) for group, its in shares.items() if len(its) >= MIN_DAYS}

    def _shares(self, day: date) -> _Shares:
        rows = self._activity.read_sums(
            "readable",
            day,
            "select grp, 1.0 * readable / flows as share from readable where flows >= ?",
            [MIN_FLOWS],
        )
        return {row["grp"]: row["share"] for row in rows}

    def _drop_words(self) -> Iterator[str]:
        if count := self._drops.total():
            yield (
                f"{count:,} packets were dropped within the last {DROPS_TOLD_FOR_S / 60:.0f} minutes, because more"
                " connections began than the box could look at: pages may have opened slowly or not at all."
            )

    def _pass_words(self) -> Iterator[str]:
        if count := self._passes.total():
            yield (
                f"{count:,} packets of groups that stay open passed unjudged within the last {DROPS_TOLD_FOR_S / 60:.0f} minutes,"
                " because the filter was away or had too much to do."
            )

    def _fall_words(self, groups: Mapping[str, Group]) -> Iterator[str]:
        for id_, (share, usual) in self._fallen.items():
            title = groups[id_].title if id_ in groups else id_
            yield (
                f"{title}: of 100 connections today only {share * 100:.0f} show the name of a site, where {usual * 100:.0f}"
                " usually do. Devices may hide names (ECH), or look them up elsewhere (encrypted DNS, VPN)."
            )


class _Lately:
    """How much of something workers have counted of late."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self._kinds = kinds
        self._counted: dict[int, int] = {}
        """Worker to what it has counted since its start."""
        self._news: deque[tuple[float, int]] = deque()

    def count(self, counters: Iterable[Counters], now: float) -> None:
        """Take what each worker has counted by ``now``, monotonic."""
        before = self._counted
        # Who has begun anew may not know yet.
        self._counted = before | {
            c.worker: sum(sum(c.counts.get(kind, {}).values()) for kind in self._kinds)
            for c in counters
            if not c.counts.keys().isdisjoint(self._kinds)
        }
        for worker, counted in self._counted.items():
            # What was before our own start is not of late; lower than before, the worker has begun anew.
            last = before.get(worker, counted)
            news = counted - last if counted >= last else counted
            if news:
                self._news.append((now, news))
        while self._news and now - self._news[0][0] > DROPS_TOLD_FOR_S:
            self._news.popleft()

    def total(self) -> int:
        """Return how much there is."""
        return sum(news for _, news in self._news)
