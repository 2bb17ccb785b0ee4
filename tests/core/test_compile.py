from copy import deepcopy
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from zoneinfo import ZoneInfo

import pytest

from gate_core.acceptable_use import Cell
from gate_core.categories import mask_of
from gate_core.clients import DefaultAction, OnFault
from gate_core.compile import Acts, Isolation, Loan, Surroundings, Suspension, compile_policy
from gate_core.direct import DirectService
from gate_core.names import NameSet
from gate_core.policy import Action, Lesson, LessonMode, Pause, Reason, Scope, decide
from gate_core.safesearch import YouTube
from gate_core.services import mask_of as services_mask
from gate_core.snapshot import NO_LISTS, render_snapshot
from gate_core.timetable import Span
from gate_core.written import parse

LONDON = ZoneInfo("Europe/London")
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=LONDON)
HOUR = timedelta(hours=1)
AROUND = Span(NOW - HOUR, NOW + HOUR)
LATER = Span(NOW + HOUR, NOW + 2 * HOUR)
OVER = Span(NOW - 2 * HOUR, NOW - HOUR)
PUPIL, TEACHER, TABLET, PRINTER, NEW, STRANGER = (f"00:00:5e:00:53:0{n}" for n in range(1, 7))
ELSEWHERE = ip_address("198.51.100.1")
STAFF_NETWORK = ip_address("192.0.2.10")
AROUND_US = Surroundings(
    NO_LISTS,
    LONDON,
    essential=NameSet.of(["cpoms.example"]),
    canaries=NameSet.of(["canary.example"]),
    protected=NameSet.of(["update.example"]),
)


def compiled(document, *, at=NOW, around=AROUND_US, **acts):
    return compile_policy(parse(document, LONDON), Acts(**acts), around, version=7, at=at)


def suspension(id_, kind, subject, span=AROUND, *, essentials_stay=False):
    return Suspension(id_, kind, subject, span, "", "why", "head", essentials_stay)


def loan(mac, person, span=AROUND):
    return Loan("n1", mac, person, "Maths", span, "t1")


def reason(policy, mac, name, at=NOW, address=ELSEWHERE):
    return decide(policy, policy.client(address, mac), name, at).reason


