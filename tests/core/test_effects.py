from copy import deepcopy
from datetime import datetime
from ipaddress import ip_address
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gate_core.acceptable_use import ROWS
from gate_core.categories import mask_of
from gate_core.compile import Acts, Surroundings, Suspension, compile_policy
from gate_core.edits import differences
from gate_core.effects import Draft, IllegalError, approvals, effects
from gate_core.names import suffixes
from gate_core.policy import Pause, Reason, decide
from gate_core.timetable import Span
from gate_core.written import UNKNOWN_GROUP, PolicyError, parse, plain

LONDON = ZoneInfo("Europe/London")
LESSON = datetime(2026, 11, 23, 10, 0, tzinfo=LONDON)
AROUND = Span(LESSON.replace(day=1), LESSON.replace(month=12))
TIMES = (
    LESSON,
    LESSON.replace(hour=12, minute=30),
    LESSON.replace(hour=16),
    LESSON.replace(day=26),
    LESSON.replace(month=12, day=5, hour=11),
    None,
)
MACS = tuple(f"00:00:5e:00:53:0{n}" for n in range(1, 8))
PUPIL, TEACHER, TABLET, PRINTER, NEW, TAGGED, STRANGER = MACS
ADDRESSES = tuple(map(ip_address, ("192.0.2.10", "198.51.100.1")))


class Index(dict):
    """Name to category ids; the union over the name and all above it."""

    def mask(self, name):
        return mask_of(id_ for suffix in suffixes(name) for id_ in self.get(suffix, ()))


INDEX = Index(
    {
        "games.example": ["games"],
        "learn.example": ["games-educational"],
        "video.example": ["video"],
        "shop.example": ["shopping"],
        "social.example": ["social-media"],
        "porn.example": ["pornography"],
        "abuse.example": ["child-abuse"],
        "mixed.example": ["video", "gambling"],
        "tiktok.com": ["social-media", "video"],
        "youtube.com": ["video"],
        "seek.example": ["unsafe-search"],
    }
)
NAMES = (*INDEX, "other.example", "wiki.example", "www.wiki.example", "office.example", "snapchat.com")  # fmt: skip
WORDS = st.sampled_from(["acceptable", "times", "nominated", "unacceptable", None])
GROUPS = st.sampled_from(
    ["ks1", "ks2", "staff", "guest", "infrastructure", "quarantine", "investigation", "new"]
)
ROW_IDS = st.sampled_from(
    ["games", "video", "social-media", "shopping", "pornography", "gambling", "row-23"]
)
ROOMS = st.sampled_from(["", "room-1", "room-2"])
PEOPLE = st.sampled_from(["", "p1", "p2", "t1"])
UNTIL = st.sampled_from(["", "2026-11-20", "2026-11-23T11:00", "2026-12-01T00:00", "2027-01-01"])
RULES = st.lists(
    st.sampled_from([*NAMES, "=wiki.example", "example", "WIKI.example."]), max_size=3, unique=True
)
SERVICES = st.lists(st.sampled_from(["youtube", "tiktok", "snapchat"]), max_size=2, unique=True)
DEVICE_FIELDS = {"group": GROUPS, "room": ROOMS, "person": PEOPLE, "until": UNTIL}
SUBJECTS = st.sampled_from(["", "p1", "p2", "t1", "ks1", "ks2", "staff", *MACS[:4]])
EXCEPTION_FIELDS = {
    "action": st.sampled_from(["allow", "block"]),
    "scope": st.sampled_from(["person", "device", "group", "school"]),
    "subject": SUBJECTS,
    "names": RULES,
    "services": SERVICES,
    "since": st.sampled_from(["2026-11-01", "2026-11-23T11:00", "2026-12-01"]),
    "until": st.sampled_from(["2026-11-23T12:00", "2026-12-31", "2027-02-01"]),
    "why": st.just("another reason"),
}
GROUP_FIELDS = {
    "default": st.sampled_from(["allow", "block"]),
    "pausable": st.booleans(),
    "quic": st.booleans(),
    "on_fault": st.sampled_from(["open", "closed"]),
    "teacher_minutes": st.integers(0, 60),
    "times": st.just({}),
    "safe_search": st.booleans(),
    "youtube": st.sampled_from(["off", "moderate", "strict"]),
}
PLACES = st.fixed_dictionaries({"group": GROUPS, "room": ROOMS})
ROW_FIELDS = {
    "title": st.just("Row"),
    "number": st.integers(1, 40),
    "categories": st.lists(
        st.sampled_from(["games", "video", "gambling", "shopping"]), max_size=2, unique=True
    ),
    "services": SERVICES,
}


