from copy import deepcopy
from datetime import datetime, timedelta
from ipaddress import ip_address
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_core.acceptable_use import ILLEGAL_ROWS, ROWS, SHIPPED_CELLS, SHIPPED_TIMETABLE, Cell
from gate_core.categories import in_mask, mask_of
from gate_core.compile import Acts, Surroundings, compile_policy
from gate_core.names import suffixes
from gate_core.policy import Reason, decide
from gate_core.snapshot import NO_LISTS, parse_snapshot, render_snapshot
from gate_core.timetable import Span
from gate_core.written import PolicyError, WrittenPolicy, aware, parse, plain, shipped, timetable

LONDON = ZoneInfo("Europe/London")
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=LONDON)
MAC = "00:00:5e:00:53:01"
ID_FORM = "is no id: 1 to 40 small letters a to z, digits, '-' or '_'"
ILLEGAL_CELLS = dict.fromkeys(ILLEGAL_ROWS, "illegal")
ALL_GROUPS = "ks1, ks2, staff, guest, infrastructure, quarantine, investigation"


def with_value(document, path, value):
    """Return a copy of ``document`` with ``value`` at ``path``; None takes it out."""
    made = deepcopy(document)
    table = made
    for name in path[:-1]:
        table = table[name]
    if value is None:
        table.pop(path[-1])
    else:
        table[path[-1]] = value
    return made


def faults(document):
    with pytest.raises(PolicyError) as caught:
        parse(document, LONDON)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return list(caught.value.faults)


def test_parse_of_the_shipped_policy_is_the_shipped_policy():
    assert parse(plain(shipped()), LONDON) == shipped()


def test_shipped_says_what_the_acceptable_use_table_says():
    written = shipped()
    assert {
        id_: {row: Cell(cell) for row, cell in group.cells.items()}
        for id_, group in written.groups.items()
    } == dict(SHIPPED_CELLS)
    assert {id_: mask_of(row.categories) for id_, row in written.rows.items()} == {
        row.id: row.categories for row in ROWS
    }
    assert timetable(written.timetable) == SHIPPED_TIMETABLE


def test_parse_of_a_small_school_is_read_whole(document):
    assert plain(parse(document, LONDON)) == document


def test_parse_of_nothing_tells_what_is_missing():
    missing = [
        f"rows.{id_}: is missing; this row is illegal content: it can't be removed"
        for id_ in ILLEGAL_ROWS
    ]
    found = faults({})
    assert sorted(found[:4]) == sorted(missing)
    assert found[4:] == ["groups.quarantine: is missing; unknown devices are in this group"]


