"""What a worker is told at its start: settings, and the ports to the rest of the appliance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address

from gate_core.categories import BY_ID
from gate_core.clients import Address
from gate_core.config import DnsConfig
from gate_core.names import parse_name
from gate_core.ports import Clock, EventSink, GivenLink, NeighbourTable, PinSink, PolicySource
from gate_core.upstreams import Upstream, parse_upstream
from gate_dns.messages.render import Response
from gate_dns.messages.wire import Query
from gate_dns.zones import Zone, Zones


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
    upstreams: tuple[Upstream, ...]
    """Best first; empty: those that the network hands out."""
    block_answer: BlockAnswer
    block_ttl_s: int
    block_page_ipv4: IPv4Address | None = None
    """Without it, a blocked A query gets NODATA where it would get this address."""
    block_page_ipv6: IPv6Address | None = None
    block_answers: tuple[tuple[int, BlockAnswer], ...] = ()
    """Mask of a category to what its blocked names get in place of ``block_answer``; the first that fits."""
    zones: Zones = Zones()
    """The school's own names."""
    tls_authorities: str = ""
    """File of the certificates by which upstreams over TLS are known; "": the system's."""
    dnstap: str = ""
    """Path of the socket at which somebody reads queries and responses; "" where nobody does."""
    rate_limit: int = 0
    """Queries a second that one device may ask for long; 0 for no limit."""
    rate_burst: int = 1
    """Queries that it may ask at once after a rest."""
    unlimited: frozenset[Address] = frozenset()
    """Who asks for others, and so has no limit."""

    @classmethod
    def of(
        cls,
        config: DnsConfig,
        own_addresses: Iterable[Address],
        unlimited: Iterable[Address] = (),
    ) -> DnsSettings:
        """Return the settings in a checked ``config``.

        Args:
            config: The table ``dns``.
            own_addresses: The appliance's own addresses: those of the block page where ``config`` names none.
            unlimited: Who may ask as much as they like.
        """
        configured = [ip_address(a) for a in config.block_page_addresses]
        page = configured or list(own_addresses)
        return cls(
            listen=tuple(ip_address(a) for a in config.listen),
            port=config.port,
            upstreams=(
                (Upstream(IPv4Address("127.0.0.1"), config.validator_port),)
                if config.dnssec == "validate"
                else _upstreams(config.upstreams)
            ),
            block_answer=BlockAnswer(config.block_answer),
            block_answers=tuple(
                (BY_ID[id_].mask, BlockAnswer(kind)) for id_, kind in config.block_answers.items()
            ),
            block_ttl_s=config.block_ttl_s,
            block_page_ipv4=next((a for a in page if isinstance(a, IPv4Address)), None),
            block_page_ipv6=next(
                (a for a in page if isinstance(a, IPv6Address) and not a.is_link_local), None
            ),
            zones=Zones(
                tuple(
                    Zone(parse_name(name), _upstreams(zone.servers))
                    for name, zone in config.zones.items()
                )
            ),
            tls_authorities=config.tls_authorities,
            dnstap=config.dnstap,
            rate_limit=config.rate_limit,
            rate_burst=config.rate_burst,
            unlimited=frozenset(unlimited),
        )

    def zone_of(self, name: str) -> Zone | None:
        """Return the school's zone that a canonical ``name`` is in; None where it is in none."""
        return self.zones.of(name)

    def locally(self, query: Query) -> Response | None:
        """Return the answer to a ``query`` that nobody outside is to be asked; None for all others."""
        return self.zones.locally(query)


def _upstreams(texts: Iterable[str]) -> tuple[Upstream, ...]:
    return tuple(map(parse_upstream, texts))


@dataclass(frozen=True, slots=True)
class DnsPorts:
    """The rest of the appliance, as a worker sees it."""

    policies: PolicySource
    neighbours: NeighbourTable
    clock: Clock
    events: EventSink
    pins: PinSink
    given: Sequence[GivenLink] = ()
    """None where no classifier is to be told."""
