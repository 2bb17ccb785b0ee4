"""Who has used how much, and for what: the ends of flows, one by one and summed for a minute by client and name.

Bounded: names beyond the limit are summed by client, and clients beyond it by group; ends beyond it are in the sums alone.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from gate_core.events import MANY, EndedFlows, Traffic, Who
from gate_firewall.conntrack import End
from gate_firewall.flows import render_address

EVERY_S: Final = 60.0

LIMIT: Final = 4096
"""Pairs of client and name within a minute."""

ROWS: Final = 32
"""Pairs in one message: with the longest names it stays below ``gate_core.events.MAX_DATAGRAM_OCTETS``."""

MESSAGES: Final = 16
"""Given away at a time: rendering them all would keep packets waiting."""

ENDED: Final = 2048
"""Ends that wait to be given away, one by one."""

ENDED_ROWS: Final = 400
"""Ends in one message, as many as there is room for."""


class Ended(NamedTuple):
    """What is known of a flow that has ended."""

    who: Who
    name: str
    """By which it was judged."""
    remote: str
    """As in its event."""
    allowed_ms: int
    """When its event said that it is allowed, in milliseconds since 1970; 0 where none did."""


Known = Callable[[End], Ended | None]
"""Tells what is known of a flow that has ended; None where it is nobody's, such as our own."""

_Sums = dict[tuple[Who, str], list[int]]


class Usage:
    """Sums what ended flows have carried."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._ended: deque[tuple[int, str, str, int, int]] = deque(maxlen=ENDED)
        """As the rows of ``gate_core.events.EndedFlows``."""
        self._sums: _Sums = {}
        """Octets towards the client, octets from it, flows."""
        self._began_s = float("-inf")
        self._ending: Iterator[Traffic] = iter(())
        self._flows: Counter[str] = Counter(named=0, unknown=0, summed=0)

    def note(self, end: End) -> None:
        """Add what ``end`` carried."""
        found = self._known(end)
        if found is None:
            self._flows["unknown"] += 1
            return
        self._flows["named"] += 1
        who = found.who
        down, up = end.received.octets, end.sent.octets
        if render_address(end.initiator) != who.address:
            # Opened from outside.
            down, up = up, down
        if found.allowed_ms:
            if len(self._ended) == ENDED:
                self._flows["summed"] += 1
            self._ended.append((found.allowed_ms, who.address, found.remote, down, up))
        sums = self._sums_of(who, found.name)
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

    def take_ended(self) -> Iterator[EndedFlows]:
        """Yield what has ended since the last time, one by one; call it about once a second."""
        while rows := [self._ended.popleft() for _ in range(min(ENDED_ROWS, len(self._ended)))]:
            yield EndedFlows(*map(list, zip(*rows, strict=True)))

    def take(self, at_ms: int, now_s: float) -> list[Traffic]:
        """Return the next sums to put out, at most ``MESSAGES``; call it about once a second while the time is known.

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
        """Return how many ended flows were somebody's, or nobody's, or in sums alone (``gate_core.events.Counters``)."""
        return {"flows_ended": dict(self._flows)}


def _messages(sums: _Sums, at_ms: int) -> Iterator[Traffic]:
    rows = iter(sums.items())
    while some := list(islice(rows, ROWS)):
        whos: dict[Who, int] = {}
        places = [whos.setdefault(who, len(whos)) for (who, _), _ in some]
        down, up, flows = zip(*(carried for _, carried in some), strict=True)
        yield Traffic(at_ms, tuple(whos), places, [name for (_, name), _ in some], down, up, flows)
