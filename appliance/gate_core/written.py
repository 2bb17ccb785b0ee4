"""The written policy: what the school has put on paper, as one document of plain tables.

It is kept, changed, exported and compared in this form; ``gate_core.compile`` makes the policy that decides of it.
Collections are tables keyed by id, so that a change of one thing is a change at one place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import date, datetime, tzinfo
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, Final, Literal, get_args

from gate_core.acceptable_use import ILLEGAL_ROWS, ROWS, SHIPPED_CELLS, SHIPPED_TIMETABLE
from gate_core.categories import ILLEGAL_MASK, in_mask, mask_of
from gate_core.clients import parse_mac
from gate_core.direct import parse_network, parse_ports
from gate_core.names import parse_rule
from gate_core.services import BY_ID as SERVICES_BY_ID
from gate_core.suffixes import too_wide
from gate_core.tables import key, raises, read, text, whole
from gate_core.timetable import (
    DAY_MINUTES,
    OneOffDay,
    Period,
    Term,
    Timetable,
    WeeklySpan,
    parse_minutes,
    parse_weekdays,
    span_faults,
    write_minutes,
    write_weekdays,
)

UNKNOWN_GROUP: Final = "quarantine"
"""Group of devices nobody has put into a group: the strictest."""

MAX_EXCEPTION_DAYS: Final = 366
"""Longest life of an exception: what nobody asks for again within a year ends."""

CellWord = Literal["acceptable", "times", "nominated", "unacceptable", "illegal"]
YouTubeWord = Literal["off", "moderate", "strict"]

_ID_MOST: Final = 40


class PolicyError(ValueError):
    """Faults of a written policy, all of them."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults
        """A line each: place, value, what is allowed."""


def _id(value: str) -> str | None:
    good = 1 <= len(value) <= _ID_MOST and all(
        c.isascii() and (c.isalnum() or c in "-_") for c in value
    )
    return (
        None
        if good and value == value.lower()
        else (f"is no id: 1 to {_ID_MOST} small letters a to z, digits, '-' or '_'")
    )


def _or_empty(check: Any) -> Any:
    return lambda value: None if value == "" else check(value)


def _service(value: str) -> str | None:
    known = value in SERVICES_BY_ID
    return None if known else f"is no service; allowed are {', '.join(sorted(SERVICES_BY_ID))}"


def _site(value: str) -> str | None:
    refused = raises(parse_rule)(value)
    if refused:
        return refused
    wide = too_wide(parse_rule(value))
    return f"is refused: {wide}" if wide else None


def _category(value: str) -> str | None:
    return raises(lambda v: mask_of([v]))(value)


def _mac(value: str) -> str | None:
    return raises(parse_mac)(value) or (
        None if value == parse_mac(value) else f"is written {parse_mac(value)}"
    )


def _network(value: str) -> str | None:
    try:
        return None if str(ip_network(value)) == value else f"is written {ip_network(value)}"
    except ValueError:
        return "is not a network such as 192.0.2.0/24"


def _vlan(value: str) -> str | None:
    good = (
        value.isascii()
        and value.isdigit()
        and len(value) <= 4
        and value == str(int(value))
        and 1 <= int(value) <= 4094
    )
    return None if good else "is not a VLAN number from 1 to 4094"


def _subject(value: str) -> str | None:
    kind, _, rest = value.partition(":")
    if kind == "person":
        return _id(rest)
    return _mac(rest) if kind == "device" else "is neither 'person:ID' nor 'device:MAC'"


def _begin(value: str) -> int:
    minute = parse_minutes(value)
    if minute == DAY_MINUTES:
        raise ValueError(f"{value!r} is when a day ends; a span begins at 00:00 to 23:59")
    return minute


def _pair(value: str) -> tuple[int, int]:
    since, dash, until = value.partition("-")
    if not dash:
        raise ValueError(f"{value!r} is not a span such as 12:00-13:00")
    return _begin(since.strip()), parse_minutes(until.strip())


_ISO_DATE: Final = raises(date.fromisoformat)
_HOLIDAY: Final = text(60, 0)


