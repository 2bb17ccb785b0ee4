"""An upstream and the ways to it."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable

from gate_core.upstreams import Upstream
from gate_dns.forwarding.exchange import DatagramPool
from gate_dns.forwarding.flight import Answers, Flight
from gate_dns.forwarding.health import EdnsSupport, Health, UpstreamHealth
from gate_dns.forwarding.stream import Stream
from gate_dns.poll import Poll


class Contact:
    """An upstream of a worker; compared by identity."""

    __slots__ = ("datagrams", "edns", "health", "name", "probe", "stream", "upstream")

    def __init__(
        self,
        poll: Poll,
        upstream: Upstream,
        tls: ssl.SSLContext | None,
        answers: Answers,
        faults: Counter[str],
        now: Callable[[], float],
    ) -> None:
        """Open no socket yet; for the arguments see ``Stream``."""
        self.upstream = upstream
        self.name = str(upstream)
        self.health = Health()
        self.edns = EdnsSupport()
        self.datagrams = (
            None if upstream.tls_name else DatagramPool(poll, upstream, answers, faults, now)
        )
        """None where it is asked over TLS only."""
        self.stream = Stream(poll, upstream, tls, answers, faults, now)
        self.probe: Flight | None = None
        """The question that finds out whether it is back."""

    def shown(self) -> UpstreamHealth:
        """Return how it does."""
        health, datagrams = self.health, self.datagrams
        return UpstreamHealth(
            self.name,
            shunned=health.shunned_until is not None,
            fault=health.fault,
            answers=health.answers,
            failures=health.failures,
            took_s=health.took_s,
            rtt_s=health.rtt_s,
            ports=(datagrams.ports if datagrams else 0) + (self.stream.connection is not None),
            mixed_case=not datagrams or datagrams.case.mixed,
        )

    def expire(self) -> None:
        """Close what has been idle for long."""
        if self.datagrams:
            self.datagrams.expire()
        self.stream.expire()

    def close(self) -> None:
        """Close all there is; nobody is told."""
        if self.datagrams:
            self.datagrams.close()
        self.stream.close()