def one_of(fields):
    return st.sampled_from(sorted(fields)).flatmap(lambda f: st.tuples(st.just(f), fields[f]))


def place(top, id_, fields):
    """Return changes at one field of an entry."""
    return st.builds(lambda i, f: ((top, i, f[0]), f[1]), id_, one_of(fields))


CHANGES = st.one_of(
    st.builds(lambda g, r, w: (("groups", g, "cells", r), w), GROUPS, ROW_IDS, WORDS),
    place("groups", GROUPS, GROUP_FIELDS),
    place("devices", st.sampled_from(MACS[:5]), DEVICE_FIELDS),
    place("devices", st.sampled_from(MACS[:5]), DEVICE_FIELDS),
    st.builds(lambda m: (("devices", m), None), st.sampled_from(MACS)),
    st.builds(
        lambda m, d: (("devices", m), {"name": m, **d}),
        st.sampled_from(MACS),
        st.fixed_dictionaries(DEVICE_FIELDS),
    ),
    place("exceptions", st.sampled_from(["e1", "e2", "e3", "e4", "e5", "e6"]), EXCEPTION_FIELDS),
    st.builds(
        lambda i, e: (("exceptions", i), e),
        st.sampled_from(["e1", "e3", "e7"]),
        st.fixed_dictionaries(EXCEPTION_FIELDS) | st.none(),
    ),
    st.builds(
        lambda n, p: (("networks", n), p),
        st.sampled_from(["192.0.2.0/24", "192.0.2.128/25", "198.51.100.0/24"]),
        PLACES | st.none(),
    ),
    st.builds(lambda p: (("vlans", "20"), p), PLACES | st.none()),
    st.builds(
        lambda r, w: (("nominees", r), w),
        ROW_IDS,
        st.lists(st.sampled_from(["person:p1", "person:t1", f"device:{TABLET}"]), max_size=2)
        | st.none(),
    ),
    st.builds(lambda k, r: (("names", k), r), st.sampled_from(["essential", "protected"]), RULES),
    st.builds(
        lambda r, v: (("rows", r), v),
        st.just("row-23") | ROW_IDS,
        st.fixed_dictionaries(ROW_FIELDS) | st.none(),
    ),
    place("rows", ROW_IDS, ROW_FIELDS),
    st.builds(
        lambda v: (("groups", "new"), v),
        st.none()
        | st.builds(
            lambda c: {"title": "New", "number": 9, "cells": {**ILLEGAL_CELLS, **c}},
            st.dictionaries(ROW_IDS, WORDS.filter(bool)),
        ),
    ),
    st.sampled_from(
        [
            (("timetable", "times", "lunch"), None),
            (("timetable", "times", "before-school", "until"), "11:00"),
            (("timetable", "holidays", "2026-11-26"), None),
            (("timetable", "holidays", "2026-11-23"), "Off"),
            (("timetable", "terms", "autumn"), None),
            (("timetable", "one_off", "2026-12-05"), None),
            (("timetable", "periods", "p1"), None),
            (("rooms", "room-2"), None),
            (("people", "p2"), None),
            (("school",), "Another"),
        ]
    ),
)
ILLEGAL_CELLS = {row.id: "illegal" for row in ROWS if row.locked}


def changed(document, changes):
    """Return a copy of ``document`` with ``changes``; those whose place is not there are left out."""
    made = deepcopy(document)
    for path, value in changes:
        table = made
        for name in path[:-1]:
            table = table.get(name) if isinstance(table, dict) else None
        if not isinstance(table, dict):
            continue
        if value is None:
            table.pop(path[-1], None)
        else:
            table[path[-1]] = deepcopy(value)
    return made


def draft_of(before, after):
    return Draft(parse(before, LONDON), parse(after, LONDON), INDEX, LONDON)


def effects_of(draft):
    return effects(draft, differences(plain(draft.before), plain(draft.after)))


