"""Addresses that devices may go to without a name: neither asked of our name service, nor shown by the flow.

They matter to groups with ``named_only``. Nothing else is lifted by them: what cuts a device off, a pause, and what the
policy says of a flow's name and protocol hold as everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from types import MappingProxyType
from typing import Final

from gate_core.clients import Address, Network

TRANSPORTS: Final[Mapping[str, int]] = MappingProxyType({"tcp": 6, "udp": 17})
"""Name to number, as IANA has it."""

WIDEST: Final[Mapping[int, int]] = MappingProxyType({4: 8, 6: 24})
"""IP version to the shortest prefix: wider than the largest service is no exception any more."""

_PORTS: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class DirectService:
    """Networks and ports of one service."""

    networks: tuple[Network, ...]
    protocol: int
    """One of ``TRANSPORTS``."""
    ports: range
    group: str = ""
    """For whom; "" for every group."""

    @property
    def transport(self) -> str:
        """Protocol and ports, such as ``udp 8801-8810``."""
        name = next(name for name, number in TRANSPORTS.items() if number == self.protocol)
        first, last = self.ports[0], self.ports[-1]
        return f"{name} {first}-{last}" if first < last else f"{name} {first}"

    def covers(self, address: Address, protocol: int, port: int) -> bool:
        """Tell whether a flow to ``address`` goes to this service."""
        return (
            protocol == self.protocol
            and port in self.ports
            and any(address in network for network in self.networks)
        )


def parse_network(text: str) -> Network:
    """Return the network that ``text`` writes in its one form.

    Raises:
        ValueError: It is none, or is wider than ``WIDEST``.
    """
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError("it is not a network such as 203.0.113.0/24") from None
    if str(network) != text:
        raise ValueError(f"it is written {network}")
    widest = WIDEST[network.version]
    if network.prefixlen < widest:
        raise ValueError(
            f"it is wider than /{widest}; name the networks of the service itself, as its maker publishes them"
        )
    return network


def parse_ports(text: str) -> range:
    """Return the ports in a ``text`` such as ``443`` or ``8801-8810``.

    Raises:
        ValueError: It is neither a port nor a range of them.
    """
    found = _PORTS.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last <= 65_535:
        raise ValueError(
            f"{text[:20]!r} is neither a port from 1 to 65535 nor a range such as 8801-8810"
        )
    return range(first, last + 1)


def _shipped(protocol: str, ports: str, *networks: str) -> DirectService:
    return DirectService(tuple(map(ip_network, networks)), TRANSPORTS[protocol], parse_ports(ports))


SHIPPED: Final[Mapping[str, DirectService]] = MappingProxyType(
    {
        # Its devices know the addresses (support.apple.com/102266).
        "Apple push service": _shipped("tcp", "5223", "17.0.0.0/8"),
        # The addresses come by messages of the service, whose names are decided on.
        "Microsoft Teams calls": _shipped(
            "udp", "3478-3481", "52.112.0.0/14", "52.122.0.0/15", "2603:1063::/38"
        ),
        "Google Meet calls": _shipped(
            "udp",
            "3478",
            "74.125.250.0/24",
            "142.250.82.0/24",
            "2001:4860:4864:5::/64",
            "2001:4860:4864:6::/64",
        ),
    }
)
"""Title to what comes with the appliance, for every group: where programs go without asking, and nobody gets round the
filter."""
