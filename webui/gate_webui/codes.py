"""The short codes on block pages, by which a pupil's question finds its answer on the page "Check a site".

In memory: what was blocked is in the record of activity anyway, and a code is for now. It tells no more than the pupil
who reads it out could.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so that no code is a word."""
LENGTH: Final = 4
MAX_CODES: Final = 2000
"""Of these the oldest goes first; one device with its own list of made-up names can't have more than a part."""
MAX_PER_CLIENT: Final = 50
LASTS_S: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A block page that somebody saw."""

    client: str
    """Address of the device."""
    name: str
    """The site."""
    at_s: float
    """When, by the monotonic clock."""


@dataclass(slots=True)
class Codes:
    """The codes of one process; may be used by any thread."""

    monotonic: Callable[[], float] = time.monotonic
    _shown: dict[str, Shown] = field(default_factory=dict)
    """By code, in the order of their making."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, client: str, name: str) -> str:
        """Return the code for a site that ``client`` sees blocked: the same as long as it is good."""
        now = self.monotonic()
        with self._lock:
            self._forget(now)
            its = [code for code, shown in self._shown.items() if shown.client == client]
            for code in its:
                if self._shown[code].name == name:
                    return code
            if len(its) >= MAX_PER_CLIENT:
                del self._shown[its[0]]
            elif len(self._shown) >= MAX_CODES:
                del self._shown[next(iter(self._shown))]
            code = self._new()
            self._shown[code] = Shown(client, name, now)
            return code

    def find(self, code: str) -> Shown | None:
        """Return the page that ``code`` was on, however it was typed; None where there is none any more."""
        with self._lock:
            self._forget(self.monotonic())
            return self._shown.get("".join(c for c in code.upper() if c in LETTERS))

    def _forget(self, now: float) -> None:
        old = [code for code, shown in self._shown.items() if now - shown.at_s > LASTS_S]
        for code in old:
            del self._shown[code]

    def _new(self) -> str:
        while True:
            code = "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
            if code not in self._shown:
                return code
