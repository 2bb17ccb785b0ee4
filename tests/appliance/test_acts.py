from datetime import timedelta
from ipaddress import ip_address

import pytest

from gate_appliance.desk import StewardDesk
from gate_appliance.steward import Steward
from gate_core.desk import RefusedError
from gate_core.edits import Edit
from gate_core.policy import decide

pytestmark = pytest.mark.usefixtures("clock")

FREE, CLOSED = "free.example", "www.bet365.com"


def refusal(call, **arguments):
    with pytest.raises(RefusedError) as caught:
        call(**arguments)
    return caught.value.field, str(caught.value)


@pytest.fixture
def rule(steward, clock):
    """Return the first word of the rule that decides: ``default`` where nothing is in the way."""

    def rule(mac, name=FREE, policy=None):
        policy = policy or steward.policy
        client = policy.client(ip_address("192.0.2.7"), mac)
        return decide(policy, client, name, clock.now()).rule_id.partition(":")[0]

    return rule


@pytest.fixture
def restarted(steward, config):
    """A function that closes the steward, and returns the desk of another one in its place."""
    opened = []

    def restart():
        (opened[-1]._steward if opened else steward).close()
        opened.append(StewardDesk(Steward(config)))
        return opened[-1]

    yield restart
    for desk in opened:
        desk.close()
        desk._steward.close()


def scopes(desk):
    return {p.by: {*p.groups, *p.rooms} for p in desk.acts().pauses}


def ended_by_itself(desk):
    return {e.action for e in desk.record(actor="head") if "ended by itself" in e.action}


# The internet pause


def test_pause_without_a_scope_reaches_what_the_button_reaches(school, steward):
    school.start_pause(minutes=10, actor="button")
    assert scopes(school) == {"button": {"ks1", "ks2", "guest", "quarantine"}}
    status = school.status()
    assert status.pause.by == "button"
    assert not status.pause.on_the_wire
    (entry,) = school.record(actor="head", limit=1)
    assert (entry.actor, entry.role, entry.action) == (
        "button",
        "panel",
        "started the internet pause",
    )
    assert entry.version == steward.policy.version


@pytest.mark.parametrize(
    ("scope", "paused"),
    [({"groups": ("ks2",)}, "tablet"), ({"rooms": ("room-2",)}, "laptop")],
    ids=["group", "room"],
)
def test_pause_reaches_its_group_or_room_only(school, people, rule, scope, paused):
    school.start_pause(**scope, minutes=10, why="assembly", actor="head")
    for device in ("tablet", "laptop", "staff_laptop"):
        expected = "pause" if device == paused else "default"
        assert rule(getattr(people, device)) == expected
    assert school.acts().pauses[0].why == "assembly"


def test_end_pause_ends_one_or_all(school):
    school.start_pause(groups=("ks1",), minutes=10, actor="head")
    school.start_pause(groups=("ks2",), minutes=10, actor="it")
    first = next(p.id for p in school.acts().pauses if p.by == "head")
    school.end_pause(id=first, actor="button")
    assert scopes(school) == {"it": {"ks2"}}
    version = school.status().version
    school.end_pause(id=first, actor="head")
    assert school.status().version == version
    school.end_pause(actor="head")
    assert school.acts().pauses == ()


def test_new_pause_takes_its_groups_and_rooms_out_of_older_ones(school):
    school.start_pause(groups=("ks2", "guest"), rooms=("room-1",), minutes=10, actor="head")
    school.start_pause(groups=("ks1", "guest"), rooms=("room-1",), minutes=5, actor="it")
    assert scopes(school) == {"head": {"ks2"}, "it": {"ks1", "guest", "room-1"}}
    school.start_pause(groups=("ks2",), minutes=5, actor="it")
    assert "head" not in scopes(school)


