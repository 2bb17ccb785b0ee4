"""What the data plane tells the recorder, and the form in which it travels: JSON datagrams.

Events travel and are stored by the thousand, so a batch holds them in columns, and what many of them share once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Final, NamedTuple

from gate_core.clients import Client

MAX_DATAGRAM_OCTETS: Final = 60_000
"""Longest datagram: below the kernel's default send buffer of a unix socket."""

ALLOW: Final = "allow"
BLOCK: Final = "block"

MANY: Final = "*"
"""Name of an event that stands for so many names that they were counted only."""

_MOST: Final = 1 << 62
"""Every number is lower: SQLite has 64 bits with a sign."""
_LATEST_MS: Final = 1 << 43
"""Every time is before it, in the year 2248: there are days that no calendar here knows."""


class MalformedDatagramError(ValueError):
    """A datagram that holds no message."""


class Source(Enum):
    """Which part of the data plane saw it."""

    DNS = "dns"
    FIREWALL = "firewall"


@dataclass(slots=True)
class Event:
    """One decision, or several equal ones within a moment. Not frozen: one is made for each flow, and that costs half."""

    at_ms: int
    """Milliseconds since 1970, UTC; of the first where there are several, or up to two seconds before it."""
    source: Source
    address: str
    mac: str
    """"" where unknown."""
    device: str
    group: str
    name: str
    """Name in question; "" where none was seen, ``MANY`` where there was no room for each."""
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
    took_us: int = 0
    """Microseconds from a query to its response; the longest where there are several, 0 where it was kept."""
    upstream: str = ""
    """Short name of the upstream that a response came from; "" where none was asked."""
    remote: str = ""
    """The end of a flow that is not the client: its address, and where there are ports, its own and the protocol, such as
    ``203.0.113.5 443/tcp``; "" of a query."""


class Who(NamedTuple):
    """The part of an event that tells who asked."""

    address: str
    mac: str
    device: str
    group: str
    person: str


def who_is(client: Client) -> Who:
    """Return how a ``client`` stands in events."""
    return Who(
        str(client.address), client.mac or "", client.name, client.group, client.person or ""
    )


class Outcome(NamedTuple):
    """The part of an event that tells what was decided, and by what."""

    kind: str
    action: str
    reason: str
    rule_id: str
    categories: int
    version: int
    upstream: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one source, in columns of equal length."""

    source: Source
    whos: Sequence[Who]
    outcomes: Sequence[Outcome]
    at_ms: Sequence[int]
    who: Sequence[int]
    """Places in ``whos``."""
    outcome: Sequence[int]
    """Places in ``outcomes``."""
    names: Sequence[str]
    counts: Sequence[int]
    took_us: Sequence[int]
    remotes: Sequence[str] = ()
    """None at all where no event has one, as of queries."""

    def __len__(self) -> int:
        return len(self.names)

    def events(self) -> Iterator[Event]:
        """Yield the events, each by itself."""
        remotes = self.remotes or [""] * len(self)
        for *columns, remote in zip(*self._columns(), remotes, strict=True):
            at_ms, who, outcome, name, count, took_us = columns
            by, says = self.whos[who], self.outcomes[outcome]
            yield Event(
                at_ms, self.source, by.address, by.mac, by.device, by.group, name, says.kind,
                says.action, says.reason, says.rule_id, says.categories, says.version, count,
                by.person, took_us, says.upstream, remote,
            )  # fmt: skip

    def part(self, begin: int, end: int) -> Batch:
        """Return the events from place ``begin`` to before ``end``."""
        columns = (*self._columns(), self.remotes)
        return Batch(self.source, self.whos, self.outcomes, *(c[begin:end] for c in columns))

    def by_outcome(self) -> Iterator[tuple[Outcome, int]]:
        """Yield each outcome with how many decisions the events stand for."""
        if len(self.outcomes) == 1:
            return iter([(self.outcomes[0], sum(self.counts))])
        sums = [0] * len(self.outcomes)
        for place, count in zip(self.outcome, self.counts, strict=True):
            sums[place] += count
        return zip(self.outcomes, sums, strict=True)

    def by_action(self) -> Counter[str]:
        """Return how many decisions the events stand for, by action."""
        found: Counter[str] = Counter()
        for outcome, count in self.by_outcome():
            found[outcome.action] += count
        return found

    def _columns(self) -> tuple[Any, ...]:
        return self.at_ms, self.who, self.outcome, self.names, self.counts, self.took_us


@dataclass(frozen=True, slots=True)
class InForce:
    """A data-plane process says which policy it acts on: what makes a pause "on the wire"."""

    source: Source
    worker: int
    version: int
    dropped: int = 0
    """Allowed decisions that this worker could not send since it started."""
    blocked_dropped: int = 0
    """The same of blocked ones."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What a data-plane process has counted since it started."""

    source: Source
    worker: int
    counts: Mapping[str, Mapping[str, int]]
    """By what is counted (``cache``) and kind (``hit``); ``queue_waiting`` is of this moment."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """In which VLANs devices of the switch side speak; in columns of equal length."""

    macs: Sequence[str]
    """Canonical."""
    vlans: Sequence[int]
    """VLAN identifiers, 1 to 4094 (IEEE 802.1Q, section 9.6); 0 where frames have no tag."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What flows carried that have ended, summed by client and name; in columns of equal length."""

    at_ms: int
    """Milliseconds since 1970, UTC, when it was summed up."""
    whos: Sequence[Who]
    who: Sequence[int]
    """Places in ``whos``."""
    names: Sequence[str]
    """As in ``Event``."""
    down: Sequence[int]
    """Octets towards the client, with IP headers."""
    up: Sequence[int]
    """Octets from it."""
    flows: Sequence[int]


