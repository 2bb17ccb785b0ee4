"""What an edit of the written policy means: in words, and how many others have to approve it.

Whoever proposes is never one of those who approve. What only closes needs nobody else, so that harm is stopped at once;
what opens needs one; what opens something the school calls unacceptable, widens a group or disables a detection, two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import tzinfo
from math import inf
from typing import Any, Final

from gate_core.acceptable_use import STRICTNESS, Cell
from gate_core.categories import ILLEGAL_MASK, CategoryIndex, effective, mask_of
from gate_core.direct import parse_ports
from gate_core.edits import Edit
from gate_core.names import parse_rule, suffixes
from gate_core.safesearch import YOUTUBE_STRICTNESS
from gate_core.services import BY_ID as SERVICES_BY_ID
from gate_core.services import SERVICES, categories_of
from gate_core.services import mask_of as services_mask
from gate_core.written import (
    UNKNOWN_GROUP,
    DeviceText,
    DirectText,
    ExceptionText,
    WrittenPolicy,
    aware,
)

CELL_WORDS: Final = {
    Cell.ACCEPTABLE: "acceptable",
    Cell.TIMES: "acceptable at certain times",
    Cell.NOMINATED: "acceptable for nominated users",
    Cell.UNACCEPTABLE: "unacceptable",
    Cell.ILLEGAL: "unacceptable and illegal",
}

YOUTUBE_WORDS: Final = {
    "off": "all of YouTube",
    "moderate": "YouTube in restricted mode, moderate",
    "strict": "YouTube in restricted mode, strict",
}


@dataclass(frozen=True, slots=True)
class Effect:
    """What one edit means."""

    sentence: str
    approvals: int
    """How many other people have to approve it: 0, 1 or 2."""
    opens: bool
    """Whether somebody may reach more than before."""


class IllegalError(ValueError):
    """Somebody would allow illegal content, which nobody can."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A written policy before and after a change, and what is needed to tell what that means."""

    before: WrittenPolicy
    after: WrittenPolicy
    index: CategoryIndex
    zone: tzinfo


def effects(draft: Draft, edits: Iterable[Edit]) -> tuple[Effect, ...]:
    """Return what ``edits`` mean, each told once, and like cells of several groups as one.

    Args:
        draft: Both documents.
        edits: The ``differences`` of their plain forms. What somebody sent may leave out a value that has a default,
            or replace a whole table: that does not tell what it means.

    Raises:
        IllegalError: They would allow a name of the illegal tier.
    """
    cells: dict[tuple[str, str, str], list[str]] = {}
    found = []
    for edit in edits:
        match edit.path:
            case ("groups", group, "cells", row) if group in draft.before.groups:
                before, after = (value or "unacceptable" for value in edit.values())
                if before == after and (row in draft.before.rows) != (row in draft.after.rows):
                    continue  # of a row that comes or goes, which is told itself
                cells.setdefault((row, before, after), []).append(group)
            case _:
                found.append(_effect(draft, edit))
    tables = [_cells(draft, row, b, a, groups) for (row, b, a), groups in cells.items()]
    return (*tables, *dict.fromkeys(found))


def approvals(found: Iterable[Effect]) -> int:
    """Return how many other people have to approve all of them together."""
    return max((effect.approvals for effect in found), default=0)


def _cells(draft: Draft, row: str, before: str, after: str, groups: list[str]) -> Effect:
    old, new = Cell(before), Cell(after)
    title = (draft.after.rows.get(row) or draft.before.rows[row]).title
    who = _listed([_group(draft, g) for g in groups])
    if not _looser(draft.after, row, new, old):
        verb, needed = ("loses" if len(groups) == 1 else "lose"), 0
    else:
        verb, needed = (
            ("gains" if len(groups) == 1 else "gain"),
            2 if old is Cell.UNACCEPTABLE else 1,
        )
    count = f"{len(groups)} groups {verb}" if len(groups) > 1 else f"{who} {verb}"
    names = f" ({who})" if len(groups) > 1 else ""
    times = f", {_times(draft, groups)}" if new is Cell.TIMES else ""
    return Effect(
        f"{count} “{title}”: now {CELL_WORDS[new]}{times}, before {CELL_WORDS[old]}{names}",
        needed,
        needed > 0,
    )