@pytest.mark.parametrize(
    "scope",
    [{}, {"groups": ("ks1",)}, {"rooms": ("room-2",)}, {"groups": ("ks2",), "rooms": ("room-2",)}],
)
def test_teacher_pauses_their_own_rooms_and_classes_only(school, scope):
    assert refusal(school.start_pause, **scope, minutes=5, actor="teacher")[0] == "actor"
    school.start_pause(groups=("ks2",), rooms=("room-1",), minutes=5, actor="teacher")
    school.start_pause(groups=("ks1",), minutes=5, actor="head")
    assert refusal(school.end_pause, actor="teacher")[0] == "actor"
    assert set(scopes(school)) == {"teacher", "head"}


def test_short_pause_of_a_teacher_ends_no_longer_one_of_the_head(school, people, rule, clock):
    school.start_pause(groups=("ks1", "ks2"), minutes=60, actor="head")
    school.start_pause(groups=("ks2",), minutes=5, actor="teacher")
    clock.move(minutes=6)
    school._steward._follow_timetable()
    assert rule(people.tablet) == "pause"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"minutes": 0}, "minutes"),
        ({"minutes": 481}, "minutes"),
        ({"minutes": -(10**20)}, "minutes"),
        ({"groups": ("x",)}, "groups"),
        ({"rooms": ("x\0",)}, "rooms"),
        ({"why": "x" * 501}, "why"),
        ({"why": "\x1b"}, "why"),
    ],
)
def test_start_pause_refuses(school, arguments, field):
    assert refusal(school.start_pause, **{"minutes": 5} | arguments, actor="head")[0] == field
    assert school.acts().pauses == ()


# Lessons


def test_lesson_with_only_its_sites_closes_the_others(school, people, rule):
    lesson = {"group": "ks2", "mode": "only", "names": ("birds.example",), "minutes": 30}
    school.start_lesson(**lesson, actor="teacher")
    assert rule(people.tablet, "www.birds.example") == "lesson"
    assert rule(people.tablet) == "lesson"
    assert rule(people.laptop) == "default"


def test_lesson_opens_and_refuses_what_is_unacceptable(school, people, rule):
    lesson = {"group": "ks2", "mode": "also", "minutes": 30, "actor": "teacher"}
    field, message = refusal(school.start_lesson, **lesson, names=("youtube.com", CLOSED))
    assert (field, message.startswith(f"{CLOSED} is unacceptable for Key Stage 2")) == (
        "names",
        True,
    )
    assert refusal(school.start_lesson, **lesson, services=("tiktok",))[0] == "services"
    assert school.acts().lessons == ()
    school.start_lesson(**lesson, names=("youtube.com",), services=("youtube",))
    (view,) = school.acts().lessons
    assert (view.services, view.by) == (("youtube",), "teacher")
    assert rule(people.tablet, "youtube.com") == "lesson"
    assert rule(people.tablet, CLOSED) == "matrix"


def test_class_has_one_lesson(school):
    lesson = {"mode": "only", "minutes": 30, "actor": "teacher"}
    school.start_lesson(**lesson, group="ks2", names=("a.example",))
    school.start_lesson(**lesson, room="room-1", names=("b.example",))
    school.start_lesson(**lesson, group="ks2", names=("c.example",))
    found = {(x.group, x.room): x.names for x in school.acts().lessons}
    assert found == {("ks2", ""): ("c.example",), ("", "room-1"): ("b.example",)}
    school.end_lesson(id=school.acts().lessons[0].id, actor="teacher")
    assert len(school.acts().lessons) == 1


@pytest.mark.parametrize(
    ("actor", "minutes", "field"),
    [
        ("teacher", 60, None),
        ("teacher", 61, "minutes"),
        ("head", 240, None),
        ("head", 241, "minutes"),
    ],
)
def test_teacher_opens_for_the_minutes_of_the_group_only(school, actor, minutes, field):
    lesson = {"group": "ks2", "mode": "also", "names": ("a.example",), "minutes": minutes}
    if field:
        assert refusal(school.start_lesson, **lesson, actor=actor)[0] == field
    else:
        school.start_lesson(**lesson, actor=actor)


