"""The recorder: takes events from the data plane, keeps what is in force where, and writes the log by batches."""

from __future__ import annotations

import logging
import socket
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, assert_never

from gate_appliance.activity import ActivityLog, Sums
from gate_appliance.backlog import Backlog
from gate_core.events import (
    ALLOW,
    BLOCK,
    Batch,
    Counters,
    EndedFlows,
    Findings,
    InForce,
    MalformedDatagramError,
    Message,
    ReadableFlows,
    Source,
    Tagged,
    Traffic,
    parse_datagram,
)

_log = logging.getLogger(__name__)

CAPACITY: Final = 100_000
"""Events held while the disk is slow or full."""

SUMS_CAPACITY: Final = 1000
"""Messages with sums of traffic that are held until they are written; the oldest make room."""

WRITE_EVERY_S: Final = 0.5
SUMS_EVERY_S: Final = 60.0
"""Each sum is on another page of the file: written one by one, they would wear the card out."""

HEARTBEAT_S: Final = 3.5
"""A part that has not spoken for so long counts as down; each speaks once a second."""


class Recorder:
    """Owns the events' socket and the activity log's writing side."""

    def __init__(
        self,
        path: Path,
        log: ActivityLog,
        on_in_force: Callable[[], None] = lambda: None,
        on_tagged: Callable[[str, int], object] = lambda _mac, _vlan: None,
    ) -> None:
        """Listen at ``path``; what is heard waits until ``start``.

        Args:
            path: Of the socket.
            log: Where decisions are kept.
            on_in_force: Called when a part acts on another policy than before.
            on_tagged: Called with the MAC address of a device and the VLAN that it speaks in.
        """
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(str(path))
        path.chmod(0o660)
        self._log = log
        self._on_in_force = on_in_force
        self._on_tagged = on_tagged
        self._held = Backlog(CAPACITY)
        self._sums: deque[Sums] = deque(maxlen=SUMS_CAPACITY)
        self._sums_due_at = float("-inf")
        self._lock = threading.Lock()
        self._heard: dict[tuple[Source, int], tuple[InForce, float]] = {}
        self._counters: dict[tuple[Source, int], Counters] = {}
        self._findings: dict[Source, tuple[str, ...]] = {}
        self._decisions: Counter[tuple[Source, str, str]] = Counter()
        self.malformed = 0
        """Datagrams that held no message."""
        self.fault = ""
        """Why the log can't be written; "" while it can."""
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._receive, daemon=True, name="recorder-receive"),
            threading.Thread(target=self._write, daemon=True, name="recorder-write"),
        ]

    def start(self) -> None:
        """Begin to record, in threads."""
        for thread in self._threads:
            thread.start()

    def in_force(self, source: Source) -> int | None:
        """Return the lowest policy version that the workers of ``source`` act on; None where none is alive."""
        return min((m.version for m in self.alive() if m.source is source), default=None)

    def alive(self) -> list[InForce]:
        """Return what each worker that is alive said last."""
        now = time.monotonic()
        with self._lock:
            return [message for message, at in self._heard.values() if now - at <= HEARTBEAT_S]

    def lost(self) -> Counter[str]:
        """Return how many decisions were lost on the way, by the workers' own count and here, by action."""
        with self._lock:
            lost = self._held.dropped.copy()
            for message, _ in self._heard.values():
                lost[ALLOW] += message.dropped
                lost[BLOCK] += message.blocked_dropped
            return lost

    def waiting(self) -> int:
        """Return how many events have not been written yet."""
        with self._lock:
            return len(self._held)

    def decisions(self) -> Counter[tuple[Source, str, str]]:
        """Return how many decisions were heard of since the start, by source, action and reason."""
        with self._lock:
            return self._decisions.copy()

    def counters(self) -> list[Counters]:
        """Return what each worker has counted, as it said last."""
        with self._lock:
            return list(self._counters.values())

    def findings(self, source: Source) -> tuple[str, ...]:
        """Return what ``source`` said last is wrong with the machine, a sentence each."""
        with self._lock:
            return self._findings.get(source, ())

    def close(self) -> None:
        """Write what is held and stop; may be called again."""
        if self._closing.is_set():
            return
        self._closing.set()
        # Ends a wait for the next datagram.
        self._socket.shutdown(socket.SHUT_RD)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=5)
        self._socket.close()
        self._log.close()

    def _receive(self) -> None:
        while True:
            datagram = self._socket.recv(1 << 18)
            if self._closing.is_set():
                return
            try:
                message = parse_datagram(datagram)
            except MalformedDatagramError:
                self.malformed += 1
                continue
            self._take(message)

    def _take(self, message: Message) -> None:
        match message:
            case Batch():
                with self._lock:
                    self._held.put(message)
                    for outcome, count in message.by_outcome():
                        self._decisions[message.source, outcome.action, outcome.reason] += count
            case InForce():
                key = (message.source, message.worker)
                with self._lock:
                    before = self._heard.get(key)
                    self._heard[key] = (message, time.monotonic())
                if before is None or before[0].version != message.version:
                    self._on_in_force()
            case Counters():
                with self._lock:
                    self._counters[message.source, message.worker] = message
            case Findings():
                with self._lock:
                    self._findings[message.source] = tuple(message.sentences)
            case Tagged():
                for mac, vlan in zip(message.macs, message.vlans, strict=True):
                    self._on_tagged(mac, vlan)
            case Traffic() | EndedFlows() | ReadableFlows():
                with self._lock:
                    self._sums.append(message)
            case _:
                assert_never(message)

    def _write(self) -> None:
        while not self._closing.wait(WRITE_EVERY_S):
            self._write_held()
        self._write_held()

    def _write_held(self) -> None:
        with self._lock:
            held = list(iter(self._held.take, None))
            sums = self._due_sums()
        if not held and not sums:
            return
        try:
            if held:
                self._log.append_batches(held)
                held = []
            self._log.append_sums(sums)
            self.fault = ""
        except (sqlite3.Error, OSError) as e:
            if str(e) != self.fault:
                _log.error(
                    "action=record events=%d sums=%d fault=%s", sum(map(len, held)), len(sums), e
                )  # the message says it all
            self.fault = str(e)
            with self._lock:
                for batch in reversed(held):
                    self._held.put_back(batch)
                self._sums.extendleft(reversed(sums))

    def _due_sums(self) -> list[Sums]:
        """Return the sums that are to be written now; the lock is held."""
        now = time.monotonic()
        if now < self._sums_due_at and not self._closing.is_set():
            return []
        self._sums_due_at = now + SUMS_EVERY_S
        sums = list(self._sums)
        self._sums.clear()
        return sums