def _times(draft: Draft, groups: list[str]) -> str:
    own = [g for g in groups if draft.after.groups[g].times]
    times = (
        draft.after.groups[own[0]].times
        if len(groups) == len(own) == 1
        else draft.after.timetable.times
    )
    spans = [f"{t.days} {t.since}-{t.until}" for t in times.values()]
    return "; ".join(spans[:4]) + ("; ..." if len(spans) > 4 else "") or "no times are set"


def _effect(draft: Draft, edit: Edit) -> Effect:
    before, after = edit.values()
    verb = "added" if before is None else "removed" if after is None else "changed"
    top, *rest = edit.path
    known = _KINDS.get(top)
    if known is None:
        return Effect(f"{edit.place} {verb}: {_value(before)} to {_value(after)}", 2, opens=True)
    return known(draft, edit, rest, verb)


def _school(_: Draft, edit: Edit, __: list[str], ___: str) -> Effect:
    before, after = edit.values()
    return Effect(f"The school is called “{after}”, before “{before}”", 0, opens=False)


def _row(draft: Draft, edit: Edit, rest: list[str], verb: str) -> Effect:
    before, after = edit.values()
    row = draft.after.rows.get(rest[0]) or draft.before.rows[rest[0]]
    if len(rest) == 1:
        # What a new row takes away from others by naming a service, the cells of the groups then say.
        return Effect(f"Row “{row.title}” {verb}", 1 if before is None else 2, opens=True)
    match rest[1]:
        case "title":
            return Effect(f"A row is worded “{after}”, before “{before}”", 1, opens=False)
        case "number" | "note":
            return Effect(f"{rest[1].capitalize()} of row “{row.title}” changed", 0, opens=False)
        case _:
            added, lost = _gained(before, after)
            words = [f"now covers {', '.join(added)}"] if added else []
            words += [f"no longer covers {', '.join(lost)}"] if lost else []
            return Effect(f"Row “{row.title}” {' and '.join(words)}", 2, opens=True)


def _of_group(draft: Draft, edit: Edit, rest: list[str], verb: str) -> Effect:  # noqa: C901, PLR0911, PLR0912  # one a key
    before, after = edit.values()
    title = _group(draft, rest[0])
    if len(rest) == 1:
        return Effect(f"Group “{title}” {verb}", 2 if verb == "added" else 1, opens=verb == "added")
    match rest[1]:
        case "title":
            return Effect(f"Group “{before}” is called “{after}”", 0, opens=False)
        case "default":
            opens = after == "allow"
            return Effect(
                f"{title}: sites on no list are {'open' if opens else 'closed'}",
                2 if opens else 0,
                opens,
            )
        case "quic":
            return Effect(
                f"{title}: QUIC (HTTP/3) is {'open' if after else 'closed'}",
                2 if after else 0,
                opens=bool(after),
            )
        case "named_only":
            return Effect(
                f"{title}: devices reach {'only addresses that our own name service gave, and only by a name' if after else 'any address'}",
                0 if after else 2,
                opens=not after,
            )
        case "on_fault":
            opens = after == "open"
            return Effect(
                f"{title}: while nothing can be judged, everything is {after}",
                2 if opens else 0,
                opens,
            )
        case "pausable":
            return Effect(
                f"{title}: the pause button {'reaches' if after else 'no longer reaches'} this group",
                0 if after else 1,
                opens=not after,
            )
        case "pupils":
            return Effect(
                f"{title}: new devices {'can' if after else 'can no longer'} be put here by one person",
                2 if after else 0,
                opens=bool(after),
            )
        case "teacher_minutes":
            opens = (after or 0) > (before or 0)
            return Effect(
                f"{title}: a teacher may open a site for {after} minutes, before {before}",
                int(opens),
                opens,
            )
        case "safe_search":
            # Engines without a safe version are then a matter of their row, where the default may have closed them.
            opens = not after or draft.before.groups[rest[0]].default == "block"
            words = (
                "search engines give safe results only; those that can't are as the table says"
                if after
                else "search engines give all results, and those without safe ones are like any other site"
            )
            return Effect(f"{title}: {words}", 2 if opens else 0, opens)
        case "youtube":
            opens = YOUTUBE_STRICTNESS[after] < YOUTUBE_STRICTNESS[before]
            return Effect(
                f"{title}: {YOUTUBE_WORDS[after]}, before {YOUTUBE_WORDS[before]}",
                (2 if after == "off" else 1) if opens else 0,
                opens,
            )
        case "times":
            return Effect(
                f"{title}: its certain times {verb}: {_value(after or before)}", 1, opens=True
            )
        case _:
            return Effect(f"{title}: {'.'.join(rest[1:])} {verb} to {_value(after)}", 2, opens=True)


