"""The written policy as one readable text: TOML (version 1.0) with comments for people, signed in its last line.

A bundle is a proposal like any other: its signature tells where it comes from and is never what lets it in.
"""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, tzinfo
from typing import Any, Final

from gate_appliance.signing import Signer, fingerprint, verify
from gate_core.categories import CATEGORIES
from gate_core.edits import digest
from gate_core.services import SERVICES
from gate_core.written import Plain, PolicyError, WrittenPolicy, parse, plain

MAX_BUNDLE_OCTETS: Final = 1_000_000
"""Largest text that is read; the policy of a school with a thousand devices has about 200,000."""

MAX_LINE_CHARACTERS: Final = 5_000
"""Longest line: the library's time for one with many dots in it grows with the square of them."""

_DEEPEST: Final = 10
"""Tables within tables that are looked into; the document has five."""
_MOST_LINES_READ: Final = 200_000
"""Effort spent on telling lines; those of a list are read again with each that follows."""

_COLUMNS: Final = 100
_SIGNATURE: Final = "# signature: "
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")

_ONE_LINE_ENTRIES: Final = frozenset(
    ("times", "periods", "terms", "one_off", "rooms", "networks", "vlans", "people", "devices")
)
"""Tables whose entries stand in one line each, like those of a table on paper."""

_NOTES: Final[Mapping[tuple[str, ...], tuple[str, ...]]] = {
    ("rows",): (
        "The rows of the acceptable-use table, in the order of their numbers (1 to 999).",
        "A row decides its categories (lists of sites) and its services (single services, which leave the rows of their"
        " categories). A row with neither is by supervision: no technology can tell it. The note says why the school has"
        " the row.",
        "The rows of illegal content, child-abuse, grooming, extreme-pornography and criminal-hatred, stay with all"
        " their categories: nobody can take them out or empty them.",
        f"Categories: {', '.join(c.id for c in CATEGORIES)}.",
        f"Services: {', '.join(s.id for s in SERVICES)}.",
    ),
    ("groups",): (
        "The groups of devices, each with its column of the table: one line a row.",
        'Allowed in a cell: "acceptable"; "times", acceptable at certain times; "nominated", acceptable for nominated'
        ' users; "unacceptable". A row of illegal content is always "illegal", and no other row is.',
        'default: "allow" or "block", for sites on no list.',
        "pausable: whether the internet pause reaches the group.",
        "quic: whether QUIC (HTTP/3) is open; browsers use the older form of connection where it is not.",
        "named_only: whether a device reaches only addresses that it has asked the box's name service for, in connections"
        " that show a name: no program then gets out by an address that it brings along.",
        'on_fault: "closed" or "open", what everything is while nothing can be judged.',
        "teacher_minutes: for how long a teacher may open a site, 0 to 240.",
        "times: the group's own certain times; none: those of the school.",
        "safe_search: whether search engines give safe results only; engines that can't are then of the category"
        " unsafe-search.",
        'youtube: "off" for all of it, or its restricted mode: "moderate" or "strict".',
        "number: 1 to 63, each of one group only.",
        'The group "quarantine" is that of new and unknown devices: it stays, with quic = false, on_fault = "closed",'
        ' named_only = true, safe_search = true and youtube = "strict".',
    ),
    ("timetable", "times"): (
        'The certain times of the school, when cells with "times" are open.',
        "days: Mon to Sun, ranges such as Mon-Fri, several with commas between. since, until: 00:00 to 24:00; until"
        " before since is past midnight.",
    ),
    ("timetable", "periods"): ("The lessons of the week, in the same form.",),
    ("timetable", "terms"): ("Terms, with their first and last day: 2027-01-04.",),
    ("timetable", "holidays"): ("Days without school: the date, and what the day is called.",),
    ("timetable", "one_off"): (
        "Days with times of their own, by date. open: its certain times, such as 12:00-13:00. school: whether there is"
        " school.",
    ),
    ("rooms",): ("Rooms whose internet can be paused by themselves.",),
    ("networks",): ("Networks whose devices belong to a group (and to a room): 192.0.2.0/24.",),
    ("vlans",): ("VLANs whose devices belong to a group (and to a room): 1 to 4094.",),
    ("people",): ('People whom a rule may name. kind: "pupil" (by code), "staff" or "visitor".',),
    ("devices",): (
        "Devices that the school knows, by MAC address. until: when it becomes unknown again, such as 2027-07-20T16:00;"
        ' "" for never.',
    ),
    ("nominees",): (
        'Who is nominated for a row, for cells with "nominated": "person:ID" or "device:MAC address".',
    ),
    ("exceptions",): (
        "Sites and services that are allowed or blocked for a while.",
        'action: "allow" or "block". scope: "person", "device", "group" or "school"; subject: which one, "" for the school.'
        " since, until: such as 2027-01-11T09:00, in the school's time, at most 366 days. why: the reason, mandatory.",
        'names: "example.org" is the site with everything below it, "=example.org" that name alone.',
    ),
    ("direct",): (
        "Services whose addresses devices reach without a name, asked for or shown, in groups with named_only.",
        'networks: such as 203.0.113.0/24, of at least /8 (IPv6: /24). protocol: "tcp" or "udp". ports: one, or a range'
        ' such as 8801-8810. group: for whom, "" for every group. why: the reason, mandatory.',
    ),
    ("names",): (
        "The school's own additions to the lists that come with the appliance.",
        "essential: stays during the internet pause. protected: is never blocked.",
    ),
}
"""What stands above each table."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle says."""

    written: WrittenPolicy
    signature: str
    """Who has signed it, as a sentence."""