def test_teacher_opens_nothing_where_the_group_gives_no_minutes(school, people):
    people.join(school, "teacher1", "teacher", rooms=("ks1", "room-1", "room-2"))
    for mode in ("only", "also"):
        lesson = {"mode": mode, "names": ("a.example",), "minutes": 5, "actor": "teacher1"}
        assert refusal(school.start_lesson, **lesson, group="ks1")[0] == "group"
        assert refusal(school.start_lesson, **lesson, room="room-2")[0] == "group"


def test_room_has_the_minutes_of_all_groups_in_it(school):
    place = Edit.of(("vlans", "20"), None, {"group": "ks1", "room": "room-1"})
    id_ = school.propose(edits=(place,), reason="r", actor="it").id
    school.answer(id=id_, approve=True, actor="head")
    lesson = {"room": "room-1", "mode": "also", "names": ("a.example",), "minutes": 5}
    assert refusal(school.start_lesson, **lesson, actor="teacher")[0] == "group"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"group": "", "room": ""}, "group"),
        ({"room": "room-1"}, "group"),
        ({"group": "ks9"}, "group"),
        ({"group": "", "room": "attic"}, "room"),
        ({"names": ()}, "names"),
        ({"names": ("a.*.example",)}, "names"),
        ({"names": ("not a name",)}, "names"),
        ({"names": tuple(f"{n}.example" for n in range(201))}, "names"),
        ({"services": ("myspace",)}, "services"),
        ({"minutes": 0}, "minutes"),
    ],
)
def test_start_lesson_refuses(school, arguments, field):
    good = {"group": "ks2", "mode": "only", "names": ("a.example",), "minutes": 5}
    assert refusal(school.start_lesson, **good | arguments, actor="head")[0] == field
    assert school.acts().lessons == ()


# Isolation


def test_isolation_cuts_a_device_off_until_somebody_ends_it(school, people, rule, steward, clock):
    school.isolate(mac=people.tablet.upper(), why="strange traffic", actor="it")
    essential = min(n for n in steward.library.essential.rules if not n.startswith("="))
    assert rule(people.tablet, essential) == "isolated"
    assert refusal(school.isolate, mac=people.tablet, why="again", actor="head")[0] == "mac"
    clock.move(days=400)
    steward._follow_timetable()
    (view,) = school.acts().isolations
    assert (view.name, view.by, view.why) == ("Tablet", "it", "strange traffic")
    assert refusal(school.end_isolation, mac=people.tablet, why="", actor="head")[0] == "why"
    school.end_isolation(mac=people.tablet, why="clean", actor="head")
    assert rule(people.tablet) == "default"
    assert refusal(school.end_isolation, mac=people.tablet, why="x", actor="head")[0] == "mac"


def test_device_that_nobody_knows_can_be_isolated(school, rule):
    school.isolate(mac="02:00:00:00:00:99", why="unknown", actor="head")
    assert rule("02:00:00:00:00:99") == "isolated"


# Suspension and loans


def test_suspension_of_a_person_follows_what_they_are_lent(school, people, rule, clock):
    until = (clock.now() + timedelta(days=3)).isoformat()
    school.suspend(kind="person", subject="p1", until=until, why="an incident", actor="head")
    assert rule(people.tablet) == "default"
    school.lend(mac=people.tablet, person="p1", lesson="Art", minutes=30, actor="teacher")
    assert rule(people.tablet) == "suspended"
    school.lend(mac=people.tablet, person="p2", minutes=30, actor="teacher")
    assert rule(people.tablet) == "default"
    assert [(x.person, x.returned) for x in school.acts().loans] == [("p2", False), ("p1", True)]