ALLOW = {
    "action": "allow",
    "scope": "group",
    "subject": "ks2",
    "names": ["games.example"],
    "services": [],
    "since": "2026-11-01",
    "until": "2026-12-31",
    "why": "a reason",
}
BLOCK = {**ALLOW, "action": "block", "names": ["wiki.example"]}
FRESH = {"name": "Fresh", "group": "ks2", "room": "", "person": "", "until": ""}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param([(('groups', 'ks2', 'cells', 'games'), 'acceptable')], [('Key Stage 2 gains “Online games (not educational)”: now acceptable, before acceptable at certain times', 1)], id='cell loosened'),
        pytest.param([(('groups', 'ks2', 'cells', 'gambling'), 'times'), (('groups', 'ks1', 'cells', 'gambling'), 'times')], [('2 groups gain “Online gambling”: now acceptable at certain times, Mon-Fri 00:00-08:45; Mon-Fri 12:00-13:00; Mon-Fri 15:30-24:00; Sat, Sun 00:00-24:00, before unacceptable (EYFS and Key Stage 1 and Key Stage 2)', 2)], id='cells of two'),
        pytest.param([(('groups', 'ks2', 'cells', 'games'), 'unacceptable')], [('Key Stage 2 loses “Online games (not educational)”: now unacceptable, before acceptable at certain times', 0)], id='cell tightened'),
        pytest.param([(('groups', 'ks2', 'cells', 'games'), None)], [('Key Stage 2 loses “Online games (not educational)”: now unacceptable, before acceptable at certain times', 0)], id='cell missing'),
        pytest.param([(('groups', 'ks2', 'cells', 'games'), 'nominated')], [('Key Stage 2 gains “Online games (not educational)”: now acceptable for nominated users, before acceptable at certain times', 1)], id='times to nominated, nominees'),
        pytest.param([(('groups', 'ks2', 'cells', 'video'), 'nominated')], [('Key Stage 2 loses “Video sharing, such as YouTube”: now acceptable for nominated users, before acceptable at certain times', 0)], id='times to nominated, none'),
        pytest.param([(('groups', 'ks2', 'cells', 'gambling'), 'times')], [('Key Stage 2 gains “Online gambling”: now acceptable at certain times, Mon-Fri 15:00-17:00, before unacceptable', 2)], id='own times shown'),
        pytest.param([(('school',), 'New')], [('The school is called “New”, before “St Example”', 0)], id='school'),
        pytest.param([(('rows', 'row-23'), {'title': 'TikTok', 'number': 23, 'services': ['tiktok'], 'categories': []})], [('Row “TikTok” added', 1)], id='row new'),
        pytest.param([(('rows', 'row-23'), {'title': 'TikTok', 'number': 23, 'services': ['tiktok'], 'categories': []}), (('groups', 'ks2', 'cells', 'row-23'), 'times')], [('Key Stage 2 gains “TikTok”: now acceptable at certain times, Mon-Fri 15:00-17:00, before unacceptable', 2), ('Row “TikTok” added', 1)], id='row new with cell'),
        pytest.param([(('rows', 'gambling'), None), (('groups', 'ks1', 'cells', 'gambling'), None), (('groups', 'ks2', 'cells', 'gambling'), None), (('groups', 'staff', 'cells', 'gambling'), None), (('groups', 'guest', 'cells', 'gambling'), None), (('groups', 'infrastructure', 'cells', 'gambling'), None), (('groups', 'quarantine', 'cells', 'gambling'), None), (('groups', 'investigation', 'cells', 'gambling'), None)], [('Row “Online gambling” removed', 2)], id='row gone'),
        pytest.param([(('rows', 'games', 'title'), 'Games')], [('A row is worded “Games”, before “Online games (not educational)”', 1)], id='row title'),
        pytest.param([(('rows', 'games', 'number'), 99)], [('Number of row “Online games (not educational)” changed', 0)], id='row number'),
        pytest.param([(('rows', 'games', 'note'), 'x')], [('Note of row “Online games (not educational)” changed', 0)], id='row note'),
        pytest.param([(('rows', 'games', 'categories'), ['gambling'])], [('Row “Online games (not educational)” now covers gambling and no longer covers games', 2)], id='row cat'),
        pytest.param([(('rows', 'games', 'services'), ['roblox'])], [('Row “Online games (not educational)” now covers roblox', 2)], id='row service'),
        pytest.param([(('groups', 'ks3'), {'title': 'KS3', 'number': 9, 'cells': ILLEGAL_CELLS})], [('Group “KS3” added', 2)], id='group new'),
        pytest.param([(('groups', 'investigation'), None)], [('Group “Investigation of an incident” removed', 1)], id='group gone'),
        pytest.param([(('groups', 'ks2', 'title'), 'Juniors')], [('Group “Key Stage 2” is called “Juniors”', 0)], id='group title'),
        pytest.param([(('groups', 'ks2', 'default'), 'block')], [('Key Stage 2: sites on no list are closed', 0)], id='default block'),
        pytest.param([(('groups', 'ks2', 'quic'), True)], [('Key Stage 2: QUIC (HTTP/3) is open', 2)], id='quic'),
        pytest.param([(('groups', 'staff', 'quic'), False)], [('Staff: QUIC (HTTP/3) is closed', 0)], id='quic off'),
        pytest.param([(('groups', 'ks2', 'named_only'), False)], [('Key Stage 2: devices reach any address', 2)], id='any address'),
        pytest.param([(('groups', 'staff', 'named_only'), True)], [('Staff: devices reach only addresses that our own name service gave, and only by a name', 0)], id='given addresses only'),
        pytest.param([(('direct', 'sip'), {'title': 'Telephones', 'networks': ['198.51.100.0/24'], 'protocol': 'udp', 'ports': '5060', 'why': 'Calls'})], [('“Telephones” is reached without a name: 198.51.100.0/24, udp 5060, for every group', 2)], id='direct'),
        pytest.param([(('direct', 'zoom', 'ports'), '8801')], [('“Zoom calls” is reached without a name: 203.0.113.0/24 and 2001:db8::/32, udp 8801, for Key Stage 2', 0)], id='direct fewer ports'),
        pytest.param([(('direct', 'zoom', 'ports'), '8801-8811')], [('“Zoom calls” is reached without a name: 203.0.113.0/24 and 2001:db8::/32, udp 8801-8811, for Key Stage 2', 1)], id='direct more ports'),
        pytest.param([(('direct', 'zoom', 'group'), '')], [('“Zoom calls” is reached without a name: 203.0.113.0/24 and 2001:db8::/32, udp 8801-8810, for every group', 2)], id='direct for all'),
        pytest.param([(('direct', 'zoom'), None)], [('“Zoom calls” (203.0.113.0/24 and 2001:db8::/32, udp 8801-8810) is no longer reached without a name, for Key Stage 2', 0)], id='direct gone'),
        pytest.param([(('groups', 'ks2', 'on_fault'), 'open')], [('Key Stage 2: while nothing can be judged, everything is open', 2)], id='on_fault'),
        pytest.param([(('groups', 'staff', 'on_fault'), 'closed')], [('Staff: while nothing can be judged, everything is closed', 0)], id='on_fault closed'),
        pytest.param([(('groups', 'ks2', 'pausable'), False)], [('Key Stage 2: the pause button no longer reaches this group', 1)], id='pausable no'),
        pytest.param([(('groups', 'staff', 'pausable'), True)], [('Staff: the pause button reaches this group', 0)], id='pausable yes'),
        pytest.param([(('groups', 'ks2', 'teacher_minutes'), 90)], [('Key Stage 2: a teacher may open a site for 90 minutes, before 60', 1)], id='minutes'),
        pytest.param([(('groups', 'ks2', 'teacher_minutes'), 0)], [('Key Stage 2: a teacher may open a site for 0 minutes, before 60', 0)], id='minutes less'),
        pytest.param([(('groups', 'ks2', 'safe_search'), False)], [("Key Stage 2: search engines give all results, and those without safe ones are like any other site", 2)], id='safe search off'),
        pytest.param([(('groups', 'staff', 'youtube'), 'off')], [('Staff: all of YouTube, before YouTube in restricted mode, moderate', 2)], id='youtube off'),
        pytest.param([(('groups', 'ks2', 'youtube'), 'moderate')], [('Key Stage 2: YouTube in restricted mode, moderate, before YouTube in restricted mode, strict', 1)], id='youtube moderate'),
        pytest.param([(('groups', 'staff', 'youtube'), 'strict')], [('Staff: YouTube in restricted mode, strict, before YouTube in restricted mode, moderate', 0)], id='youtube strict'),
        pytest.param([(('groups', 'ks2', 'times'), {})], [('Key Stage 2: its certain times removed: days Mon-Fri, since 15:00, title Club, until 17:00', 1)], id='gtimes'),
        pytest.param([(('groups', 'ks2', 'number'), 30)], [('Key Stage 2: number changed to 30', 2)], id='gnumber'),
        pytest.param([(('timetable', 'times', 'lunch', 'until'), '13:30')], [('Certain times lunch changed: 13:30', 1)], id='ttimes'),
        pytest.param([(('timetable', 'periods', 'p2'), {'days': 'Mon', 'since': '10:00', 'until': '11:00', 'title': '2'})], [('Lesson p2 added: days Mon, since 10:00, title 2, until 11:00', 0)], id='period'),
        pytest.param([(('timetable', 'terms', 'autumn'), None)], [('Term autumn removed: first 2026-09-01, last 2026-12-18, title Autumn', 1)], id='term'),
        pytest.param([(('timetable', 'holidays', '2026-11-27'), 'Inset')], [('Holiday 2026-11-27 added: Inset', 1)], id='holiday'),
        pytest.param([(('timetable', 'one_off', '2026-12-05', 'school'), False), (('timetable', 'one_off', '2026-12-05', 'open'), [])], [('One-off day 2026-12-05 changed: nothing', 1), ('One-off day 2026-12-05 changed: no', 1)], id='oneoff'),
        pytest.param([(('networks', '198.51.100.0/24'), {'group': 'guest', 'room': ''})], [('Network 198.51.100.0/24 added: its devices are in Guests', 1)], id='net'),
        pytest.param([(('networks', '192.0.2.128/25'), None)], [('Network 192.0.2.128/25 removed', 1)], id='net gone'),
        pytest.param([(('vlans', '20', 'group'), 'staff')], [('VLAN 20 changed: its devices are in Staff', 1)], id='vlan'),
        pytest.param([(('rooms', 'room-3'), {'title': 'Room 3'})], [('Room room-3 added: title Room 3', 0)], id='room'),
        pytest.param([(('people', 'p3'), {'name': 'Pupil three', 'kind': 'pupil'})], [('Person p3 added', 0)], id='person'),
        pytest.param([(('devices', STRANGER), FRESH)], [('Device “Fresh” is in Key Stage 2, before in New and unknown devices', 0)], id='dev new pupil'),
        pytest.param([(('devices', STRANGER), {**FRESH, 'group': 'staff'})], [('Device “Fresh” is in Staff, before in New and unknown devices', 1)], id='dev new staff'),
        pytest.param([(('devices', STRANGER), {**FRESH, 'person': 'p1'})], [('Device “Fresh” is in Key Stage 2, used by p1, before in New and unknown devices', 1)], id='dev new favoured'),
        pytest.param([(('devices', TABLET, 'group'), 'ks2')], [('Device “Tablet 1” is in Key Stage 2, before in EYFS and Key Stage 1', 1)], id='dev ks1 to ks2'),
        pytest.param([(('devices', TEACHER, 'group'), 'guest'), (('devices', TEACHER, 'room'), 'room-1')], [('Device “Desk” is in Guests, used by t1, before in Staff', 0)], id='dev staff to guest'),
        pytest.param([(('devices', PRINTER, 'group'), 'quarantine')], [('Device “Printer” is in New and unknown devices, before in Printers, cameras and other equipment', 0)], id='dev infra to quarantine'),
        pytest.param([(('devices', NEW, 'group'), 'ks1')], [('Device “New” is in EYFS and Key Stage 1, before in New and unknown devices', 0)], id='dev quarantine to ks1'),
        pytest.param([(('devices', PUPIL, 'group'), 'ks1')], [('Device “Laptop 1” is in EYFS and Key Stage 1, used by p1, before in Key Stage 2', 1)], id='dev ks2 to ks1, block left'),
        pytest.param([(('devices', TABLET), None)], [('Device “Tablet 1” is unknown again', 1)], id='dev gone ks1'),
        pytest.param([(('devices', PUPIL), None), (('exceptions', 'e4'), None)], [('Device “Laptop 1” is unknown again', 1), ('Ends the block of YouTube for the device “Laptop 1” at once: it opens then, unless something else closes it', 1)], id='dev gone'),
        pytest.param([(('devices', TEACHER), None), (('nominees', 'social-media'), None)], [('Device “Desk” is unknown again', 1), (f'“Social media”: device:{TEACHER} no longer nominated', 0)], id='dev gone staff noroom'),
        pytest.param([(('devices', PUPIL, 'name'), 'Laptop 9')], [('Device “Laptop 9” changed: name Laptop 9', 0)], id='dev name'),
        pytest.param([(('devices', TABLET, 'room'), 'room-1')], [('Device “Tablet 1” changed: room room-1', 0)], id='dev enters room'),
        pytest.param([(('devices', PUPIL, 'room'), 'room-2')], [('Device “Laptop 1” changed: room room-2', 1)], id='dev leaves room'),
        pytest.param([(('devices', PUPIL, 'person'), 'p2')], [('Device “Laptop 1” is in Key Stage 2, used by p2', 1)], id='dev leaves person'),
        pytest.param([(('devices', TABLET, 'until'), '')], [('Device “Tablet 1” changed: until nothing', 1)], id='dev until longer'),
        pytest.param([(('devices', TABLET, 'until'), '2026-11-24')], [('Device “Tablet 1” changed: until 2026-11-24', 1)], id='dev until shorter'),
        pytest.param([(('nominees', 'video'), ['person:t1'])], [('“Video sharing, such as YouTube”: person:t1 nominated', 1)], id='nominee'),
        pytest.param([(('nominees', 'games'), [])], [('“Online games (not educational)”: person:p1 no longer nominated', 0)], id='nominee gone'),
        pytest.param([(('names', 'protected'), ['helpline.example', 'wiki.example'])], [('wiki.example is never blocked', 2)], id='names add'),
        pytest.param([(('names', 'essential'), [])], [('no longer so: office.example', 0)], id='names less'),
        pytest.param([(('exceptions', 'e9'), {**ALLOW, 'subject': 'staff', 'names': ['social.example']})], [('Allow social.example for Staff until Thu 31 Dec 2026', 1)], id='allow on times'),
        pytest.param([(('exceptions', 'e9'), {**ALLOW, 'names': ['social.example']})], [('Allow social.example for Key Stage 2 until Thu 31 Dec 2026', 2)], id='allow unacc'),
        pytest.param([(('exceptions', 'e9'), {**ALLOW, 'names': ['park.example']})], [('Allow park.example for Key Stage 2 until Thu 31 Dec 2026', 1)], id='allow unlisted'),
        pytest.param([(('exceptions', 'e9'), {**ALLOW, 'scope': 'school', 'subject': '', 'names': ['park.example']})], [('Allow park.example for the whole school until Thu 31 Dec 2026', 2)], id='allow school'),
        pytest.param([(('exceptions', 'e9'), {**ALLOW, 'names': [], 'services': ['tiktok']})], [('Allow TikTok for Key Stage 2 until Thu 31 Dec 2026', 2)], id='allow service'),
        pytest.param([(('exceptions', 'e9'), {**ALLOW, 'names': ['web.snapchat.com']})], [('Allow web.snapchat.com for Key Stage 2 until Thu 31 Dec 2026', 2)], id='allow service by name'),
        pytest.param([(('exceptions', 'e9'), {**ALLOW, 'names': ['google.com']})], [('Allow google.com for Key Stage 2 until Thu 31 Dec 2026', 2)], id='allow above service'),
        pytest.param([(('exceptions', 'e9'), {**ALLOW, 'scope': 'person', 'subject': 'p2', 'names': ['social.example']})], [('Allow social.example for person p2 until Thu 31 Dec 2026', 2)], id='allow person no device'),
        pytest.param([(('exceptions', 'e9'), {**ALLOW, 'scope': 'person', 'subject': 't1', 'names': ['social.example']})], [('Allow social.example for person t1 until Thu 31 Dec 2026', 1)], id='allow person staff'),
        pytest.param([(('exceptions', 'e9'), {**ALLOW, 'scope': 'device', 'subject': TABLET, 'names': ['social.example']})], [('Allow social.example for the device “Tablet 1” until Thu 31 Dec 2026', 2)], id='allow device'),
        pytest.param([(('exceptions', 'e1', 'until'), '2027-01-10')], [('Allow games.example for Key Stage 2 until Sun 10 Jan 2027', 1)], id='allow longer'),
        pytest.param([(('exceptions', 'e1', 'until'), '2026-12-10')], [('Ends the permission of games.example for Key Stage 2 on Thu 10 Dec 2026: it closes then, unless something else opens it', 0)], id='allow shorter'),
        pytest.param([(('exceptions', 'e1', 'why'), 'x')], [('Allow games.example for Key Stage 2 until Thu 31 Dec 2026', 0)], id='allow other why'),
        pytest.param([(('exceptions', 'e5', 'services'), [])], [('Allow video.example for the whole school until Thu 31 Dec 2026', 0)], id='allow less service'),
        pytest.param([(('exceptions', 'e1'), None)], [('Ends the permission of games.example for Key Stage 2 at once: it closes then, unless something else opens it', 0)], id='allow ended'),
        pytest.param([(('exceptions', 'e9'), {**ALLOW, 'action': 'block', 'scope': 'school', 'subject': '', 'names': ['wiki.example']})], [('Block wiki.example for the whole school until Thu 31 Dec 2026', 0)], id='block new'),
        pytest.param([(('exceptions', 'e3'), None)], [('Ends the block of wiki.example for Key Stage 2 at once: it opens then, unless something else closes it', 1)], id='block ended'),
        pytest.param([(('exceptions', 'e3', 'until'), '2026-12-10T10:41')], [('Ends the block of wiki.example for Key Stage 2 on Thu 10 Dec 2026 10:41: it opens then, unless something else closes it', 1)], id='block ended soon'),
        pytest.param([(('exceptions', 'e3', 'since'), '2026-11-10')], [('Block wiki.example for Key Stage 2 until Thu 31 Dec 2026', 1)], id='block later'),
        pytest.param([(('exceptions', 'e3', 'until'), '2027-01-10'), (('exceptions', 'e3', 'names'), ['wiki.example', 'x.example'])], [('Block wiki.example and x.example for Key Stage 2 until Sun 10 Jan 2027', 0)], id='block longer'),
        pytest.param([(('exceptions', 'e2', 'action'), 'allow')], [('Allow games.example and other.example for person p1 until Thu 31 Dec 2026', 1)], id='block to allow'),
        pytest.param([(('exceptions', 'e3', 'scope'), 'person'), (('exceptions', 'e3', 'subject'), 'p2')], [('Block wiki.example for person p2 until Thu 31 Dec 2026', 1)], id='block to person'),
        pytest.param([(('exceptions', 'e4', 'services'), ['tiktok'])], [('Block TikTok for the device “Laptop 1” until Thu 31 Dec 2026', 1)], id='block service gone'),
    ],
)  # fmt: skip
def test_effects_in_words_and_approvals(document, changes, expected):
    found = effects_of(draft_of(document, changed(document, changes)))
    assert [(e.sentence, e.approvals) for e in found] == expected
    assert approvals(found) == max(needed for _, needed in expected)
    assert all(e.opens for e in found if e.approvals == 2)


