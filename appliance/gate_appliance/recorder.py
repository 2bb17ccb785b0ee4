"""The recorder: takes events from the data plane, keeps what is in force where, and writes the log by batches."""

from __future__ import annotations

import logging
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gate_appliance.activity import ActivityLog
from gate_core.events import (
    Event,
    InForce,
    MalformedBatchError,
    Message,
    Source,
    Tagged,
    parse_batch,
)

_log = logging.getLogger(__name__)

CAPACITY: Final = 100_000
"""Events held while the disk is slow or full; what is more is dropped and counted."""

WRITE_EVERY_S: Final = 0.5

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
        self._held: list[Event] = []
        self._lock = threading.Lock()
        self._heard: dict[tuple[Source, int], tuple[InForce, float]] = {}
        self.dropped = 0
        """Events lost here: the disk took none and there was no room."""
        self.malformed = 0
        """Datagrams that were no batch."""
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
        now = time.monotonic()
        with self._lock:
            alive = [
                message.version
                for (its_source, _), (message, at) in self._heard.items()
                if its_source is source and now - at <= HEARTBEAT_S
            ]
        return min(alive, default=None)

    def lost(self) -> int:
        """Return how many events were lost on the way, by the workers' own count and here."""
        with self._lock:
            senders = sum(message.dropped for message, _ in self._heard.values())
            return self.dropped + self.malformed + senders

    def close(self) -> None:
        """Write what is held and stop."""
        self._closing.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=5)
        self._socket.close()

    def _receive(self) -> None:
        self._socket.settimeout(0.2)
        while not self._closing.is_set():
            try:
                datagram = self._socket.recv(1 << 18)
            except TimeoutError:
                continue
            try:
                messages = parse_batch(datagram)
            except MalformedBatchError:
                self.malformed += 1
                continue
            self._take(messages)

    def _take(self, messages: list[Message]) -> None:
        news = False
        tagged: list[Tagged] = []
        with self._lock:
            for message in messages:
                if isinstance(message, InForce):
                    key = (message.source, message.worker)
                    before = self._heard.get(key)
                    news |= before is None or before[0].version != message.version
                    self._heard[key] = (message, time.monotonic())
                elif isinstance(message, Tagged):
                    tagged.append(message)
                elif len(self._held) < CAPACITY:
                    self._held.append(message)
                else:
                    self.dropped += message.count
        if news:
            self._on_in_force()
        for each in tagged:
            self._on_tagged(each.mac, each.vlan)

    def _write(self) -> None:
        while not self._closing.wait(WRITE_EVERY_S):
            self._write_held()
        self._write_held()

    def _write_held(self) -> None:
        with self._lock:
            events, self._held = self._held, []
        if not events:
            return
        try:
            self._log.append(events)
            self.fault = ""
        except (sqlite3.Error, OSError) as e:
            if str(e) != self.fault:
                _log.error(
                    "action=record events=%d fault=%s", len(events), e
                )  # the message says it all
            self.fault = str(e)
            with self._lock:
                room = CAPACITY - len(self._held)
                self._held = events[:room] + self._held
                self.dropped += sum(e.count for e in events[room:])