SPAN = {"days": "Mon-Fri", "since": "12:00", "until": "13:00"}
EXCEPTION = {
    "action": "allow",
    "scope": "school",
    "since": "2026-11-23T09:00",
    "until": "2026-11-23T12:00",
    "why": "a visit",
    "names": ["museum.example"],
}
DIRECT = {
    "title": "Zoom",
    "networks": ["203.0.113.0/24"],
    "protocol": "udp",
    "ports": "8801",
    "why": "calls",
}
DEVICE = {"name": "Laptop", "group": "ks2"}


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        # Form
        pytest.param(
            ("schol",),
            "x",
            "schol: unknown key; allowed are school, rows, groups, timetable, rooms, networks,"
            " vlans, people, devices, nominees, exceptions, direct, names",
            id="unknown table",
        ),
        pytest.param(
            ("school",),
            "x" * 101,
            f"school: '{'x' * 79}... is not 0 to 100 printable characters",
            id="school",
        ),
        pytest.param(("school",), 7, "school: 7 is not a text", id="no text"),
        pytest.param(("groups",), [], "groups: [] is not a table", id="no table"),
        pytest.param(
            ("groups", "KS 9"),
            {"title": "x", "number": 9},
            f"groups.\"KS 9\": 'KS 9' {ID_FORM}",
            id="id",
        ),
        pytest.param(
            ("groups", "x"),
            {"number": 9, "cells": ILLEGAL_CELLS},
            "groups.x.title: is missing",
            id="missing",
        ),
        pytest.param(
            ("groups", "ks2", "number"),
            64,
            "groups.ks2.number: 64 is not a number of a group from 1 to 63",
            id="number",
        ),
        pytest.param(
            ("groups", "ks2", "number"),
            True,
            "groups.ks2.number: True is not a whole number",
            id="truth is no number",
        ),
        pytest.param(
            ("groups", "ks2", "pausable"),
            1,
            "groups.ks2.pausable: 1 is not true or false",
            id="number is no truth",
        ),
        pytest.param(
            ("groups", "ks2", "default"),
            "maybe",
            "groups.ks2.default: 'maybe' is none of allow, block",
            id="word",
        ),
        pytest.param(
            ("groups", "ks2", "cells", "games"),
            "sometimes",
            "groups.ks2.cells.games: 'sometimes' is none of acceptable, times, nominated,"
            " unacceptable, illegal",
            id="cell",
        ),
        pytest.param(
            ("groups", "ks2", "teacher_minutes"),
            241,
            "groups.ks2.teacher_minutes: 241 is not a number of minutes from 0 to 240",
            id="teacher's minutes",
        ),
        pytest.param(
            ("groups", "ks2", "youtube"),
            "kids",
            "groups.ks2.youtube: 'kids' is none of off, moderate, strict",
            id="word for YouTube",
        ),
        pytest.param(
            ("groups", "quarantine", "safe_search"),
            False,
            "groups.quarantine: safe_search and youtube stay true and 'strict': nobody knows these devices",
            id="safe search of unknown devices",
        ),
        pytest.param(
            ("rows", "games", "number"),
            0,
            "rows.games.number: 0 is not a place in the table from 1 to 999",
            id="place",
        ),
        pytest.param(
            ("rows", "games", "services"), "youtube", "is not a list of texts", id="no list"
        ),
        pytest.param(
            ("rows", "games", "services"),
            ["bebo"],
            "rows.games.services: ['bebo'] is no service; allowed are amazon, anonymous-questions",
            id="unknown service",
        ),
        pytest.param(
            ("rows", "games", "categories"),
            ["game"],
            "rows.games.categories: ['game'] is refused: 'game' is no category; allowed are advertising, ai-chat",
            id="unknown category",
        ),
        pytest.param(
            ("names", "protected"),
            ["help.*.example"],
            "names.protected: ['help.*.example'] is refused: 'help.*.example': '*' is not allowed;"
            " example.org means itself and every name below it, =example.org itself alone",
            id="wildcard in the middle",
        ),
        pytest.param(
            ("direct", "zoom"),
            DIRECT | {"networks": ["0.0.0.0/0"]},
            "direct.zoom.networks: ['0.0.0.0/0'] is refused: it is wider than /8; name the networks",
            id="direct to everywhere",
        ),
        pytest.param(
            ("direct", "zoom"),
            DIRECT | {"networks": []},
            "direct.zoom.networks: is empty; name at least one network",
            id="direct to nowhere",
        ),
        pytest.param(
            ("direct", "zoom"),
            DIRECT | {"ports": "0-9"},
            "direct.zoom.ports: '0-9' is refused: '0-9' is neither a port from 1 to 65535 nor a range",
            id="direct without a port",
        ),
        pytest.param(
            ("direct", "zoom"),
            DIRECT | {"protocol": "sctp"},
            "is none of tcp, udp",
            id="direct protocol",
        ),
        pytest.param(
            ("direct", "zoom"),
            DIRECT | {"group": "x"},
            "direct.zoom.group: 'x' is no group",
            id="direct group",
        ),
        pytest.param(("names", "essential"), ["192.0.2.1"], "an address, not a name", id="address"),
        pytest.param(
            ("networks", "192.0.2.1/24"),
            {"group": "ks2"},
            "is not a network such as 192.0.2.0/24",
            id="host bits",
        ),
        pytest.param(
            ("networks", "2001:DB8::/64"),
            {"group": "ks2"},
            "is written 2001:db8::/64",
            id="network in another form",
        ),
        pytest.param(
            ("vlans", "4095"),
            {"group": "ks2"},
            "vlans.4095: '4095' is not a VLAN number from 1 to 4094",
            id="VLAN",
        ),
        pytest.param(
            ("vlans", "9" * 5000), {"group": "ks2"}, "is not a VLAN number", id="longest VLAN"
        ),
        pytest.param(("vlans", "007"), {"group": "ks2"}, "is not a VLAN number", id="VLAN 007"),
        pytest.param(
            ("devices", "00-00-5E-00-53-01"),
            DEVICE,
            "is written 00:00:5e:00:53:01",
            id="MAC address in another form",
        ),
        pytest.param(
            ("devices", "laptop"), DEVICE, "not six pairs of hexadecimal digits", id="MAC address"
        ),
        pytest.param(
            ("devices", MAC),
            {**DEVICE, "until": "soon"},
            f"devices.\"{MAC}\".until: 'soon' is refused: Invalid isoformat string: 'soon'",
            id="until",
        ),
        # Times
        pytest.param(
            ("timetable", "times", "lunch"),
            {**SPAN, "since": "25:00"},
            "timetable.times.lunch.since: '25:00' is refused: '25:00' is no time of day; allowed"
            " are 00:00 to 24:00, such as 08:45",
            id="no time of day",
        ),
        pytest.param(
            ("timetable", "times", "lunch"),
            {**SPAN, "since": "24:00"},
            "timetable.times.lunch.since: '24:00' is refused: '24:00' is when a day ends; a span"
            " begins at 00:00 to 23:59",
            id="begins when the day ends",
        ),
        pytest.param(
            ("groups", "ks2", "times"),
            {"lunch": {**SPAN, "since": "24:00"}},
            "groups.ks2.times.lunch.since: '24:00' is refused",
            id="of a group begins when the day ends",
        ),
        pytest.param(
            ("timetable", "times", "lunch"),
            {**SPAN, "days": "Mon-Lun"},
            "timetable.times.lunch.days: 'Mon-Lun' is refused: 'Mon-Lun' names no weekdays",
            id="no weekdays",
        ),
        pytest.param(
            ("timetable", "times", "club"),
            {**SPAN, "days": "Sat", "until": "12:00"},
            "timetable.times.club: span 5 (Sat 12:00-12:00) ends when it begins; a whole day is written 00:00-24:00",
            id="ends when it begins",
        ),
        pytest.param(
            ("timetable", "times", "club"),
            SPAN,
            "timetable.times.club: span 5 (Mon-Fri 12:00-13:00) lies in span 2 (Lunch, Mon-Fri 12:00-13:00) and has no effect",
            id="inside another",
        ),
        pytest.param(
            ("groups", "ks2", "times"),
            {"a": SPAN, "b": SPAN},
            "groups.ks2.times.b: span 2 (Mon-Fri 12:00-13:00) lies in span 1",
            id="of a group inside another",
        ),
        pytest.param(
            ("timetable", "periods"),
            {"p1": {**SPAN, "until": "11:00"}},
            "timetable.periods.p1.until: 11:00 is not after 12:00; a period ends after it begins,"
            " on the same day",
            id="period ends before it begins",
        ),
        pytest.param(
            ("timetable", "periods"),
            {"p1": SPAN, "p2": {**SPAN, "since": "12:59", "until": "14:00"}},
            "timetable.periods.p2: periods 1 and 2 overlap: p1, Mon-Fri 12:00-13:00 and p2, Mon-Fri 12:59-14:00",
            id="periods overlap",
        ),
        pytest.param(
            ("timetable", "terms"),
            {"a": {"first": "2026-09-01", "last": "2025-12-18"}},
            "timetable.terms.a.last: 2025-12-18 is before 2026-09-01; a term ends after it begins",
            id="term ends before it begins",
        ),
        pytest.param(
            ("timetable", "terms"),
            {
                "a": {"first": "2026-09-01", "last": "2026-12-18"},
                "b": {"first": "2026-12-18", "last": "2027-03-25"},
            },
            "timetable.terms.b: terms 1 and 2 overlap: 2026-09-01 to 2026-12-18 and 2026-12-18 to 2027-03-25;"
            " terms must follow one another",
            id="terms overlap",
        ),
        pytest.param(
            ("timetable", "holidays"),
            {"26 Oct": "Half term"},
            "timetable.holidays.\"26 Oct\": '26 Oct' is refused: Invalid isoformat string",
            id="holiday without date",
        ),
        pytest.param(
            ("timetable", "holidays"),
            {"2026-10-26": "\ud800"},
            r"timetable.holidays.2026-10-26: '\ud800' has characters that can't be printed",
            id="title of a holiday",
        ),
        pytest.param(
            ("timetable", "one_off"),
            {"2026-12-05": {"title": "Fair", "open": ["10-12"]}},
            "timetable.one_off.2026-12-05.open: ['10-12'] is refused: '10' is no time of day",
            id="one-off day",
        ),
        pytest.param(
            ("timetable", "one_off"),
            {"2026-12-05": {"title": "Fair", "open": ["noon"]}},
            "'noon' is not a span such as 12:00-13:00",
            id="one-off span",
        ),
        pytest.param(
            ("timetable", "one_off"),
            {"2026-12-05": {"title": "Closed", "open": ["10:00-12:00"], "school": False}},
            "timetable.one_off.2026-12-05: one-off day 2026-12-05 (Closed) is closed but has times",
            id="one-off day closed and open",
        ),
        # Rows and groups together
        pytest.param(
            ("rows", "games", "number"),
            15,
            "rows.games.number: 15 is the place of games-educational already",
            id="place twice",
        ),
        pytest.param(
            ("groups", "staff", "number"),
            1,
            "groups.staff.number: 1 is the number of ks1 already",
            id="number twice",
        ),
        pytest.param(
            ("groups", "quarantine"),
            None,
            "groups.quarantine: is missing; unknown devices are in this group",
            id="no group for unknown devices",
        ),
        pytest.param(
            ("groups", "quarantine", "quic"),
            True,
            "groups.quarantine: quic and on_fault stay false and 'closed'",
            id="unknown devices by QUIC",
        ),
        pytest.param(
            ("groups", "quarantine", "on_fault"),
            "open",
            "groups.quarantine: quic and on_fault stay false and 'closed'",
            id="unknown devices on a fault",
        ),
        pytest.param(
            ("groups", "ks2", "cells", "chess"),
            "acceptable",
            "groups.ks2.cells.chess: is no row; there are child-abuse, grooming",
            id="cell of no row",
        ),
        # References
        pytest.param(
            ("devices", MAC),
            {**DEVICE, "group": "ks3"},
            f"devices.\"{MAC}\".group: 'ks3' is no group; there are {ALL_GROUPS}",
            id="device's group",
        ),
        pytest.param(
            ("devices", MAC),
            {**DEVICE, "room": "r1"},
            f"devices.\"{MAC}\".room: 'r1' is no room; there are none yet",
            id="device's room",
        ),
        pytest.param(
            ("devices", MAC),
            {**DEVICE, "person": "p1"},
            f"devices.\"{MAC}\".person: 'p1' is no person; there are none yet",
            id="device's person",
        ),
        pytest.param(
            ("devices",),
            {MAC: DEVICE, "00:00:5e:00:53:02": {**DEVICE, "name": "LAPTOP"}},
            f"devices.\"00:00:5e:00:53:02\".name: 'LAPTOP' is the name of {MAC} already",
            id="device's name twice",
        ),
        pytest.param(
            ("networks", "192.0.2.0/24"),
            {"group": "ks3"},
            "networks.\"192.0.2.0/24\".group: 'ks3' is no group",
            id="network's group",
        ),
        pytest.param(
            ("vlans", "20"),
            {"group": "ks2", "room": "r1"},
            "vlans.\"20\".room: 'r1' is no room",
            id="VLAN's room",
        ),
        pytest.param(
            ("nominees", "chess"), [], "nominees.chess: 'chess' is no row", id="nominees of no row"
        ),
        pytest.param(
            ("nominees", "games"),
            ["p1"],
            "nominees.games: 'p1' is neither 'person:ID' nor 'device:MAC'",
            id="nominee of no kind",
        ),
        pytest.param(
            ("nominees", "games"),
            ["person:p1"],
            "nominees.games: 'p1' is no person; there are none yet",
            id="nominee",
        ),
        pytest.param(
            ("nominees", "games"),
            [f"device:{MAC}"],
            f"nominees.games: '{MAC}' is no device; there are none yet",
            id="nominated device",
        ),
        # Exceptions
        pytest.param(
            ("exceptions", "e1"),
            {**EXCEPTION, "names": ["a.*.example"]},
            "exceptions.e1.names: ['a.*.example'] is refused",
            id="wildcard in an exception",
        ),
        pytest.param(
            ("exceptions", "e1"),
            {**EXCEPTION, "names": ["co.uk"]},
            "exceptions.e1.names: ['co.uk'] is refused: anybody may have a name below co.uk, and it"
            " would cover all of them; names below it are allowed",
            id="exception for a public suffix",
        ),
        pytest.param(
            ("exceptions", "e1"),
            {**EXCEPTION, "names": ["Com."]},
            "exceptions.e1.names: ['Com.'] is refused: a single label would cover a whole top-level"
            " domain; two or more are allowed",
            id="exception for a top-level domain",
        ),
        pytest.param(
            ("exceptions", "e1"),
            {**EXCEPTION, "until": "2026-11-23T08:00"},
            "exceptions.e1.until: 2026-11-23T08:00 is not after 2026-11-23T09:00; an exception ends"
            " after it begins",
            id="ends before it begins",
        ),
        pytest.param(
            ("exceptions", "e1"),
            {**EXCEPTION, "since": "2026-03-29T01:30", "until": "2026-03-29T02:00"},
            "exceptions.e1.until: 2026-03-29T02:00 is not after 2026-03-29T01:30",
            id="ends before it begins, over a clock change",
        ),
        pytest.param(
            ("exceptions", "e1"),
            {**EXCEPTION, "until": "2027-11-25T09:00"},
            "exceptions.e1.until: 2027-11-25T09:00 is more than 366 days after 2026-11-23T09:00",
            id="longer than a year",
        ),
        pytest.param(
            ("exceptions", "e1"),
            {**EXCEPTION, "why": ""},
            "exceptions.e1.why: '' is not 1 to 500 printable characters",
            id="no reason",
        ),
        pytest.param(
            ("exceptions", "e1"),
            {**EXCEPTION, "names": []},
            "exceptions.e1.names: is empty; name at least one site or service",
            id="no name",
        ),
        pytest.param(
            ("exceptions", "e1"),
            {**EXCEPTION, "scope": "group"},
            "exceptions.e1.subject: is missing; name the group",
            id="no subject",
        ),
        pytest.param(
            ("exceptions", "e1"),
            {**EXCEPTION, "subject": "ks2"},
            "exceptions.e1.subject: 'ks2' is refused; for the whole school it is empty",
            id="subject too many",
        ),
        pytest.param(
            ("exceptions", "e1"),
            {**EXCEPTION, "scope": "person", "subject": "p1"},
            "exceptions.e1.subject: 'p1' is no person; there are none yet",
            id="unknown person",
        ),
        pytest.param(
            ("exceptions", "e1"),
            {**EXCEPTION, "scope": "group", "subject": "ks3"},
            f"exceptions.e1.subject: 'ks3' is no group; there are {ALL_GROUPS}",
            id="unknown group",
        ),
        pytest.param(
            ("exceptions", "e1"),
            {**EXCEPTION, "scope": "device", "subject": MAC},
            f"exceptions.e1.subject: '{MAC}' is no device; there are none yet",
            id="unknown device",
        ),
        # The illegal tier
        pytest.param(
            ("rows", "grooming", "categories"),
            [],
            "rows.grooming.categories: lacks grooming; this row is illegal content: it can't be"
            " emptied",
            id="illegal row emptied",
        ),
        pytest.param(
            ("rows", "games", "categories"),
            ["games", "terrorism"],
            "rows.games.categories: terrorism is illegal content, which only its own rows hold",
            id="illegal category in another row",
        ),
        pytest.param(
            ("groups", "staff", "cells", "grooming"),
            "unacceptable",
            "groups.staff.cells.grooming: 'unacceptable' is refused: this row is illegal content,"
            " its cell is always 'illegal'",
            id="illegal cell lowered",
        ),
        pytest.param(
            ("groups", "staff", "cells", "grooming"),
            None,
            "groups.staff.cells.grooming: 'nothing' is refused",
            id="illegal cell missing",
        ),
        pytest.param(
            ("groups", "staff", "cells", "games"),
            "illegal",
            "groups.staff.cells.games: 'illegal' is for rows of illegal content; allowed are"
            " acceptable, times, nominated, unacceptable",
            id="other cell illegal",
        ),
    ],
)
def test_parse_names_place_value_and_what_is_allowed(path, value, fault):
    found = faults(with_value(plain(shipped()), path, value))
    assert len(found) == 1
    assert fault in found[0]
    assert found[0].isprintable()


