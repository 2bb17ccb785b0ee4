"""One worker of the sinkhole: sockets, the poll loop, and what is due from time to time.

The loop waits for nothing but the poll set: forwarding, TCP and recording go on beside one another in it.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from contextlib import ExitStack, closing
from functools import partial
from typing import Final

from gate_core.clients import Address
from gate_dns.batch import DatagramBatch, open_socket
from gate_dns.journal import Journal
from gate_dns.poll import Poll
from gate_dns.settings import BlockAnswer, DnsPorts, DnsSettings
from gate_dns.sinkhole import Sinkhole
from gate_dns.tcp import StreamServer, listen
from gate_dns.upstream import Forwarder

__all__ = ["BlockAnswer", "DnsPorts", "DnsSettings", "serve"]

_log = logging.getLogger(__name__)

IDLE_WAIT_S: Final = 0.25
BUSY_WAIT_S: Final = 0.05
"""Longest wait while questions are in flight, whose deadlines are kept that exactly."""
TICK_S: Final = 0.25
HEARTBEAT_S: Final = 1.0
REPORT_S: Final = 60.0
"""How often counted faults are logged."""


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


class _Worker:
    """The sockets and the loop; ``stack`` frees them."""

    def __init__(
        self, settings: DnsSettings, ports: DnsPorts, worker: int, stack: ExitStack
    ) -> None:
        self._policies = ports.policies
        self._poll = stack.enter_context(closing(Poll()))
        self._journal = Journal(ports.events, worker, time.monotonic())
        stack.callback(lambda: self._journal.put_all(time.monotonic()))
        self._forwarder = stack.enter_context(
            closing(
                Forwarder(settings.upstreams, settings.upstream_port, self._poll, time.monotonic)
            )
        )
        self._sinkhole = Sinkhole(settings, ports, self._forwarder, self._journal)
        self._batches: list[DatagramBatch] = []
        self._servers: list[StreamServer] = []
        for address in settings.listen:
            self._listen(address, settings.port, stack)
        self._poll.watch(ports.policies.fileno(), self._take_policy, urgent=True)
        self._expiry = _Every(BUSY_WAIT_S)
        self._tick = _Every(TICK_S)
        self._heartbeat = _Every(HEARTBEAT_S)
        self._report = _Every(REPORT_S)

    def _listen(self, address: Address, port: int, stack: ExitStack) -> None:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        try:
            bound = stack.enter_context(open_socket(str(address), port, family))
        except OSError as e:
            if e.errno != errno.EAFNOSUPPORT:
                raise
            _log.warning("action=listen address=%s fault=%s; going on without", address, e)
            return
        batch = DatagramBatch(bound, self._sinkhole.take_udp)
        self._poll.watch(bound.fileno(), partial(self._answer_batch, batch))
        self._batches.append(batch)
        listening = stack.enter_context(listen(str(address), port, family))
        server = StreamServer(listening, self._poll, self._sinkhole.take_tcp, time.monotonic)
        self._servers.append(stack.enter_context(closing(server)))

    def run(self) -> None:
        """Answer until an exception ends it."""
        while True:
            now = time.monotonic()
            if self._tick.due(now):
                self._sinkhole.tick(now)
            if self._heartbeat.due(now):
                for server in self._servers:
                    server.expire()
                # Said again and again: it is also how the steward sees that this worker lives.
                self._journal.in_force(self._sinkhole.policy.version)
            if self._report.due(now):
                self._log_faults()
            if self._expiry.due(now):
                self._forwarder.expire()
            self._journal.put_due(now)
            self._poll.wait(BUSY_WAIT_S if self._forwarder.in_flight else IDLE_WAIT_S)

    def _answer_batch(self, batch: DatagramBatch, _events: int) -> None:
        batch.answer(self._sinkhole.askers.by_address, self._journal.tally, time.monotonic())

    def _take_policy(self, _events: int) -> None:
        if self._policies.refresh():
            self._sinkhole.begin(self._policies.current())
            self._journal.in_force(self._sinkhole.policy.version)

    def _log_faults(self) -> None:
        """Log what strangers' octets and dead upstreams have caused, once for each kind."""
        counts = self._sinkhole.faults + self._forwarder.faults
        counts["unsent"] += sum(batch.unsent for batch in self._batches)
        for batch in self._batches:
            batch.unsent = 0
        self._sinkhole.faults.clear()
        self._forwarder.faults.clear()
        for kind, count in counts.items():
            if count:
                _log.warning("fault=%s count=%d interval_s=%.0f", kind, count, REPORT_S)


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