@dataclass(frozen=True, slots=True)
class ReadableFlows:
    """How many flows of each group began of late, and how many of those showed a name; in columns of equal length."""

    at_ms: int
    groups: Sequence[str]
    readable: Sequence[int]
    flows: Sequence[int]


@dataclass(frozen=True, slots=True)
class Findings:
    """What a data-plane process has found wrong with the machine that it runs on."""

    source: Source
    sentences: Sequence[str]
    """All that holds at this moment, each with what to do; none where all is well."""


@dataclass(frozen=True, slots=True)
class EndedFlows:
    """What single flows carried, each of which an ``Event`` had allowed; in columns of equal length."""

    at_ms: Sequence[int]
    """Of the event, as ``addresses`` and ``remotes``."""
    addresses: Sequence[str]
    remotes: Sequence[str]
    down: Sequence[int]
    """Octets towards the client, with IP headers."""
    up: Sequence[int]
    """Octets from it."""


Message = Batch | InForce | Counters | Tagged | Traffic | EndedFlows | ReadableFlows | Findings


def batches(events: Iterable[Event]) -> Iterator[Batch]:
    """Yield ``events`` as batches, one a run of the same source."""
    gathered: list[Event] = []
    for event in events:
        if gathered and gathered[0].source is not event.source:
            yield _batch(gathered)
            gathered = []
        gathered.append(event)
    if gathered:
        yield _batch(gathered)


def _batch(events: list[Event]) -> Batch:
    whos: dict[Who, int] = {}
    outcomes: dict[Outcome, int] = {}
    who, outcome = [], []
    for e in events:
        by = Who(e.address, e.mac, e.device, e.group, e.person)
        says = Outcome(e.kind, e.action, e.reason, e.rule_id, e.categories, e.version, e.upstream)
        who.append(whos.setdefault(by, len(whos)))
        outcome.append(outcomes.setdefault(says, len(outcomes)))
    return Batch(
        events[0].source,
        tuple(whos),
        tuple(outcomes),
        [e.at_ms for e in events],
        who,
        outcome,
        [e.name for e in events],
        [e.count for e in events],
        [e.took_us for e in events],
        [e.remote for e in events] if any(e.remote for e in events) else (),
    )


def render_datagram(message: Message) -> bytes:
    """Return ``message`` as a datagram; that of a batch may be longer than ``MAX_DATAGRAM_OCTETS``."""
    values = [getattr(message, f.name) for f in fields(message)]
    row = [_TAGS[type(message)], *(v.value if isinstance(v, Source) else v for v in values)]
    return json.dumps(row, separators=(",", ":")).encode()


def parse_datagram(datagram: bytes) -> Message:
    """Return the message of a datagram.

    Raises:
        MalformedDatagramError: It is none as ``render_datagram`` makes them.
    """
    try:
        tag, *values = json.loads(datagram)
        message: Message = _READERS[tag](*values)
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise MalformedDatagramError(
            f"parsing {len(datagram)} octets: {datagram[:32].hex()}"
        ) from e
    return message