def render_bundle(
    written: WrittenPolicy, signer: Signer, *, version: int, at: datetime | None
) -> str:
    """Return the text of a policy; the same policy always gives the same tables.

    Args:
        written: The policy.
        signer: The appliance that writes it.
        version: Its version.
        at: When it is written; None where the clock is not known.
    """
    when = at.isoformat(sep=" ", timespec="minutes") if at else "time not known"
    header = (
        f"The e-safety policy of {written.school or 'the school'}: what the appliance enforces.",
        "",
        f"Version      {version}",
        f"Written      {when}",
        f"Digest       {digest(plain(written))}",
        f"Appliance    {signer.fingerprint}",
        "",
        "What stands behind a # is explanation and is not read. The digest is the SHA-256 that the record has of this"
        " policy. Whoever changes the text breaks the signature in its last line; it can be imported all the same, as a"
        " proposal that has to be approved.",
    )
    titles = {row: text.title for row, text in _entries(written.rows, []).items()}
    signed = "\n".join([*_comment(header), "", *_table((), written, titles), ""])
    return f"{signed}{_SIGNATURE}ed25519 {signer.public_key} {signer.sign(signed.encode())}\n"


def read_bundle(text: str, zone: tzinfo, own_fingerprint: str) -> Bundle:
    """Return what a text says; a faulty signature is told of and refuses nothing.

    Args:
        text: The whole file; the line ends and the mark of a Windows editor are taken as if they were not there.
        zone: The school's.
        own_fingerprint: That of this appliance's key.

    Raises:
        PolicyError: With every fault, and the line it stands in where that can be told.
    """
    octets = len(text.encode("utf-8", "surrogatepass"))
    if octets > MAX_BUNDLE_OCTETS:
        raise PolicyError(
            (f"the file has {octets} octets; a policy has at most {MAX_BUNDLE_OCTETS}",)
        )
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    document = _parse_toml(text)
    try:
        written = parse(document, zone)
    except PolicyError as e:
        lines = _line_numbers(text)
        raise PolicyError(tuple(_with_line(fault, lines) for fault in e.faults)) from None
    return Bundle(written, _signature_sentence(text, own_fingerprint))


def _comment(paragraphs: tuple[str, ...]) -> Iterator[str]:
    for paragraph in paragraphs:
        for line in textwrap.wrap(
            paragraph, _COLUMNS - 2, break_long_words=False, break_on_hyphens=False
        ) or [""]:
            yield f"# {line}".rstrip()