def test_effects_of_daily_work_open_though_nobody_has_to_approve(document):
    (effect,) = effects_of(draft_of(document, changed(document, [(("devices", STRANGER), FRESH)])))
    assert (effect.approvals, effect.opens) == (0, True)


def test_effects_of_nothing_are_none(document):
    assert effects_of(draft_of(document, document)) == ()
    assert approvals(()) == 0


@pytest.mark.parametrize("name", ["abuse.example", "ABUSE.example.", "=www.abuse.example"])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("exceptions", "e9"), lambda name: {**ALLOW, "names": [name]}, id="exception"),
        pytest.param(("names", "protected"), lambda name: [name], id="protected"),
        pytest.param(("names", "essential"), lambda name: [name], id="essential"),
    ],
)
def test_effects_refuse_to_allow_illegal_content(document, path, value, name):
    draft = draft_of(document, changed(document, [(path, value(name))]))
    with pytest.raises(IllegalError) as caught:
        effects_of(draft)
    assert f"{name!r} is on a list of illegal content: nobody can allow it" in str(caught.value)
    assert str(caught.value).startswith(".".join(path))


def test_effects_let_illegal_content_be_blocked_again(document):
    block = {**BLOCK, "names": ["abuse.example"]}
    found = effects_of(draft_of(document, changed(document, [(("exceptions", "e9"), block)])))
    assert approvals(found) == 0


