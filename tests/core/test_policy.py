from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gate_core import services
from gate_core.acceptable_use import ROWS, SHIPPED_CELLS, Cell, Row
from gate_core.categories import ILLEGAL_MASK, mask_of
from gate_core.clients import Client, DefaultAction, Device, Group, Membership
from gate_core.names import NameSet, suffixes
from gate_core.policy import (
    Action,
    DatedException,
    Lesson,
    LessonMode,
    Pause,
    Policy,
    Reason,
    Scope,
    decide,
    decide_address,
    decide_protocol,
    decide_tunnel,
    explain,
)
from gate_core.safesearch import YouTube
from gate_core.timetable import Span, Timetable, WeeklySpan

LONDON = ZoneInfo("Europe/London")
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=LONDON)
HOUR = timedelta(hours=1)
AROUND = Span(NOW - HOUR, NOW + HOUR)
OVER = Span(NOW - 2 * HOUR, NOW - HOUR)
LUNCH = Timetable((WeeklySpan(frozenset(range(5)), 12 * 60, 13 * 60),))
PUPIL_MAC = "00:00:5e:00:53:10"
PUPIL = Client(
    ip_address("192.0.2.10"), PUPIL_MAC, "ks2", "laptop", person="p1", known=True, room="room-1"
)
YOUTUBE = services.mask_of(["youtube"])
STAFF = Client(ip_address("192.0.2.20"), "00:00:5e:00:53:20", "staff", "office", known=True)


class Index(dict):
    """Name to category ids; the union over the name and all above it. Address, as octets, to category ids."""

    def mask(self, name):
        found = 0
        for suffix in suffixes(name):
            found |= mask_of(self.get(suffix, ()))
        return found

    def address_mask(self, address):
        return mask_of(self.get(address, ()))


LISTED = Index(
    {
        "games.example": ["games"],
        "times.example": ["video"],
        "youtube.com": ["video"],
        "porn.example": ["pornography"],
        "abuse.example": ["child-abuse"],
        "learn.games.example": ["games-educational"],
        "both.example": ["video", "pornography"],
        bytes((192, 0, 2, 1)): ["games"],
        bytes((192, 0, 2, 2)): ["video"],
        bytes((192, 0, 2, 3)): ["child-abuse", "games"],
        bytes((192, 0, 2, 4)): ["unsafe-search"],
    }
)


def groups(**changes):
    made = {
        id_: Group(id_, id_.upper(), number, cells)
        for number, (id_, cells) in enumerate(SHIPPED_CELLS.items(), start=1)
    }
    return made | changes


def policy(**changes):
    fields = {
        "version": 7,
        "groups": groups(),
        "rows": ROWS,
        "unknown_group": "quarantine",
        "index": LISTED,
        "timetable": LUNCH,
        "essential": NameSet.of(["cpoms.example"]),
        "canaries": NameSet.of(["use-application-dns.net"]),
        "protected": NameSet.of(["childline.example"]),
    }
    return Policy(**fields | changes)


def exception(
    name, action, scope=Scope.SCHOOL, subject="", span=AROUND, id_="e1"
) -> DatedException:
    return DatedException(id_, scope, subject, NameSet.of([name]), action, span, "a reason")


def outcome(its_policy, name, client=PUPIL, at=NOW):
    decision = decide(its_policy, client, name, at)
    return decision.action, decision.reason, decision.rule_id