def _table(path: tuple[str, ...], table: Any, titles: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of a table: its own values, then the tables in it.

    Args:
        path: Its place; () at the top.
        table: A dataclass or mapping.
        titles: Row to title, in the order of the acceptable-use table.
    """
    of_rows = path[-1:] in {("cells",), ("nominees",)}
    entries = _entries(table, list(titles) if of_rows else [])
    own = {
        key: value
        for key, value in entries.items()
        if not _is_table(value) or (path and path[-1] in _ONE_LINE_ENTRIES)
    }
    yield from _comment(_NOTES.get(path, ()))
    if own or not entries:
        if path:
            yield f"[{'.'.join(map(_key, path))}]"
        yield from _statements(own, titles if of_rows else {})
        yield ""
    for key, value in entries.items():
        if key not in own:
            yield from _table((*path, key), value, titles)


def _statements(values: Mapping[str, Any], titles: Mapping[str, str]) -> Iterator[str]:
    lines = {key: f"{_key(key)} = {_value(value)}" for key, value in values.items()}
    width = max((len(line) for line in lines.values() if len(line) <= _COLUMNS), default=0)
    for key, line in lines.items():
        remark = f"  # {titles[key]}" if key in titles else ""
        if len(line) > _COLUMNS and isinstance(values[key], tuple):
            yield f"{_key(key)} = [{remark}"
            yield from (f"    {_value(part)}," for part in values[key])
            yield "]"
        else:
            yield f"{line:<{width}}{remark}" if remark else line


def _is_table(value: object) -> bool:
    return is_dataclass(value) or isinstance(value, Mapping)


def _entries(table: Any, order: list[str]) -> dict[str, Any]:
    """Return what is in ``table``: fields as they are declared; entries by ``order``, by number, or by id."""
    if is_dataclass(table):
        return {f.name: getattr(table, f.name) for f in fields(table)}

    def place(key: str) -> tuple[int, list[tuple[int, str]]]:
        number = order.index(key) if key in order else getattr(table[key], "number", 0)
        # times-10 comes after times-9.
        parts = re.findall("[0-9]+|[^0-9]+", key)
        return number, [(int(p), "") if p.isdigit() else (0, p) for p in parts]

    return {key: table[key] for key in sorted(table, key=place)}


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _value(value: Any) -> str:
    """Return a value on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    inner = ", ".join(f"{_key(k)} = {_value(v)}" for k, v in _entries(value, []).items())
    return f"{{ {inner} }}"


def _quoted(text: str) -> str:
    # JSON escapes what TOML does, and in the same way, but for one control character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _parse_toml(text: str) -> Plain:
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MAX_LINE_CHARACTERS:
            raise PolicyError(
                (
                    f"line {number}: {len(line)} characters; a line has at most {MAX_LINE_CHARACTERS}:"
                    " a list may go on over several",
                )
            )
    try:
        return {key: _plain(value, 1) for key, value in tomllib.loads(text).items()}
    except tomllib.TOMLDecodeError as e:
        found = re.fullmatch(r"(.*) \(at line ([0-9]+), column ([0-9]+)\)", str(e))
        place = f"line {found[2]}, column {found[3]}: {found[1]}" if found else str(e)
        raise PolicyError((f"{place}; the file is TOML, as toml.io describes it",)) from None
    except (RecursionError, ValueError):
        # Also a number of more digits than Python reads.
        raise PolicyError(
            ("the file holds what no policy has: a number or a table without end",)
        ) from None


def _plain(value: Any, depth: int) -> Any:
    """Return ``value`` with times as texts: TOML has them also without quotes."""
    if depth > _DEEPEST:
        raise ValueError
    if isinstance(value, dict):
        return {key: _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each, depth + 1) for each in value]
    return value.isoformat() if isinstance(value, date | datetime | time) else value


def _signature_sentence(text: str, own: str) -> str:
    before, found, rest = text.partition("\n" + _SIGNATURE)
    if not found:
        return "Nobody has signed this file."
    kind, key, signature, *more = [*rest.split(), "", "", ""]
    whole = kind == "ed25519" and not any(more) and verify(key, signature, f"{before}\n".encode())
    if not whole:
        return "This file has been changed since it was signed."
    if fingerprint(key) == own:
        return "This file is as this appliance has written it."
    return (
        f"Another appliance has signed this file; the fingerprint of its key is {fingerprint(key)}."
    )


def _with_line(fault: str, lines: Mapping[str, int]) -> str:
    place = fault.partition(": ")[0].replace('"', "")
    # What is missing has no line of its own; that of its table shows where it belongs.
    number = lines.get(place) or lines.get(place.rpartition(".")[0])
    return f"line {number}: {fault}" if number else fault


def _line_numbers(text: str) -> dict[str, int]:
    """Return the line in which each place first stands, for a text that is TOML.

    A header, and a key with its value, cut out are TOML by themselves; what goes on over several lines is so from its
    last line on, and not before. So the library itself tells what stands in which line.
    """
    found: dict[str, int] = {}
    header: tuple[str, ...] = ()
    statement: list[str] = []
    effort = 0
    for number, line in enumerate(text.split("\n"), start=1):
        statement.append(line)
        effort += len(statement)
        if effort > _MOST_LINES_READ:
            break
        try:
            tree = tomllib.loads("\n".join(statement))
        except tomllib.TOMLDecodeError:
            continue
        first = number - len(statement) + 1
        if statement[0].lstrip().startswith("["):
            header = tuple(_paths((), tree))[-1]
            tree = {}
        statement = []
        for path in (*(header[:n] for n in range(1, len(header) + 1)), *_paths(header, tree)):
            found.setdefault(".".join(path), first)
    return found


def _paths(path: tuple[str, ...], tree: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from _paths((*path, key), value)
