"""One worker of the sinkhole: sockets, the poll loop, and what is due from time to time.

The loop waits for nothing but the poll set: forwarding, TCP and recording go on beside one another in it.
"""

from __future__ import annotations

import errno
import gc
import logging
import socket
import time
from collections import Counter
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import Final

from gate_core.clients import Address
from gate_dns.batch import DatagramBatch, open_socket
from gate_dns.forwarding.upstream import Forwarder
from gate_dns.given import GivenRecord
from gate_dns.journal import Journal
from gate_dns.libc_abi import ffi
from gate_dns.loader import PolicyLoader
from gate_dns.mmsg import BATCH
from gate_dns.poll import Poll
from gate_dns.settings import BlockAnswer, DnsPorts, DnsSettings
from gate_dns.sinkhole import Sinkhole
from gate_dns.tap import Tap
from gate_dns.tcp import StreamServer, listen

__all__ = ["BlockAnswer", "DnsPorts", "DnsSettings", "collect_when_idle", "serve"]

_log = logging.getLogger(__name__)

IDLE_WAIT_S: Final = 0.25
BUSY_WAIT_S: Final = 0.05
"""Longest wait while something happens: so exactly are deadlines of questions kept."""
HURRIED_WAIT_S: Final = 0.001
"""The same while there is more to put out or to free than is done at once, or somebody is waited for."""
BATCHES: Final = 4
"""Full ones of a socket that are answered before anybody else has a turn: more lies there, and to be told so costs a call."""
TICK_S: Final = 0.25
HEARTBEAT_S: Final = 1.0
COLLECT_S: Final = 60.0
"""How often circles are looked for, at the soonest."""
QUIET_S: Final = 0.25
"""So long nobody must have asked before that: a pause between two queries is none."""
MAPPED_OCTETS: Final = 64 << 10
"""From this size on memory is mapped, and so goes back to the system when it is freed."""
REPORT_S: Final = 60.0
"""How often counted faults are logged."""


_M_MMAP_THRESHOLD: Final = -3
"""glibc, <malloc.h>."""


def serve(settings: DnsSettings, ports: DnsPorts, worker: int = 0) -> None:
    """Answer queries until an exception ends it, such as the SystemExit of a signal handler.

    Workers share the port: each is a process of its own, and the kernel spreads the clients over them.

    Args:
        settings: What the configuration says.
        ports: The rest of the appliance; used by this thread alone.
        worker: Number of this worker, from 0.

    Raises:
        OSError: An address can't be listened on.
    """
    with ExitStack() as stack:
        _Worker(settings, ports, worker, stack).run()


def collect_when_idle() -> None:
    """Leave it to ``serve`` to look for circles among objects; for a process that does nothing else.

    What is left behind goes at once, but for circles, and of those there are few. To look for them holds up answers for
    tens of milliseconds, so it is done while nobody asks.

    Tables that grow and go, such as what was counted in an interval, are to leave no holes: each is a mapping of its own.
    """
    gc.freeze()
    gc.disable()
    # Another C library than glibc may not have it.
    with suppress(AttributeError):
        ffi.dlopen(None).mallopt(_M_MMAP_THRESHOLD, MAPPED_OCTETS)