PAUSED = (Pause("3", frozenset({"ks2"}), AROUND, "button"),)
ALLOW, BLOCK = Action.ALLOW, Action.BLOCK


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        pytest.param({}, "other.example", (ALLOW, Reason.DEFAULT, "default:ks2"), id="8 default"),
        pytest.param({}, "games.example", (BLOCK, Reason.MATRIX, "matrix:games:ks2"), id="7 times"),
        pytest.param({}, "porn.example", (BLOCK, Reason.MATRIX, "matrix:pornography:ks2"), id="7"),
        pytest.param(
            {}, "both.example", (BLOCK, Reason.MATRIX, "matrix:pornography:ks2"), id="7 strictest"
        ),
        pytest.param(
            {},
            "learn.games.example",
            (ALLOW, Reason.MATRIX, "matrix:games-educational:ks2"),
            id="7 educational game is no game",
        ),
        pytest.param(
            {
                "lessons": (
                    Lesson("l", "ks2", LessonMode.ALSO, NameSet.of(["games.example"]), AROUND),
                )
            },
            "games.example",
            (ALLOW, Reason.LESSON, "lesson:l"),
            id="6 also",
        ),
        pytest.param(
            {"lessons": (Lesson("l", "ks2", LessonMode.ALSO, NameSet.of(["x.example"]), AROUND),)},
            "other.example",
            (ALLOW, Reason.DEFAULT, "default:ks2"),
            id="6 also leaves the rest",
        ),
        pytest.param(
            {
                "lessons": (
                    Lesson("l", "ks2", LessonMode.ALSO, NameSet.of(["both.example"]), AROUND),
                )
            },
            "both.example",
            (BLOCK, Reason.MATRIX, "matrix:pornography:ks2"),
            id="6 also opens nothing unacceptable",
        ),
        pytest.param(
            {
                "lessons": (
                    Lesson("l", "ks2", LessonMode.ONLY, NameSet.of(["porn.example"]), AROUND),
                )
            },
            "porn.example",
            (BLOCK, Reason.LESSON, "lesson:l"),
            id="6 only opens nothing unacceptable",
        ),
        pytest.param(
            {"lessons": (Lesson("l", "", LessonMode.ONLY, NameSet(), AROUND, "room-1", YOUTUBE),)},
            "www.youtube.com",
            (ALLOW, Reason.LESSON, "lesson:l"),
            id="6 service, for a room",
        ),
        pytest.param(
            {"lessons": (Lesson("l", "", LessonMode.ONLY, NameSet(), AROUND, "room-2"),)},
            "other.example",
            (ALLOW, Reason.DEFAULT, "default:ks2"),
            id="6 of another room",
        ),
        pytest.param(
            {"exceptions": (replace(exception("x.example", BLOCK), services=YOUTUBE),)},
            "i.ytimg.com",
            (BLOCK, Reason.EXCEPTION, "exception:e1"),
            id="5 service",
        ),
        pytest.param(
            {
                "rows": (*ROWS, Row("youtube", 23, "YouTube", 0, YOUTUBE)),
                "groups": groups(
                    ks2=Group("ks2", "KS2", 2, {**SHIPPED_CELLS["ks2"], "youtube": Cell.ACCEPTABLE})
                ),
            },
            "www.youtube.com",
            (ALLOW, Reason.MATRIX, "matrix:youtube:ks2"),
            id="7 a row of the service instead of that of its category",
        ),
        pytest.param(
            {
                "rows": (*ROWS, Row("youtube", 23, "YouTube", 0, YOUTUBE)),
                "groups": groups(
                    ks2=Group("ks2", "KS2", 2, {**SHIPPED_CELLS["ks2"], "youtube": Cell.ACCEPTABLE})
                ),
                "index": Index({"youtube.com": ["video", "pornography"]}),
            },
            "www.youtube.com",
            (BLOCK, Reason.MATRIX, "matrix:pornography:ks2"),
            id="7 but not instead of that of others",
        ),
        pytest.param(
            {"lessons": (Lesson("l", "ks2", LessonMode.ONLY, NameSet.of(["x.example"]), AROUND),)},
            "other.example",
            (BLOCK, Reason.LESSON, "lesson:l"),
            id="6 only",
        ),
        pytest.param(
            {
                "lessons": (
                    Lesson("l", "ks2", LessonMode.ONLY, NameSet.of(["x.example"]), AROUND),
                ),
                "exceptions": (exception("other.example", ALLOW),),
            },
            "other.example",
            (ALLOW, Reason.EXCEPTION, "exception:e1"),
            id="5 before 6",
        ),
        pytest.param(
            {"exceptions": (exception("porn.example", ALLOW, span=OVER),)},
            "porn.example",
            (BLOCK, Reason.MATRIX, "matrix:pornography:ks2"),
            id="5 expired",
        ),
        pytest.param(
            {
                "exceptions": (
                    exception("games.example", ALLOW, id_="a"),
                    exception("games.example", BLOCK, Scope.GROUP, "ks2", id_="b"),
                    exception("games.example", ALLOW, Scope.DEVICE, PUPIL_MAC, id_="c"),
                    exception("games.example", BLOCK, Scope.PERSON, "p1", id_="d"),
                )
            },
            "games.example",
            (BLOCK, Reason.EXCEPTION, "exception:d"),
            id="5 narrowest scope",
        ),
        pytest.param(
            {
                "exceptions": (
                    exception("games.example", ALLOW, id_="a"),
                    exception("games.example", BLOCK, id_="b"),
                )
            },
            "games.example",
            (BLOCK, Reason.EXCEPTION, "exception:b"),
            id="5 block before allow",
        ),
        pytest.param(
            {"exceptions": (exception("use-application-dns.net", ALLOW),)},
            "use-application-dns.net",
            (BLOCK, Reason.CANARY, "canary:use-application-dns.net"),
            id="4 canary before 5",
        ),
        pytest.param(
            {"exceptions": (exception("childline.example", BLOCK),)},
            "www.childline.example",
            (ALLOW, Reason.PROTECTED, "protected:childline.example"),
            id="4 protected before 5",
        ),
        pytest.param(
            {"pauses": PAUSED},
            "childline.example",
            (BLOCK, Reason.PAUSED, "pause:3"),
            id="3 before 4",
        ),
        pytest.param(
            {"pauses": (Pause("4", frozenset(), AROUND, "head", frozenset({"room-1"})),)},
            "other.example",
            (BLOCK, Reason.PAUSED, "pause:4"),
            id="3 by room",
        ),
        pytest.param(
            {"pauses": (Pause("4", frozenset({"ks1"}), AROUND, "head", frozenset({"room-2"})),)},
            "other.example",
            (ALLOW, Reason.DEFAULT, "default:ks2"),
            id="3 of another room",
        ),
        pytest.param(
            {"pauses": PAUSED},
            "cpoms.example",
            (ALLOW, Reason.ESSENTIAL, "essential:cpoms.example"),
            id="3 essential",
        ),
        pytest.param(
            {
                "pauses": PAUSED,
                "essential": NameSet.of(["abuse.example"]),
                "protected": NameSet.of(["abuse.example"]),
                "exceptions": (exception("abuse.example", ALLOW),),
            },
            "www.abuse.example",
            (BLOCK, Reason.ILLEGAL, "illegal:child-abuse"),
            id="1 before all",
        ),
    ],
)
def test_decide_order(changes, name, expected):
    assert outcome(policy(**changes), name) == expected