def _times_of_school(_: Draft, edit: Edit, rest: list[str], verb: str) -> Effect:
    before, after = edit.values()
    kinds = {
        "times": "Certain times",
        "periods": "Lesson",
        "terms": "Term",
        "holidays": "Holiday",
        "one_off": "One-off day",
    }
    label = kinds.get(rest[0], rest[0])
    id_ = f" {rest[1]}" if len(rest) > 1 else ""
    needed = 0 if rest[0] == "periods" else 1
    return Effect(
        f"{label}{id_} {verb}: {_value(after if after is not None else before)}", needed, needed > 0
    )


def _place(draft: Draft, edit: Edit, rest: list[str], verb: str) -> Effect:
    kind = "Network" if edit.path[0] == "networks" else "VLAN"
    places = draft.after.networks if kind == "Network" else draft.after.vlans
    its = places.get(rest[0])
    where = f": its devices are in {_group(draft, its.group)}" if its else ""
    # Where one is gone, its devices are in that of a wider one.
    return Effect(f"{kind} {rest[0]} {verb}{where}", 1, opens=True)


def _name_only(_: Draft, edit: Edit, rest: list[str], verb: str) -> Effect:
    before, after = edit.values()
    if edit.path[0] == "people":
        # By their code alone: what is told here goes into the record, which governors read.
        return Effect(f"Person {rest[0]} {verb}", 0, opens=False)
    return Effect(
        f"Room {rest[0]} {verb}: {_value(after if after is not None else before)}", 0, opens=False
    )


def _device(draft: Draft, edit: Edit, rest: list[str], verb: str) -> Effect:
    mac, *fields = rest
    old, new = draft.before.devices.get(mac), draft.after.devices.get(mac)
    was = [old.group] if old else _unnamed(draft.before)
    is_ = [new.group] if new else _unnamed(draft.after)
    wider = any(not _within(draft, i, w) for i in is_ for w in was if i != w)
    # A pupils' device that is new to the school is one person's daily work; one that leaves a stricter group is not.
    daily = new and UNKNOWN_GROUP in was and draft.after.groups[new.group].pupils
    opens = [bool(wider and not daily), _leaves(old, new), _ends_otherwise(draft, old, new)]
    if new and new.person and (old is None or old.person != new.person):
        opens.append(has_rights(draft.after, new.person))
    if new is None:
        words = f"Device “{old.name if old else mac}” is unknown again"
    elif old and (old.group, old.person) == (new.group, new.person):
        words = f"Device “{new.name}” {verb}: {fields[0]} {_value(edit.values()[1])}"
    else:
        who = f", used by {new.person}" if new.person else ""
        before = old.group if old else UNKNOWN_GROUP
        moved = f", before in {_group(draft, before)}" if before != new.group else ""
        words = f"Device “{new.name}” is in {_group(draft, new.group)}{who}{moved}"
    return Effect(words, int(any(opens)), opens=wider or any(opens))


def _unnamed(written: WrittenPolicy) -> list[str]:
    """Return the groups in which a device may be that is not named: where it is seen decides."""
    places = (*written.networks.values(), *written.vlans.values())
    return [UNKNOWN_GROUP, *(place.group for place in places)]


