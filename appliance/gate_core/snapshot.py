"""The snapshot: a policy as one immutable text that the data plane maps.

Form: a line ``schoolgate-snapshot 5 VERSION OCTETS SHA256``, then a JSON object of that many octets. The compiled
lists lie in a file beside it, named by their own SHA-256 in the key ``lists``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from ipaddress import ip_network
from typing import Any, Final

from gate_core.acceptable_use import ILLEGAL_ROWS, ROWS, Cell, Row
from gate_core.categories import ILLEGAL_MASK, CategoryIndex
from gate_core.clients import DefaultAction, Device, Group, Membership, OnFault
from gate_core.direct import DirectService
from gate_core.names import NameSet
from gate_core.policy import Action, DatedException, Lesson, LessonMode, Pause, Policy, Scope
from gate_core.safesearch import YouTube
from gate_core.timetable import OneOffDay, Span, Term, Timetable, WeeklySpan

FORMAT: Final = 5
_MAGIC: Final = b"schoolgate-snapshot"


class MalformedSnapshotError(ValueError):
    """Octets that are no whole snapshot; the message tells what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A policy without its lists, and which lists belong to it."""

    policy: Policy
    lists: str
    """SHA-256 of the compiled lists, in hexadecimal; "" for none."""


class _NoLists:
    """An index for a policy whose lists are elsewhere."""

    lists_addresses = False

    def mask(self, name: str) -> int:  # the port's signature
        return 0

    def address_mask(self, address: bytes) -> int:  # the port's signature
        return 0


NO_LISTS: Final[CategoryIndex] = _NoLists()


def render_snapshot(policy: Policy, lists: str) -> bytes:
    """Return ``policy`` as a snapshot that names its compiled ``lists`` by SHA-256.

    Raises:
        ValueError: The policy lowers a row of the illegal tier, or changes what belongs to it.
    """
    _check_illegal(policy)
    body = json.dumps(
        {
            "lists": lists,
            "unknown_group": policy.unknown_group,
            "rows": [[r.id, r.number, r.title, r.categories, r.services] for r in policy.rows],
            "groups": [_group_row(g) for g in policy.groups.values()],
            "devices": [
                [
                    d.mac,
                    d.name,
                    d.group,
                    d.person,
                    d.isolated,
                    _span_row(d.suspended),
                    d.essentials_stay,
                    d.room,
                ]
                for d in policy.devices.values()
            ],
            "members": [[mac, m.group, m.room] for mac, m in policy.members.items()],
            "networks": [[str(n), m.group, m.room] for n, m in policy.networks.items()],
            "timetable": {
                "spans": _weekly_rows(policy.timetable.spans),
                "terms": [
                    [t.first.isoformat(), t.last.isoformat()] for t in policy.timetable.terms
                ],
                "holidays": sorted(d.isoformat() for d in policy.timetable.holidays),
                "one_off": [
                    [d.day.isoformat(), d.title, [list(pair) for pair in d.open], d.school]
                    for d in policy.timetable.one_off
                ],
            },
            "nominees": {row: sorted(who) for row, who in policy.nominees.items()},
            "pauses": [
                [p.id, sorted(p.groups), _span_row(p.span), p.by, sorted(p.rooms), p.why]
                for p in policy.pauses
            ],
            "essential": sorted(policy.essential.rules),
            "canaries": sorted(policy.canaries.rules),
            "protected": sorted(policy.protected.rules),
            "exceptions": [
                [
                    e.id,
                    e.scope.value,
                    e.subject,
                    sorted(e.names.rules),
                    e.action.value,
                    _span_row(e.span),
                    e.why,
                    e.services,
                ]
                for e in policy.exceptions
            ],
            "lessons": [
                [
                    x.id,
                    x.group,
                    x.mode.value,
                    sorted(x.names.rules),
                    _span_row(x.span),
                    x.room,
                    x.services,
                    x.by,
                ]
                for x in policy.lessons
            ],
            "direct": [
                [[str(n) for n in d.networks], d.protocol, d.ports.start, d.ports.stop, d.group]
                for d in policy.direct
            ],
            "edges": [e.isoformat() for e in policy.edges],
        },
        separators=(",", ":"),
    ).encode()
    return b"%s %d %d %d %s\n%s" % (
        _MAGIC,
        FORMAT,
        policy.version,
        len(body),
        hashlib.sha256(body).hexdigest().encode(),
        body,
    )


def parse_snapshot(
    octets: bytes, index_of: Callable[[str], CategoryIndex] | None = None
) -> Snapshot:
    """Return the snapshot in ``octets``.

    Args:
        octets: The whole file.
        index_of: Gives the compiled lists with a SHA-256; what it raises passes through. None: no lists are opened.

    Raises:
        MalformedSnapshotError: Cut short, damaged, of another format, or with the illegal tier lowered.
    """
    head, newline, body = octets.partition(b"\n")
    words = head.split(b" ")
    if not newline or len(words) != 5 or words[0] != _MAGIC:
        raise MalformedSnapshotError(
            "not a snapshot: its first line is not 'schoolgate-snapshot ...'"
        )
    if words[1] != b"%d" % FORMAT:
        raise MalformedSnapshotError(f"snapshot format {words[1]!r}; this program reads {FORMAT}")
    if not (words[2].isdigit() and words[3].isdigit()):
        raise MalformedSnapshotError("not a snapshot: version and length are not numbers")
    if len(body) != int(words[3]):
        raise MalformedSnapshotError(
            f"snapshot cut short or too long: {len(body)} octets where {int(words[3])} were written"
        )
    if hashlib.sha256(body).hexdigest().encode() != words[4]:
        raise MalformedSnapshotError(
            "snapshot damaged: its SHA-256 is not the one in its first line"
        )
    try:
        fields = json.loads(body)
        lists = str(fields["lists"])
        index = index_of(lists) if index_of else NO_LISTS
        policy = _policy(int(words[2]), fields, index)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise MalformedSnapshotError(f"snapshot {int(words[2])}: {type(e).__name__}: {e}") from e
    return Snapshot(policy, lists)


def _check_illegal(policy: Policy) -> None:
    rows = {row.id: row for row in policy.rows}
    for shipped in (r for r in ROWS if r.locked):
        if (
            shipped.id not in rows
            or rows[shipped.id].categories & shipped.categories != shipped.categories
        ):
            raise ValueError(
                f"row {shipped.id!r} is illegal content: it can't be removed or emptied"
            )
        for group in policy.groups.values():
            if group.cells.get(shipped.id) is not Cell.ILLEGAL:
                raise ValueError(
                    f"row {shipped.id!r} of group {group.id!r} is illegal content: its cell is always"
                    f" {Cell.ILLEGAL.value!r}"
                )
    for row in policy.rows:
        if row.id not in ILLEGAL_ROWS and row.categories & ILLEGAL_MASK:
            raise ValueError(f"row {row.id!r} can't decide a category of the illegal tier")


def _policy(version: int, f: Mapping[str, Any], index: CategoryIndex) -> Policy:
    rows = tuple(Row(*row) for row in f["rows"])
    timetable = f["timetable"]
    policy = Policy(
        version=version,
        groups={row[0]: _group(*row) for row in f["groups"]},
        rows=rows,
        unknown_group=f["unknown_group"],
        index=index,
        devices={
            mac: Device(mac, name, group, person, isolated, _span(span) if span else None, *rest)
            for mac, name, group, person, isolated, span, *rest in f["devices"]
        },
        members={mac: Membership(group, room) for mac, group, room in f["members"]},
        networks={ip_network(n): Membership(group, room) for n, group, room in f["networks"]},
        timetable=Timetable(
            spans=_weekly(timetable["spans"]),
            terms=tuple(
                Term(date.fromisoformat(a), date.fromisoformat(b)) for a, b in timetable["terms"]
            ),
            holidays=frozenset(date.fromisoformat(d) for d in timetable["holidays"]),
            one_off=tuple(
                OneOffDay(date.fromisoformat(d), title, tuple((s, u) for s, u in pairs), school)
                for d, title, pairs, school in timetable["one_off"]
            ),
        ),
        nominees={row: frozenset(who) for row, who in f["nominees"].items()},
        pauses=tuple(
            Pause(i, frozenset(g), _span(s), by, frozenset(rooms), why)
            for i, g, s, by, rooms, why in f["pauses"]
        ),
        essential=NameSet(frozenset(f["essential"])),
        canaries=NameSet(frozenset(f["canaries"])),
        protected=NameSet(frozenset(f["protected"])),
        exceptions=tuple(
            DatedException(
                i, Scope(scope), subject, NameSet(frozenset(names)), Action(a), _span(span), *rest
            )
            for i, scope, subject, names, a, span, *rest in f["exceptions"]
        ),
        lessons=tuple(
            Lesson(i, group, LessonMode(mode), NameSet(frozenset(names)), _span(span), *rest)
            for i, group, mode, names, span, *rest in f["lessons"]
        ),
        direct=tuple(
            DirectService(tuple(map(ip_network, networks)), protocol, range(start, stop), group)
            for networks, protocol, start, stop, group in f["direct"]
        ),
        edges=tuple(datetime.fromisoformat(e) for e in f["edges"]),
    )
    _check_illegal(policy)
    return policy


def _group_row(g: Group) -> list[object]:
    cells = {row: cell.value for row, cell in g.cells.items()}
    return [
        g.id,
        g.title,
        g.number,
        cells,
        g.default.value,
        g.pausable,
        g.quic,
        g.on_fault.value,
        None if g.times is None else _weekly_rows(g.times),
        g.teacher_minutes,
        g.safe_search,
        g.youtube.value,
        g.named_only,
    ]


def _weekly_rows(spans: tuple[WeeklySpan, ...]) -> list[list[object]]:
    return [[sorted(s.weekdays), s.since_minute, s.until_minute] for s in spans]


def _weekly(rows: list[list[Any]]) -> tuple[WeeklySpan, ...]:
    return tuple(WeeklySpan(frozenset(days), since, until) for days, since, until in rows)


def _group(
    id_: str,
    title: str,
    number: int,
    cells: Mapping[str, str],
    default: str,
    *rest: Any,
) -> Group:
    pausable, quic, on_fault, times, teacher_minutes, safe_search, youtube, named_only = rest
    return Group(
        id_,
        title,
        number,
        {row: Cell(cell) for row, cell in cells.items()},
        DefaultAction(default),
        bool(pausable),
        bool(quic),
        OnFault(on_fault),
        None if times is None else _weekly(times),
        teacher_minutes,
        bool(safe_search),
        YouTube(youtube),
        bool(named_only),
    )


def _span_row(span: Span | None) -> list[str] | None:
    return [span.since.isoformat(), span.until.isoformat()] if span else None


def _span(row: list[str]) -> Span:
    since, until = (datetime.fromisoformat(text) for text in row)
    if since.tzinfo is None or until.tzinfo is None:
        raise ValueError(f"a time without its zone: {row}")
    return Span(since, until)
