"""Which addresses the sinkhole has given to whom, as its workers tell.

Whoever opens a flow to any other brought the address along: a tunnel, a proxy, a resolver that is built in.

What a worker tells may come later than the flow, as an answer from its cache is told within two seconds. So the classifier
asks when it does not know an address; the packet waits until all workers have answered, and each has told by then what it
gave before.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from contextlib import suppress
from ipaddress import ip_address, ip_network
from itertools import chain
from typing import Final, Generic, TypeVar

from gate_core.direct import SHIPPED, DirectService
from gate_core.given import (
    LEARNT_S,
    MAX_DATAGRAM_OCTETS,
    Given,
    MalformedGivenError,
    News,
    Request,
    parse_news,
    render_request,
)

HELD_S: Final = 12 * 3600.0
"""How long an address stays good after it was given last: connections last for a school day, and are judged again."""
MAX_CLIENTS: Final = 4096
MAX_ENTRIES: Final = 8192
"""Addresses of one client, and pairs of name and address: some thousand names."""
MAX_SHARED_ENTRIES: Final = 65_536
"""The same of those who ask for others: a school."""
MAX_ALL_ENTRIES: Final = 500_000
"""Of all clients: some 100 MB."""
ALIVE_S: Final = 3.0
"""A worker that says nothing for so long is not waited for."""
MAX_WORKERS: Final = 64
_DATAGRAMS_AT_ONCE: Final = 64

_INSIDE: Final = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"))
)
"""RFC 1918, RFC 4193 and RFC 4291: networks of the school's own."""


def is_inside(address: bytes) -> bool:
    """Tell whether ``address`` (4 or 16 octets) is one of those that schools give to their own devices."""
    there = ip_address(address)
    return any(there in network for network in _INSIDE)


def is_exempt(address: bytes, protocol: int, port: int, direct: Iterable[DirectService]) -> bool:
    """Tell whether a flow may go on though nobody asked for its address.

    Args:
        address: Where it goes; 4 or 16 octets.
        protocol: Its IP protocol.
        port: The responder's.
        direct: What the policy has for its client, besides what comes with the appliance.
    """
    there = ip_address(address)
    return is_inside(address) or any(
        its.covers(there, protocol, port) for its in chain(SHIPPED.values(), direct)
    )


class GivenTable:
    """Who was given what; bounded."""

    def __init__(self) -> None:
        # Apart from each other: whoever makes up IP addresses fills the place of those who are known by nothing else.
        self._devices: _Clients[str] = _Clients()
        """By MAC address."""
        self._addresses: _Clients[bytes] = _Clients()
        """By IP address."""
        self._everyone = _Entries(MAX_SHARED_ENTRIES)
        """Of those who ask for others."""

    def take(self, row: Given, now: float) -> None:
        """Take what was given at about the monotonic time ``now``."""
        if row.everyone:
            self._everyone.note(row, now)
            return
        self._addresses.note(row.client, row, now)
        if row.mac:
            self._devices.note(row.mac, row, now)

    def is_known(self, client: bytes, mac: str | None) -> bool:
        """Tell whether a client, as for ``knows``, was given anything by itself."""
        return client in self._addresses or mac in self._devices

    def knows(self, client: bytes, mac: str | None, name: str, address: bytes, now: float) -> bool:
        """Tell whether a client was given ``address``, and that for ``name``.

        Args:
            client: Its own address, 4 or 16 octets.
            mac: Canonical; None where it is not known.
            name: Canonical; "" for whatever name.
            address: 4 or 16 octets.
            now: Monotonic time in seconds.
        """
        what = (name, address) if name else address
        since = now - HELD_S
        return (
            (mac is not None and self._devices.knows(mac, what, since))
            or self._addresses.knows(client, what, since)
            or self._everyone.knows(what, since)
        )