def _leaves(old: DeviceText | None, new: DeviceText | None) -> bool:
    """Tell whether a device leaves a person or room, and with them what is blocked, suspended or paused there."""
    if old is None:
        return False
    person, room = (new.person, new.room) if new else ("", "")
    return bool((old.person and old.person != person) or (old.room and old.room != room))


def _ends_otherwise(draft: Draft, old: DeviceText | None, new: DeviceText | None) -> bool:
    """Tell whether a device stays longer in its group, or leaves it earlier and reaches more then."""
    if old is None or new is None or old.until == new.until:
        return False
    ends = [aware(d.until, draft.zone).timestamp() if d.until else inf for d in (old, new)]
    falls = _leaves(old, None) or any(
        not _within(draft, g, old.group) for g in _unnamed(draft.after)
    )
    return ends[1] > ends[0] or (ends[1] < ends[0] and falls)


def _within(draft: Draft, inner: str, outer: str) -> bool:
    """Tell whether group ``inner`` of the draft reaches nothing that group ``outer`` did not before it."""
    new, old = draft.after.groups[inner], draft.before.groups[outer]
    cells = [
        (row, Cell(new.cells.get(row, "unacceptable")), Cell(old.cells.get(row, "unacceptable")))
        for row in {*new.cells, *old.cells}
    ]
    opener = (
        any(_looser(draft.after, *cell) for cell in cells)
        or (new.default == "allow" and old.default == "block")
        or (new.quic and not old.quic)
        or (old.named_only and not new.named_only)
        or (
            old.named_only
            and not _reached_by(draft.after, inner) <= _reached_by(draft.before, outer)
        )
        or YOUTUBE_STRICTNESS[new.youtube] < YOUTUBE_STRICTNESS[old.youtube]
        or (new.safe_search != old.safe_search and (old.safe_search or old.default == "block"))
        or (new.on_fault == "open" and old.on_fault == "closed")
        or (old.pausable and not new.pausable)
        or (new.times != old.times and any(i is o is Cell.TIMES for _, i, o in cells))
        or not _own(draft.after, inner, "allow") <= _own(draft.before, outer, "allow")
        or not _own(draft.before, outer, "block") <= _own(draft.after, inner, "block")
    )
    return not opener


def _looser(written: WrittenPolicy, row: str, new: Cell, old: Cell) -> bool:
    """Tell whether cell ``new`` of ``row`` lets somebody through whom ``old`` does not."""
    if new is Cell.NOMINATED and old is Cell.TIMES:
        # Those who are nominated are bound to no times.
        return bool(written.nominees.get(row))
    return STRICTNESS[new] < STRICTNESS[old]


def _own(written: WrittenPolicy, group: str, action: str) -> set[tuple[object, ...]]:
    """Return what the exceptions of a group name, and when."""
    return {
        (e.names, e.services, e.since, e.until)
        for e in written.exceptions.values()
        if (e.scope, e.subject, e.action) == ("group", group, action)
    }


def has_rights(written: WrittenPolicy, person: str) -> bool:
    """Tell whether something is open to ``person`` by name: as a nominee, or by an exception."""
    nominated = any(f"person:{person}" in who for who in written.nominees.values())
    return nominated or any(
        e.scope == "person" and e.subject == person and e.action == "allow"
        for e in written.exceptions.values()
    )


def _nominee(draft: Draft, edit: Edit, rest: list[str], _: str) -> Effect:
    added, lost = _gained(*edit.values())
    row = draft.after.rows.get(rest[0])
    words = [f"{', '.join(added)} nominated"] if added else []
    words += [f"{', '.join(lost)} no longer nominated"] if lost else []
    return Effect(
        f"“{row.title if row else rest[0]}”: {' and '.join(words)}", int(bool(added)), bool(added)
    )


