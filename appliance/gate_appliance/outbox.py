"""Events on their way from the data plane to the recorder: bounded, never waiting, drops counted."""

from __future__ import annotations

import socket
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Final

from gate_core.events import Event, InForce, Message, render_batches

CAPACITY: Final = 20_000
"""Events held while the recorder is away: some seconds of a busy school, about 10 MB."""

RETRY_S: Final = 0.25
"""How long a recorder that took nothing is left alone."""


class Outbox:
    """Sends events as datagrams (``gate_core.ports.EventSink``); one a process, used by one thread."""

    def __init__(self, recorder: Path) -> None:
        self._recorder = str(recorder)
        self._held: deque[Message] = deque()
        self._dropped = 0
        self._retry_at_s = 0.0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def put(self, event: Message) -> None:
        """Take ``event``; where there is no room the oldest is dropped and counted."""
        if isinstance(event, InForce):
            event = replace(event, dropped=self._dropped)
        if len(self._held) >= CAPACITY:
            oldest = self._held.popleft()
            self._dropped += oldest.count if isinstance(oldest, Event) else 0
        self._held.append(event)

    def flush(self) -> None:
        """Send what is held; what the recorder has no room for stays."""
        if not self._held or time.monotonic() < self._retry_at_s:
            return
        sent = 0
        for datagram, messages in render_batches(tuple(self._held)):
            try:
                self._socket.sendto(datagram, self._recorder)
            except OSError:
                # The recorder is away or busy: they stay, bounded by put, and cost nothing for a while.
                self._retry_at_s = time.monotonic() + RETRY_S
                break
            sent += messages
        for _ in range(sent):
            self._held.popleft()

    def close(self) -> None:
        """Send what can be sent and free the socket."""
        self.flush()
        self._socket.close()