@dataclass(frozen=True, slots=True)
class RowText:
    """A row of the acceptable-use table."""

    title: str = key(check=text(300))
    number: int = key(check=whole(1, 999, "place in the table"))
    categories: tuple[str, ...] = key((), _category)
    services: tuple[str, ...] = key((), _service)
    note: str = key("", text(500, 0))
    """Why the school has it, for governors."""


@dataclass(frozen=True, slots=True)
class TimesText:
    """A span of the week."""

    days: str = key(check=raises(parse_weekdays))
    since: str = key(check=raises(_begin))
    until: str = key(check=raises(parse_minutes))
    title: str = key("", text(60, 0))


@dataclass(frozen=True, slots=True)
class GroupText:
    """A group, with its column of the table."""

    title: str = key(check=text(80))
    number: int = key(check=whole(1, 63, "number of a group"))
    cells: Mapping[str, CellWord] = key({}, _id)
    default: Literal["allow", "block"] = key("allow")
    pausable: bool = key(True)
    pupils: bool = key(False)
    """Whether one person may put a new device into it, as is done every day."""
    quic: bool = key(False)
    on_fault: Literal["closed", "open"] = key("closed")
    teacher_minutes: int = key(0, whole(0, 240, "number of minutes"))
    times: Mapping[str, TimesText] = key({}, _id)
    """Its own certain times; none: those of the school."""
    safe_search: bool = key(True)
    """Whether search engines give safe results only, and those that can't are a category of their own."""
    youtube: YouTubeWord = key("strict")
    """How much of YouTube, where the table opens it."""
    named_only: bool = key(False)
    """Whether a device reaches only addresses that our own name service gave it."""


@dataclass(frozen=True, slots=True)
class TermText:
    """A term, both days included."""

    first: str = key(check=_ISO_DATE)
    last: str = key(check=_ISO_DATE)
    title: str = key("", text(60, 0))


@dataclass(frozen=True, slots=True)
class OneOffText:
    """A day with times of its own."""

    title: str = key(check=text(60))
    open: tuple[str, ...] = key((), raises(_pair))
    """Its certain times, such as 12:00-13:00."""
    school: bool = key(True)


@dataclass(frozen=True, slots=True)
class TimetableText:
    """When "acceptable at certain times" holds."""

    times: Mapping[str, TimesText] = key({}, _id)
    periods: Mapping[str, TimesText] = key({}, _id)
    terms: Mapping[str, TermText] = key({}, _id)
    holidays: Mapping[str, str] = key({}, _ISO_DATE)
    """Date to what it is called."""
    one_off: Mapping[str, OneOffText] = key({}, _ISO_DATE)


@dataclass(frozen=True, slots=True)
class PlaceText:
    """Where devices of a network belong."""

    group: str = key(check=_id)
    room: str = key("", _or_empty(_id))


@dataclass(frozen=True, slots=True)
class RoomText:
    """A room whose internet can be paused by itself."""

    title: str = key(check=text(60))


@dataclass(frozen=True, slots=True)
class PersonText:
    """Somebody whom a rule may name: a pupil by code, a member of staff."""

    name: str = key(check=text(80))
    kind: Literal["pupil", "staff", "visitor"] = key("pupil")


@dataclass(frozen=True, slots=True)
class DeviceText:
    """A device the school knows."""

    name: str = key(check=text(60))
    group: str = key(check=_id)
    room: str = key("", _or_empty(_id))
    person: str = key("", _or_empty(_id))
    until: str = key("", _or_empty(raises(datetime.fromisoformat)))
    """When it becomes unknown again; "" for never."""


@dataclass(frozen=True, slots=True)
class ExceptionText:
    """Names and services allowed or blocked for a while."""

    action: Literal["allow", "block"] = key()
    scope: Literal["person", "device", "group", "school"] = key()
    since: str = key(check=raises(datetime.fromisoformat))
    until: str = key(check=raises(datetime.fromisoformat))
    why: str = key(check=text(500))
    subject: str = key("", text(60, 0))
    names: tuple[str, ...] = key((), _site)
    services: tuple[str, ...] = key((), _service)


