"""Who asks: addresses to clients, kept for moments, and how much each device may ask.

A client is kept for seconds only: its address may pass to another device, and its MAC address may become known.

Each device has a bucket of tokens, a token a query. Who has none left is answered nothing until there are some again: a
client repeats what stays unanswered, and a flood costs no answers. The addresses of one device share its bucket.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from ipaddress import ip_address
from typing import Final

from gate_core.clients import Address, Client
from gate_core.policy import Policy
from gate_core.ports import NeighbourTable
from gate_dns.cache import Entries, Room
from gate_dns.messages.wire import Transport

KNOWN_S: Final = 30.0
"""How long a client is kept once the kernel knows its MAC address."""
UNKNOWN_S: Final = 1.0
"""The same while it does not: it may learn it by our answer."""
MAX_FLIGHTS_OF_DEVICE: Final = 100
MAX_FLIGHTS_OF_STRANGERS: Final = 256
"""Of all devices together whose MAC address is not known."""
MAX_FLIGHTS_OF_UNLIMITED: Final = 512
"""Of all together that ask for others: half of what may be in flight (``upstream.MAX_IN_FLIGHT``)."""
MAX_ASKERS: Final = 4096
"""More addresses than a school has: forged sources must not fill the memory."""


class Bucket:
    """What a device may still ask over one transport."""

    __slots__ = ("refilled", "tokens")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.refilled = now
        """Monotonic time in seconds."""


class Flights:
    """Questions of a device, or of all whom nobody knows, that wait for an upstream."""

    __slots__ = ("count", "most")

    def __init__(self, most: int) -> None:
        self.count = 0
        self.most = most


Who = tuple[bytes, str, bool]
"""Address of a client in 4 or 16 octets, its MAC address or "", and whether it asks for others."""


class Asker:
    """A client and where its responses are kept; compared by identity, so that counting by it is cheap."""

    __slots__ = ("bucket", "client", "exact", "flights", "folded", "held_to_names", "refused", "rooms", "streams", "until")  # fmt: skip

    def __init__(  # a row of values
        self,
        client: Client,
        rooms: tuple[Room, Room],
        bucket: Bucket,
        streams: Bucket,
        flights: Flights,
        until: float,
        held_to_names: Who | None = None,
    ) -> None:
        self.client = client
        self.rooms = rooms
        """Where responses of the client's view are kept: over UDP, and over TCP."""
        self.exact = rooms[0].exact
        self.folded = rooms[0].folded
        """Those over UDP, for the batch loop."""
        self.bucket = bucket
        """Over UDP, where anybody on the network can send with its address."""
        self.streams = streams
        """Over TCP, where nobody else can: whoever is silenced by another's datagrams is answered there."""
        self.flights = flights
        self.refused = 0
        """Queries left unanswered; whoever reads it clears it."""
        self.until = until
        """Monotonic time in seconds at which it is to be identified anew."""
        self.held_to_names = held_to_names
        """Where it, or somebody for whom it asks, reaches nothing but addresses that we gave."""


class Limits:
    """How much a device may ask."""

    __slots__ = ("burst", "rate", "unlimited")

    def __init__(self, rate: float, burst: float, unlimited: Collection[Address] = ()) -> None:
        self.rate = rate
        """Queries a second; 0 for no limit."""
        self.burst = burst
        """Queries at once after a rest."""
        self.unlimited = frozenset(unlimited)
        """Who asks for others: the router, a resolver of the school, the appliance itself."""


