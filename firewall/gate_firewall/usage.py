"""Who has used how much, and for what: the ends of flows, summed for a minute by client and name.

Bounded: names beyond the limit are summed by client, and clients beyond it by group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final

from gate_core.events import MANY, Traffic, Who
from gate_firewall.conntrack import End
from gate_firewall.flows import render_address

EVERY_S: Final = 60.0

LIMIT: Final = 4096
"""Pairs of client and name within a minute."""

ROWS: Final = 32
"""Pairs in one message: with the longest names it stays below ``gate_core.events.MAX_DATAGRAM_OCTETS``."""

MESSAGES: Final = 16
"""Given away at a time: rendering them all would keep packets waiting."""


Named = Callable[[End], tuple[Who, str] | None]
"""Tells whose flow has ended, and by what name it was judged; None where it is nobody's, such as our own."""

_Sums = dict[tuple[Who, str], list[int]]


class Usage:
    """Sums what ended flows have carried."""

    def __init__(self, named: Named) -> None:
        self._named = named
        self._sums: _Sums = {}
        """Octets towards the client, octets from it, flows."""
        self._began_s = float("-inf")
        self._ending: Iterator[Traffic] = iter(())
        self._flows: Counter[str] = Counter(named=0, unknown=0)

    def note(self, end: End) -> None:
        """Add what ``end`` carried."""
        found = self._named(end)
        if found is None:
            self._flows["unknown"] += 1
            return
        self._flows["named"] += 1
        who, name = found
        down, up = end.received.octets, end.sent.octets
        if render_address(end.initiator) != who.address:
            # Opened from outside.
            down, up = up, down
        sums = self._sums_of(who, name)
        sums[0] += down
        sums[1] += up
        sums[2] += 1

    def _sums_of(self, who: Who, name: str) -> list[int]:
        of_group = (Who("", "", "", who.group, ""), MANY)
        for key, limit in (((who, name), LIMIT), ((who, MANY), 2 * LIMIT)):
            sums = self._sums.get(key)
            if sums is not None:
                return sums
            if len(self._sums) < limit:
                return self._sums.setdefault(key, [0, 0, 0])
        return self._sums.setdefault(of_group, [0, 0, 0])

    def take(self, at_ms: int, now_s: float) -> list[Traffic]:
        """Return the next messages to put out, at most ``MESSAGES``; call it about once a second while the time is known.

        Args:
            at_ms: Milliseconds since 1970.
            now_s: Monotonic time.
        """
        messages = list(islice(self._ending, MESSAGES))
        if not messages and now_s - self._began_s >= EVERY_S:
            self._ending = _messages(self._sums, at_ms)
            self._sums, self._began_s = {}, now_s
        return messages

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return how many ended flows were somebody's, and how many were not (``gate_core.events.Counters``)."""
        return {"flows_ended": dict(self._flows)}


def _messages(sums: _Sums, at_ms: int) -> Iterator[Traffic]:
    rows = iter(sums.items())
    while some := list(islice(rows, ROWS)):
        whos: dict[Who, int] = {}
        places = [whos.setdefault(who, len(whos)) for (who, _), _ in some]
        down, up, flows = zip(*(carried for _, carried in some), strict=True)
        yield Traffic(at_ms, tuple(whos), places, [name for (_, name), _ in some], down, up, flows)
