"""Makes the policy that decides of the written policy and of what people have done for a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import lru_cache
from ipaddress import ip_network
from typing import Literal

from gate_core.acceptable_use import Cell, Row
from gate_core.categories import CategoryIndex, mask_of
from gate_core.clients import DefaultAction, Device, Group, Membership, OnFault
from gate_core.direct import TRANSPORTS, DirectService, parse_ports
from gate_core.names import NameSet
from gate_core.policy import Action, DatedException, Lesson, Pause, Policy, Scope
from gate_core.safesearch import YouTube
from gate_core.services import mask_of as services_mask
from gate_core.timetable import Span
from gate_core.written import (
    UNKNOWN_GROUP,
    DeviceText,
    DirectText,
    ExceptionText,
    GroupText,
    PlaceText,
    WrittenPolicy,
    aware,
    timetable,
    weekly,
)


@dataclass(frozen=True, slots=True)
class Isolation:
    """A device that is cut off until somebody ends it."""

    mac: str
    since: datetime
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Suspension:
    """A person or device without internet for a time."""

    id: str
    kind: Literal["person", "device"]
    subject: str
    """Person or MAC address."""
    span: Span
    review: str
    """Date on which it is looked at again, ISO 8601; "" for none."""
    why: str
    by: str
    essentials_stay: bool = False


@dataclass(frozen=True, slots=True)
class Loan:
    """A device in somebody's hands for a while: the trolley tablet of a lesson."""

    id: str
    mac: str
    person: str
    lesson: str
    """What it is lent for; "" where nobody said."""
    span: Span
    by: str


