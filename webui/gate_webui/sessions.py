"""Who is signed in: kept in memory, so that signing out ends a session whoever has a copy of its cookie.

The cookie holds a random id and nothing else that counts. Sessions end with the process; times are those of a
monotonic clock, which no clock change moves.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

MAX_SESSIONS: Final = 1000
"""Far more than a school has devices of staff; the one unused for longest goes first."""


@dataclass(frozen=True, slots=True)
class Session:
    """One browser in which somebody has signed in."""

    username: str
    epoch: int
    """The account's when it began."""
    began: float
    seen: float


class Sessions:
    """All sessions of this process."""

    def __init__(
        self, idle_s: float, session_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._idle_s = idle_s
        self._session_s = session_s
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def begin(self, username: str, epoch: int) -> str:
        """Begin a session and return its id."""
        now = self._monotonic()
        id_ = secrets.token_urlsafe(32)
        with self._lock:
            live = {k: s for k, s in self._sessions.items() if self._lives(s, now)}
            while len(live) >= MAX_SESSIONS:
                del live[min(live, key=lambda k: live[k].seen)]
            self._sessions = {**live, id_: Session(username, epoch, now, now)}
        return id_

    def find(self, id_: str, *, touch: bool) -> Session | None:
        """Return the session ``id_`` if it has not ended; ``touch`` it to keep it from growing idle."""
        now = self._monotonic()
        with self._lock:
            session = self._sessions.get(id_)
            if session is None or not self._lives(session, now):
                return None
            if touch:
                self._sessions[id_] = replace(session, seen=now)
            return session

    def end(self, id_: str) -> None:
        """End a session, if there is one of that id."""
        with self._lock:
            self._sessions.pop(id_, None)

    def _lives(self, session: Session, now: float) -> bool:
        return now - session.seen < self._idle_s and now - session.began < self._session_s
