"""Slows down whoever guesses passwords, and nobody else: each failure beyond the first few doubles the wait.

Failures count against where they come from, never against an account alone: else a pupil who fails on purpose would keep
the coordinator out. What many addresses together may try is bounded by ``admit``; where somebody has signed in before,
that bound and the failures of neighbours do not count.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Final

FREE_FAILURES: Final = 5
FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 300.0
"""Under 300 guesses a day from one place."""
FORGET_S: Final = 3600.0
"""Failures are forgotten so long after the last."""
MAX_KEYS: Final = 4096
MAX_FAMILIAR: Final = 256

STRANGERS_AT_ONCE: Final = 10
STRANGERS_EVERY_S: Final = 5.0
"""Addresses from which nobody has signed in may together try ten times at once, then once in five seconds."""

_Failures = tuple[int, float]


class Throttle:
    """Counts failures by key, and knows from which addresses somebody has signed in since the start."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failures: dict[str, _Failures] = {}
        self._familiar: dict[str, None] = {}
        self._strangers_free_s = float("-inf")

    def wait_s(self, *keys: str) -> float:
        """Return how long to wait before the next attempt; 0 where none is needed."""
        now = self._monotonic()
        with self._lock:
            return max(
                (_wait(self._failures[k], now) for k in keys if k in self._failures), default=0.0
            )

    def fail(self, *keys: str) -> None:
        """Count a failure against each of ``keys``."""
        now = self._monotonic()
        with self._lock:
            for key in keys:
                count, last = self._failures.pop(key, (0, now))
                self._failures[key] = (1 if now - last > FORGET_S else count + 1, now)
                # In the order of the last failure, so that the oldest goes when there are too many.
                if len(self._failures) > MAX_KEYS:
                    del self._failures[next(iter(self._failures))]

    def succeed(self, address: str, *keys: str) -> None:
        """Forget the failures of ``keys``, and remember that somebody signed in from ``address``."""
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)
            self._familiar.pop(address, None)
            self._familiar[address] = None
            if len(self._familiar) > MAX_FAMILIAR:
                del self._familiar[next(iter(self._familiar))]

    def knows(self, address: str) -> bool:
        """Tell whether somebody has signed in from ``address``."""
        with self._lock:
            return address in self._familiar

    def admit(self, address: str) -> bool:
        """Take a turn for ``address``; False where strangers have used up theirs for the moment."""
        now = self._monotonic()
        with self._lock:
            if address in self._familiar:
                return True
            free = max(self._strangers_free_s, now - STRANGERS_AT_ONCE * STRANGERS_EVERY_S)
            if free + STRANGERS_EVERY_S > now:
                return False
            self._strangers_free_s = free + STRANGERS_EVERY_S
            return True

    def place(self, address: str) -> str:
        """Return what failures from ``address`` count against: itself, or for a strange IPv6 address its /64.

        A device gives itself as many addresses of its /64 as it likes. One from which somebody has signed in
        stands for itself, because the neighbours in a school's /64 are the pupils.
        """
        if self.knows(address):
            return address
        try:
            its = ip_address(address.partition("%")[0])
        except ValueError:
            return address
        if not isinstance(its, IPv6Address):
            return address
        if its.ipv4_mapped:
            return str(its.ipv4_mapped)
        return f"{IPv6Address(int(its) >> 64 << 64)}/64"


def _wait(failures: _Failures, now: float) -> float:
    count, last = failures
    if count < FREE_FAILURES or now - last > FORGET_S:
        return 0.0
    wait = min(FIRST_WAIT_S * 2.0 ** min(count - FREE_FAILURES, 20), LONGEST_WAIT_S)
    return max(0.0, last + wait - now)