# Small steps that opened something, and for which nobody was asked.
@pytest.mark.parametrize(
    ("prepared", "changes"),
    [
        pytest.param([], [(("devices", TABLET), None)], id="device falls to a wider network"),
        pytest.param([], [(("devices", TABLET, "until"), "2026-11-24")], id="and sooner"),
        pytest.param(
            [(("devices", TEACHER, "until"), "2026-12-01")],
            [(("devices", TEACHER, "group"), "guest"), (("devices", TEACHER, "until"), "")],
            id="membership made longer beside a stricter group",
        ),
        pytest.param(
            [(("networks",), {}), (("vlans",), {})],
            [(("devices", TEACHER, "until"), "2026-11-20")],
            id="device leaves its room and person when it ends",
        ),
        pytest.param(
            [(("groups", "quarantine", "cells", "video"), "acceptable")],
            [(("devices", PRINTER, "group"), "quarantine")],
            id="unknown devices are not the strictest any more",
        ),
        pytest.param([], [(("networks", "192.0.2.128/25"), None)], id="network gives way to a wider one"),
        pytest.param([], [(("vlans", "20"), None)], id="VLAN gives way to a network"),
        pytest.param([], [(("devices", PUPIL, "person"), "p2")], id="person's blocks stay behind"),
        pytest.param([], [(("devices", PUPIL, "room"), "")], id="room's pause stays behind"),
        pytest.param(
            [(("groups", "ks2", "times"), {})],
            [(("devices", PUPIL, "group"), "ks1")],
            id="block of the group stays behind",
        ),
        pytest.param(
            [(("exceptions", "e9"), {**ALLOW, "subject": "quarantine"})],
            [(("devices", PRINTER, "group"), "quarantine")],
            id="allow of the other group",
        ),
        pytest.param(
            [(("nominees", "video"), ["person:t1"])],
            [(("groups", "ks2", "cells", "video"), "nominated")],
            id="those who are nominated are bound to no times",
        ),
        pytest.param(
            [
                (("groups", "ks2", "safe_search"), False),
                (("groups", "ks2", "default"), "block"),
                (("groups", "ks2", "cells", "ethos"), "acceptable"),
            ],
            [(("groups", "ks2", "safe_search"), True)],
            id="safe search makes engines a matter of their row",
        ),
    ],
)  # fmt: skip
def test_effects_somebody_has_to_approve_what_opens_in_passing(document, prepared, changes):
    before = changed(document, prepared)
    assert approvals(effects_of(draft_of(before, changed(before, changes)))) >= 1


