"""Which addresses the sinkhole has given to whom, as its workers tell.

Whoever opens a flow to any other brought the address along: a tunnel, a proxy, a resolver that is built in.

What a worker tells may come later than the flow, as an answer from its cache is told within two seconds. So the classifier
asks when it does not know an address; the packet waits until all workers have answered, and each has told by then what it
gave before.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address, ip_network
from itertools import chain
from typing import Final, TypeVar

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
from gate_firewall.flows import Table

HELD_S: Final = 12 * 3600.0
"""How long an address stays good after it was given last: connections last for a school day, and are judged again."""
MAX_CLIENTS: Final = 4096
MAX_ADDRESSES: Final = 4096
"""Addresses of one client, and pairs of name and address: some thousand names."""
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
        self._devices: dict[str, Table[float]] = {}
        """By MAC address: when an address was given, and when for which name."""
        self._addresses: dict[bytes, Table[float]] = {}
        """The same by IP address."""
        self._everyone = _given()
        """The same of those who ask for others."""

    def take(self, row: Given, now: float) -> None:
        """Take what was given at about the monotonic time ``now``."""
        if row.everyone:
            tables = [self._everyone]
        else:
            tables = [_of(self._addresses, row.client)]
            if row.mac:
                tables.append(_of(self._devices, row.mac))
        for table in tables:
            for address in row.addresses:
                table.put(address, now, now)
                table.put((row.name, address), now, now)

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
        of_device = self._devices.get(mac) if mac else None
        for table in (of_device, self._addresses.get(client), self._everyone):
            at = table.get(what) if table else None
            if at is not None and at >= now - HELD_S:
                return True
        return False


W = TypeVar("W", str, bytes)


def _given() -> Table[float]:
    return Table(limit=MAX_ADDRESSES, age_s=HELD_S)


def _of(tables: dict[W, Table[float]], who: W) -> Table[float]:
    """Return what is known of ``who``; each has a part of its own, which nobody else can fill."""
    table = tables.pop(who, None)
    if table is None:
        if len(tables) >= MAX_CLIENTS:
            # Who was given nothing for longest.
            del tables[next(iter(tables))]
        table = _given()
    tables[who] = table
    return table


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
