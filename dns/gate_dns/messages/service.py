"""RDATA of HTTPS and SVCB records (RFC 9460, section 2.2)."""

from __future__ import annotations

from typing import Final, NamedTuple

from gate_dns.messages.wire import read_labels, wire_labels

ECH: Final = 5
"""Key of the parameter with the keys for Encrypted Client Hello (RFC 9848)."""
_MANDATORY: Final = 0
_HINTS: Final = (4, 6)
"""Keys of ipv4hint and ipv6hint."""
_ITEM_OCTETS: Final = {_MANDATORY: 2, 4: 4, 6: 16}
"""Keys of the parameters that are lists, and the octets of an item in each."""


class Service(NamedTuple):
    """One record."""

    priority: int
    """0 where it is an alias of its target."""
    target: tuple[bytes, ...]
    """Labels; none where it is the owner itself."""
    params: dict[int, bytes]
    """Values by key, in the order of the keys."""

    @property
    def hints(self) -> dict[int, list[bytes]]:
        """The addresses of each hint."""
        return {key: _items(self.params, key) for key in _HINTS if key in self.params}

    def without(self, keys: set[int]) -> bytes:
        """Return the RDATA without the parameters of ``keys``."""
        params = {key: value for key, value in self.params.items() if key not in keys}
        if _MANDATORY in params:
            # A client passes over a record that says mandatory what is missing (RFC 9460, section 8).
            left = [k for k in _items(params, _MANDATORY) if int.from_bytes(k, "big") in params]
            params[_MANDATORY] = b"".join(left)
            if not left:
                del params[_MANDATORY]
        written = (
            key.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value
            for key, value in params.items()
        )
        return self.priority.to_bytes(2, "big") + wire_labels(self.target) + b"".join(written)


def read_service(message: bytes, begin: int, end: int) -> Service:
    """Return the record whose RDATA are the octets of ``message`` from ``begin`` to ``end``.

    Raises:
        ValueError: They are none.
        IndexError: They are cut short.
    """
    priority = int.from_bytes(message[begin : begin + 2], "big")
    target, place = read_labels(message, begin + 2)
    params: dict[int, bytes] = {}
    last = -1
    while place < end:
        key = int.from_bytes(message[place : place + 2], "big")
        first = place + 4
        place = first + int.from_bytes(message[place + 2 : first], "big")
        value = message[first:place]
        if key <= last or (key in _ITEM_OCTETS and (not value or len(value) % _ITEM_OCTETS[key])):
            raise ValueError("service parameters out of order or of no length of theirs")
        params[key] = value
        last = key
    if place != end:
        raise ValueError("an HTTPS or SVCB record of another length")
    named = [int.from_bytes(key, "big") for key in _items(params, _MANDATORY)]
    if named != sorted(set(named) & (params.keys() - {_MANDATORY})):
        raise ValueError("mandatory service parameters out of order or missing")
    return Service(priority, target, params)


def _items(params: dict[int, bytes], key: int) -> list[bytes]:
    value, octets = params.get(key, b""), _ITEM_OCTETS[key]
    return [value[n : n + octets] for n in range(0, len(value), octets)]