def test_loan_names_who_holds_the_device_until_it_is_back(school, people, steward):
    school.lend(mac=people.tablet, person="p1", lesson="Art", minutes=30, actor="teacher")
    assert steward.policy.devices[people.tablet].person == "p1"
    (view,) = school.acts().loans
    assert (view.device, view.person_name, view.lesson) == ("Tablet", "Pupil one", "Art")
    school.take_back(id=view.id, actor="teacher")
    assert steward.policy.devices[people.tablet].person is None
    version = steward.policy.version
    school.take_back(id=view.id, actor="teacher")
    assert steward.policy.version == version


def test_suspension_ends_early_with_a_reason_and_replaces_the_one_before(school, people, clock):
    until = (clock.now() + timedelta(days=3)).isoformat()
    arguments = {"kind": "device", "subject": people.tablet, "why": "r", "actor": "head"}
    school.suspend(**arguments, until=until, essentials_stay=True)
    school.suspend(**arguments, until=until, review="2026-11-23")
    (view,) = school.acts().suspensions
    assert (view.name, view.review_due, view.essentials_stay) == ("Tablet", True, False)
    assert refusal(school.end_suspension, id=view.id, why="", actor="head")[0] == "why"
    school.end_suspension(id=view.id, why="settled", actor="safeguarding")
    assert school.acts().suspensions == ()
    assert refusal(school.end_suspension, id=view.id, why="x", actor="head")[0] == "id"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"kind": "person", "subject": "p9"}, "subject"),
        ({"subject": "zz"}, "mac"),
        ({"until": "tomorrow"}, "until"),
        ({"until": "2026-11-23T10:00"}, "until"),
        ({"until": "2027-11-25T10:00"}, "until"),
        ({"until": "9999-12-31T23:59-23:59"}, "until"),
        ({"until": "0001-01-01T00:00+23:59"}, "until"),
        ({"review": "soon"}, "review"),
        ({"why": " "}, "why"),
    ],
)
def test_suspend_refuses(school, people, steward, arguments, field):
    good = {"kind": "device", "subject": people.tablet, "until": "2026-12-01", "why": "r"}
    version = steward.policy.version
    assert refusal(school.suspend, **good | arguments, actor="head")[0] == field
    assert school.acts().suspensions == ()
    assert steward.policy.version == steward.store.version == version


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"mac": "02:00:00:00:00:99"}, "mac"),
        ({"person": "p9"}, "person"),
        ({"minutes": 1441}, "minutes"),
        ({"lesson": "x" * 61}, "lesson"),
    ],
)
def test_lend_refuses(school, people, arguments, field):
    good = {"mac": people.tablet, "person": "p1", "minutes": 5}
    assert refusal(school.lend, **good | arguments, actor="head")[0] == field
    assert school.acts().loans == ()


# All of them


def do_everything(school, people, clock):
    until = clock.now_or_floor() + timedelta(minutes=20)
    school.start_pause(rooms=("room-2",), minutes=20, actor="head")
    school.start_lesson(group="ks2", mode="only", names=("a.example",), minutes=20, actor="teacher")
    school.isolate(mac=people.staff_laptop, why="r", actor="it")
    school.lend(mac=people.tablet, person="p1", minutes=20, actor="teacher")
    school.suspend(
        kind="person", subject="p2", until=until.isoformat(), why="r", actor="safeguarding"
    )
    exception = {
        "action": "block",
        "scope": "school",
        "since": clock.now_or_floor().isoformat(),
        "until": until.isoformat(),
        "why": "r",
        "names": ["b.example"],
    }
    edit = Edit.of(("exceptions", "e1"), None, exception)
    school.propose(edits=(edit,), reason="r", actor="head")


def test_acts_survive_a_restart(school, people, clock, rule, restarted):
    do_everything(school, people, clock)
    before = school.acts()
    assert all((before.pauses, before.lessons, before.isolations, before.suspensions, before.loans))
    desk = restarted()
    assert desk.acts() == before
    assert rule(people.laptop, policy=desk._steward.policy) == "pause"
    assert rule(people.tablet, policy=desk._steward.policy) == "lesson"
    assert rule(people.staff_laptop, policy=desk._steward.policy) == "isolated"