def test_parse_refuses_one_service_in_two_rows():
    document = with_value(plain(shipped()), ("rows", "games", "services"), ["roblox"])
    document["rows"]["video"]["services"] = ["youtube", "roblox"]
    assert faults(document) == [
        "rows.video.services: 'roblox' is in row games already; one row decides it"
    ]


@pytest.mark.parametrize("row", sorted(ILLEGAL_ROWS))
def test_parse_refuses_an_illegal_row_that_is_gone(row):
    document = with_value(plain(shipped()), ("rows", row), None)
    assert f"rows.{row}: is missing; this row is illegal content: it can't be removed" in faults(
        document
    )


def test_parse_reports_every_fault_at_once():
    document = plain(shipped())
    document["school"] = 1
    document["rows"]["games"]["number"] = 22
    document["groups"]["ks2"]["cells"]["grooming"] = "acceptable"
    document["timetable"]["terms"] = {"a": {"first": "2026-09-01", "last": "2026-08-01"}}
    places = [fault.partition(":")[0] for fault in faults(document)]
    assert places == [
        "school",
        "rows.video.number",
        "groups.ks2.cells.grooming",
        "timetable.terms.a.last",
    ]


def test_aware_takes_the_zone_of_the_school_where_none_is_written():
    assert aware("2026-07-01T12:00", LONDON).utcoffset() == timedelta(hours=1)
    assert aware("2026-07-01T12:00+00:00", LONDON).utcoffset() == timedelta(0)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["ks2", "games", "times", "illegal", "24:00", "Mon", "2026-11-23", MAC]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@st.composite