class Askers:
    """All that asked of late, under one policy."""

    def __init__(
        self, policy: Policy, neighbours: NeighbourTable, entries: Entries, limits: Limits
    ) -> None:
        self._policy = policy
        self._neighbours = neighbours
        self._entries = entries
        self._limits = limits
        self._all: dict[bytes, Asker] = {}
        self._flights: dict[str, Flights] = {}
        self._strangers = Flights(MAX_FLIGHTS_OF_STRANGERS)
        self._unlimited = Flights(MAX_FLIGHTS_OF_UNLIMITED)
        self._spent: set[bytes] = set()
        self._buckets: dict[str, Bucket] = {}
        """By MAC address; by IP address where that is unknown."""
        self.by_address: dict[bytes, Asker] = {}
        """Those whose queries the batch loop may answer, by the 4 or 16 octets of the address; always the same dictionary."""

    def known(self, source: bytes, now: float) -> Asker | None:
        """Return who asks from the address ``source``, if that was found out of late."""
        asker = self._all.get(source)
        return asker if asker is not None and asker.until > now else None

    def find(self, source: bytes, now: float) -> Asker:
        """Return who asks from the address ``source`` at the monotonic time ``now``."""
        asker = self.known(source, now)
        if asker is None:
            address = ip_address(source)
            mac = self._neighbours.mac(address)
            client = self._policy.client(address, mac)
            until = now + (KNOWN_S if mac else UNKNOWN_S)
            bucket = self._bucket(address, mac, now)
            view = self._policy.view(client)
            rooms = (
                self._entries.room((view, Transport.UDP)),
                self._entries.room((view, Transport.TCP)),
            )
            streams = self._bucket(address, mac, now, "tcp ")
            flights, held = self._flights_of(bucket, mac), self._held(client, bucket)
            asker = Asker(client, rooms, bucket, streams, flights, until, held)
            if len(self._all) >= MAX_ASKERS:
                self._all.clear()
                self.by_address.clear()
            self._all[source] = asker
            if bucket.tokens > 0:
                self.by_address[source] = asker
        return asker

    def _held(self, client: Client, bucket: Bucket) -> Who | None:
        if client.address.is_loopback:
            return None
        groups, everyone = self._policy.groups, bucket.tokens == math.inf
        group = groups.get(client.group, groups[self._policy.unknown_group])
        if group.named_only or (everyone and any(g.named_only for g in groups.values())):
            return (client.address.packed, client.mac or "", everyone)
        return None

    def _flights_of(self, bucket: Bucket, mac: str | None) -> Flights:
        if bucket.tokens == math.inf:
            return self._unlimited
        if mac is None:
            # Addresses cost nothing to whoever forges them.
            return self._strangers
        if len(self._flights) >= MAX_ASKERS:
            self._flights.clear()
        return self._flights.setdefault(mac, Flights(MAX_FLIGHTS_OF_DEVICE))

    def _bucket(self, address: Address, mac: str | None, now: float, what: str = "") -> Bucket:
        limits = self._limits
        if not limits.rate or address.is_loopback or address in limits.unlimited:
            return Bucket(math.inf, now)
        key = what + (mac or str(address))
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= MAX_ASKERS:
                self._buckets.clear()
            bucket = self._buckets[key] = Bucket(limits.burst, now)
        return bucket

    def spend(self, sources: Sequence[bytes]) -> None:
        """Take a token for each of the ``sources`` of queries; who has none left is not in ``by_address`` any more."""
        if not sources:
            return
        first = sources[0]
        count = sources.count(first)
        # What comes together is mostly of one device, and to see that is cheaper than to count them all.
        counts = {first: count} if count == len(sources) else Counter(sources)
        for source, count in counts.items():
            asker = self._all.get(source)
            if asker is not None:
                asker.bucket.tokens -= count
                if asker.bucket.tokens <= 0:
                    self.by_address.pop(source, None)
                    self._spent.add(source)

    def refill(self, now: float) -> None:
        """Give all buckets what has come since the last time; to be called some times a second."""
        limits = self._limits
        used = {id(b) for asker in self._all.values() for b in (asker.bucket, asker.streams)}
        for key, bucket in list(self._buckets.items()):
            # It does not sink below zero: a flood that has ended is over.
            tokens = max(bucket.tokens, 0.0) + (now - bucket.refilled) * limits.rate
            bucket.tokens, bucket.refilled = min(tokens, limits.burst), now
            if bucket.tokens >= limits.burst and id(bucket) not in used:
                del self._buckets[key]
        for source in tuple(self._spent):
            asker = self._all.get(source)
            if asker is not None and asker.bucket.tokens > 0:
                self.by_address[source] = asker
            if asker is None or asker.bucket.tokens > 0:
                self._spent.discard(source)

    def take_refused(self) -> list[tuple[Asker, int]]:
        """Return who was left without answers since the last time, and how often."""
        found = []
        for asker in self._all.values():
            if asker.refused:
                found.append((asker, asker.refused))
                asker.refused = 0
        return found

    def sweep(self, now: float) -> None:
        """Forget those whose time is over, so that the batch loop need not look at each query's."""
        over = [source for source, asker in self._all.items() if asker.until <= now]
        for source in over:
            del self._all[source]
            self.by_address.pop(source, None)

    def begin(self, policy: Policy) -> None:
        """Forget all but the buckets, and identify by ``policy`` from here on."""
        self._policy = policy
        self._all.clear()
        self.by_address.clear()