ACTS = Acts(
    pauses=(Pause("1", frozenset(), AROUND, "x", frozenset({"room-1", "room-2"})),),
    suspensions=(Suspension("s", "person", "p1", AROUND, "", "x", "x"),),
)


def kept_from(policy, client):
    """Return what the safe versions keep from ``client``."""
    if policy.safe_name(client, "www.bing.com"):
        yield "unsafe results"
    if youtube := policy.safe_name(client, "www.youtube.com"):
        yield "some of YouTube"
        if youtube.rule_id.endswith(":strict"):
            yield "more of YouTube"


def is_closed(decision):
    """Tell whether a decision stops a name, or lets it through for no more than a pause: what is essential then opens to
    whoever the pause is for, and that was approved with the list of what is essential."""
    return decision.blocked or decision.reason is Reason.ESSENTIAL


def blocked(written, acts):
    """Return (MAC address, address, name, time) of everything that is closed, and what is kept from each by a safe version."""
    around = Surroundings(INDEX, LONDON, tagged={TAGGED: 20, PUPIL: 20})
    found = set()
    for at in TIMES:
        policy = compile_policy(written, acts, around, version=1, at=at)
        for mac in MACS:
            for address in ADDRESSES:
                client = policy.client(address, mac)
                found.update(
                    (mac, address, name, at)
                    for name in NAMES
                    if is_closed(decide(policy, client, name, at))
                )
                for level in kept_from(policy, client):
                    found.add((mac, address, level, at))
    return found


def newly_a_pupils(draft, mac):
    """Tell whether a device goes from the unknown ones to a group of pupils: daily work, one person's."""
    old, new = draft.before.devices.get(mac), draft.after.devices.get(mac)
    group = draft.after.groups[new.group] if new else None
    return (
        (old is None or old.group == UNKNOWN_GROUP)
        and group is not None
        and group.pausable
        and not group.quic
        and group.on_fault == "closed"
    )


@given(
    st.lists(CHANGES, max_size=4),
    st.lists(CHANGES, min_size=1, max_size=3),
    st.sampled_from([Acts(), ACTS]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_effects_what_nobody_has_to_approve_opens_nothing(document, earlier, changes, acts):
    try:
        before = plain(parse(changed(document, earlier), LONDON))
        draft = draft_of(before, changed(before, changes))
        needed = approvals(effects_of(draft))
    except (PolicyError, IllegalError):
        assume(condition=False)
    assume(needed == 0)
    opened = blocked(draft.before, acts) - blocked(draft.after, acts)
    assert not {o for o in opened if not newly_a_pupils(draft, o[0])}