def test_decide_isolation_comes_before_the_essential_list():
    cut_off = Client(ip_address("192.0.2.9"), PUPIL_MAC, "ks2", "x", isolated=True)
    assert outcome(policy(pauses=PAUSED), "cpoms.example", cut_off) == (
        BLOCK,
        Reason.ISOLATED,
        f"isolated:{PUPIL_MAC}",
    )


@pytest.mark.parametrize(("span", "reason"), [(AROUND, Reason.SUSPENDED), (OVER, Reason.DEFAULT)])
def test_decide_suspension_ends_by_itself(span, reason):
    client = Client(ip_address("192.0.2.9"), PUPIL_MAC, "ks2", "x", suspended=span)
    assert decide(policy(), client, "other.example", NOW).reason is reason


def test_decide_suspension_may_leave_the_essential_list():
    client = replace(PUPIL, suspended=AROUND, essentials_stay=True)
    assert outcome(policy(), "www.cpoms.example", client) == (
        ALLOW,
        Reason.ESSENTIAL,
        "essential:cpoms.example",
    )
    assert outcome(policy(), "other.example", client)[1] is Reason.SUSPENDED
    bare = replace(client, essentials_stay=False)
    assert outcome(policy(), "cpoms.example", bare)[1] is Reason.SUSPENDED


def test_decide_certain_times_of_the_group_come_before_those_of_the_school():
    own = (WeeklySpan(frozenset({0}), 9 * 60, 11 * 60),)
    its = policy(groups=groups(ks2=Group("ks2", "KS2", 2, SHIPPED_CELLS["ks2"], times=own)))
    assert outcome(its, "games.example")[0] is ALLOW
    assert outcome(its, "games.example", at=NOW.replace(hour=12, minute=30))[0] is BLOCK
    assert outcome(its, "times.example", STAFF)[0] is ALLOW


def test_decide_pause_reaches_its_groups_only():
    assert outcome(policy(pauses=PAUSED), "other.example", STAFF)[0] is ALLOW


def test_decide_pause_ends_by_itself():
    paused = policy(pauses=(Pause("3", frozenset({"ks2"}), OVER, "button"),))
    assert outcome(paused, "other.example")[0] is ALLOW


