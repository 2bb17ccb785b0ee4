"""The poll set of a worker: descriptors, and what is called when one of them is ready."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Final

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT

Ready = Callable[[int], None]
"""Called with the events of the descriptor, a mask of select.EPOLL...; may find nothing to do."""


class Poll:
    """Descriptors of one thread, level-triggered."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, Ready] = {}
        self._urgent = -1

    def watch(
        self, descriptor: int, ready: Ready, events: int = READ, *, urgent: bool = False
    ) -> None:
        """Call ``ready`` when ``descriptor`` is; the one that is ``urgent`` comes first in each round."""
        self._epoll.register(descriptor, events)
        self._ready[descriptor] = ready
        if urgent:
            self._urgent = descriptor

    def change(self, descriptor: int, events: int) -> None:
        """Wait for other ``events`` of a watched descriptor; 0 for faults only."""
        self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Stop watching; to be called before the descriptor is closed."""
        self._epoll.unregister(descriptor)
        del self._ready[descriptor]

    def wait(self, timeout_s: float) -> bool:
        """Wait until something is ready, and call for all that is; tell whether anything was."""
        events = self._epoll.poll(timeout_s)
        for place, (descriptor, _) in enumerate(events):
            if descriptor == self._urgent:
                events.insert(0, events.pop(place))
                break
        for descriptor, mask in events:
            # A call before this one may have closed it.
            if ready := self._ready.get(descriptor):
                ready(mask)
        return bool(events)

    def close(self) -> None:
        """Free the set; its descriptors stay open."""
        self._epoll.close()