def spoilt(draw):
    """A document in which some places have a value of any kind."""
    document = draw(st.sampled_from(["small", "shipped"]))
    return document, draw(
        st.lists(st.tuples(st.integers(0, 10_000), st.booleans(), JSON), min_size=1, max_size=3)
    )


def places(value, path=()):
    """Yield every path in nested tables."""
    if path:
        yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*path, name))


@given(spoilt())
@settings(max_examples=150, deadline=None)
def test_parse_of_hostile_values_is_a_policy_or_faults(document, drawn):
    which, spoils = drawn
    made = deepcopy(document) if which == "small" else plain(shipped())
    for number, beside, value in spoils:
        paths = list(places(made))
        path = paths[number % len(paths)]
        table = made
        for name in path[:-1]:
            table = table[name]
        table["x" if beside else path[-1]] = value
    try:
        written = parse(made, LONDON)
    except PolicyError:
        return
    assert isinstance(written, WrittenPolicy)
    assert parse(plain(written), LONDON) == written


@given(st.dictionaries(st.text(max_size=10) | st.sampled_from(["rows", "groups", "names"]), JSON))
@settings(deadline=None)
def test_parse_of_any_tables_is_a_policy_or_faults(made):
    with pytest.raises(PolicyError):
        parse(made, LONDON)