class _Worker:
    """The sockets and the loop; ``stack`` frees them."""

    def __init__(
        self, settings: DnsSettings, ports: DnsPorts, worker: int, stack: ExitStack
    ) -> None:
        self._policies = ports.policies
        self._pins = ports.pins
        self._poll = stack.enter_context(closing(Poll()))
        now = time.monotonic()
        self._given = tuple(GivenRecord(link, worker, now) for link in ports.given)
        for link, given in zip(ports.given, self._given, strict=True):
            self._poll.watch(link.fileno(), partial(self._tell, given))
        self._journal = Journal(ports.events, worker, now, self._given)
        stack.callback(lambda: self._journal.put_all(time.monotonic()))
        self._forwarder = Forwarder.of(
            settings.upstreams,
            settings.zones,
            settings.tls_authorities,
            self._poll,
            time.monotonic,
        )
        stack.callback(self._forwarder.close)
        self._tap = Tap(settings.dnstap, f"schoolgate-dns-{worker}") if settings.dnstap else None
        if self._tap:
            stack.callback(self._tap.close)
        self._sinkhole = Sinkhole(
            settings, ports, self._forwarder, self._journal, self._tap, self._given
        )
        self._batches: list[DatagramBatch] = []
        self._servers: list[StreamServer] = []
        for address in settings.listen:
            self._listen(address, settings.port, stack)
        stack.enter_context(closing(PolicyLoader(ports.policies, self._poll, self._take_policy)))
        self._tick = _Every(TICK_S)
        self._heartbeat = _Every(HEARTBEAT_S)
        self._report = _Every(REPORT_S)
        self._collection = _Every(COLLECT_S)
        self._logged: Counter[str] = Counter()

    def _listen(self, address: Address, port: int, stack: ExitStack) -> None:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        try:
            bound = stack.enter_context(open_socket(str(address), port, family))
        except OSError as e:
            if e.errno != errno.EAFNOSUPPORT:
                raise
            _log.warning("action=listen address=%s fault=%s; going on without", address, e)
            return
        batch = DatagramBatch(bound, self._sinkhole.take_udp, self._tap)
        self._poll.watch(bound.fileno(), partial(self._answer_batch, batch))
        self._batches.append(batch)
        listening = stack.enter_context(listen(str(address), port, family))
        server = StreamServer(listening, self._poll, self._sinkhole.take_tcp, time.monotonic)
        self._servers.append(stack.enter_context(closing(server)))

    def run(self) -> None:
        """Answer until an exception ends it."""
        due = busy_at = 0.0
        while True:
            now = time.monotonic()
            if now >= due:
                due = now + self._keep_house(now)
            if self._sinkhole.meet(now):
                due = min(due, now + HURRIED_WAIT_S)
            for given in self._given:
                if given.waiting and not given.flush(now):
                    due = min(due, now + HURRIED_WAIT_S)
            self._forwarder.flush()
            for batch in self._batches:
                if batch.waiting:
                    batch.flush()
            busy = self._poll.wait(max(0.0, due - time.monotonic()))
            if busy:
                busy_at = now
            elif now - busy_at >= QUIET_S and not gc.isenabled() and self._collection.due(now):
                gc.collect()
                # What lives on is not looked at again.
                gc.freeze()

    def _keep_house(self, now: float) -> float:
        """Do what is due from time to time; return the seconds until there is something again."""
        if self._tick.due(now):
            self._sinkhole.tick(now)
        if self._heartbeat.due(now):
            for server in self._servers:
                server.expire()
            # Said again and again: it is also how the steward sees that this worker lives.
            self._journal.in_force(self._sinkhole.policy.version, self._counts())
            self._pins.renew()
            for given in self._given:
                given.renew(now)
        if self._report.due(now):
            self._log_faults()
        self._forwarder.expire()
        self._sinkhole.expire(now)
        if self._tap:
            self._tap.flush(now)
        more = self._journal.put_due(now)
        if self._sinkhole.free() or more:
            return HURRIED_WAIT_S
        return BUSY_WAIT_S if self._tap or self._forwarder.in_flight else IDLE_WAIT_S

    def _answer_batch(self, batch: DatagramBatch, _events: int) -> None:
        askers = self._sinkhole.askers
        for _ in range(BATCHES):
            sources = batch.answer(askers.by_address, self._journal.hits, time.monotonic())
            askers.spend(sources)
            if len(sources) < BATCH:
                break

    def _tell(self, given: GivenRecord, _events: int) -> None:
        now = time.monotonic()
        if given.hear(now):
            self._journal.add_up(now)

    def _take_policy(self) -> None:
        self._sinkhole.begin(self._policies.current())
        self._journal.in_force(self._sinkhole.policy.version)

    def _faults(self) -> Counter[str]:
        """Return what strangers' octets and dead upstreams have caused since the start, by kind."""
        unsent = Counter(unsent=sum(batch.unsent for batch in self._batches))
        return self._sinkhole.faults + self._forwarder.faults + unsent

    def _counts(self) -> dict[str, dict[str, int]]:
        """Return what this worker has counted since its start, besides the journal."""
        upstreams = self._forwarder.health()
        return {
            "faults": dict(self._faults()),
            "cache": self._sinkhole.sizes(),
            "upstream_answers": {u.name: u.answers for u in upstreams},
            "upstream_failures": {u.name: u.failures for u in upstreams},
            "upstream_us": {u.name: int(u.took_s * 1e6) for u in upstreams},
            "tap": {"dropped": self._tap.dropped if self._tap else 0},
        }

    def _log_faults(self) -> None:
        faults = self._faults()
        for kind, count in (faults - self._logged).items():
            _log.warning("fault=%s count=%d interval_s=%.0f", kind, count, REPORT_S)
        self._logged = faults


class _Every:
    """Something that is due at once, and then at intervals."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._next = -1.0

    def due(self, now: float) -> bool:
        """Tell whether it is time, at the monotonic time ``now``; if so, the next interval begins."""
        if now < self._next:
            return False
        self._next = now + self._interval_s
        return True
