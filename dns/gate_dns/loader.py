"""Reading a new policy beside the loop, so that no query waits for it.

A policy of a school takes some milliseconds to read, new lists ten more to check; a thread does that while answers go on.
The interpreter changes threads only now and then, so while the thread runs it is told to do so more often.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from ipaddress import ip_address
from threading import Thread
from typing import Final

from gate_core.clients import Client
from gate_core.policy import decide
from gate_core.ports import PolicySource
from gate_dns.poll import READ, Poll

_NOBODY: Final = Client(ip_address("0.0.0.0"), None, "", "")  # noqa: S104  # stands for no address
_SWITCH_S: Final = 0.0002
"""The longest that the loop waits for its turn while a policy is read."""


class PolicyLoader:
    """Watches a source, and says when it has another policy."""

    def __init__(self, source: PolicySource, poll: Poll, changed: Callable[[], None]) -> None:
        """Watch ``source`` from here on.

        Args:
            source: What is announced.
            poll: Where the loop waits.
            changed: Called by the loop when ``source.current()`` has become another one.
        """
        self._source = source
        self._poll = poll
        self._changed = changed
        self._thread: Thread | None = None
        self._outcome: bool | BaseException = False
        self._done = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._switch_s = sys.getswitchinterval()
        poll.watch(source.fileno(), self._begin, urgent=True)
        poll.watch(self._done, self._end)

    def _begin(self, _events: int) -> None:
        # What is announced meanwhile stays readable, and is taken when this one is done.
        self._poll.change(self._source.fileno(), 0)
        sys.setswitchinterval(_SWITCH_S)
        self._thread = Thread(target=self._read, name="policy")
        self._thread.start()

    def _read(self) -> None:
        try:
            self._outcome = self._source.refresh()
            if self._outcome:
                # What a policy finds out at its first decision is found out here.
                decide(self._source.current(), _NOBODY, "", None)
        except BaseException as e:  # noqa: BLE001  # raised again where the loop is
            self._outcome = e
        os.eventfd_write(self._done, 1)

    def _end(self, _events: int) -> None:
        os.eventfd_read(self._done)
        self._join()
        self._poll.change(self._source.fileno(), READ)
        outcome, self._outcome = self._outcome, False
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome:
            self._changed()

    def _join(self) -> None:
        if self._thread:
            self._thread.join()
            self._thread = None
            sys.setswitchinterval(self._switch_s)

    def close(self) -> None:
        """Stop watching; waits for what is being read."""
        self._join()
        self._poll.forget(self._done)
        os.close(self._done)
