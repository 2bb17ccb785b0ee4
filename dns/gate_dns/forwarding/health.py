"""How an upstream does, as its answers and silences tell; pure."""

from __future__ import annotations

from typing import Final, NamedTuple

SHUN_S: Final = 5.0
"""How long an upstream that gave no answer is asked last, and how often it is tried meanwhile."""
RESEND_S: Final = 0.7
"""When a question is sent once more at the latest: on a school's line a lost datagram is likelier than a dead resolver."""
SOONEST_RESEND_S: Final = 0.3
_WEIGHT: Final = 1 / 8
"""Of the newest round trip in the smoothed one (RFC 6298, section 2)."""


class UpstreamHealth(NamedTuple):
    """What is shown of an upstream."""

    name: str
    """As configured."""
    shunned: bool
    """Whether it is asked last, as it gave no answer when it was last asked."""
    fault: str
    """What was wrong then; "" where nothing is."""
    answers: int
    failures: int
    took_s: float
    """Seconds that all answers together took."""
    rtt_s: float | None
    """Smoothed time of an answer; None before the first."""
    ports: int
    """Sockets and connections that are open."""
    mixed_case: bool
    """Whether it gives back the letter case of questions."""


class EdnsSupport:
    """Whether questions go out with EDNS (RFC 6891), which a few old upstreams refuse.

    A resolver may pass on the fault of a name's own servers, which says nothing of itself.
    """

    __slots__ = ("_refused", "off_until")

    TRIES: Final = 4
    """Registered names in a row that were refused with EDNS and answered without, until an upstream is spared it."""
    OFF_S: Final = 300.0
    """How long it is: without EDNS nobody learns whether answers are validated, or why there is none."""

    def __init__(self) -> None:
        self._refused: set[str] = set()
        self.off_until = 0.0
        """Monotonic time in seconds from which on EDNS is used."""

    def understood(self) -> None:
        """Take note of an answer to a question with EDNS."""
        if self._refused:
            self._refused.clear()

    def refused(self, registered: str, now: float) -> None:
        """Take note that a question below ``registered`` got an answer only without EDNS."""
        self._refused.add(registered)
        if len(self._refused) >= self.TRIES:
            self._refused.clear()
            self.off_until = now + self.OFF_S


class Health:
    """One upstream's."""

    __slots__ = (
        "answers",
        "failures",
        "fault",
        "heard_at",
        "resend_s",
        "rtt_s",
        "shunned_until",
        "took_s",
    )

    def __init__(self) -> None:
        self.answers = 0
        self.failures = 0
        self.fault = ""
        self.took_s = 0.0
        self.rtt_s: float | None = None
        self.resend_s = RESEND_S
        """How long to wait until a question is sent once more."""
        self.heard_at = -1.0
        """Monotonic time in seconds of its last answer."""
        self.shunned_until: float | None = None
        """When it is to be tried again; None while it is not shunned."""

    def due(self, now: float) -> bool:
        """Tell whether it is shunned and to be tried again."""
        return self.shunned_until is not None and self.shunned_until <= now

    def heard(self, took_s: float | None, now: float) -> None:
        """Take note of an answer, whatever it says; it is not always known how long it took."""
        self.answers += 1
        self.heard_at = now
        if took_s is not None:
            self.took_s += took_s
            rtt_s = self.rtt_s
            rtt_s = self.rtt_s = took_s if rtt_s is None else rtt_s + (took_s - rtt_s) * _WEIGHT
            self.resend_s = min(RESEND_S, max(SOONEST_RESEND_S, 4 * rtt_s))
        if self.shunned_until is not None:
            self.shunned_until = None
            self.fault = ""

    def failed(self, fault: str, asked_at: float, now: float) -> bool:
        """Take note that a question asked at ``asked_at`` got no answer; tell whether it is shunned for it."""
        self.failures += 1
        # Who has answered others since then is well: a name whose own servers are silent takes any resolver long.
        if self.heard_at < asked_at:
            self.fault = fault
            self.shunned_until = now + SHUN_S
        return self.shunned_until is not None
