"""Whom the workers ask for names, and whether they answer, as the workers' own counters tell."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address
from typing import Final

from gate_appliance.recorder import Recorder
from gate_core.config import DnsConfig
from gate_core.desk import Component
from gate_core.events import Counters, Source
from gate_core.ports import Clock
from gate_core.upstreams import MalformedUpstreamError, Upstream, parse_upstream
from gate_dns.forwarding.handed_out import HandedOut

SILENT_AFTER: Final = 3
"""Questions in a row without an answer: one alone may be for a name whose own servers are silent."""
SILENT_FOR_S: Final = 10.0
"""How far apart the first and the last of them are at least: by then a worker has tried once more who failed, and who is
well but asked for little else than such names has answered that."""
FORGOTTEN_AFTER_S: Final = 60.0
"""How long a failed question counts: nobody knows how a resolver does that nobody asks."""


@dataclass(slots=True)
class _Silence:
    """What an upstream has left unanswered since its last answer."""

    since: datetime | None
    """None where the time was not known."""
    began_at: float
    """Monotonic time in seconds of the first failure that was heard of."""
    failed_at: float
    """The same of the last one."""
    failures: int = 0

    def is_told(self, now: float) -> bool:
        """Tell whether it is long enough to speak of, and lasts."""
        return (
            self.failures >= SILENT_AFTER
            and self.failed_at - self.began_at >= SILENT_FOR_S
            and now - self.failed_at <= FORGOTTEN_AFTER_S
        )


class Resolvers:
    """Its methods may be called from any thread."""

    def __init__(
        self,
        config: DnsConfig,
        recorder: Recorder,
        clock: Clock,
        *,
        handed_out: HandedOut | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know nothing yet.

        Args:
            config: The table ``dns``.
            recorder: Where the workers' counters arrive.
            clock: For the time at which a silence began.
            handed_out: The resolvers of the network, followed where ``config`` names none.
            now: Monotonic time in seconds.
        """
        self._recorder = recorder
        self._clock = clock
        self._now = now
        self._configured = tuple(map(parse_upstream, config.upstreams))
        self._handed_out = None if self._configured else handed_out or HandedOut()
        self._followed: tuple[Upstream, ...] = ()
        servers = (parse_upstream(s) for zone in config.zones.values() for s in zone.servers)
        self._of_zones = frozenset(map(str, servers))
        validator = Upstream(IPv4Address("127.0.0.1"), config.validator_port)
        self._validator = str(validator) if config.dnssec == "validate" else ""
        self._lock = threading.Lock()
        self._counted: dict[tuple[int, str], tuple[int, int]] = {}
        """Worker and upstream to answers and failures, as heard last."""
        self._silences: dict[str, _Silence] = {}

    def asked(self) -> tuple[Upstream, ...]:
        """Return who is asked for the names of the world; empty where nobody is known."""
        with self._lock:
            return self._asked(self._counters())

    def fault(
        self, *, validator_gone: bool = False, silent: Collection[Upstream] = ()
    ) -> Component | None:
        """Return what is wrong, as the state of the component ``dns``; None where nothing is known to be.

        Args:
            validator_gone: Whether the Unbound that checks signatures does not run, where it should.
            silent: Resolvers behind it that do not answer.
        """
        with self._lock:
            counters = self._counters()
            self._take(counters)
            asked = {str(upstream) for upstream in self._asked(counters)}
            now = self._now()
            since = {name: s.since for name, s in self._silences.items() if s.is_told(now)}
        since |= dict.fromkeys(map(str, silent))
        if not asked:
            return _down("the network hands out no resolver, and none is entered")
        if validator_gone:
            return _down(_VALIDATOR_GONE)
        if self._validator in since:
            return _down(_silent(_VALIDATOR, since[self._validator]))
        if not since:
            return None
        words = "; ".join(
            _silent(
                f"the resolver {name}" if name in asked else f"the school's own server {name}", at
            )
            for name, at in since.items()
        )
        if since.keys() >= asked:
            return _down(words)
        return Component(Source.DNS.value, "degraded", f"{words[0].upper()}{words[1:]}.")

    def _counters(self) -> list[Counters]:
        """Return what the living workers of the sinkhole have counted."""
        alive = {m.worker for m in self._recorder.alive() if m.source is Source.DNS}
        counters = self._recorder.counters()
        return [c for c in counters if c.source is Source.DNS and c.worker in alive]

    def _asked(self, counters: Collection[Counters]) -> tuple[Upstream, ...]:
        if self._handed_out is None:
            return self._configured
        self._followed = self._handed_out.read() or self._followed
        # The workers may see it otherwise than we do; what is asked by either counts.
        told = {name for c in counters for name in c.counts.get("upstream_answers", ())}
        others = []
        for name in sorted(told - self._of_zones - {self._validator}):
            with suppress(
                MalformedUpstreamError
            ):  # what came from no worker must not end the status
                others.append(parse_upstream(name))
        return tuple(dict.fromkeys((*self._followed, *others)))

    def _take(self, counters: Collection[Counters]) -> None:
        before, self._counted = self._counted, {}
        answers: Counter[str] = Counter()
        failures: Counter[str] = Counter()
        for each in counters:
            failed = each.counts.get("upstream_failures", {})
            for name, answered in each.counts.get("upstream_answers", {}).items():
                count = answered, failed.get(name, 0)
                self._counted[each.worker, name] = count
                last = before.get((each.worker, name), count)
                if count[0] < last[0] or count[1] < last[1]:
                    last = 0, 0  # The worker has begun anew.
                answers[name] += count[0] - last[0]
                failures[name] += count[1] - last[1]
        self._silences = {
            n: s for n, s in self._silences.items() if n in answers and not answers[n]
        }
        now = self._now()
        for name in failures:
            if failures[name] > 0 and not answers[name]:
                silence = self._silences.setdefault(name, _Silence(self._clock.now(), now, now))
                silence.failures += failures[name]
                silence.failed_at = now


_VALIDATOR: Final = "the part of the box that checks signatures (Unbound)"
_VALIDATOR_GONE: Final = (
    f"{_VALIDATOR} does not run. Whoever looks after the box finds the reason in its log; mostly Debian's packages unbound"
    " and dns-root-data are not installed"
)


def _down(why: str) -> Component:
    return Component(Source.DNS.value, "down", f"Names can't be looked up: {why}.")


def _silent(who: str, since: datetime | None) -> str:
    return f"{who} has not answered since {since:%H:%M}" if since else f"{who} does not answer"
