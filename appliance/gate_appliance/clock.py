"""The wall clock, and when it may be believed."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

RELEASED: Final = datetime(2026, 11, 1, tzinfo=UTC)
"""No appliance runs before its program was written: an earlier time is a clock that was never set."""


class SystemClock:
    """The system's clock in the school's zone; unknown while it runs behind what was seen before.

    A Raspberry Pi has no battery for its clock: after a power cut it starts in the past.
    """

    def __init__(self, zone: str, state: Path) -> None:
        self.zone = ZoneInfo(zone)
        """The school's zone."""
        self._seen = state / "clock"
        try:
            self._floor = max(RELEASED.timestamp(), self._seen.stat().st_mtime)
        except FileNotFoundError:
            self._floor = RELEASED.timestamp()

    def now(self) -> datetime | None:
        """Return the time in the school's zone; None while it is not known."""
        now = datetime.now(self.zone)  # noqa: TID251  # this is the Clock
        return now if now.timestamp() >= self._floor else None

    def now_or_floor(self) -> datetime:
        """Return the time; where it is not known, the earliest that it can be."""
        return self.now() or datetime.fromtimestamp(self._floor, self.zone)

    def remember(self) -> None:
        """Keep the time, if known, as the earliest that a later start may believe."""
        now = self.now()
        if now is not None:
            self._seen.touch()
            os.utime(self._seen, (now.timestamp(), now.timestamp()))
