"""Queries that wait until the kernel has learnt whose address they came from.

A redirected query can reach us before the kernel has had a reason to ask who is there, and a device that is not known
gets the strictest answer. The kernel knows within milliseconds on a cable and within tenths of a second by radio, where an
access point holds broadcasts back for those that sleep: sooner than any client repeats its query.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from gate_core.ports import NeighbourTable

WAIT_S: Final = 0.5
"""Longest wait of a query; clients repeat theirs after a second at the soonest, and the kernel its own too."""
FIRST_LOOK_S: Final = 0.0005
"""After this time the kernel is asked again, and then each time after twice as long."""
MAX_STRANGERS: Final = 256
"""Addresses waited for at a time: forged ones must not fill the memory. Whoever is one too many is not waited for."""
MAX_QUERIES: Final = 64
"""Of one address: what a computer asks for when it wakes up..."""
MAX_ALL_QUERIES: Final = 2048
"""... and of all, so that they take some megabytes at most. A client repeats what stays unanswered."""

Go = Callable[[], None]
"""Takes up a query that has waited, or lets it go."""


@dataclass(slots=True)
class _Stranger:
    queries: list[Go]
    until: float
    """Monotonic time in seconds, as all times here."""
    look_at: float
    pause_s: float


class Strangers:
    """Who is waited for."""

    def __init__(self, neighbours: NeighbourTable) -> None:
        self._neighbours = neighbours
        self._all: dict[bytes, _Stranger] = {}
        self._queries = 0

    def __len__(self) -> int:
        return len(self._all)

    def wait(self, source: bytes, go: Go, drop: Go, now: float) -> bool:
        """Tell whether a query from ``source`` (4 or 16 octets) is to wait.

        If so, either ``go`` is called, in ``look``, or ``drop``, at once where there are too many.
        """
        stranger = self._all.get(source)
        if stranger is None:
            address = ip_address(source)
            if (
                self._neighbours.mac(address)
                or len(self._all) >= MAX_STRANGERS
                or not self._neighbours.solicit(address)
            ):
                return False
            stranger = _Stranger([], now + WAIT_S, now + FIRST_LOOK_S, FIRST_LOOK_S)
            self._all[source] = stranger
        if len(stranger.queries) < MAX_QUERIES and self._queries < MAX_ALL_QUERIES:
            stranger.queries.append(go)
            self._queries += 1
        else:
            drop()
        return True

    def look(self, now: float) -> None:
        """Take up the queries of those whom the kernel has learnt by now, or whose time is over; to be called often."""
        for source, stranger in tuple(self._all.items()):
            if stranger.look_at > now:
                continue
            if stranger.until > now and not self._is_known(source):
                stranger.pause_s *= 2
                stranger.look_at = min(now + stranger.pause_s, stranger.until)
                continue
            del self._all[source]
            self._queries -= len(stranger.queries)
            for go in stranger.queries:
                go()

    def _is_known(self, source: bytes) -> bool:
        try:
            return self._neighbours.mac(ip_address(source)) is not None
        except (OSError, ValueError):
            # Whoever takes up the query meets the fault, too, and tells of it.
            return True