TIMES = st.sampled_from(["00:00", "08:45", "12:00", "13:30", "23:59", "24:00"])
SPANS = st.fixed_dictionaries(
    {"days": st.sampled_from(["Mon", "Mon-Fri", "Sat, Sun", "Fri-Mon"]), "since": TIMES, "until": TIMES}
)  # fmt: skip
CELLS = st.dictionaries(
    st.sampled_from([row.id for row in ROWS if not row.locked]),
    st.sampled_from(["acceptable", "times", "nominated", "unacceptable"]),
)
RULES = st.lists(
    st.sampled_from(["abuse.example", "=www.abuse.example", "example", "WIKI.example.", "x.test"]),
    max_size=3,
)
WHEN = st.sampled_from(
    ["2026-03-29T01:30", "2026-03-29", "2026-10-25T01:30:00+01:00", "2026-11-23", "0001-01-01", "9999-12-31"]
)  # fmt: skip
GROUPS = st.sampled_from(["ks2", "staff", "quarantine", "x"])
ROOMS = st.sampled_from(["", "room-1"])
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "groups": st.dictionaries(
            st.sampled_from(["ks2", "staff", "x"]),
            st.fixed_dictionaries(
                {"title": st.just("Title"), "cells": CELLS},
                optional={
                    "default": st.sampled_from(["allow", "block"]),
                    "quic": st.booleans(),
                    "on_fault": st.sampled_from(["open", "closed"]),
                    "times": st.dictionaries(st.sampled_from("ab"), SPANS),
                },
            ),
        ),
        "rows": st.dictionaries(
            st.sampled_from(["games", "video", "x"]),
            st.fixed_dictionaries(
                {"title": st.just("Title")},
                optional={
                    "categories": st.lists(st.sampled_from(["games", "gambling", "video"])),
                    "services": st.lists(st.sampled_from(["tiktok", "youtube"])),
                },
            ),
        ),
        "timetable": st.fixed_dictionaries(
            {},
            optional={
                "times": st.dictionaries(st.sampled_from("ab"), SPANS),
                "periods": st.dictionaries(st.sampled_from("ab"), SPANS),
                "one_off": st.dictionaries(
                    st.sampled_from(["2026-11-23", "20261123", "2026-11-24"]),
                    st.fixed_dictionaries(
                        {
                            "title": st.just("Day"),
                            "open": st.lists(
                                st.sampled_from(["10:00-12:00", "22:00-02:00"]), max_size=2
                            ),
                            "school": st.booleans(),
                        }
                    ),
                ),
            },
        ),
        "networks": st.dictionaries(
            st.sampled_from(["192.0.2.0/24", "2001:db8::/32"]),
            st.fixed_dictionaries({"group": GROUPS, "room": ROOMS}),
        ),
        "vlans": st.dictionaries(
            st.sampled_from(["1", "20"]), st.fixed_dictionaries({"group": GROUPS, "room": ROOMS})
        ),
        "devices": st.dictionaries(
            st.sampled_from([MAC, "02:00:00:00:00:01"]),
            st.fixed_dictionaries(
                {"name": st.sampled_from(["A", "B"]), "group": GROUPS, "room": ROOMS},
                optional={"until": WHEN},
            ),
        ),
        "names": st.fixed_dictionaries({}, optional={"essential": RULES, "protected": RULES}),
        "exceptions": st.dictionaries(
            st.sampled_from(["e1", "e2"]),
            st.fixed_dictionaries(
                {
                    "action": st.sampled_from(["allow", "block"]),
                    "scope": st.sampled_from(["school", "group"]),
                    "subject": st.sampled_from(["", "staff"]),
                    "since": WHEN,
                    "until": WHEN,
                    "why": st.just("why"),
                    "names": RULES,
                    "services": st.lists(st.sampled_from(["youtube", "tiktok"]), max_size=1),
                }
            ),
        ),
    },
)