@dataclass(frozen=True, slots=True)
class DirectText:
    """A service whose addresses devices reach without having asked for a name: see ``gate_core.direct``."""

    title: str = key(check=text(60))
    networks: tuple[str, ...] = key(check=raises(parse_network))
    protocol: Literal["tcp", "udp"] = key()
    ports: str = key(check=raises(parse_ports))
    """One, or a range such as 8801-8810."""
    why: str = key(check=text(500))
    group: str = key("", _or_empty(_id))
    """"" for every group."""


@dataclass(frozen=True, slots=True)
class NamesText:
    """The school's own additions to the lists that come with the appliance."""

    essential: tuple[str, ...] = key((), raises(parse_rule))
    """Stays during a pause: the safeguarding record, the office, the telephones, the door."""
    protected: tuple[str, ...] = key((), raises(parse_rule))
    """Never blocked: updates, assessments, helplines."""


@dataclass(frozen=True, slots=True)
class WrittenPolicy:
    """The whole document."""

    school: str = key("", text(100, 0))
    rows: Mapping[str, RowText] = key({}, _id)
    groups: Mapping[str, GroupText] = key({}, _id)
    timetable: TimetableText = key(TimetableText())
    rooms: Mapping[str, RoomText] = key({}, _id)
    networks: Mapping[str, PlaceText] = key({}, _network)
    vlans: Mapping[str, PlaceText] = key({}, _vlan)
    people: Mapping[str, PersonText] = key({}, _id)
    devices: Mapping[str, DeviceText] = key({}, _mac)
    nominees: Mapping[str, tuple[str, ...]] = key({}, _id)
    """Row to those nominated for it, as ``person:ID`` or ``device:MAC``."""
    exceptions: Mapping[str, ExceptionText] = key({}, _id)
    direct: Mapping[str, DirectText] = key({}, _id)
    names: NamesText = key(NamesText())


Plain = dict[str, Any]
"""A written policy as JSON and TOML have it."""


