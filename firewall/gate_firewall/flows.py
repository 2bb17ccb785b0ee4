"""What is remembered of flows: bounded, and forgotten with age."""

from __future__ import annotations

import socket
from collections import Counter, OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, NamedTuple, TypeVar

from gate_core.policy import Action
from gate_firewall.opening import Reading

V = TypeVar("V")

SHARES: Final = 4
"""Owners that can fill a shared table, of whatever there is room for in it."""


def render_address(address: bytes) -> str:
    """Return the text of an ``address`` of 4 or 16 octets (RFC 5952)."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


class FlowKey(NamedTuple):
    """A flow over TCP or UDP, seen from the side that opened it. Addresses have 4 or 16 octets."""

    protocol: int
    """As in the registry."""
    initiator: bytes
    initiator_port: int
    responder: bytes
    responder_port: int


class Judged(NamedTuple):
    """A flow with a verdict: enough to judge it again under another policy without a new hello."""

    mac: str | None
    """Of the client."""
    reading: Reading
    action: Action
    address: bytes = b""
    """The client's."""
    answered: bool = True
    """Whether the responder was heard; else the kernel hears it, and until then further packets are read."""
    allowed_ms: int = 0
    """When the event said so that allowed it, in milliseconds since 1970; 0 where none did, or the time was not known."""


class Table(Generic[V]):
    """A mapping that keeps the newest entries: at most ``limit``, none older than ``age_s``."""

    def __init__(self, *, limit: int, age_s: float) -> None:
        self._limit = limit
        self._age_s = age_s
        self._entries: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> V | None:
        """Return the entry of ``key``; None where there is none."""
        entry = self._entries.get(key)
        return entry[1] if entry else None

    def put(self, key: Hashable, value: V, now_s: float) -> None:
        """Set the entry of ``key``, new from ``now_s`` on a monotonic clock; forget what is too old or too much."""
        entries = self._entries
        entries[key] = (now_s, value)
        entries.move_to_end(key)
        while len(entries) > self._limit or next(iter(entries.values()))[0] < now_s - self._age_s:
            entries.popitem(last=False)

    def discard(self, key: Hashable) -> None:
        """Forget ``key``, if it is there."""
        self._entries.pop(key, None)


class SharedTable(Generic[V]):
    """As ``Table``, where each entry has an owner, who has a part of it at most: whoever puts in too much loses his own.

    Entries may hold octets, all together no more than a number of them: where owners can be made up, it is what has been held
    for long that makes room for what is new.
    """

    def __init__(self, *, limit: int, age_s: float, octets: int = 0) -> None:
        """Begin empty; ``octets`` are held at most, and one entry's more."""
        self._limit = limit
        self._share = limit // SHARES
        self._age_s = age_s
        self._entries: OrderedDict[Hashable, tuple[float, V, Hashable]] = OrderedDict()
        self._owned: dict[Hashable, OrderedDict[Hashable, None]] = {}
        """Keys of each owner, oldest first."""
        self._most_octets = octets
        self._octets = 0
        self._octets_of: Counter[Hashable] = Counter()
        """By owner."""
        self._held: dict[Hashable, int] = {}
        """Octets of entries that hold any; first those for which no more has come for longest."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> V | None:
        """Return the entry of ``key``; None where there is none."""
        entry = self._entries.get(key)
        return entry[1] if entry else None

    def age_s(self, key: Hashable, now_s: float) -> float:
        """Return how long ago the entry of ``key`` was put in; 0 where there is none."""
        entry = self._entries.get(key)
        return now_s - entry[0] if entry else 0.0

    def put(self, key: Hashable, value: V, owner: Hashable, now_s: float) -> None:
        """Set the entry of ``key``, new from ``now_s`` on a monotonic clock; forget what is too old or too much."""
        entries = self._entries
        if key in entries:
            self.discard(key)
        entries[key] = (now_s, value, owner)
        owned = self._owned.get(owner)
        if owned is None:
            owned = self._owned[owner] = OrderedDict()
        owned[key] = None
        if len(owned) > self._share:
            self.discard(next(iter(owned)))
        while len(entries) > self._limit or next(iter(entries.values()))[0] < now_s - self._age_s:
            self.discard(next(iter(entries)))

    def hold(self, key: Hashable, octets: int) -> None:
        """Count ``octets`` for the entry of ``key``, which is there, and no longer what was counted for it before."""
        more = octets - self._held.get(key, 0)
        if more:
            self._count(self._entries[key][2], more)
            self._held.pop(key, None)
            self._held[key] = octets
            while self._octets > self._most_octets and (oldest := next(iter(self._held))) != key:
                self.discard(oldest)

    def is_spent(self, owner: Hashable) -> bool:
        """Tell whether nothing more is to be held for ``owner``, who has his part."""
        return self._octets_of[owner] > self._most_octets // SHARES

    def _count(self, owner: Hashable, octets: int) -> None:
        self._octets += octets
        self._octets_of[owner] += octets
        if not self._octets_of[owner]:
            del self._octets_of[owner]

    def discard(self, key: Hashable) -> None:
        """Forget ``key``, if it is there."""
        entry = self._entries.pop(key, None)
        if entry:
            if octets := self._held.pop(key, 0):
                self._count(entry[2], -octets)
            owned = self._owned[entry[2]]
            del owned[key]
            if not owned:
                del self._owned[entry[2]]