def _exception(draft: Draft, edit: Edit, rest: list[str], verb: str) -> Effect:
    old, new = draft.before.exceptions.get(rest[0]), draft.after.exceptions.get(rest[0])
    shown = new or old
    if shown is None:
        return Effect(f"Exception {rest[0]} {verb}", 2, opens=True)
    titles = [SERVICES_BY_ID[s].title for s in shown.services]
    what = f"{_listed([*titles, *shown.names])} for {_whom(draft, shown)}"
    if old and (new is None or _ends_sooner(old, new, draft.zone)):
        at = f"on {_when(new.until, draft.zone)}" if new else "at once"
        if old.action == "block":
            words = f"Ends the block of {what} {at}: it opens then, unless something else closes it"
        else:
            words = f"Ends the permission of {what} {at}: it closes then, unless something else opens it"
    else:
        words = f"{shown.action.capitalize()} {what} until {_when(shown.until, draft.zone)}"
    needed = 0
    if new and new.action == "allow":
        needed = _to_allow(draft, rest[0])
    if (
        old
        and old.action == "block"
        and not (new and new.action == "block" and _no_wider(old, new, draft.zone))
    ):
        # Where less is blocked, what else the policy says of it holds.
        needed = max(needed, 1)
    return Effect(words, needed, needed > 0)


def _ends_sooner(old: ExceptionText, new: ExceptionText, zone: tzinfo) -> bool:
    """Tell whether the end is all that has changed, and is earlier now."""
    return (
        replace(new, until=old.until) == old
        and aware(new.until, zone).timestamp() < aware(old.until, zone).timestamp()
    )


def _whom(draft: Draft, e: ExceptionText) -> str:
    for written in (draft.after, draft.before):
        if e.scope == "group" and e.subject in written.groups:
            return written.groups[e.subject].title
        if e.scope == "device" and e.subject in written.devices:
            return f"the device “{written.devices[e.subject].name}”"
    return "the whole school" if e.scope == "school" else f"{e.scope} {e.subject}"


def _when(iso: str, zone: tzinfo) -> str:
    """Return a time as people write it; a date alone where no hour was given."""
    time = aware(iso, zone).astimezone(zone)
    clock = f" {time:%H:%M}" if len(iso) > len("2026-12-31") else ""
    return f"{time:%a} {time.day} {time:%b %Y}{clock}"


def _to_allow(draft: Draft, id_: str) -> int:
    """Return how many have to approve that exception ``id_`` allows what it names."""
    e = draft.after.exceptions[id_]
    old = draft.before.exceptions.get(id_)
    if old and old.action == "allow" and _no_wider(e, old, draft.zone):
        return 0
    _refuse_illegal(draft, f"exceptions.{id_}.names", e.names)
    names = [_bare(rule) for rule in e.names]
    services = services_mask({*e.services, *_services_around(names)})
    categories = categories_of(services)
    for name in names:
        categories |= effective(draft.index.mask(name))
    unacceptable = any(
        draft.after.groups[group].cells.get(row_id, "unacceptable") == "unacceptable"
        for group in _groups_of(draft.after, e.scope, e.subject)
        for row_id, row in draft.after.rows.items()
        if services_mask(row.services) & services or mask_of(row.categories) & categories
    )
    return 2 if unacceptable or e.scope == "school" else 1


def _refuse_illegal(draft: Draft, place: str, rules: Iterable[str]) -> None:
    for rule in rules:
        if draft.index.mask(_bare(rule)) & ILLEGAL_MASK:
            raise IllegalError(
                f"{place}: {rule!r} is on a list of illegal content: nobody can allow it"
            )


def _bare(rule: str) -> str:
    return parse_rule(rule).removeprefix("=")


_SERVICE_NAMES: Final = tuple(
    (service.id, _bare(rule)) for service in SERVICES for rule in sorted(service.names)
)


def _services_around(names: list[str]) -> set[str]:
    """Return the services that have a name above or below one of ``names``."""
    above = {suffix for name in names for suffix in suffixes(name)}
    wanted = set(names)
    return {
        id_
        for id_, theirs in _SERVICE_NAMES
        if theirs in above or not wanted.isdisjoint(suffixes(theirs))
    }


