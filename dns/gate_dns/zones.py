"""Names that do not go to the upstreams: the school's own zones, and those of no use outside. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from gate_core.names import suffixes
from gate_core.upstreams import Upstream
from gate_dns.messages.codes import Qtype, Rcode
from gate_dns.messages.render import Response
from gate_dns.messages.wire import Query

LOCAL_TTL_S: Final = 300
"""Short, for the day on which the school gets a zone of that name."""

_NOWHERE: Final = frozenset(
    (
        "alt",  # RFC 9476, section 3
        "invalid",  # RFC 6761, section 6.4
        "local",  # RFC 6762, section 22.1
        "localhost",  # RFC 6761, section 6.3
        "onion",  # RFC 7686, section 2
        "test",  # RFC 6761, section 6.2
    )
)
"""Top-level names which the root does not have, and need not hear of."""


def _reverse_zones() -> Iterator[str]:
    """Yield the reverse zones that belong to each network itself (RFC 6303, section 4; RFC 7793)."""
    v4 = ["0", "10", "127", "254.169", "168.192", "2.0.192", "100.51.198", "113.0.203"]
    v4 += ["255.255.255.255", *(f"{n}.172" for n in range(16, 32))]
    v4 += [f"{n}.100" for n in range(64, 128)]
    yield from (f"{labels}.in-addr.arpa" for labels in v4)
    v6 = ["d.f", "8.e.f", "9.e.f", "a.e.f", "b.e.f", "8.b.d.0.1.0.0.2"]
    yield from (f"{labels}.ip6.arpa" for labels in v6)
    yield IPv6Address("::").reverse_pointer
    yield IPv6Address("::1").reverse_pointer


_SERVED: Final = frozenset(("home.arpa", *_reverse_zones()))
"""Zones that exist, without any name in them (for ``home.arpa``: RFC 8375, section 4)."""
_LAST_LABELS: Final = _NOWHERE | {"arpa"}


@dataclass(frozen=True, slots=True)
class Zone:
    """Names of the school itself, whose addresses may be private."""

    name: str
    """Canonical; the zone is this name and all below it."""
    servers: tuple[Upstream, ...] = ()
    """Who answers for them, best first; empty: the upstreams."""


class Zones:
    """The school's zones, and what is answered without asking anybody."""

    def __init__(self, zones: tuple[Zone, ...] = ()) -> None:
        self._zones: Mapping[str, Zone] = {zone.name: zone for zone in zones}
        self._above = frozenset(above for zone in zones for above in suffixes(zone.name))

    def __iter__(self) -> Iterator[Zone]:
        return iter(self._zones.values())

    def of(self, name: str) -> Zone | None:
        """Return the narrowest zone that a canonical ``name`` is in; None where it is in none."""
        if self._zones:
            for suffix in suffixes(name):
                if zone := self._zones.get(suffix):
                    return zone
        return None

    def locally(self, query: Query) -> Response | None:
        """Return the answer to a ``query`` that nobody outside is to be asked; None for all others."""
        qname = query.qname
        last = qname.rpartition(".")[2]
        if last not in _LAST_LABELS or self.of(qname):
            return None
        if last == "localhost" and query.qtype in (Qtype.A, Qtype.AAAA):
            address = IPv4Address("127.0.0.1") if query.qtype == Qtype.A else IPv6Address("::1")
            return Response(Rcode.NOERROR, LOCAL_TTL_S, address)
        apex = last if last in _NOWHERE else next((s for s in suffixes(qname) if s in _SERVED), "")
        if not apex or (qname == apex and query.qtype == Qtype.DS and last == "arpa"):
            # What the parent says of a zone's keys is in the parent, and tells a validator that there are none.
            return None
        # Above a zone of the school a name exists, with no records: NXDOMAIN would deny all below it (RFC 8020).
        exists = last == "localhost" or qname in _SERVED or qname in self._above
        return Response(Rcode.NOERROR if exists else Rcode.NXDOMAIN, LOCAL_TTL_S, serial=1)