@dataclass(frozen=True, slots=True)
class Acts:
    """What people have done for a while, besides what is written."""

    pauses: tuple[Pause, ...] = ()
    lessons: tuple[Lesson, ...] = ()
    isolations: tuple[Isolation, ...] = ()
    suspensions: tuple[Suspension, ...] = ()
    loans: tuple[Loan, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the appliance knows besides: its lists, its clock, what it has seen."""

    index: CategoryIndex
    zone: tzinfo
    essential: NameSet = NameSet()
    canaries: NameSet = NameSet()
    protected: NameSet = NameSet()
    tagged: Mapping[str, int] = field(default_factory=dict)
    """MAC address to the VLAN that it was seen in."""


def compile_policy(
    written: WrittenPolicy,
    acts: Acts,
    around: Surroundings,
    *,
    version: int,
    at: datetime | None,
) -> Policy:
    """Return the policy in force at ``at`` (None: the time is not known).

    Who holds a device, and which devices are known, is settled for that time; ``Policy.edges`` tells when it changes.
    """
    zone = around.zone
    devices = _devices(written, acts, zone, at)
    return Policy(
        version=version,
        groups={
            id_: _group(id_, g)
            for id_, g in sorted(written.groups.items(), key=lambda i: i[1].number)
        },
        rows=tuple(
            Row(id_, r.number, r.title, mask_of(r.categories), services_mask(r.services))
            for id_, r in sorted(written.rows.items(), key=lambda i: i[1].number)
        ),
        unknown_group=UNKNOWN_GROUP,
        index=around.index,
        devices=devices,
        members={
            mac: _membership(written.vlans[str(vlan)])
            for mac, vlan in around.tagged.items()
            if str(vlan) in written.vlans and mac not in devices
        },
        networks={ip_network(n): _membership(p) for n, p in written.networks.items()},
        timetable=timetable(written.timetable),
        nominees={
            row: frozenset(w.partition(":")[2] for w in who)
            for row, who in written.nominees.items()
        },
        pauses=tuple(p for p in acts.pauses if _not_over(p.span, at)),
        essential=_with(around.essential, written.names.essential),
        canaries=around.canaries,
        protected=_with(around.protected, written.names.protected),
        exceptions=tuple(
            e
            for id_, text in written.exceptions.items()
            if _not_over((e := _exception(id_, text, zone)).span, at)
        ),
        lessons=tuple(x for x in acts.lessons if _not_over(x.span, at)),
        direct=tuple(map(_direct, written.direct.values())),
        edges=_edges(written, acts, zone),
    )


def _not_over(span: Span, at: datetime | None) -> bool:
    return at is None or at < span.until


def _with(shipped: NameSet, own: tuple[str, ...]) -> NameSet:
    return NameSet(shipped.rules | NameSet.of(own).rules)


@lru_cache(512)
def _direct(its: DirectText) -> DirectService:
    return DirectService(
        tuple(map(ip_network, its.networks)),
        TRANSPORTS[its.protocol],
        parse_ports(its.ports),
        its.group,
    )


def _membership(place: PlaceText) -> Membership:
    return Membership(place.group, place.room)


def _group(id_: str, g: GroupText) -> Group:
    return Group(
        id_,
        g.title,
        g.number,
        {row: Cell(cell) for row, cell in g.cells.items()},
        DefaultAction(g.default),
        g.pausable,
        g.quic,
        OnFault(g.on_fault),
        weekly(g.times) or None,
        g.teacher_minutes,
        g.safe_search,
        YouTube(g.youtube),
        g.named_only,
    )


@lru_cache(4096)
def _exception(id_: str, e: ExceptionText, zone: tzinfo) -> DatedException:
    return DatedException(
        id_,
        Scope(e.scope),
        e.subject,
        NameSet.of(e.names),
        Action(e.action),
        Span(aware(e.since, zone), aware(e.until, zone)),
        e.why,
        services_mask(e.services),
    )


def _devices(
    written: WrittenPolicy, acts: Acts, zone: tzinfo, at: datetime | None
) -> dict[str, Device]:
    isolated = {i.mac for i in acts.isolations}
    suspensions = [s for s in acts.suspensions if _not_over(s.span, at)]
    # Where the time is not known nobody holds a loan: a loan may open, and what may open needs a clock.
    lent = {x.mac: x.person for x in acts.loans if at is not None and x.span.covers(at)}
    # But whoever may hold one is suspended with it.
    borrowers = {x.mac: x.person for x in acts.loans} if at is None else lent
    people = {s.subject for s in suspensions if s.kind == "person"}
    cut_off = (
        isolated
        | {
            s.subject
            for s in suspensions
            if s.kind == "device" and (at is None or s.span.covers(at))
        }
        | {mac for mac, person in borrowers.items() if at is None and person in people}
    )
    found = {}
    for mac in {*written.devices, *cut_off}:
        text = written.devices.get(mac)
        if text is None or _is_over(text, zone, at):
            if mac not in cut_off:
                continue
            # Cut off although nobody knows it: still a device, in the strictest group.
            text = DeviceText(name=text.name if text else mac, group=UNKNOWN_GROUP)
        person = lent.get(mac) or text.person or None
        # Also of the one it is written down for: to lend it to somebody else is no way out.
        subjects = (mac, person, text.person or None, borrowers.get(mac))
        suspension = _suspension(suspensions, subjects, at)
        found[mac] = Device(
            mac,
            text.name,
            text.group,
            person,
            mac in isolated,
            suspension.span if suspension else None,
            suspension.essentials_stay if suspension else False,
            text.room,
        )
    return found


def _suspension(
    suspensions: list[Suspension], subjects: tuple[str | None, ...], at: datetime | None
) -> Suspension | None:
    """Return the one that counts: in force before still to come, and the stricter of two."""
    return min(
        (s for s in suspensions if s.subject in subjects),
        key=lambda s: (at is not None and not s.span.covers(at), s.essentials_stay),
        default=None,
    )


def _is_over(text: DeviceText, zone: tzinfo, at: datetime | None) -> bool:
    # Where the time is not known, what was to end has ended.
    return bool(text.until) and (at is None or aware(text.until, zone) <= at)


def _edges(written: WrittenPolicy, acts: Acts, zone: tzinfo) -> tuple[datetime, ...]:
    ends = [aware(d.until, zone) for d in written.devices.values() if d.until]
    loans = [edge for x in acts.loans for edge in (x.span.since, x.span.until)]
    # Also of those whose subject holds no device now.
    suspended = [edge for s in acts.suspensions for edge in (s.span.since, s.span.until)]
    return tuple(sorted({*ends, *loans, *suspended}))
