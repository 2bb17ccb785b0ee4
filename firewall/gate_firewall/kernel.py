"""Tells what of the running kernel would harm the filter.

The settings are made at start (``apply.enforce_sysctls``, ``bridge.join_ports``); here is looked, again and again, whether
they hold, as other programs of the machine may change them, and what can't be set: the kernel's version and the size of
its tables.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from gate_core.config import BridgeConfig
from gate_firewall import apply, bridge
from gate_firewall.repeated import Repeated

_LOG: Final = logging.getLogger(__name__)
LOOK_EVERY_S: Final = 60.0

_RELEASE: Final = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_TABLE: Final = Path("/proc/sys/net/netfilter/nf_conntrack_max")

FLOWS_PER_DEVICE: Final = 200
"""Flows of one device that the kernel remembers at once: a browser with many tabs, and what it closed within two minutes."""


class Version(NamedTuple):
    """A version of Linux."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


_LOSES_DATAGRAMS: Final = (
    (Version(6, 11, 0), Version(6, 12, 75)),
    (Version(6, 13, 0), Version(6, 18, 14)),
    (Version(6, 19, 0), Version(6, 19, 4)),
)
"""CVE-2026-45859: the first version with the fault, and the one that mends it. Merged datagrams of a flow that conntrack
has not confirmed are dropped on their way to a queue that did not ask for merged packets."""


class Watch(Repeated):
    """Looks for what is wrong: to ask the ports takes longer than a packet should wait."""

    def __init__(self, find: Callable[[], list[str]]) -> None:
        """Begin.

        Args:
            find: Returns all that is wrong; raises OSError where it can't tell.
        """
        super().__init__("kernel", LOOK_EVERY_S)
        self.found: tuple[str, ...] = ()
        """What was wrong when it was looked last."""
        self._find = find

    def look(self) -> None:
        """Look once."""
        try:
            found = tuple(self._find())
        except OSError as e:
            found = (f"Nobody can tell whether the kernel is set as the filter needs it: {e}.",)
        for finding in found:
            if finding not in self.found:
                _LOG.warning("action=check found=%s", finding)
        self.found = found


def check(config: BridgeConfig, devices: int) -> list[str]:
    """Return what is wrong, a plain sentence each; empty where all is well.

    Args:
        config: The bridge, which is there.
        devices: How many the school has.

    Raises:
        OSError: A port is missing, or br_netfilter is.
    """
    return [
        *release_findings(os.uname().release),
        *(_merging(port, feature) for port, feature in bridge.merging_ports(config)),
        *(_changed(setting) for setting in apply.wrong_sysctls(config.name)),
        *([_listened(config.name)] if bridge.is_promiscuous(config) else []),
        *table_findings(int(_TABLE.read_text()), devices),
    ]


def parse_release(text: str) -> Version | None:
    """Return the version in what ``uname -r`` prints; None where there is none.

    Distributions append to it: ``6.12.74+deb13-amd64``, ``6.12.47+rpt-rpi-2712``, ``6.12.25-v8+``. Where one keeps back
    the third number (Debian before 13: ``6.1.0-28-amd64``), it is 0.
    """
    found = _RELEASE.match(text)
    return found and Version(*(int(number or 0) for number in found.groups()))


def release_findings(release: str) -> Iterable[str]:
    """Yield what is known to be wrong with the kernel that calls itself ``release``."""
    version = parse_release(release)
    if version is None:
        yield f"The kernel calls itself {release!r}, so nobody can tell whether it has known faults."
        return
    for first, mended in _LOSES_DATAGRAMS:
        if first <= version < mended:
            yield (
                f"Linux {release} may lose the first packets of connections by QUIC and other datagrams"
                f" (CVE-2026-45859). Update it: {mended} is the first without this fault."
            )


def table_findings(limit: int, devices: int) -> Iterable[str]:
    """Yield a sentence where the kernel remembers at most ``limit`` flows, too few for so many devices."""
    needed = devices * FLOWS_PER_DEVICE
    if limit < needed:
        yield (
            f"The kernel remembers at most {limit:,} connections at once, and {devices:,} devices may have {needed:,}:"
            f" when it is full, nobody gets a new one. Set net.netfilter.nf_conntrack_max to {needed} or more."
        )


def _merging(port: str, feature: str) -> str:
    return (
        f"Port {port} joins datagrams before they are filtered ({feature}), which can't be turned off or was turned on"
        f" again: QUIC may fail. Turn it off (ethtool -K {port} {feature} off), or use another network adapter."
    )


def _listened(name: str) -> str:
    return (
        f"A program listens to all of {name} (promiscuous mode), such as tcpdump: until it ends, new connections fail."
        " Listen on the port towards the switch instead."
    )


def _changed(setting: apply.Sysctl) -> str:
    key = f"net.{setting.name.replace('/', '.')}"
    unfiltered = " Packets may pass unfiltered." if setting.name.startswith("bridge/") else ""
    return (
        f"The kernel's setting {key} is {setting.value}, and the filter needs {setting.needed}.{unfiltered}"
        " Another program has changed it: start the firewall again, and find that program."
    )
