"""Which VLAN each device speaks in: the kernel learns it from frames; here it is read, and what is new is told.

The rule: packets wait for none of it. A thread reads, and is itself waiting for ``nft`` nearly all of the time.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from gate_core.events import Tagged
from gate_firewall.repeated import Repeated

_LOG: Final = logging.getLogger(__name__)

READ_EVERY_S: Final = 3.0
TELL_ALL_EVERY_S: Final = 60.0
"""What was told may have been lost on the way, and a steward that starts has heard nothing."""
MAX_TOLD: Final = 1000
"""Devices in one message, which is then of some 30 kB."""


def parse_vlans(*listings: str) -> dict[str, int]:
    """Return the VLAN of each MAC address, 0 for none; of several the one in which it spoke last.

    Args:
        listings: The sets, as ``nft -j`` lists each of them.

    Raises:
        ValueError: One is no JSON.
    """
    last: dict[str, tuple[int, bool, int]] = {}
    for listing in listings:
        # Before it stands the version of nft.
        (*_, item) = json.loads(listing)["nftables"]
        for wrapped in item["set"].get("elem", ()):
            element = wrapped["elem"]
            value = element["val"]
            mac, vlan = (value, 0) if isinstance(value, str) else value["concat"]
            # What expires last was renewed last: all are kept for as long. To the second; then no tag counts, as anybody
            # may put one on a frame.
            last[mac] = max(last.get(mac, (0, False, 0)), (element["expires"], vlan == 0, vlan))
    return {mac: vlan for mac, (_, _, vlan) in last.items()}


class News:
    """What of the VLANs has not been told yet."""

    def __init__(self) -> None:
        self._told: Mapping[str, int] = {}
        self._all_due_s = 0.0

    def of(self, vlans: Mapping[str, int], now_s: float) -> list[Tagged]:
        """Return what to tell of ``vlans`` at ``now_s`` on a monotonic clock: what changed, and now and then all."""
        if now_s >= self._all_due_s:
            self._told = {}
            self._all_due_s = now_s + TELL_ALL_EVERY_S
        news = [(mac, vlan) for mac, vlan in vlans.items() if self._told.get(mac) != vlan]
        self._told = vlans
        # Few messages: addresses can be made up, and what else there is to tell must not stand behind thousands.
        return [
            Tagged([mac for mac, _ in rows], [vlan for _, vlan in rows])
            for rows in (news[i : i + MAX_TOLD] for i in range(0, len(news), MAX_TOLD))
        ]


class Watch(Repeated):
    """Reads the VLANs; the news are taken by another thread."""

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Begin.

        Args:
            read: Gives the VLAN of each MAC address; raises OSError or ValueError where it can't.
        """
        super().__init__("vlans", READ_EVERY_S)
        self._read = read
        self._news = News()
        self._held: deque[Tagged] = deque()
        self._fault = ""

    def take(self) -> list[Tagged]:
        """Return the news since the last call."""
        return [self._held.popleft() for _ in range(len(self._held))]

    def look(self) -> None:
        """Read once."""
        try:
            self._held.extend(self._news.of(self._read(), time.monotonic()))
            self._fault = ""
        except (OSError, ValueError) as e:
            if str(e) != self._fault:
                _LOG.warning("action=read_vlans fault=%s", e)
            self._fault = str(e)
