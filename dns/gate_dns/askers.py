"""Who asks: addresses to clients, kept for moments.

A client is kept for seconds only: its address may pass to another device, and its MAC address may become known.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from gate_core.clients import Client
from gate_core.policy import Policy
from gate_core.ports import NeighbourTable
from gate_dns.cache import AnswerCache, Entry
from gate_dns.wire import Transport

KNOWN_S: Final = 30.0
"""How long a client is kept once the kernel knows its MAC address."""
UNKNOWN_S: Final = 1.0
"""The same while it does not, as at first contact: it learns it by our answer."""
MAX_ASKERS: Final = 4096
"""More addresses than a school has: forged sources must not fill the memory."""


class Asker:
    """A client and where its answers are kept; compared by identity, so that counting by it is cheap."""

    __slots__ = ("answers", "client", "until", "view")

    def __init__(
        self, client: Client, view: str, answers: dict[bytes, Entry], until: float
    ) -> None:
        self.client = client
        self.view = view
        """``Policy.view`` of the client."""
        self.answers = answers
        """Kept answers over UDP."""
        self.until = until
        """Monotonic time in seconds at which it is to be identified anew."""


class Askers:
    """All that asked of late, under one policy."""

    def __init__(self, policy: Policy, neighbours: NeighbourTable, cache: AnswerCache) -> None:
        self._policy = policy
        self._neighbours = neighbours
        self._cache = cache
        self.by_address: dict[bytes, Asker] = {}
        """By the 4 or 16 octets of the address; always the same dictionary."""

    def find(self, source: bytes, now: float) -> Asker:
        """Return who asks from the address ``source`` at the monotonic time ``now``."""
        asker = self.by_address.get(source)
        if asker is None or asker.until <= now:
            address = ip_address(source)
            mac = self._neighbours.mac(address)
            client = self._policy.client(address, mac)
            view = self._policy.view(client)
            answers = self._cache.answers((view, Transport.UDP))
            asker = Asker(client, view, answers, now + (KNOWN_S if mac else UNKNOWN_S))
            if len(self.by_address) >= MAX_ASKERS:
                self.by_address.clear()
            self.by_address[source] = asker
        return asker

    def sweep(self, now: float) -> None:
        """Forget those whose time is over, so that the batch loop need not look at each query's."""
        over = [source for source, asker in self.by_address.items() if asker.until <= now]
        for source in over:
            del self.by_address[source]

    def begin(self, policy: Policy) -> None:
        """Forget all, and identify by ``policy`` from here on."""
        self._policy = policy
        self.by_address.clear()
