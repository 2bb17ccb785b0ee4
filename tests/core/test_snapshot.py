import hashlib
import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from ipaddress import ip_network
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_core.acceptable_use import ROWS, SHIPPED_CELLS, Cell, Row
from gate_core.categories import ILLEGAL_MASK
from gate_core.clients import Device, Group, Membership, OnFault
from gate_core.direct import DirectService
from gate_core.names import NameSet
from gate_core.policy import (
    Action,
    DatedException,
    Lesson,
    LessonMode,
    Pause,
    Policy,
    Scope,
)
from gate_core.safesearch import YouTube
from gate_core.snapshot import NO_LISTS, MalformedSnapshotError, parse_snapshot, render_snapshot
from gate_core.timetable import OneOffDay, Span, Term, Timetable, WeeklySpan

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=ZoneInfo("Europe/London"))
SPAN = Span(NOW, NOW + timedelta(hours=1))
MAC = "00:00:5e:00:53:10"
POLICY = Policy(
    version=42,
    groups={
        id_: Group(
            id_,
            id_,
            number,
            cells,
            pausable=number % 2 == 0,
            quic=id_ == "staff",
            on_fault=OnFault.OPEN if id_ == "staff" else OnFault.CLOSED,
            times=(WeeklySpan(frozenset({2}), 600, 660),) if id_ == "ks2" else None,
            teacher_minutes=number,
            safe_search=id_ != "staff",
            youtube=YouTube.MODERATE if id_ == "staff" else YouTube.STRICT,
        )
        for number, (id_, cells) in enumerate(SHIPPED_CELLS.items(), start=1)
    },
    rows=(*ROWS, Row("tiktok", 23, "TikTok", 0, services=1)),
    unknown_group="quarantine",
    index=NO_LISTS,
    devices={
        MAC: Device(
            MAC,
            "Läptop",
            "ks2",
            "p1",
            isolated=True,
            suspended=SPAN,
            essentials_stay=True,
            room="room-3",
        )
    },
    members={"00:00:5e:00:53:11": Membership("guest", "hall")},
    networks={
        ip_network("192.0.2.0/24"): Membership("staff", "office"),
        ip_network("2001:db8::/64"): Membership("guest"),
    },
    timetable=Timetable(
        (WeeklySpan(frozenset({0, 4}), 60, 120),),
        (Term(date(2026, 9, 1), date(2026, 12, 18)),),
        frozenset({date(2026, 10, 26)}),
        one_off=(OneOffDay(date(2026, 12, 5), "Fair", ((600, 720), (780, 0))),),
    ),
    nominees={"games": frozenset({MAC})},
    pauses=(Pause("1", frozenset({"ks2"}), SPAN, "button", frozenset({"room-3"}), "fire"),),
    essential=NameSet.of(["cpoms.example"]),
    canaries=NameSet.of(["use-application-dns.net"]),
    protected=NameSet.of(["=www.example.org"]),
    exceptions=(
        DatedException("e", Scope.GROUP, "ks2", NameSet.of(["a.example"]), Action.ALLOW, SPAN, "w"),
        DatedException("s", Scope.SCHOOL, "", NameSet(), Action.BLOCK, SPAN, "w", services=5),
    ),
    lessons=(
        Lesson("l", "ks2", LessonMode.ONLY, NameSet.of(["b.example"]), SPAN),
        Lesson("m", "", LessonMode.ALSO, NameSet(), SPAN, room="room-3", services=2, by="teacher"),
    ),
    direct=(
        DirectService(
            (ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")), 17, range(8801, 8811)
        ),
        DirectService((ip_network("198.51.100.7/32"),), 6, range(443, 444), "staff"),
    ),
    edges=(NOW, NOW + timedelta(hours=2)),
)
LISTS = "ab" * 32


def test_snapshot_round_trip():
    snapshot = parse_snapshot(render_snapshot(POLICY, LISTS))
    assert snapshot.policy == POLICY
    assert snapshot.lists == LISTS


def test_parse_snapshot_opens_the_lists_it_names():
    opened = []

    def index_of(lists):
        opened.append(lists)
        return NO_LISTS

    parse_snapshot(render_snapshot(POLICY, LISTS), index_of)
    assert opened == [LISTS]


@pytest.mark.parametrize("cut", [0, 1, 19, 60, 200, -1])
def test_parse_snapshot_cut_short_says_so(cut):
    with pytest.raises(MalformedSnapshotError, match=r"cut short|not a snapshot"):
        parse_snapshot(render_snapshot(POLICY, LISTS)[:cut])


def test_parse_snapshot_damaged_says_so():
    octets = bytearray(render_snapshot(POLICY, LISTS))
    octets[-10] ^= 1
    with pytest.raises(MalformedSnapshotError, match=r"damaged"):
        parse_snapshot(bytes(octets))


def test_parse_snapshot_of_another_format_says_which_it_reads():
    with pytest.raises(MalformedSnapshotError, match=r"this program reads 5"):
        parse_snapshot(render_snapshot(POLICY, LISTS).replace(b"snapshot 5 ", b"snapshot 9 "))


@given(st.binary(max_size=200), st.integers(0, 400))
def test_parse_snapshot_of_any_octets_is_a_snapshot_or_malformed(octets, place):
    whole = render_snapshot(POLICY, LISTS)
    for text in (octets, whole[:place] + octets + whole[place:]):
        try:
            parse_snapshot(text)
        except MalformedSnapshotError:
            continue
        assert text == whole


def lowered(**group_cells):
    cells = {**SHIPPED_CELLS["staff"], **group_cells}
    return replace(POLICY, groups={**POLICY.groups, "staff": Group("staff", "Staff", 3, cells)})


@pytest.mark.parametrize(
    ("policy", "part"),
    [
        pytest.param(lowered(**{"child-abuse": Cell.UNACCEPTABLE}), "always 'illegal'", id="cell"),
        pytest.param(
            replace(POLICY, rows=tuple(r for r in ROWS if r.id != "grooming")), "removed", id="row"
        ),
        pytest.param(
            replace(
                POLICY,
                rows=tuple(replace(r, categories=0) if r.id == "grooming" else r for r in ROWS),
            ),
            "emptied",
            id="row without its categories",
        ),
        pytest.param(
            replace(
                POLICY,
                rows=tuple(
                    replace(r, categories=ILLEGAL_MASK) if r.id == "games" else r for r in ROWS
                ),
            ),
            "can't decide",
            id="illegal category in another row",
        ),
    ],
)
def test_snapshot_with_the_illegal_tier_lowered_is_refused_both_ways(policy, part):
    with pytest.raises(ValueError, match=part):
        render_snapshot(policy, LISTS)


def test_parse_snapshot_with_the_illegal_tier_lowered_by_an_edit_is_refused():
    head, _, body = render_snapshot(POLICY, LISTS).partition(b"\n")
    fields = json.loads(body)
    fields["groups"][2][3]["child-abuse"] = "acceptable"
    body = json.dumps(fields).encode()
    words = head.split()
    words[3], words[4] = b"%d" % len(body), hashlib.sha256(body).hexdigest().encode()
    with pytest.raises(MalformedSnapshotError, match=r"always 'illegal'"):
        parse_snapshot(b" ".join(words) + b"\n" + body)