def test_compile_carries_over_what_is_written(document):
    made = deepcopy(document)
    made["rows"]["games"]["services"] = ["roblox"]
    made["groups"]["ks2"] |= {
        "default": "block",
        "teacher_minutes": 15,
        "safe_search": False,
        "youtube": "moderate",
    }
    policy = compiled(made)
    assert policy.version == 7
    assert policy.unknown_group == "quarantine"
    assert [g.number for g in policy.groups.values()] == list(range(1, 8))
    ks2, staff = policy.groups["ks2"], policy.groups["staff"]
    assert (ks2.default, ks2.teacher_minutes, ks2.pausable) == (DefaultAction.BLOCK, 15, True)
    assert (ks2.safe_search, ks2.youtube) == (False, YouTube.MODERATE)
    assert ks2.cells["games"] is Cell.TIMES
    assert [str(span) for span in ks2.times] == ["Club, Mon-Fri 15:00-17:00"]
    assert (staff.quic, staff.on_fault, staff.times) == (True, OnFault.OPEN, None)
    games = next(row for row in policy.rows if row.id == "games")
    assert (games.number, games.categories, games.services) == (
        16,
        mask_of(["games"]),
        services_mask(["roblox"]),
    )
    assert policy.nominees == {"games": frozenset({"p1"}), "social-media": frozenset({TEACHER})}
    assert policy.essential == NameSet.of(["cpoms.example", "office.example"])
    assert policy.protected == NameSet.of(["update.example", "helpline.example"])
    assert policy.canaries == NameSet.of(["canary.example"])
    assert [p.title for p in policy.timetable.periods] == ["1"]
    first = policy.exceptions[0]
    assert (first.id, first.scope, first.subject, first.action) == (
        "e1",
        Scope.GROUP,
        "ks2",
        Action.ALLOW,
    )
    assert first.span == Span(
        datetime(2026, 11, 1, tzinfo=LONDON), datetime(2026, 12, 31, tzinfo=LONDON)
    )
    assert policy.exceptions[3].services == services_mask(["youtube"])
    assert policy.direct == (
        DirectService(
            (ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")),
            17,
            range(8801, 8811),
            "ks2",
        ),
    )
    render_snapshot(policy, "")


def test_compile_knows_clients_by_device_then_vlan_then_network(document):
    around = Surroundings(NO_LISTS, LONDON, tagged={STRANGER: 20, PUPIL: 20, NEW: 30})
    policy = compiled(document, around=around)
    assert policy.client(ELSEWHERE, PUPIL).group == "ks2"
    seen = policy.client(STAFF_NETWORK, STRANGER)
    assert (seen.group, seen.room) == ("ks1", "room-2")
    narrow = policy.client(ip_address("192.0.2.200"), None)
    assert (narrow.group, narrow.room) == ("guest", "room-2")
    assert policy.client(STAFF_NETWORK, "02:00:00:00:00:01").group == "staff"
    assert policy.client(ELSEWHERE, None).group == "quarantine"


def test_compile_gives_a_device_its_room_and_person(document):
    client = compiled(document).client(ELSEWHERE, PUPIL)
    assert (client.name, client.person, client.room) == ("Laptop 1", "p1", "room-1")
    assert compiled(document).client(ELSEWHERE, TABLET).person is None


@pytest.mark.parametrize(
    ("at", "person"),
    [
        pytest.param(AROUND.since - HOUR, "p1", id="before"),
        pytest.param(AROUND.since, "p2", id="from its beginning"),
        pytest.param(AROUND.until - timedelta(seconds=1), "p2", id="until its end"),
        pytest.param(AROUND.until, "p1", id="not after"),
        pytest.param(None, "p1", id="not while the time is unknown"),
    ],
)
def test_compile_loan_names_the_person_at_the_time(document, at, person):
    policy = compiled(document, at=at, loans=(loan(PUPIL, "p2"),))
    assert policy.client(ELSEWHERE, PUPIL).person == person
    assert {AROUND.since, AROUND.until} <= set(policy.edges)


def test_compile_loan_brings_the_exceptions_and_nominations_of_the_person(document):
    policy = compiled(document, loans=(loan(TABLET, "p1"),))
    assert decide(policy, policy.client(ELSEWHERE, TABLET), "other.example", NOW).rule_id == (
        "exception:e2"
    )


@pytest.mark.parametrize(
    ("at", "group"),
    [
        pytest.param(datetime(2026, 11, 30, 23, 59, tzinfo=LONDON), "ks1", id="before"),
        pytest.param(datetime(2026, 12, 1, tzinfo=LONDON), "quarantine", id="from then on"),
        pytest.param(None, "quarantine", id="while the time is unknown"),
    ],
)
def test_compile_device_is_unknown_again_when_its_time_is_over(document, at, group):
    policy = compiled(document, at=at)
    assert policy.client(ELSEWHERE, TABLET).group == group
    assert datetime(2026, 12, 1, tzinfo=LONDON) in policy.edges


def test_compile_device_whose_time_is_over_is_where_it_is_seen(document):
    later = datetime(2026, 12, 2, tzinfo=LONDON)
    tagged = Surroundings(NO_LISTS, LONDON, tagged={TABLET: 20})
    assert compiled(document, at=later).client(STAFF_NETWORK, TABLET).group == "staff"
    assert (
        compiled(document, at=later, around=tagged).client(STAFF_NETWORK, TABLET).room == "room-2"
    )


def test_compile_suspension_of_a_person_follows_a_loan(document):
    suspended = (suspension("s1", "person", "p1"),)
    policy = compiled(document, suspensions=suspended, loans=(loan(TABLET, "p1"),))
    assert reason(policy, TABLET, "other.example") is Reason.SUSPENDED
    assert reason(policy, PUPIL, "other.example") is Reason.SUSPENDED
    # To lend the device to somebody else is no way out.
    given_away = compiled(document, suspensions=suspended, loans=(loan(PUPIL, "p2"),))
    assert given_away.devices[PUPIL].person == "p2"
    assert reason(given_away, PUPIL, "other.example") is Reason.SUSPENDED


@pytest.mark.parametrize(
    ("suspensions", "at", "found"),
    [
        pytest.param([("a", OVER, False)], NOW, None, id="over"),
        pytest.param([("a", OVER, False), ("b", AROUND, False)], NOW, AROUND, id="over and on"),
        pytest.param([("a", LATER, False), ("b", AROUND, False)], NOW, AROUND, id="later and on"),
        pytest.param([("a", AROUND, True), ("b", AROUND, False)], NOW, AROUND, id="the stricter"),
        pytest.param([("a", LATER, True), ("b", LATER, False)], None, LATER, id="time unknown"),
    ],
)
def test_compile_of_several_suspensions_the_strictest_in_force_counts(
    document, suspensions, at, found
):
    made = [
        suspension(id_, "device", PUPIL, span, essentials_stay=stay)
        for id_, span, stay in suspensions
    ]
    device = compiled(document, at=at, suspensions=tuple(made)).devices[PUPIL]
    assert (device.suspended, device.essentials_stay) == (found, False)


def test_compile_suspension_has_its_edges_though_nobody_holds_a_device(document):
    policy = compiled(document, suspensions=(suspension("s1", "person", "p2", LATER),))
    assert {LATER.since, LATER.until} <= set(policy.edges)


@pytest.mark.parametrize(
    "acts",
    [
        pytest.param({"isolations": (Isolation(STRANGER, NOW, "it", "why"),)}, id="isolated"),
        pytest.param({"suspensions": (suspension("s1", "device", STRANGER),)}, id="suspended"),
    ],
)
def test_compile_cuts_off_a_device_that_nobody_knows(document, acts):
    policy = compiled(document, **acts)
    client = policy.client(STAFF_NETWORK, STRANGER)
    assert client.group == "quarantine"
    assert decide(policy, client, "cpoms.example", NOW).blocked
    assert compiled(document).client(STAFF_NETWORK, STRANGER).group == "staff"


def test_compile_cuts_off_a_device_whose_time_is_over(document):
    later = datetime(2026, 12, 2, tzinfo=LONDON)
    policy = compiled(document, at=later, isolations=(Isolation(TABLET, NOW, "it", "why"),))
    assert policy.devices[TABLET].group == "quarantine"
    assert reason(policy, TABLET, "other.example", later, STAFF_NETWORK) is Reason.ISOLATED


def test_compile_leaves_a_stranger_where_it_is_once_its_suspension_is_over(document):
    policy = compiled(document, suspensions=(suspension("s1", "device", STRANGER, OVER),))
    assert policy.client(STAFF_NETWORK, STRANGER).group == "staff"


def test_compile_leaves_out_what_is_over(document):
    lesson = Lesson("l1", "ks2", LessonMode.ONLY, NameSet(), OVER)
    pauses = (Pause("p1", frozenset({"ks2"}), OVER, "it"), Pause("p2", frozenset(), LATER, "it"))
    policy = compiled(
        document, at=datetime(2027, 1, 1, tzinfo=LONDON), pauses=pauses, lessons=(lesson,)
    )
    assert (policy.pauses, policy.lessons, policy.exceptions) == ((), (), ())
    now = compiled(document, pauses=pauses, lessons=(lesson,))
    assert [p.id for p in now.pauses] == ["p2"]
    assert now.lessons == ()


@pytest.mark.parametrize(
    ("acts", "name"),
    [
        pytest.param({"pauses": (Pause("p", frozenset({"ks2"}), LATER, "it"),)}, "wiki.test", id="pause"),
        pytest.param({"suspensions": (suspension("s", "person", "p1", LATER),)}, "wiki.test", id="suspension"),
        pytest.param({"isolations": (Isolation(PUPIL, NOW, "it", "why"),)}, "wiki.test", id="isolation"),
        pytest.param({"lessons": (Lesson("l", "ks2", LessonMode.ONLY, NameSet(), LATER),)}, "wiki.test", id="lesson"),
        pytest.param({}, "other.example", id="exception that blocks"),
        pytest.param({"loans": (loan(PUPIL, "p2"),)}, "other.example", id="loan that would lift it"),
    ],
)  # fmt: skip
def test_compile_with_unknown_time_is_strict(document, acts, name):
    policy = compiled(document, at=None, **acts)
    assert decide(policy, policy.client(ELSEWHERE, PUPIL), name, None).blocked


def test_compile_with_unknown_time_lets_no_exception_allow(document):
    made = deepcopy(document)
    made["groups"]["ks1"]["default"] = "block"
    made["exceptions"]["e9"] = {**made["exceptions"]["e5"], "names": ["park.example"]}
    made["devices"][TABLET]["until"] = ""
    for at, blocked in ((NOW, False), (None, True)):
        policy = compiled(made, at=at)
        client = policy.client(ELSEWHERE, TABLET)
        assert decide(policy, client, "park.example", at).blocked is blocked


def test_compile_edges_are_in_order_and_each_once(document):
    policy = compiled(
        document,
        loans=(loan(PUPIL, "p2"), loan(TABLET, "p1")),
        suspensions=(suspension("s1", "person", "p1"),),
    )
    assert list(policy.edges) == sorted(set(policy.edges))
    assert policy.next_edge(NOW) == AROUND.until