def plain(written: WrittenPolicy) -> Plain:
    """Return the document as plain tables: texts, numbers, truths, lists and objects."""
    return {f.name: _plain(getattr(written, f.name)) for f in fields(WrittenPolicy)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return list(value) if isinstance(value, tuple) else value


def parse(document: Mapping[str, Any], zone: tzinfo) -> WrittenPolicy:
    """Return the written policy in plain tables.

    Args:
        document: As ``plain`` gives it; what is left out has its default.
        zone: The school's, for times without one.

    Raises:
        PolicyError: With every fault, of form and of meaning.
    """
    return _parse(document, zone, None)


def revise(
    document: Plain, zone: tzinfo, before: tuple[Plain, WrittenPolicy]
) -> tuple[Plain, WrittenPolicy]:
    """Return a changed document in full, with the written policy in it; tables that have not changed are not read again.

    Args:
        document: What ``edits.apply`` has made of the document ``before``.
        zone: The school's, for times without one.
        before: A document in full, and the written policy in it.

    Raises:
        PolicyError: With every fault, of form and of meaning.
    """
    written = _parse(document, zone, before)
    old, _ = before
    full = {
        f.name: old[f.name]
        if f.name in old and document.get(f.name) is old[f.name]
        else _plain(getattr(written, f.name))
        for f in fields(WrittenPolicy)
    }
    return full, written


def _parse(
    document: Mapping[str, Any], zone: tzinfo, before: tuple[Plain, WrittenPolicy] | None
) -> WrittenPolicy:
    old, its = before or ({}, None)
    same = {name for name, table in document.items() if name in old and table is old[name]}
    faults: list[str] = []
    written: WrittenPolicy = read(
        WrittenPolicy, {n: t for n, t in document.items() if n not in same}, "", faults
    )
    if its is not None and same:
        written = replace(written, **{name: getattr(its, name) for name in same})
    faulty = {re.split(r"[.:]", fault, maxsplit=1)[0] for fault in faults}
    for tables, check in _TOGETHER:
        # What looks at a table with a fault in it would tell of others that are none.
        if not faulty & set(tables):
            faults += check(written, zone)
    if faults:
        raise PolicyError(tuple(faults))
    return written


def aware(iso: str, zone: tzinfo) -> datetime:
    """Return the time in an ISO 8601 text; without zone it is the school's."""
    time = datetime.fromisoformat(iso)
    return time if time.tzinfo else time.replace(tzinfo=zone)


def weekly(times: Mapping[str, TimesText]) -> tuple[WeeklySpan, ...]:
    """Return spans of the week as values."""
    return tuple(map(_weekly_span, times.values()))


@lru_cache(512)
def _weekly_span(t: TimesText) -> WeeklySpan:
    return WeeklySpan(
        parse_weekdays(t.days), parse_minutes(t.since), parse_minutes(t.until), t.title
    )


def timetable(written: TimetableText) -> Timetable:
    """Return the school's timetable as a value.

    Raises:
        ValueError: A span or term that can't be.
    """
    return Timetable(
        spans=weekly(written.times),
        terms=tuple(
            Term(date.fromisoformat(t.first), date.fromisoformat(t.last))
            for t in written.terms.values()
        ),
        holidays=frozenset(map(date.fromisoformat, written.holidays)),
        periods=tuple(
            Period(
                p.title or id_,
                parse_weekdays(p.days),
                parse_minutes(p.since),
                parse_minutes(p.until),
            )
            for id_, p in written.periods.items()
        ),
        one_off=tuple(
            OneOffDay(date.fromisoformat(day), o.title, tuple(map(_pair, o.open)), o.school)
            for day, o in written.one_off.items()
        ),
    )


def _rows(w: WrittenPolicy, _zone: tzinfo) -> Iterator[str]:
    shipped = {row.id: row for row in ROWS}
    for id_ in shipped.keys() - w.rows.keys():
        if id_ in ILLEGAL_ROWS:
            yield f"rows.{id_}: is missing; this row is illegal content: it can't be removed"
    decided: dict[str, str] = {}
    numbers: dict[int, str] = {}
    for id_, row in w.rows.items():
        if row.number in numbers:
            yield f"rows.{id_}.number: {row.number} is the place of {numbers[row.number]} already"
        numbers[row.number] = id_
        mask = mask_of(row.categories)
        if id_ in ILLEGAL_ROWS:
            lost = shipped[id_].categories & ~mask
            if lost:
                ids = ", ".join(c.id for c in in_mask(lost))
                yield f"rows.{id_}.categories: lacks {ids}; this row is illegal content: it can't be emptied"
        elif mask & ILLEGAL_MASK:
            ids = ", ".join(c.id for c in in_mask(mask & ILLEGAL_MASK))
            yield f"rows.{id_}.categories: {ids} is illegal content, which only its own rows hold"
        for service in row.services:
            if service in decided:
                yield f"rows.{id_}.services: {service!r} is in row {decided[service]} already; one row decides it"
            decided[service] = id_


def _groups(w: WrittenPolicy, _zone: tzinfo) -> Iterator[str]:
    if UNKNOWN_GROUP not in w.groups:
        yield f"groups.{UNKNOWN_GROUP}: is missing; unknown devices are in this group"
    numbers: dict[int, str] = {}
    for id_, group in w.groups.items():
        if group.number in numbers:
            yield f"groups.{id_}.number: {group.number} is the number of {numbers[group.number]} already"
        numbers[group.number] = id_
        for row, cell in group.cells.items():
            place = f"groups.{id_}.cells.{row}"
            if row not in w.rows:
                yield f"{place}: is no row; there are {', '.join(w.rows)}"
            elif row not in ILLEGAL_ROWS and cell == "illegal":
                allowed = ", ".join(c for c in get_args(CellWord) if c != "illegal")
                yield f"{place}: 'illegal' is for rows of illegal content; allowed are {allowed}"
        for row in sorted(ILLEGAL_ROWS):
            cell_ = group.cells.get(row)
            if cell_ != "illegal":
                yield (
                    f"groups.{id_}.cells.{row}: {cell_ or 'nothing'!r} is refused: this row is illegal content,"
                    " its cell is always 'illegal'"
                )
        for fault in span_faults(weekly(group.times)):
            entry = list(group.times)[int(fault.split()[1]) - 1]
            yield f"groups.{id_}.times.{entry}: {fault}"
    yield from _strictest(w)


def _strictest(w: WrittenPolicy) -> Iterator[str]:
    unknown = w.groups.get(UNKNOWN_GROUP)
    if unknown and (unknown.quic or unknown.on_fault == "open"):
        yield f"groups.{UNKNOWN_GROUP}: quic and on_fault stay false and 'closed': nobody knows these devices"
    if unknown and not (unknown.safe_search and unknown.youtube == "strict"):
        yield f"groups.{UNKNOWN_GROUP}: safe_search and youtube stay true and 'strict': nobody knows these devices"
    if unknown and not unknown.named_only:
        yield f"groups.{UNKNOWN_GROUP}: named_only stays true: nobody knows these devices"


def _timetable(w: WrittenPolicy, _zone: tzinfo) -> Iterator[str]:
    wrong = tuple(_timetable_entries(w.timetable))
    yield from wrong
    if not wrong:
        yield from (_placed(fault, w.timetable) for fault in timetable(w.timetable).faults())


def _placed(fault: str, written: TimetableText) -> str:
    """Return a fault of the timetable with the place in the document of what it numbers."""
    if found := re.match(r"(span|term|period)s? ([0-9]+)(?: and ([0-9]+))?", fault):
        table = "times" if found[1] == "span" else f"{found[1]}s"
        entries = list(getattr(written, table))
        return f"timetable.{table}.{entries[int(found[3] or found[2]) - 1]}: {fault}"
    found = re.search("[0-9]{4}-[0-9]{2}-[0-9]{2}", fault)
    return f"timetable.one_off.{found[0]}: {fault}" if found else f"timetable: {fault}"


def _timetable_entries(written: TimetableText) -> Iterator[str]:
    for id_, term in written.terms.items():
        if date.fromisoformat(term.last) < date.fromisoformat(term.first):
            yield f"timetable.terms.{id_}.last: {term.last} is before {term.first}; a term ends after it begins"
    for id_, period in written.periods.items():
        if parse_minutes(period.until) <= parse_minutes(period.since):
            yield (
                f"timetable.periods.{id_}.until: {period.until} is not after {period.since};"
                " a period ends after it begins, on the same day"
            )
    for day, title in written.holidays.items():
        if fault := _HOLIDAY(title):
            yield f"timetable.holidays.{day}: {title[:80]!r} {fault}"


def _references(w: WrittenPolicy, _zone: tzinfo) -> Iterator[str]:
    names: dict[str, str] = {}
    for mac, device in w.devices.items():
        place = f'devices."{mac}"'
        yield from _refers(f"{place}.group", device.group, w.groups, "group")
        yield from _refers(f"{place}.room", device.room, w.rooms, "room")
        yield from _refers(f"{place}.person", device.person, w.people, "person")
        if device.name.casefold() in names:
            yield f"{place}.name: {device.name!r} is the name of {names[device.name.casefold()]} already"
        names[device.name.casefold()] = mac
    for kind, places in (("networks", w.networks), ("vlans", w.vlans)):
        for id_, its in places.items():
            yield from _refers(f'{kind}."{id_}".group', its.group, w.groups, "group")
            yield from _refers(f'{kind}."{id_}".room', its.room, w.rooms, "room")
    for row, nominees in w.nominees.items():
        yield from _refers(f"nominees.{row}", row, w.rows, "row")
        for who in nominees:
            if fault := _subject(who):
                yield f"nominees.{row}: {who!r} {fault}"
                continue
            kind, _, rest = who.partition(":")
            known = w.people if kind == "person" else w.devices
            yield from _refers(f"nominees.{row}", rest, known, kind)


def _refers(place: str, value: str, known: Mapping[str, object], kind: str) -> Iterator[str]:
    if value and value not in known:
        some = ", ".join(list(known)[:20]) or "none yet"
        yield f"{place}: {value!r} is no {kind}; there are {some}"


def _exceptions(w: WrittenPolicy, zone: tzinfo) -> Iterator[str]:
    known: Mapping[str, Mapping[str, object]] = {
        "person": w.people,
        "device": w.devices,
        "group": w.groups,
    }
    for id_, e in w.exceptions.items():
        place = f"exceptions.{id_}"
        since, until = aware(e.since, zone), aware(e.until, zone)
        # As instants: by wall clock, a span over a clock change may end before it begins.
        length_s = until.timestamp() - since.timestamp()
        if length_s <= 0:
            yield f"{place}.until: {e.until} is not after {e.since}; an exception ends after it begins"
        elif length_s > MAX_EXCEPTION_DAYS * 24 * 3600:
            yield f"{place}.until: {e.until} is more than {MAX_EXCEPTION_DAYS} days after {e.since}"
        if not (e.names or e.services):
            yield f"{place}.names: is empty; name at least one site or service"
        if e.scope == "school":
            if e.subject:
                yield f"{place}.subject: {e.subject!r} is refused; for the whole school it is empty"
        elif not e.subject:
            yield f"{place}.subject: is missing; name the {e.scope}"
        else:
            yield from _refers(f"{place}.subject", e.subject, known[e.scope], e.scope)


def _direct(w: WrittenPolicy, _zone: tzinfo) -> Iterator[str]:
    for id_, its in w.direct.items():
        if not its.networks:
            yield f"direct.{id_}.networks: is empty; name at least one network"
        yield from _refers(f"direct.{id_}.group", its.group, w.groups, "group")


_TOGETHER: Final = (
    (("rows",), _rows),
    (("rows", "groups"), _groups),
    (("timetable",), _timetable),
    (tuple(f.name for f in fields(WrittenPolicy)), _references),
    (("people", "devices", "groups", "exceptions"), _exceptions),
    (("groups", "direct"), _direct),
)
"""Faults that no single value shows: the tables that a check looks at, and the check."""


def shipped() -> WrittenPolicy:
    """Return the policy of a new appliance."""
    groups = (
        ("ks1", "EYFS and Key Stage 1", True, False, "closed", 0),
        ("ks2", "Key Stage 2", True, False, "closed", 60),
        ("staff", "Staff", False, True, "open", 0),
        ("guest", "Guests", True, False, "closed", 0),
        ("infrastructure", "Printers, cameras and other equipment", False, False, "closed", 0),
        (UNKNOWN_GROUP, "New and unknown devices", True, False, "closed", 0),
        ("investigation", "Investigation of an incident", False, False, "closed", 0),
    )
    return WrittenPolicy(
        rows={
            row.id: RowText(row.title, row.number, tuple(c.id for c in in_mask(row.categories)))
            for row in ROWS
        },
        groups={
            id_: GroupText(
                title=title,
                number=number,
                cells={row: cell.value for row, cell in SHIPPED_CELLS[id_].items()},
                pausable=pausable,
                pupils=id_ in ("ks1", "ks2"),
                quic=quic,
                on_fault=on_fault,  # type: ignore[arg-type]  # one of its words
                teacher_minutes=minutes,
                # A teacher's screen is the class's board: searches are safe there too. Strict would hide many a film for
                # lessons, and the talk under it.
                youtube="moderate" if id_ in ("staff", "investigation") else "strict",
                # Nobody has said what these devices are for: what is on no list stays closed too.
                default="block" if id_ == UNKNOWN_GROUP else "allow",
                # Cameras and door entry know their servers by address.
                named_only=id_ not in ("staff", "infrastructure"),
            )
            for number, (id_, title, pausable, quic, on_fault, minutes) in enumerate(
                groups, start=1
            )
        },
        timetable=TimetableText(
            times={
                span.title.lower().replace(" ", "-"): TimesText(
                    write_weekdays(span.weekdays),
                    write_minutes(span.since_minute),
                    write_minutes(span.until_minute),
                    span.title,
                )
                for span in SHIPPED_TIMETABLE.spans
            }
        ),
    )