def test_decide_times_follow_the_timetable():
    lunch = NOW.replace(hour=12, minute=30)
    assert outcome(policy(), "games.example", at=lunch)[0] is ALLOW
    assert outcome(policy(), "games.example", at=NOW)[0] is BLOCK


def test_decide_nominated_are_let_through_and_others_not():
    cells = {**SHIPPED_CELLS["ks2"], "gambling": Cell.NOMINATED}
    its = policy(
        groups=groups(ks2=Group("ks2", "KS2", 2, cells)),
        index=Index({"bet.example": ["gambling"]}),
        nominees={"gambling": frozenset({"p1"})},
    )
    other = Client(ip_address("192.0.2.11"), "00:00:5e:00:53:11", "ks2", "tablet", person="p2")
    assert outcome(its, "bet.example")[0] is ALLOW
    assert outcome(its, "bet.example", other)[0] is BLOCK


def test_decide_row_without_a_cell_is_unacceptable():
    its = policy(groups=groups(ks2=Group("ks2", "KS2", 2, {})))
    assert outcome(its, "learn.games.example")[0] is BLOCK


def test_decide_client_of_a_lost_group_gets_the_strictest():
    client = Client(ip_address("192.0.2.9"), None, "gone", "x")
    assert outcome(policy(), "times.example", client)[2] == "matrix:video:quarantine"


def test_decide_default_of_a_closed_group_blocks():
    closed = Group("ks2", "KS2", 2, SHIPPED_CELLS["ks2"], default=DefaultAction.BLOCK)
    assert outcome(policy(groups=groups(ks2=closed)), "other.example")[0] is BLOCK


@pytest.mark.parametrize(
    ("changes", "name", "action"),
    [
        pytest.param({"pauses": PAUSED}, "other.example", BLOCK, id="a pause holds"),
        pytest.param({}, "games.example", BLOCK, id="certain times do not hold"),
        pytest.param(
            {"exceptions": (exception("porn.example", ALLOW),)}, "porn.example", BLOCK, id="allow"
        ),
        pytest.param(
            {"exceptions": (exception("other.example", BLOCK),)}, "other.example", BLOCK, id="block"
        ),
        pytest.param(
            {
                "lessons": (
                    Lesson("l", "ks2", LessonMode.ALSO, NameSet.of(["porn.example"]), AROUND),
                )
            },
            "porn.example",
            BLOCK,
            id="a lesson opens nothing",
        ),
        pytest.param(
            {"lessons": (Lesson("l", "ks2", LessonMode.ONLY, NameSet.of(["x.example"]), AROUND),)},
            "other.example",
            BLOCK,
            id="a lesson's list closes",
        ),
    ],
)
def test_decide_with_unknown_time_takes_the_strict_side(changes, name, action):
    assert outcome(policy(**changes), name, at=None)[0] is action


def test_decide_says_until_when_it_holds():
    decision = decide(policy(pauses=PAUSED), PUPIL, "games.example", NOW)
    assert decision.until == AROUND.until
    assert decide(policy(), PUPIL, "games.example", NOW).until == NOW.replace(hour=12)


def test_explain_first_answer_is_the_decision():
    its = policy(pauses=PAUSED)
    steps = list(explain(its, PUPIL, "porn.example", NOW))
    assert len(steps) == 8
    answers = [d for _, d in steps if d]
    assert answers[0] == decide(its, PUPIL, "porn.example", NOW)
    assert [d.reason for d in answers] == [Reason.PAUSED, Reason.MATRIX, Reason.DEFAULT]


def test_view_is_the_group_unless_a_rule_names_the_device():
    named = policy(exceptions=(exception("x.example", ALLOW, Scope.DEVICE, PUPIL_MAC),))
    assert policy().view(PUPIL) == "ks2"
    assert policy(pauses=(Pause("4", frozenset(), AROUND, "x", frozenset({"room-1"})),)).view(
        PUPIL
    ) == ("ks2/room-1")
    assert named.view(PUPIL) != "ks2"
    assert named.view(STAFF) == "staff"


def test_policy_refuses_an_unknown_group_that_it_has_not():
    with pytest.raises(ValueError, match="'nobody', is no group"):
        policy(unknown_group="nobody")