def _read_batch(source: object, whos: object, outcomes: object, *columns: object) -> Batch:
    at_ms, who, outcome, names, counts, took_us, remotes = columns
    batch = Batch(
        Source(source),
        _whos(whos),
        [Outcome(*_typed(row, (str, str, str, str, int, int, str))) for row in _list(outcomes)],
        _numbers(at_ms),
        _numbers(who),
        _numbers(outcome),
        _texts(names),
        _numbers(counts),
        _numbers(took_us),
        _texts(remotes),
    )
    _demand_rows(*batch._columns(), *([batch.remotes] if batch.remotes else []))
    if max(batch.at_ms) >= _LATEST_MS:
        raise ValueError("a time that will not come")
    if max(batch.who) >= len(batch.whos) or max(batch.outcome) >= len(batch.outcomes):
        raise ValueError("a place that there is not")
    return batch


def _read_in_force(*values: object) -> InForce:
    source, *numbers = _typed(list(values), (str, int, int, int, int))
    return InForce(Source(source), *numbers)


def _read_counters(source: object, worker: object, counts: object) -> Counters:
    (number,) = _numbers([worker])
    if not isinstance(counts, dict):
        raise TypeError("counts are no object")
    for kinds in counts.values():
        _texts([*counts, *kinds])
        _numbers([0, *kinds.values()])
    return Counters(Source(source), number, counts)


def _read_tagged(macs: object, vlans: object) -> Tagged:
    tagged = Tagged(_texts(macs), _numbers(vlans))
    _demand_rows(tagged.macs, tagged.vlans)
    return tagged


def _read_traffic(
    at_ms: object, whos: object, who: object, names: object, *sums: object
) -> Traffic:
    down, up, flows = map(_numbers, sums)
    traffic = Traffic(_time(at_ms), _whos(whos), _numbers(who), _texts(names), down, up, flows)
    _demand_rows(traffic.who, traffic.names, down, up, flows)
    if max(traffic.who) >= len(traffic.whos):
        raise ValueError("a place that there is not")
    return traffic


def _read_ended(*columns: object) -> EndedFlows:
    at_ms, addresses, remotes, down, up = columns
    ended = EndedFlows(
        _numbers(at_ms), _texts(addresses), _texts(remotes), _numbers(down), _numbers(up)
    )
    _demand_rows(ended.at_ms, ended.addresses, ended.remotes, ended.down, ended.up)
    if max(ended.at_ms) >= _LATEST_MS:
        raise ValueError("a time that will not come")
    return ended


def _read_readable(at_ms: object, groups: object, *counts: object) -> ReadableFlows:
    readable, flows = map(_numbers, counts)
    ids = _texts(groups)
    _demand_rows(ids, readable, flows)
    return ReadableFlows(_time(at_ms), ids, readable, flows)


def _read_findings(source: object, sentences: object) -> Findings:
    return Findings(Source(source), _texts(sentences))


_TAGS: Final = {
    Batch: "b", InForce: "v", Counters: "c", Tagged: "t", Traffic: "u", EndedFlows: "e", ReadableFlows: "r", Findings: "f"
}  # fmt: skip
_READERS: Final[Mapping[str, Any]] = {
    "b": _read_batch,
    "v": _read_in_force,
    "c": _read_counters,
    "t": _read_tagged,
    "u": _read_traffic,
    "e": _read_ended,
    "r": _read_readable,
    "f": _read_findings,
}


def _demand_rows(*columns: Sequence[object]) -> None:
    if len(set(map(len, columns))) != 1:
        raise ValueError("columns of other lengths")
    if not columns[0]:
        raise ValueError("no rows")


def _whos(value: object) -> list[Who]:
    return [Who(*_typed(row, (str,) * 5)) for row in _list(value)]


def _time(value: object) -> int:
    (at_ms,) = _numbers([value])
    if at_ms >= _LATEST_MS:
        raise ValueError("a time that will not come")
    return at_ms


def _typed(row: object, types: Sequence[type]) -> list[Any]:
    values = _list(row)
    if [type(v) for v in values] != [*types]:
        raise TypeError("a message with other fields")
    _texts([v for v in values if type(v) is str] or [""])
    _numbers([v for v in values if type(v) is int] or [0])
    return values


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


# Whole columns at a time: a look at each value in turn would cost more than reading them did.


def _numbers(value: object) -> list[int]:
    column = _list(value)
    if set(map(type, column)) != {int} or min(column) < 0 or max(column) >= _MOST:
        raise ValueError("a number that is none, or out of bounds")
    return column


def _texts(value: object) -> list[str]:
    column = _list(value)
    # Halves of characters, which JSON can hold and UTF-8 can't, raise UnicodeEncodeError.
    "".join(column).encode()
    return column
