"""Slows down whoever guesses passwords: each failure beyond the first few doubles the wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

FREE_FAILURES: Final = 5
FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 300.0
"""So short that nobody keeps the coordinator out for long by failing on purpose; still under 300 guesses a day."""
FORGET_S: Final = 3600.0
"""Failures are forgotten so long after the last."""
MAX_KEYS: Final = 4096

_Failures = tuple[int, float]


class Throttle:
    """Counts failures by key, such as an account's name or a client's address."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failures: dict[str, _Failures] = {}

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

    def succeed(self, *keys: str) -> None:
        """Forget the failures of ``keys``."""
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)


def _wait(failures: _Failures, now: float) -> float:
    count, last = failures
    if count < FREE_FAILURES or now - last > FORGET_S:
        return 0.0
    wait = min(FIRST_WAIT_S * 2.0 ** min(count - FREE_FAILURES, 20), LONGEST_WAIT_S)
    return max(0.0, last + wait - now)