def test_client_is_known_by_device_before_network_before_nothing():
    its = policy(
        devices={PUPIL_MAC: Device(PUPIL_MAC, "laptop", "ks2")},
        members={"02:00:00:00:00:02": Membership("ks1", "room-1")},
        networks={
            ip_network("192.0.2.0/24"): Membership("guest"),
            ip_network("192.0.2.128/25"): Membership("staff", "office"),
        },
    )
    address = ip_address("192.0.2.200")
    assert its.client(address, PUPIL_MAC).group == "ks2"
    assert its.client(address, "02:00:00:00:00:01").group == "staff"
    assert its.client(address, "02:00:00:00:00:01").room == "office"
    member = its.client(address, "02:00:00:00:00:02")
    assert (member.group, member.room, member.known) == ("ks1", "room-1", True)
    assert its.client(ip_address("192.0.2.1"), None).group == "guest"
    stranger = its.client(ip_address("198.51.100.1"), None)
    assert (stranger.group, stranger.known) == ("quarantine", False)
    assert its.client(ip_address("::ffff:192.0.2.200"), None).group == "staff"


NAMES = st.lists(
    st.sampled_from(["games", "learn", "porn", "abuse", "www", "cpoms", "both", "x"]), max_size=3
).map(lambda labels: ".".join([*labels, "example"]))
SPANS = st.tuples(st.integers(-5, 5), st.integers(1, 5)).map(
    lambda t: Span(NOW + t[0] * HOUR, NOW + (t[0] + t[1]) * HOUR)
)
RULES = st.lists(NAMES, max_size=4).map(NameSet.of)
IDS = st.text("abc", min_size=1, max_size=2)
GROUP_IDS = st.sampled_from(list(SHIPPED_CELLS))
ROOMS = st.sampled_from(["room-1", "room-2"])
CELLS = st.dictionaries(st.sampled_from([r.id for r in ROWS]), st.sampled_from(Cell))
GROUPS = st.fixed_dictionaries(
    {
        id_: st.builds(
            Group,
            st.just(id_),
            st.just(id_),
            st.just(number),
            CELLS,
            st.sampled_from(DefaultAction),
        )
        for number, id_ in enumerate(SHIPPED_CELLS, start=1)
    }
)
EXCEPTIONS = st.builds(
    DatedException,
    IDS,
    st.sampled_from(Scope),
    st.sampled_from(["", "p1", PUPIL_MAC, "ks2"]),
    RULES,
    st.sampled_from(Action),
    SPANS,
    st.just("why"),
)
POLICIES = st.builds(
    policy,
    groups=GROUPS,
    pauses=st.lists(
        st.builds(Pause, IDS, st.frozensets(GROUP_IDS), SPANS, st.just("x"), st.frozensets(ROOMS)),
        max_size=2,
    ).map(tuple),
    exceptions=st.lists(EXCEPTIONS, max_size=3).map(tuple),
    lessons=st.lists(
        st.builds(
            Lesson, IDS, GROUP_IDS, st.sampled_from(LessonMode), RULES, SPANS, st.just("") | ROOMS
        ),
        max_size=2,
    ).map(tuple),
    essential=RULES,
    protected=RULES,
    canaries=RULES,
    # Rows that decide nothing at all, or everything: the tier does not depend on them.
    rows=st.sampled_from([ROWS, ()]),
)
CLIENTS = st.builds(
    Client,
    st.just(PUPIL.address),
    st.sampled_from([None, PUPIL_MAC]),
    GROUP_IDS | st.just("gone"),
    st.just("x"),
    person=st.sampled_from([None, "p1"]),
    isolated=st.booleans(),
    suspended=st.none() | SPANS,
    room=st.just("") | ROOMS,
)
TIMES = st.none() | st.integers(-6 * 60, 6 * 60).map(lambda m: NOW + timedelta(minutes=m))


@given(POLICIES, CLIENTS, NAMES, TIMES)
def test_decide_illegal_tier_is_lifted_by_no_policy(its, client, name, at):
    decision = decide(its, client, f"{name}.abuse.example", at)
    assert decision.action is Action.BLOCK
    assert decision.reason is Reason.ILLEGAL
    assert decision.categories & ILLEGAL_MASK


@given(POLICIES, CLIENTS, NAMES, TIMES)
def test_decide_is_a_function_of_its_arguments(its, client, name, at):
    first = decide(its, client, name, at)
    decide(its, STAFF, "porn.example", NOW)
    assert decide(its, client, name, at) == first


