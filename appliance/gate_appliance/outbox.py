"""Events on their way from the data plane to the recorder: bounded, never waiting, drops counted."""

from __future__ import annotations

import errno
import socket
import time
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from gate_appliance.backlog import Backlog
from gate_core.events import (
    ALLOW,
    BLOCK,
    MAX_DATAGRAM_OCTETS,
    Batch,
    Event,
    InForce,
    Message,
    batches,
    render_datagram,
)

CAPACITY: Final = 20_000
"""Events held while the recorder is away: some seconds of a busy school, a few MB."""

RETRY_S: Final = 0.25
"""How long a recorder that is away is left alone."""
BUSY_S: Final = 0.01
"""How long one that has not yet read what it was sent is."""

_MAX_NEWS: Final = 1000
_GATHERED: Final = 500
_SEND_BUFFER_OCTETS: Final = 1 << 20
"""Asked of the kernel, which gives what net.core.wmem_max allows: some batches, before the recorder reads the first."""


class Outbox:
    """Sends messages as datagrams (``gate_core.ports.EventSink``); one a process, used by one thread."""

    def __init__(self, recorder: Path) -> None:
        self._recorder = str(recorder)
        self._events = Backlog(CAPACITY)
        self._gathered: list[Event] = []
        self._news: deque[Message] = deque(maxlen=_MAX_NEWS)
        self._retry_at_s = 0.0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_OCTETS)

    def put(self, message: Message | Event) -> None:
        """Take ``message``; what there is no room for is dropped and counted."""
        if isinstance(message, Event):
            self._gathered.append(message)
            if len(self._gathered) >= _GATHERED:
                self._gather()
        elif isinstance(message, Batch):
            self._events.put(message)
        else:
            self._news.append(message)

    def flush(self) -> None:
        """Send what is held; what the recorder has no room for stays."""
        if not (self._events or self._gathered or self._news):
            return
        self._gather()
        if time.monotonic() < self._retry_at_s:
            return
        # The recorder is away or busy: what it did not get stays, bounded by put, and costs nothing for a while.
        with suppress(OSError):
            while self._news:
                self._send(render_datagram(self._counted(self._news[0])))
                self._news.popleft()
            while (batch := self._events.take()) is not None:
                self._send_batch(batch)

    def _gather(self) -> None:
        for batch in batches(self._gathered):
            self._events.put(batch)
        self._gathered = []

    def _counted(self, message: Message) -> Message:
        if not isinstance(message, InForce):
            return message
        dropped = self._events.dropped
        return replace(message, dropped=dropped[ALLOW], blocked_dropped=dropped[BLOCK])

    def _send_batch(self, batch: Batch) -> None:
        datagram = render_datagram(batch)
        if len(datagram) > MAX_DATAGRAM_OCTETS and len(batch) > 1:
            half = len(batch) // 2
            self._events.put_back(batch.part(half, len(batch)))
            self._events.put_back(batch.part(0, half))
            return
        try:
            self._send(datagram)
        except OSError:
            self._events.put_back(batch)
            raise

    def _send(self, datagram: bytes) -> None:
        try:
            self._socket.sendto(datagram, self._recorder)
        except OSError as e:
            busy = e.errno in {errno.EAGAIN, errno.ENOBUFS}
            self._retry_at_s = time.monotonic() + (BUSY_S if busy else RETRY_S)
            raise

    def close(self) -> None:
        """Send what can be sent and free the socket."""
        self.flush()
        self._socket.close()
