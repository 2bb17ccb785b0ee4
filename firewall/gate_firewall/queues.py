"""How the queues do: what waits in them, what the kernel dropped because nobody took it in time, and what it let pass.

What passes a queue that fails open is counted by a rule behind it: net/netfilter/nfnetlink_queue.c adds up only what it
drops.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from gate_firewall.repeated import Repeated

_LOG: Final = logging.getLogger(__name__)

LISTING: Final = Path("/proc/net/netfilter/nfnetlink_queue")
"""The queues of this network namespace."""

_LOG_EVERY_S: Final = 60.0
_READ_EVERY_S: Final = 10.0

_COLUMNS: Final = 9
_WRAPS_AT: Final = 1 << 32


class MalformedQueuesError(ValueError):
    """A text that is no list of queues."""


class QueueState(NamedTuple):
    """What the kernel says of a queue; the counts are of its time under the process that listens, and modulo 2^32."""

    number: int
    waiting: int
    """Packets without a verdict."""
    dropped_full: int
    """Packets that found it full."""
    dropped_unread: int
    """Packets for which the listener's socket had no room."""
    queued: int
    """Packets so far."""


def parse_queues(text: str) -> tuple[QueueState, ...]:
    """Return the queues in a listing (seq_show() in net/netfilter/nfnetlink_queue.c).

    Raises:
        MalformedQueuesError: A line has other columns.
    """
    found = []
    for line in text.splitlines():
        try:
            number, _, waiting, _, _, full, unread, queued, _ = map(int, line.split())
        except ValueError:
            raise MalformedQueuesError(
                f"parsing {line[:80]!r}: {_COLUMNS} numbers are allowed"
            ) from None
        found.append(QueueState(number, waiting, full, unread, queued))
    return tuple(found)


class UnjudgedWatch(Repeated):
    """Reads how many packets have passed unjudged, in a thread, which waits for ``nft`` nearly all of the time."""

    def __init__(self, read: Callable[[], int]) -> None:
        """Know nothing yet; ``read`` gives how many there are, and raises OSError or ValueError where it can't."""
        super().__init__("unjudged", _READ_EVERY_S)
        self._read = read
        self._packets: int | None = None

    def look(self) -> None:
        """Read once."""
        try:
            packets = self._read()
        except (OSError, ValueError) as e:
            _LOG.warning("action=count-unjudged fault=%s", e)
            return
        if self._packets is not None and packets > self._packets:
            _LOG.warning("packets passed unjudged count=%d", packets - self._packets)
        self._packets = packets

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return how many packets have passed unjudged, once that is known (``gate_core.events.Counters``)."""
        return {} if self._packets is None else {"passed_unjudged": {"packets": self._packets}}


class QueueWatch:
    """Reads how our queues do, each time it is asked."""

    def __init__(self, numbers: Collection[int], listing: Path = LISTING) -> None:
        """Know nothing yet.

        Args:
            numbers: Of our queues; others' are left out.
            listing: Where the kernel lists all.
        """
        self._numbers = frozenset(numbers)
        self._listing = listing
        self._dropped: Mapping[int, tuple[int, int]] = {}
        """Of each queue, at the last reading."""
        self._unlogged_full = self._unlogged_unread = 0
        self._logged_at_s = float("-inf")

    def counts(self, now_s: float) -> Mapping[str, Mapping[str, int]]:
        """Return the state of the queues by number (``gate_core.events.Counters``); log what was dropped since.

        Args:
            now_s: Monotonic time.

        Raises:
            OSError: The kernel has no queues.
            MalformedQueuesError: It lists them in another form.
        """
        listed = parse_queues(self._listing.read_text())
        states = [state for state in listed if state.number in self._numbers]
        self._note_dropped(states)
        self._log_dropped(now_s)
        return {
            "queue_waiting": {str(s.number): s.waiting for s in states},
            "queue_packets": {str(s.number): s.queued for s in states},
            "queue_dropped_full": {str(s.number): s.dropped_full for s in states},
            "queue_dropped_unread": {str(s.number): s.dropped_unread for s in states},
        }

    def _note_dropped(self, states: Iterable[QueueState]) -> None:
        before = self._dropped
        self._dropped = {s.number: (s.dropped_full, s.dropped_unread) for s in states}
        for number, (full, unread) in self._dropped.items():
            full_before, unread_before = before.get(number, (0, 0))
            self._unlogged_full += (full - full_before) % _WRAPS_AT
            self._unlogged_unread += (unread - unread_before) % _WRAPS_AT

    def _log_dropped(self, now_s: float) -> None:
        full, unread = self._unlogged_full, self._unlogged_unread
        if (full or unread) and now_s - self._logged_at_s >= _LOG_EVERY_S:
            _LOG.warning("packets dropped unjudged full=%d unread=%d", full, unread)
            self._unlogged_full = self._unlogged_unread = 0
            self._logged_at_s = now_s
