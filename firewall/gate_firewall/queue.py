"""Takes packets from a queue and settles each of them; the only place that knows netfilterqueue.

The rule: exactly one verdict for each packet, on every path. A packet without one holds its place in the queue for good.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from netfilterqueue import NetfilterQueue, Packet

from gate_core.clients import OnFault
from gate_firewall.marks import Answer, render_answer
from gate_firewall.packet import MalformedPacketError

_LOG: Final = logging.getLogger(__name__)

MAX_LENGTH: Final = 4096
"""Packets that wait in a queue before it counts as full."""

BATCH: Final = 256
"""Packets taken in one go, before the policy and the other queue have their turn: about 10 ms of work."""

_LOG_EVERY_S: Final = 60.0

# linux/netfilter/nfnetlink.h and nfnetlink_queue.h.
_NLM_F_REQUEST: Final = 1
_NFNL_SUBSYS_QUEUE: Final = 3
_NFQNL_MSG_CONFIG: Final = 2
_NFQA_CFG_MASK: Final = 4
_NFQA_CFG_FLAGS: Final = 5
_NFQA_CFG_F_FAIL_OPEN: Final = 1

Judge = Callable[[bytes, int, bytes | None, bool], int | None]
"""Takes a packet from its IP header on, its packet mark, its sender's link-layer address in the first 6 of 8 octets, and
whether this is the last time; returns the packet mark that says what becomes of it, None to drop it, or before the last time
``LATER``."""

Held = Packet
"""A packet that waits for its verdict."""

LATER: Final = -1
"""Stands for a verdict on a packet that waits: it is judged once more."""
_UNJUDGED: Final = -2
MAX_HELD: Final = 1024
"""Packets that wait, of the ``MAX_LENGTH`` that the kernel holds for us; more are judged at once."""


class Faults:
    """Counts what went wrong with packets, and logs each kind at most once a minute: strangers cause these."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._logged_s: dict[str, float] = {}

    def note(self, kind: str, fault: Exception, now_s: float) -> None:
        """Count ``fault``, which came at ``now_s`` on a monotonic clock."""
        self._counts[kind] += 1
        if now_s - self._logged_s.get(kind, -_LOG_EVERY_S) >= _LOG_EVERY_S:
            self._logged_s[kind] = now_s
            _LOG.warning(
                "packets not judged kind=%s count=%d last=%s", kind, self._counts[kind], fault
            )


class Settler:
    """Has packets judged and gives each its verdict."""

    def __init__(
        self, judge: Judge, on_fault: OnFault, faults: Faults, monotonic: Callable[[], float]
    ) -> None:
        """Wait for packets.

        Args:
            judge: Called for each packet.
            on_fault: What becomes of a packet that ``judge`` raised over.
            faults: Where such packets are counted.
            monotonic: A clock in seconds, for ``faults``.
        """
        self.on_fault = on_fault
        self._judge = judge
        self._faults = faults
        self._monotonic = monotonic
        self.held: list[Packet] = []
        """Packets that wait; whoever judges them takes them out."""
        self._may_wait = True

    def settle_held(self, packets: Iterable[Packet]) -> None:
        """Settle ``packets`` that waited."""
        self._may_wait = False
        try:
            for raw in packets:
                self.take(raw)
        finally:
            self._may_wait = True

    def take(self, raw: Packet) -> None:
        """Settle ``raw``, or hold it; an exception that tells the process to end passes through, after the verdict."""
        mark: int | None = _UNJUDGED
        last = not self._may_wait or len(self.held) >= MAX_HELD
        # One function: this runs for each queued packet.
        try:
            mark = self._judge(raw.get_payload(), raw.get_mark(), raw.get_hw(), last)
        except MalformedPacketError as e:
            self._faults.note("malformed packet", e, self._monotonic())
        except Exception as e:  # noqa: BLE001  # our own mistake must cost one packet, not the queue
            self._faults.note(type(e).__name__, e, self._monotonic())
        finally:
            if mark == _UNJUDGED and self.on_fault is OnFault.OPEN:
                mark = render_answer(raw.get_mark(), Answer.NONE, 0, 0)
            if mark is None or mark == _UNJUDGED:
                raw.drop()
            elif mark == LATER:
                raw.retain()
                self.held.append(raw)
            else:
                # The rules behind the queue act on it.
                raw.set_mark(mark)
                raw.accept()


class Queue:
    """One queue in the kernel."""

    def __init__(self, number: int, settler: Settler) -> None:
        """Begin to take packets from queue ``number``; where ``settler`` fails open, a full queue does so too.

        Raises:
            OSError: Another process has the queue, or the right to it is missing.
        """
        self._left = 0
        self._settle = settler.take
        self._queue = NetfilterQueue()
        self._queue.bind(number, self._take, max_len=MAX_LENGTH)
        if settler.on_fault is OnFault.OPEN:
            with socket.socket(fileno=os.dup(self._queue.get_fd())) as netlink:
                netlink.send(_fail_open(number))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the queue back; the kernel drops what still waits in it."""
        self._queue.unbind()

    def fileno(self) -> int:
        """Return a descriptor that is readable while packets wait."""
        return self._queue.get_fd()

    def serve(self) -> None:
        """Settle what waits, at most ``BATCH`` packets."""
        self._left = BATCH
        with suppress(_BatchFullError):
            self._queue.run(block=False)

    def _take(self, raw: Packet) -> None:
        self._settle(raw)
        self._left -= 1
        if not self._left:
            # The binding's loop ends only when nothing waits, so that a flood would keep a new policy out.
            raise _BatchFullError


class _BatchFullError(Exception):
    """Others are to have their turn."""


def _fail_open(number: int) -> bytes:
    """Return the message that lets packets pass where queue ``number`` is full; the binding has no call for it."""
    flag = struct.pack("!I", _NFQA_CFG_F_FAIL_OPEN)
    attributes = b"".join(
        struct.pack("HH", 4 + len(flag), kind) + flag for kind in (_NFQA_CFG_MASK, _NFQA_CFG_FLAGS)
    )
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, number) + attributes
    kind = _NFNL_SUBSYS_QUEUE << 8 | _NFQNL_MSG_CONFIG
    # Without an acknowledgement: it would come between packets. A refusal comes unasked, and no kernel since 3.6 refuses.
    return struct.pack("IHHII", 16 + len(body), kind, _NLM_F_REQUEST, 0, 0) + body