class _Entries:
    """When an address was given, and when for which name; the newest ones."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # By hash: there are many. Python's has a secret of the process, so that nobody makes two that are alike.
        self._at: OrderedDict[int, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._at)

    def note(self, row: Given, now: float) -> None:
        for address in row.addresses:
            for what in (address, (row.name, address)):
                key = hash(what)
                self._at[key] = now
                self._at.move_to_end(key)
        while len(self._at) > self._limit:
            self._at.popitem(last=False)

    def halve(self) -> int:
        """Forget the older half, one entry at least; return how many those were."""
        number = (len(self._at) + 1) // 2
        for _ in range(number):
            self._at.popitem(last=False)
        return number

    def knows(self, what: Hashable, since: float) -> bool:
        at = self._at.get(hash(what))
        return at is not None and at >= since


W = TypeVar("W", str, bytes)


class _Clients(Generic[W]):
    """The entries of each client: a part of its own, which nobody else can fill."""

    def __init__(self) -> None:
        self._entries: OrderedDict[W, _Entries] = OrderedDict()
        self._count = 0

    def __contains__(self, who: W | None) -> bool:
        return who in self._entries

    def note(self, who: W, row: Given, now: float) -> None:
        its = self._entries.get(who)
        if its is None:
            its = self._entries[who] = _Entries(MAX_ENTRIES)
        self._entries.move_to_end(who)
        self._count -= len(its)
        its.note(row, now)
        self._count += len(its)
        if len(self._entries) > MAX_CLIENTS:
            # Who was given nothing for longest.
            _, gone = self._entries.popitem(last=False)
            self._count -= len(gone)
        while self._count > MAX_ALL_ENTRIES:
            # Some made-up clients that ask for a lot take nothing from all who ask for little.
            self._count -= max(self._entries.values(), key=len).halve()

    def knows(self, who: W, what: Hashable, since: float) -> bool:
        its = self._entries.get(who)
        return its is not None and its.knows(what, since)


class GivenSocket:
    """Where the workers of the sinkhole tell; only this process's user can."""

    def __init__(self, private: socket.socket) -> None:
        """Listen at ``private``, a Unix datagram socket that never waits; it is closed by whoever opened it."""
        self.table = GivenTable()
        self.malformed = 0
        """Datagrams that were none of a worker."""
        self._workers: dict[int, _Worker] = {}
        self._asked = 0
        self._whole_from = 0.0
        self._socket = private
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * MAX_DATAGRAM_OCTETS)

    def fileno(self) -> int:
        """Return the descriptor that turns readable when there is something to take."""
        return self._socket.fileno()

    def serve(self, now: float) -> None:
        """Take what has come; never waits."""
        with suppress(BlockingIOError):
            for _ in range(_DATAGRAMS_AT_ONCE):
                datagram, sender = self._socket.recvfrom(MAX_DATAGRAM_OCTETS)
                try:
                    news = parse_news(datagram)
                except MalformedGivenError:
                    self.malformed += 1
                    continue
                if sender:
                    self._take(news, sender, now)

    def _take(self, news: News, sender: str, now: float) -> None:
        worker = self._workers.get(news.worker)
        known = worker is not None
        if worker is None:
            if len(self._workers) >= MAX_WORKERS:
                return
            worker = self._workers[news.worker] = _Worker(sender)
            # One that begins anew has told all but what it gave in its last two seconds.
            self._whole_from = max(self._whole_from, news.since_s)
        worker.sender = sender
        worker.heard = now
        worker.answered = max(worker.answered, news.answered)
        for row in news.rows:
            self.table.take(row, now)
        if not news.rows and not news.answered:
            self._send(worker, Request(0, everything=not known))

    def begin(self, now: float) -> None:
        """Take note that more devices are to be held to what they were given, of whom nobody took note before."""
        self._whole_from = max(self._whole_from, now)

    def ask(self) -> int:
        """Ask all workers for what they gave until now; return the number that ``answered`` takes."""
        self._asked += 1
        for worker in self._workers.values():
            self._send(worker, Request(self._asked))
        return self._asked

    def answered(self, number: int, now: float) -> bool:
        """Tell whether all workers that live have answered the request ``number``."""
        return all(
            worker.answered >= number
            for worker in self._workers.values()
            if worker.heard > now - ALIVE_S
        )

    def is_learning(self, now: float) -> bool:
        """Tell whether addresses are in use that were given before anybody could take note."""
        return not self._workers or now < self._whole_from + LEARNT_S

    def _send(self, worker: _Worker, request: Request) -> None:
        # Who does not take it is not there, or has more to do: it will not have answered.
        with suppress(OSError):
            self._socket.sendto(render_request(request), worker.sender)


class _Worker:
    """What is known of a worker."""

    __slots__ = ("answered", "heard", "sender")

    def __init__(self, sender: str) -> None:
        self.sender = sender
        self.heard = 0.0
        self.answered = 0