def _no_wider(inner: ExceptionText, outer: ExceptionText, zone: tzinfo) -> bool:
    """Tell whether all that exception ``inner`` speaks of, ``outer`` speaks of too."""
    return (
        (inner.scope, inner.subject) == (outer.scope, outer.subject)
        and set(inner.names) <= set(outer.names)
        and set(inner.services) <= set(outer.services)
        and aware(inner.since, zone).timestamp() >= aware(outer.since, zone).timestamp()
        and aware(inner.until, zone).timestamp() <= aware(outer.until, zone).timestamp()
    )


def _groups_of(written: WrittenPolicy, scope: str, subject: str) -> list[str]:
    if scope == "group":
        return [subject]
    if scope == "device" and subject in written.devices:
        return [written.devices[subject].group]
    if scope == "person":
        own = [d.group for d in written.devices.values() if d.person == subject]
        # A person may be lent any device.
        return own or list(written.groups)
    return list(written.groups)


def _direct(draft: Draft, _: Edit, rest: list[str], verb: str) -> Effect:
    old, new = draft.before.direct.get(rest[0]), draft.after.direct.get(rest[0])
    shown = new or old
    if shown is None:
        return Effect(f"Direct connection {rest[0]} {verb}", 2, opens=True)
    what = f"{_listed([*shown.networks])}, {shown.protocol} {shown.ports}"
    whom = _group(draft, shown.group) if shown.group else "every group"
    if new is None:
        words = f"“{shown.title}” ({what}) is no longer reached without a name, for {whom}"
    else:
        words = f"“{shown.title}” is reached without a name: {what}, for {whom}"
    opens = new is not None and not (old and _is_part(new, old))
    return Effect(words, (1 if shown.group else 2) if opens else 0, opens)


def _is_part(inner: DirectText, outer: DirectText) -> bool:
    """Tell whether all that ``inner`` opens, ``outer`` opens too."""
    ports = parse_ports(inner.ports)
    return (
        set(inner.networks) <= set(outer.networks)
        and inner.protocol == outer.protocol
        and {ports[0], ports[-1]} <= set(parse_ports(outer.ports))
        and outer.group in ("", inner.group)
    )


def _reached_by(written: WrittenPolicy, group: str) -> set[tuple[object, ...]]:
    """Return what the devices of a group reach without a name."""
    return {
        (d.networks, d.protocol, d.ports) for d in written.direct.values() if d.group in ("", group)
    }


def _own_names(draft: Draft, edit: Edit, rest: list[str], __: str) -> Effect:
    added, lost = _gained(*edit.values())
    _refuse_illegal(draft, edit.place, added)
    what = "stays during a pause" if rest and rest[0] == "essential" else "is never blocked"
    words = [f"{', '.join(added)} {what}"] if added else []
    words += [f"no longer so: {', '.join(lost)}"] if lost else []
    return Effect("; ".join(words) or edit.place, 2 if added else 0, opens=bool(added))


_KINDS: Final = {
    "school": _school,
    "rows": _row,
    "groups": _of_group,
    "timetable": _times_of_school,
    "networks": _place,
    "vlans": _place,
    "rooms": _name_only,
    "people": _name_only,
    "devices": _device,
    "nominees": _nominee,
    "exceptions": _exception,
    "direct": _direct,
    "names": _own_names,
}


def _gained(before: Any, after: Any) -> tuple[list[str], list[str]]:
    old, new = list(before or ()), list(after or ())
    return [v for v in new if v not in old], [v for v in old if v not in new]


def _group(draft: Draft, id_: str) -> str:
    group = draft.after.groups.get(id_) or draft.before.groups.get(id_)
    return group.title if group else id_


def _listed(names: list[str]) -> str:
    if len(names) > 6:
        names = [*names[:5], f"{len(names) - 5} more"]
    return (
        names[0]
        if len(names) == 1
        else f"{', '.join(names[:-1])} and {names[-1]}"
        if names
        else "nothing"
    )


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{k} {_value(v)}" for k, v in value.items() if v not in ("", [], {}, None)
        )
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if value not in ("", None) else "nothing"
