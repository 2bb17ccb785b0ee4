"""Whether a few devices ask for the names of all the others, as a school's own DNS servers in front of us do.

All devices behind them look like one: they get one group's policy, and the record can't tell them apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

MIN_NAMES: Final = 200
"""Fewer names in an hour tell nothing: it is night, or a school of two devices."""
A_SERVERS: Final = 0.2
"""Share of the names that each server asks for at least: a school has one, or two or three that devices choose from."""
MOST: Final = 0.7
"""Share of the names that servers have asked for together, where others are seen to be silent..."""
NEARLY_ALL: Final = 0.95
"""... and where nobody else is seen at all, as where we see names only."""
MANY_NAMES: Final = 1000
"""More in an hour than one person's device asks for."""
MIN_SILENT: Final = 5
"""Devices, for each server, that use the network and ask for no name: one or two are cameras with an address built in."""


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Somebody asks for all."""

    devices: tuple[str, ...]
    """As in ``asked``, who asks most first; at least one."""
    silent: int
    """How many others use the network and ask for no name."""


class Unclear(Enum):
    """Too little was seen to tell."""

    UNCLEAR = "unclear"


def find_forwarding(
    asked: Mapping[str, int], present: Collection[str]
) -> Forwarding | Unclear | None:
    """Return who asks for all; None where devices ask for themselves.

    Args:
        asked: How many names each device has asked for within the hour, by MAC address or, where that is not known,
            by address.
        present: Devices that have used the network in that time, called in the same way.
    """
    names = sum(asked.values())
    if names < MIN_NAMES:
        return Unclear.UNCLEAR
    by_names = sorted(asked, key=lambda each: asked[each], reverse=True)
    servers = tuple(device for device in by_names if asked[device] >= A_SERVERS * names)
    share = sum(asked[device] for device in servers) / names
    silent = len(set(present) - asked.keys())
    # A device that asks for itself is no witness, however busy another is: in most schools all of them do.
    if share >= MOST and silent >= max(MIN_SILENT * len(servers), len(asked)):
        return Forwarding(servers, silent)
    if share >= NEARLY_ALL and all(asked[device] >= MANY_NAMES for device in servers):
        return Forwarding(servers, silent)
    return None