ENDED = {
    f"ended by itself: {kind}"
    for kind in ("internet pause", "lesson", "suspension", "loan", "exception")
}


def test_acts_end_by_themselves_with_an_entry_each(school, people, clock, rule, steward):
    do_everything(school, people, clock)
    clock.move(minutes=19)
    steward._follow_timetable()
    assert ended_by_itself(school) == set()
    version = steward.policy.version
    clock.move(minutes=1)
    steward._follow_timetable()
    acts = school.acts()
    assert (acts.pauses, acts.lessons, acts.suspensions) == ((), (), ())
    assert acts.loans[0].returned
    assert len(acts.isolations) == 1
    assert ended_by_itself(school) == ENDED
    assert steward.policy.version > version
    assert rule(people.laptop) == rule(people.tablet) == "default"
    number = school.record(actor="head")[0].number
    clock.move(minutes=1)
    steward._follow_timetable()
    assert school.record(actor="head")[0].number == number


def test_acts_that_ended_while_the_steward_was_away_are_in_the_record(
    school, people, clock, rule, restarted
):
    do_everything(school, people, clock)
    clock.move(minutes=30)
    desk = restarted()
    assert ended_by_itself(desk) == ENDED
    assert desk.acts().pauses == ()
    assert rule(people.laptop, policy=desk._steward.policy) == "default"
    number = desk.record(actor="head")[0].number
    assert restarted().record(actor="head")[0].number == number


# While the time is not known


def test_what_closes_holds_while_the_time_is_not_known(school, people, clock, rule, restarted):
    do_everything(school, people, clock)
    clock.known = False
    clock.move(days=-1)
    policy = restarted()._steward.policy
    assert rule(people.laptop, policy=policy) == "pause"
    assert rule(people.tablet, policy=policy) == "lesson"
    assert rule(people.staff_laptop, policy=policy) == "isolated"
    assert rule(people.laptop, "b.example", policy=policy) == "pause"


def test_acts_begun_while_the_time_is_not_known_hold_until_it_is(
    school, people, clock, rule, steward
):
    clock.known = False
    do_everything(school, people, clock)
    assert school.record(actor="head")[0].at == "time not known"
    assert len(school.acts().pauses) == len(school.acts().lessons) == 1
    assert rule(people.laptop) == "pause"
    assert steward.policy.devices[people.tablet].person is None
    steward._follow_timetable()
    assert len(school.acts().pauses) == 1
    clock.known = True
    clock.move(days=2)
    steward._follow_timetable()
    assert ended_by_itself(school) == ENDED
    assert rule(people.laptop) == "default"


def test_lesson_opens_nothing_while_the_time_is_not_known(school, people, clock, rule):
    school.start_lesson(
        group="ks2", mode="also", names=("youtube.com",), minutes=30, actor="teacher"
    )
    clock.known = False
    assert rule(people.tablet, "youtube.com") == "matrix"


def test_exception_opens_nothing_while_the_time_is_not_known(school, people, clock, rule):
    table = {
        "action": "allow",
        "scope": "group",
        "subject": "ks2",
        "since": clock.now().isoformat(),
        "until": (clock.now() + timedelta(days=1)).isoformat(),
        "why": "r",
        "names": [CLOSED],
    }
    edit = Edit.of(("exceptions", "e1"), None, table)
    id_ = school.propose(edits=(edit,), reason="r", actor="coordinator").id
    for actor in ("head", "safeguarding"):
        school.answer(id=id_, approve=True, actor=actor)
    assert rule(people.tablet, CLOSED) == "exception"
    clock.known = False
    assert rule(people.tablet, CLOSED) == "matrix"
