"""Whether one device asks for the names of all the others, as a school's own DNS server in front of us does.

All devices behind it look like one: they get one group's policy, and the record can't tell them apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

MIN_NAMES: Final = 200
"""Fewer names in an hour tell nothing: it is night, or a school of two devices."""
MOST: Final = 0.8
"""Share of the names that whoever asks for all has asked for, where others are seen to be silent..."""
NEARLY_ALL: Final = 0.95
"""... and where nobody else is seen at all, as where we see names only."""
MANY_NAMES: Final = 1000
"""More in an hour than one person's device asks for."""
MIN_SILENT: Final = 5
"""Devices that use the network and ask for no name: one or two are cameras with an address built in."""


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Somebody asks for all."""

    device: str
    """As in ``asked``."""
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
    device = max(asked, key=lambda each: asked[each])
    share = asked[device] / names
    silent = len(set(present) - asked.keys())
    if share >= MOST and silent >= MIN_SILENT and silent >= len(asked):
        return Forwarding(device, silent)
    if share >= NEARLY_ALL and names >= MANY_NAMES:
        return Forwarding(device, silent)
    return None