class Index(dict):
    """One name in each category of the illegal tier."""

    def mask(self, name):
        return mask_of(self[s] for s in suffixes(name) if s in self)


LISTED = Index(
    {
        "abuse.example": "child-abuse",
        "groom.example": "grooming",
        "x.test": "terrorism",
        "y.test": "extreme-pornography",
    }
)


def complete(drawn):
    """Return a document of the shipped policy with ``drawn`` laid over it."""
    document = plain(shipped())
    document["rooms"] = {"room-1": {"title": "Room 1"}}
    for top, table in drawn.items():
        for id_, value in table.items():
            if top in {"groups", "rows"}:
                known = document[top].get(id_, {"number": 40})
                cells = {**ILLEGAL_CELLS, **value["cells"]} if top == "groups" else None
                value = known | value | ({"cells": cells} if cells else {})  # noqa: PLW2901
            document[top][id_] = value
    return document


@given(DOCUMENTS)
@settings(max_examples=80, deadline=None)
def test_parse_gives_what_compiles_renders_and_leaves_illegal_names_blocked(drawn):
    try:
        written = parse(complete(drawn), LONDON)
    except PolicyError:
        return
    assert parse(plain(written), LONDON) == written
    for at in (NOW, None):
        around = Surroundings(LISTED, LONDON, tagged={"02:00:00:00:00:02": 20})
        policy = compile_policy(written, Acts(), around, version=1, at=at)
        restored = parse_snapshot(render_snapshot(policy, ""), lambda _: LISTED).policy
        assert restored.groups.keys() == policy.groups.keys()
        clients = [policy.client(ip_address("192.0.2.1"), mac) for mac in (None, MAC)]
        clients += [
            policy.client(ip_address("2001:db8::1"), "02:00:00:00:00:02"),
            policy.client(ip_address("198.51.100.1"), "02:00:00:00:00:01"),
        ]
        for client in clients:
            for name in (*LISTED, "www.abuse.example"):
                for its in (policy, restored):
                    decision = decide(its, client, name, at)
                    assert decision.blocked
                    assert decision.reason is Reason.ILLEGAL


def test_parse_of_the_longest_and_shortest_exception_compiles():
    document = plain(shipped())
    document["exceptions"]["e1"] = {**EXCEPTION, "since": "2027-11-23", "until": "2028-11-23"}
    document["exceptions"]["e2"] = {**EXCEPTION, "until": "2026-11-23T09:00:01"}
    policy = compile_policy(
        parse(document, LONDON), Acts(), Surroundings(NO_LISTS, LONDON), version=1, at=None
    )
    assert policy.exceptions[0].span == Span(
        datetime(2027, 11, 23, tzinfo=LONDON), datetime(2028, 11, 23, tzinfo=LONDON)
    )
    assert [c.id for c in in_mask(policy.rows[0].categories)] == ["child-abuse"]
