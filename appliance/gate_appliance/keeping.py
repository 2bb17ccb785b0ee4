"""Keeps the log of decisions no longer than the school says, and its past days quick to search."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Final

from gate_appliance.activity import ActivityLog
from gate_core.config import ActivityConfig

AT_ONCE: Final = 2
"""Days that one run deletes at most: where the time is wrong by months, somebody notices before all is gone."""

THINNED: Final = "deleted by itself: activity that was allowed"
DELETED: Final = "deleted by itself: activity that was blocked"
"""What the record says; the subject is the day."""


def keep(
    log: ActivityLog, today: date, config: ActivityConfig, note: Callable[[str, str], None]
) -> None:
    """Delete what is over its time, and settle the days before ``today``.

    Args:
        log: The log.
        today: The school's day.
        config: For how long what is kept.
        note: Called with what was deleted and its day, for the record.

    Raises:
        OSError: The disk is nearly full, or refuses.
        sqlite3.Error: A file can't be changed; it stays as it was.
    """
    for action, work, days in (
        (DELETED, log.delete, config.blocked_days),
        (THINNED, log.thin, config.days),
    ):
        for _ in range(AT_ONCE):
            day = work(today - timedelta(days=days))
            if day is None:
                break
            note(action, day.isoformat())
    log.settle(today)