@given(POLICIES, CLIENTS, NAMES, TIMES, st.data())
def test_decide_is_blind_to_letter_case_and_final_dot(its, client, name, at, data):
    upper = data.draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    spelled = "".join(c.upper() if u else c for c, u in zip(name, upper, strict=True))
    assert decide(its, client, spelled + ".", at) == decide(its, client, name, at)


@given(POLICIES, CLIENTS, CLIENTS, NAMES, TIMES)
def test_view_shared_by_two_clients_means_the_same_decision(its, one, other, name, at):
    # One policy knows a device in one state only.
    assume(
        one.mac != other.mac or (one.isolated, one.suspended) == (other.isolated, other.suspended)
    )
    if its.view(one) == its.view(other):
        a, b = decide(its, one, name, at), decide(its, other, name, at)
        assert (a.action, a.reason) == (b.action, b.reason)


@given(POLICIES, CLIENTS, NAMES, st.integers(-6 * 60, 6 * 60))
def test_decide_holds_until_it_says(its, client, name, minutes):
    if client.suspended:
        its = replace(its, devices={"m": Device("m", "x", "ks2", suspended=client.suspended)})
    at = NOW + timedelta(minutes=minutes)
    decision = decide(its, client, name, at)
    assert decision.until is not None
    assert decision.until > at
    just_before = decision.until - timedelta(seconds=1)
    if just_before > at:
        assert decide(its, client, name, just_before).rule_id == decision.rule_id


def test_decide_protocol_goes_by_its_category_and_its_services():
    closed = decide_protocol(policy(), PUPIL, "wireguard", "", NOW)
    assert (closed.action, closed.rule_id) == (Action.BLOCK, "matrix:bypass:ks2")
    # Whatever name it goes by, and before it by an exception for the service.
    named = decide_protocol(policy(), PUPIL, "bittorrent", "www.school.example", NOW)
    assert named.rule_id == "matrix:file-sharing:ks2"
    torrent = exception("torrent.example", ALLOW, Scope.GROUP, "ks2")
    allowed = policy(exceptions=(replace(torrent, services=services.mask_of(["bittorrent"])),))
    assert decide_protocol(allowed, PUPIL, "bittorrent", "", NOW).reason is Reason.EXCEPTION
    assert decide_protocol(allowed, PUPIL, "wireguard", "", NOW).reason is Reason.MATRIX


@pytest.mark.parametrize(
    ("client", "last", "action", "rule_id"),
    [
        (PUPIL, 1, Action.BLOCK, "matrix:games:ks2"),
        (STAFF, 1, Action.BLOCK, "matrix:games:staff"),
        (PUPIL, 3, Action.BLOCK, "illegal:child-abuse"),
        (STAFF, 3, Action.BLOCK, "illegal:child-abuse"),
        (PUPIL, 4, Action.BLOCK, "matrix:ethos:ks2"),
        (PUPIL, 9, Action.ALLOW, "default:ks2"),
    ],
)
def test_decide_address_goes_by_the_illegal_tier_and_the_table(client, last, action, rule_id):
    d = decide_address(policy(), client, bytes((192, 0, 2, last)), NOW)
    assert (d.action, d.rule_id) == (action, rule_id)


def test_decide_address_goes_by_the_time_and_by_who_asks():
    lunch = NOW.replace(hour=12, minute=30)
    made = policy(timetable=LUNCH, nominees={"games": frozenset([PUPIL_MAC])})
    cells = {**made.groups["ks2"].cells, "video": Cell.TIMES, "games": Cell.NOMINATED}
    made = replace(made, groups=groups(ks2=replace(made.groups["ks2"], cells=cells)))
    video, games = bytes((192, 0, 2, 2)), bytes((192, 0, 2, 1))
    closed = decide_address(made, PUPIL, video, NOW)
    assert (closed.rule_id, closed.until) == ("matrix:video:ks2", NOW.replace(hour=12))
    assert not decide_address(made, PUPIL, video, lunch).blocked
    assert decide_address(made, PUPIL, video, None).blocked
    assert not decide_address(made, PUPIL, games, NOW).blocked
    assert decide_address(made, replace(PUPIL, mac=None), games, NOW).blocked


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"pauses": PAUSED}, id="pause"),
        pytest.param(
            {
                "groups": groups(
                    ks2=Group("ks2", "KS2", 2, SHIPPED_CELLS["ks2"], default=DefaultAction.BLOCK)
                )
            },
            id="closed default",
        ),
    ],
)
def test_decide_address_on_no_list_is_allowed(changes):
    assert not decide_address(policy(**changes), PUPIL, bytes((192, 0, 2, 9)), NOW).blocked


