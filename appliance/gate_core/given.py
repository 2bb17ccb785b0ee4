"""Which addresses the sinkhole has given to whom, on its way from the workers to the classifier.

A datagram holds one JSON value. A worker sends ``News``, of itself as soon as it can and in answer to a ``Request``; the
classifier sends requests: once for what it does not know yet, and for everything when it has begun anew.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

MAX_ROWS: Final = 100
"""Of one datagram."""
MAX_ADDRESSES: Final = 32
"""Of one row."""
MAX_DATAGRAM_OCTETS: Final = 200_000
"""As many rows as a datagram has at most, with names of 253 octets."""
LEARNT_S: Final = 600.0
"""How long after the beginning of its record the sinkhole knows of all addresses in use: beside a classifier no answer lasts
longer."""


class Given(NamedTuple):
    """What one client was given."""

    client: bytes
    """Its address, 4 or 16 octets."""
    mac: str
    """Canonical; "" where it is not known."""
    everyone: bool
    """Whether it asks for others, as a name server of the school does."""
    name: str
    """Canonical: what it asked for."""
    addresses: tuple[bytes, ...]
    """4 or 16 octets each."""


class News(NamedTuple):
    """What a worker says."""

    worker: int
    since_s: float
    """The time on the machine's monotonic clock from which on it has a record of what it gave."""
    answered: int
    """Number of the newest request that this answers; 0 where it answers none."""
    rows: tuple[Given, ...] = ()


class Request(NamedTuple):
    """What the classifier wants to know."""

    number: int
    """To be answered when all has been said that was given before; 0 where nobody waits."""
    everything: bool = False
    """Whether to begin from the start of the record."""


class MalformedGivenError(ValueError):
    """A datagram that holds neither news nor a request."""


def render_news(news: News) -> bytes:
    """Return ``news`` as a datagram; of ``MAX_ROWS`` rows at most, each with ``MAX_ADDRESSES``."""
    rows = [
        [r.client.hex(), r.mac, r.everyone, r.name, *(a.hex() for a in r.addresses)]
        for r in news.rows
    ]
    return _render([news.worker, news.since_s, news.answered, rows])


def parse_news(datagram: bytes) -> News:
    """Return the news in a datagram.

    Raises:
        MalformedGivenError: It has none that ``render_news`` makes.
    """
    try:
        worker, since_s, answered, rows = json.loads(datagram)
        return News(int(worker), float(since_s), int(answered), tuple(map(_row, rows)))
    except (ValueError, TypeError, RecursionError, OverflowError) as e:
        raise _malformed(datagram) from e


def render_request(request: Request) -> bytes:
    """Return ``request`` as a datagram."""
    return _render(list(request))


def parse_request(datagram: bytes) -> Request:
    """Return the request in a datagram.

    Raises:
        MalformedGivenError: It has none that ``render_request`` makes.
    """
    try:
        number, everything = json.loads(datagram)
        return Request(int(number), bool(everything))
    except (ValueError, TypeError, RecursionError, OverflowError) as e:
        raise _malformed(datagram) from e


def _render(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _malformed(datagram: bytes) -> MalformedGivenError:
    return MalformedGivenError(f"parsing {len(datagram)} octets: {datagram[:32].hex()}")


def _row(row: Any) -> Given:
    client, mac, everyone, name, *addresses = row
    if not (isinstance(mac, str) and isinstance(name, str)):
        raise TypeError("a row has a MAC address and a name")
    octets = bytes.fromhex(client), *map(bytes.fromhex, addresses)
    if any(len(each) not in (4, 16) for each in octets):
        raise ValueError("an address has 4 or 16 octets")
    return Given(octets[0], mac, bool(everyone), name, octets[1:])
