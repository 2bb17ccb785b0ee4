"""What the data plane tells the recorder, and the form in which it travels: one JSON array a datagram."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from enum import Enum
from typing import Final

MAX_BATCH_OCTETS: Final = 60_000
"""Longest datagram: below the kernel's default send buffer of a unix socket."""


class MalformedBatchError(ValueError):
    """A datagram that is no batch of events."""


class Source(Enum):
    """Which part of the data plane saw it."""

    DNS = "dns"
    FIREWALL = "firewall"


@dataclass(frozen=True, slots=True)
class Event:
    """One decision, or several equal ones within a moment."""

    at_ms: int
    """Milliseconds since 1970, UTC; of the first where there are several."""
    source: Source
    address: str
    mac: str
    """"" where unknown."""
    device: str
    group: str
    name: str
    """Name in question; "" where none was seen."""
    kind: str
    """Query type (``A``, ``HTTPS``) or protocol (``tls``, ``http``, ``udp/443``)."""
    action: str
    """``allow`` or ``block``."""
    reason: str
    rule_id: str
    categories: int
    version: int
    """Version of the policy that decided."""
    count: int = 1
    person: str = ""
    """Who used the device; "" where nobody is known."""


@dataclass(frozen=True, slots=True)
class InForce:
    """A data-plane process says which policy it acts on: what makes a pause "on the wire"."""

    source: Source
    worker: int
    version: int
    dropped: int = 0
    """Events that this worker could not send since it started."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """A device of the switch side speaks in a VLAN."""

    mac: str
    """Canonical."""
    vlan: int
    """VLAN identifier, 1 to 4094 (IEEE 802.1Q, section 9.6); 0 where its frames have no tag."""


Message = Event | InForce | Tagged


def render_batches(messages: Iterable[Message]) -> Iterator[tuple[bytes, int]]:
    """Yield ``messages`` as datagrams of at most ``MAX_BATCH_OCTETS``, each with how many it holds."""
    parts: list[str] = []
    size = 2
    for message in messages:
        part = json.dumps(_row(message), separators=(",", ":"))
        # json.dumps writes ASCII, so that characters are octets.
        if parts and size + len(part) + 1 > MAX_BATCH_OCTETS:
            yield _batch(parts)
            parts, size = [], 2
        parts.append(part)
        size += len(part) + 1
    if parts:
        yield _batch(parts)


def _batch(parts: list[str]) -> tuple[bytes, int]:
    return ("[" + ",".join(parts) + "]").encode(), len(parts)


def parse_batch(datagram: bytes) -> list[Message]:
    """Return the messages of a datagram.

    Raises:
        MalformedBatchError: It is no batch as ``render_batches`` makes them.
    """
    try:
        rows = json.loads(datagram)
        return [_message(row) for row in _list(rows)]
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise MalformedBatchError(f"parsing {len(datagram)} octets: {datagram[:32].hex()}") from e


def _row(message: Message) -> list[object]:
    values = [v.value if isinstance(v, Enum) else v for v in astuple(message)]
    return [_TAGS[type(message)], *values]


def _list(value: object) -> list[list[object]]:
    if not isinstance(value, list):
        raise TypeError("a batch is a list")
    return value


_TAGS: Final = {Event: "e", InForce: "v", Tagged: "t"}
_EVENT_TYPES: Final = (int, str, str, str, str, str, str, str, str, str, str, int, int, int, str)
_IN_FORCE_TYPES: Final = (str, int, int, int)
_TAGGED_TYPES: Final = (str, int)


def _message(row: list[object]) -> Message:
    tag, *values = row
    types = {"e": _EVENT_TYPES, "v": _IN_FORCE_TYPES, "t": _TAGGED_TYPES}[str(tag)]
    if len(values) != len(types) or any(
        type(v) is not t for v, t in zip(values, types, strict=True)
    ):
        raise TypeError("a message with other fields")
    if tag == "e":
        values[1] = Source(values[1])
        return Event(*values)  # type: ignore[arg-type]  # checked against _EVENT_TYPES above
    if tag == "t":
        return Tagged(*values)  # type: ignore[arg-type]  # checked against _TAGGED_TYPES above
    values[0] = Source(values[0])
    return InForce(*values)  # type: ignore[arg-type]  # checked against _IN_FORCE_TYPES above