def seeking(*, safe_search=True, youtube=YouTube.STRICT, **changes):
    """Return the policy of these tests with one way of searching for Key Stage 2."""
    made = policy(
        index=Index({"seek.example": ["unsafe-search"], "tube.example": ["video"]}), **changes
    )
    ks2 = replace(made.groups["ks2"], safe_search=safe_search, youtube=youtube)
    return replace(made, groups={**made.groups, "ks2": ks2})


@pytest.mark.parametrize(
    ("safe_search", "youtube", "name", "rule_id"),
    [
        (True, YouTube.OFF, "www.google.co.uk", "safesearch:google"),
        (True, YouTube.OFF, "www.youtube.com", None),
        (True, YouTube.OFF, "www.example.org", None),
        (False, YouTube.STRICT, "www.google.co.uk", None),
        (False, YouTube.STRICT, "www.youtube.com", "safesearch:youtube:strict"),
        (False, YouTube.MODERATE, "m.youtube.com", "safesearch:youtube:moderate"),
        (False, YouTube.OFF, "www.youtube.com", None),
        (False, YouTube.OFF, "www.google.co.uk", None),
    ],
)
def test_safe_name_is_as_the_group_has_it(safe_search, youtube, name, rule_id):
    found = seeking(safe_search=safe_search, youtube=youtube).safe_name(PUPIL, name)
    assert (found and found.rule_id) == rule_id


def test_safe_name_of_a_group_that_is_gone_is_that_of_unknown_devices():
    stranger = replace(PUPIL, group="gone")
    assert (
        seeking(safe_search=False).safe_name(stranger, "www.bing.com").target == "strict.bing.com"
    )


@pytest.mark.parametrize(
    ("safe_search", "rule_id"), [(True, "matrix:ethos:ks2"), (False, "default:ks2")]
)
def test_engine_without_safe_version_is_a_category_only_with_safe_search(safe_search, rule_id):
    assert decide(seeking(safe_search=safe_search), PUPIL, "seek.example", NOW).rule_id == rule_id


TUNNEL = "t.example"


def test_decide_tunnel_is_decided_as_a_vpn():
    d = decide_tunnel(policy(), PUPIL, "abc.t.example.", TUNNEL, NOW)
    assert (d.action, d.reason, d.rule_id) == (Action.BLOCK, Reason.TUNNEL, "tunnel:t.example")
    assert d.categories == mask_of(["vpn"])
    assert d.until == decide(policy(), PUPIL, "abc.t.example", NOW).until


def test_decide_tunnel_that_the_table_allows_is_as_without():
    made = policy()
    cells = {**made.groups["ks2"].cells, "bypass": Cell.ACCEPTABLE}
    made = replace(made, groups={**made.groups, "ks2": replace(made.groups["ks2"], cells=cells)})
    assert decide_tunnel(made, PUPIL, "abc.t.example", TUNNEL, NOW).rule_id == "default:ks2"


@pytest.mark.parametrize(
    ("changes", "rule_id"),
    [
        pytest.param({"protected": NameSet.of([TUNNEL])}, "protected:t.example", id="protected"),
        pytest.param({"essential": NameSet.of([TUNNEL])}, "default:ks2", id="essential"),
        pytest.param(
            {
                "exceptions": (
                    DatedException(
                        "e", Scope.GROUP, "ks2", NameSet.of([TUNNEL]), Action.ALLOW, AROUND, "w"
                    ),
                )
            },
            "exception:e",
            id="exception",
        ),
        pytest.param(
            {"pauses": (Pause("7", frozenset({"ks2"}), AROUND, "button"),)}, "pause:7", id="blocked"
        ),
    ],
)
def test_decide_tunnel_leaves_what_was_decided_by_name_or_blocked(changes, rule_id):
    made = policy(**changes)
    assert decide_tunnel(made, PUPIL, "abc.t.example", TUNNEL, NOW).rule_id == rule_id
