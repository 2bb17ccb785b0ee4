"""Which devices have been seen: from the neighbour table, kept in a small file of its own.

Sightings are no policy: they may be lost, and they are written rarely to spare the card.
"""

from __future__ import annotations

import heapq
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from gate_appliance.durable import write_durably
from gate_appliance.neighbours import Neighbour

MAX_SIGHTINGS: Final = 5_000
"""Devices remembered, and a tenth more for a while; phones with random addresses make new ones for ever, so the longest unseen go."""

_MAX_ADDRESSES: Final = 6


@dataclass(frozen=True, slots=True)
class Sighting:
    """When and where a device was seen."""

    mac: str
    addresses: tuple[str, ...]
    """Newest first."""
    first_seen: str
    last_seen: str
    vlan: int = 0
    """VLAN in which it last spoke; 0 without a tag."""


class Sightings:
    """All sightings; its methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._changed = False
        self._seen = _load(path)

    def take(self, neighbours: Iterable[Neighbour], at: datetime | None) -> None:
        """Note the ``neighbours`` seen ``at``."""
        when = at.isoformat(timespec="seconds") if at else ""
        with self._lock:
            for neighbour in neighbours:
                before = self._seen.get(neighbour.mac)
                address = str(neighbour.address)
                others = [a for a in before.addresses if a != address] if before else []
                self._seen[neighbour.mac] = Sighting(
                    neighbour.mac,
                    (address, *others)[:_MAX_ADDRESSES],
                    (before.first_seen if before else "") or when,
                    when or (before.last_seen if before else ""),
                    before.vlan if before else 0,
                )
                self._changed = True
            self._bound()

    def tagged(self, mac: str, vlan: int) -> bool:
        """Note that ``mac`` speaks in ``vlan``, 0 for none; tell whether that has changed.

        In a VLAN the neighbour table may never show a device, so that this can be the first one hears of it.
        """
        with self._lock:
            before = self._seen.get(mac, Sighting(mac, (), "", ""))
            if before.vlan == vlan:
                return False
            self._seen[mac] = replace(before, vlan=vlan)
            self._changed = True
            self._bound()
            return mac in self._seen

    def _bound(self) -> None:
        over = len(self._seen) - MAX_SIGHTINGS
        # Not at each one: whoever makes up addresses brings thousands.
        if over > MAX_SIGHTINGS // 10:
            for sighting in heapq.nsmallest(over, self._seen.values(), key=lambda s: s.last_seen):
                del self._seen[sighting.mac]

    def all(self) -> dict[str, Sighting]:
        """Return the sightings by MAC address."""
        with self._lock:
            return dict(self._seen)

    def save(self) -> None:
        """Write them to disk where anything changed.

        Raises:
            OSError: The disk refuses.
        """
        with self._lock:
            if not self._changed:
                return
            rows = [
                [s.mac, list(s.addresses), s.first_seen, s.last_seen, s.vlan]
                for s in self._seen.values()
            ]
            self._changed = False
        write_durably(self._path, json.dumps(rows).encode())


def _load(path: Path) -> dict[str, Sighting]:
    try:
        rows = json.loads(path.read_bytes())
        return {
            mac: Sighting(
                mac, tuple(str(ip_address(a)) for a in addresses), first, last, *map(int, vlan)
            )
            # A file that knows no VLANs ends each row with the time.
            for mac, addresses, first, last, *vlan in rows
        }
    except (FileNotFoundError, ValueError, TypeError):
        return {}  # Lost or damaged: devices are seen again as they speak.
