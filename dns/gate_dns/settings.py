"""What a worker is told at its start: settings, and the ports to the rest of the appliance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address

from gate_core.clients import Address
from gate_core.config import DnsConfig
from gate_core.ports import Clock, EventSink, NeighbourTable, PolicySource


class BlockAnswer(Enum):
    """What a blocked A or AAAA query gets."""

    BLOCK_PAGE = "block-page"
    NXDOMAIN = "nxdomain"
    NODATA = "nodata"
    NULL_ADDRESS = "null-address"


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """Where a worker listens, whom it asks and what blocked queries get."""

    listen: tuple[Address, ...]
    port: int
    upstreams: tuple[Address, ...]
    """Best first."""
    upstream_port: int
    block_answer: BlockAnswer
    block_ttl_s: int
    block_page_ipv4: IPv4Address | None = None
    """Without it, a blocked A query gets NODATA where it would get this address."""
    block_page_ipv6: IPv6Address | None = None

    @classmethod
    def of(cls, config: DnsConfig, own_addresses: Iterable[Address]) -> DnsSettings:
        """Return the settings in a checked ``config``.

        Args:
            config: The table ``dns``.
            own_addresses: The appliance's own addresses: those of the block page where ``config`` names none.
        """
        configured = [ip_address(a) for a in config.block_page_addresses]
        page = configured or list(own_addresses)
        return cls(
            listen=tuple(ip_address(a) for a in config.listen),
            port=config.port,
            upstreams=tuple(ip_address(a) for a in config.upstreams),
            upstream_port=config.upstream_port,
            block_answer=BlockAnswer(config.block_answer),
            block_ttl_s=config.block_ttl_s,
            block_page_ipv4=next((a for a in page if isinstance(a, IPv4Address)), None),
            block_page_ipv6=next(
                (a for a in page if isinstance(a, IPv6Address) and not a.is_link_local), None
            ),
        )


@dataclass(frozen=True, slots=True)
class DnsPorts:
    """The rest of the appliance, as a worker sees it."""

    policies: PolicySource
    neighbours: NeighbourTable
    clock: Clock
    events: EventSink
