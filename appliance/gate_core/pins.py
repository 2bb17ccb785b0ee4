"""The addresses of the safe versions of search engines, on their way from the sinkhole to the classifier.

A datagram holds one JSON array: for each safe version its name, for how many seconds that holds, and its addresses in
hexadecimal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MAX_DATAGRAM_OCTETS: Final = 16_384
"""Every safe version with as many addresses as a pin has at most."""

MAX_ADDRESSES: Final = 32
"""Of one pin."""


@dataclass(frozen=True, slots=True)
class Pin:
    """Where one safe version answers."""

    target: str
    """Canonical name of the safe version."""
    addresses: tuple[bytes, ...]
    """4 or 16 octets each."""
    lasts_s: float


class MalformedPinsError(ValueError):
    """A datagram that holds no pins."""


def render_pins(pins: Iterable[Pin]) -> bytes:
    """Return ``pins`` as a datagram; of each no more than ``MAX_ADDRESSES`` addresses."""
    rows = [[p.target, p.lasts_s, *(a.hex() for a in p.addresses[:MAX_ADDRESSES])] for p in pins]
    return json.dumps(rows, separators=(",", ":")).encode()


def parse_pins(datagram: bytes) -> tuple[Pin, ...]:
    """Return the pins in a datagram.

    Raises:
        MalformedPinsError: It is none that ``render_pins`` makes.
    """
    try:
        return tuple(map(_pin, json.loads(datagram)))
    except (ValueError, TypeError, RecursionError) as e:
        raise MalformedPinsError(f"parsing {len(datagram)} octets: {datagram[:32].hex()}") from e


def _pin(row: object) -> Pin:
    if not isinstance(row, list) or len(row) < 2:
        raise TypeError("a pin is a list of name, seconds and addresses")
    target, lasts_s, *texts = row
    if not isinstance(target, str) or type(lasts_s) not in (int, float):
        raise TypeError("a pin begins with a name and a number")
    addresses = tuple(map(bytes.fromhex, texts))
    if not (0 <= lasts_s < float("inf")) or any(len(a) not in (4, 16) for a in addresses):
        raise ValueError("a pin lasts some seconds, and has addresses of 4 or 16 octets")
    return Pin(target, addresses[:MAX_ADDRESSES], float(lasts_s))
