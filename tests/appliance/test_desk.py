import gzip
import inspect
import json
import re
import select
from datetime import date, timedelta
from ipaddress import ip_address
from itertools import count
from pathlib import Path

import pytest

from gate_appliance.control import ControlServer, control_client
from gate_appliance.desk import StewardDesk
from gate_appliance.lists.formats import MAX_LIST_OCTETS
from gate_appliance.publication import SnapshotSource
from gate_appliance.steward import Steward
from gate_appliance.store import Change
from gate_core.desk import (
    ActivityFilter,
    ConsumerView,
    Desk,
    Lamp,
    PanelReport,
    RefusedError,
    SiteUse,
    UnavailableError,
    UsageView,
)
from gate_core.edits import Edit
from gate_core.events import Event, Source, Traffic, Who
from gate_core.policy import decide
from gate_core.record import verify
from gate_core.sources import ListSource, SourceError

GAMES = Edit.of(("groups", "ks2", "cells", "games"), "times", "unacceptable")


def refusal(call, **arguments):
    with pytest.raises(RefusedError) as caught:
        call(**arguments)
    return caught.value.field, str(caught.value)


@pytest.fixture
def source(steward):
    source = SnapshotSource(steward.places.snapshots, steward.places.announce, "test")
    yield source
    source.close()


# A change reaches the data plane


def test_change_is_announced_and_read(school, source):
    before = source.current().version
    school.propose(edits=(GAMES,), reason="a lesson", actor="head")
    assert select.select([source], [], [], 0)[0]
    assert source.refresh()
    assert source.current().version == before + 1
    assert source.current().groups["ks2"].cells["games"].value == "unacceptable"


def test_refused_change_is_not_announced(school, source):
    edit = Edit.of(("groups", "ks2", "cells", "child-abuse"), "illegal", "acceptable")
    refusal(school.propose, edits=(edit,), reason="r", actor="head")
    assert not source.refresh()


def test_pause_reaches_the_data_plane_and_ends(school, source):
    school.start_pause(minutes=10, actor="button")
    source.refresh()
    (pause,) = source.current().pauses
    assert pause.groups == {"ks1", "ks2", "guest", "quarantine"}
    school.end_pause(actor="head")
    source.refresh()
    assert source.current().pauses == ()


# What it shows


def test_rows_and_groups_are_those_of_the_policy(school, steward):
    rows = {row.id: row for row in school.rows()}
    assert [r.number for r in rows.values()] == sorted(r.number for r in rows.values())
    assert rows["child-abuse"].locked
    assert rows["gambling"].categories == ("Gambling",)
    assert not rows["confidential"].by_supervision
    assert "VPN" in " ".join(rows["bypass"].protocols)
    groups = {g.id: g for g in school.groups()}
    assert groups["ks2"].cells["games"] == "times"
    assert {id_: g.devices for id_, g in groups.items() if g.devices} == {
        "ks1": 1,
        "ks2": 1,
        "staff": 1,
    }


def test_devices_are_the_known_and_the_seen(school, people):
    views = {v.mac: v for v in school.devices()}
    view = views[people.tablet]
    assert (view.name, view.group, view.known, view.randomised) == ("Tablet", "ks2", True, False)
    old = school._steward.document["devices"][people.tablet]
    edit = Edit.of(("devices", people.tablet), old, None)
    id_ = school.propose(edits=(edit,), reason="sold", actor="it").id
    school.answer(id=id_, approve=True, actor="head")
    assert people.tablet not in {v.mac for v in school.devices()}


def test_explain_is_the_decision_with_its_place(school, steward, people):
    e = school.explain(client="tablet", name="www.bet365.com")
    assert (e.action, e.rule_id, e.group) == ("block", "matrix:gambling:ks2", "ks2")
    assert [s.place for s in e.steps if s.decides] == ["acceptable-use table"]
    client = steward.policy.client(ip_address("192.0.2.1"), people.tablet)
    assert decide(steward.policy, client, "www.bet365.com", None).rule_id == e.rule_id


@pytest.mark.parametrize(
    ("at", "action"),
    [
        ("2026-11-24T10:00", "block"),
        ("2026-11-24T12:30", "allow"),
        ("2026-11-24T12:30:00Z", "allow"),
        ("2026-07-21T12:30", "allow"),
        ("2026-07-21T12:30Z", "block"),
    ],
)
def test_explain_at_a_time_is_in_the_school_s_zone(school, tmp_path, at, action):
    path = tmp_path / "list"
    path.write_text("play.example\n")
    school.add_list(name="l", category="games", path=str(path), actor="it")
    assert school.explain(client="ks2", name="play.example", at=at).action == action


@pytest.mark.parametrize(
    ("client", "group"),
    [
        ("ks1", "ks1"),
        ("Staff laptop", "staff"),
        ("00-00-5E-00-53-02", "ks1"),
        ("192.0.2.200", "quarantine"),
        ("2001:db8::1", "quarantine"),
        ("02:00:00:00:00:99", "quarantine"),
    ],
)
def test_explain_knows_whom_is_meant(school, client, group):
    assert school.explain(client=client, name="x.example").group == group


def test_explain_by_a_person_is_about_the_device_they_hold(school, people):
    assert refusal(school.explain, client="p1", name="x.example")[0] == "client"
    school.lend(mac=people.laptop, person="p1", minutes=5, actor="head")
    assert school.explain(client="p1", name="x.example").group == "ks1"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"client": "nobody here"}, "client"),
        ({"client": ""}, "client"),
        ({"client": "\ud800"}, "client"),
        ({"name": "not a name"}, "name"),
        ({"name": "a" * 300}, "name"),
        ({"at": "yesterday"}, "at"),
        ({"at": "0001-01-01T00:00+14:00"}, "at"),
        ({"at": "9999-12-31T23:59-14:00"}, "at"),
    ],
)
def test_explain_refuses(school, arguments, field):
    assert refusal(school.explain, **{"client": "ks2", "name": "x.example"} | arguments)[0] == field


# The log


def test_it_sees_devices_and_not_the_names_of_people(school, steward, people):
    now_ms = int(steward.clock.now().timestamp() * 1000)
    event = Event(
        at_ms=now_ms,
        source=Source.DNS,
        mac=people.tablet,
        address="192.0.2.7",
        device="Tablet",
        group="ks2",
        name="x.example",
        kind="A",
        action="allow",
        reason="default",
        rule_id="default:ks2",
        categories=0,
        version=1,
        count=1,
        person="p1",
    )
    steward.activity.append([event])
    arguments = {"filter": ActivityFilter(), "reason": "a check"}
    (seen,) = school.activity(**arguments, actor="head").records
    assert (seen.person, seen.device, seen.sentence != "") == ("p1", "Tablet", True)
    for actor in ("it", "command line (x)"):
        (seen,) = school.activity(**arguments, actor=actor).records
        assert (seen.person, seen.device) == ("", "Tablet")
    by_text = {"filter": ActivityFilter(text="p1"), "reason": "a check"}
    assert school.activity(**by_text, actor="it").records == ()


@pytest.mark.parametrize("reason", ["", " ", "x" * 501, "\x1b"])
def test_log_is_shown_for_a_reason_only(school, reason):
    arguments = {"filter": ActivityFilter(), "reason": reason, "actor": "head"}
    assert refusal(school.activity, **arguments)[0] == "reason"


def test_usage_tells_it_devices_and_not_the_names_of_people(school, steward, people):
    now_ms = int(steward.clock.now().timestamp() * 1000)
    who = Who("192.0.2.7", people.tablet, "Tablet", "ks2", "p1")
    stranger = Who("192.0.2.8", "", "", "quarantine", "")
    steward.activity.append_sums(
        Traffic(now_ms, (its,), (0,), (name,), (down,), (2,), (1,))
        for its, name, down in ((who, "www.x.example", 10), (stranger, "", 5))
    )
    used = school.usage(span="day", actor="head", reason="a check")
    assert used == UsageView(
        steward.clock.now().date().isoformat(), 15, 4,
        (
            ConsumerView("Tablet", people.tablet, "", "ks2", "p1", 10, 2, 1, (SiteUse("x.example", 12),)),
            ConsumerView("192.0.2.8", "", "192.0.2.8", "quarantine", "", 5, 2, 1, (SiteUse("", 7),)),
        ),
    )  # fmt: skip
    for actor in ("it", "command line (x)"):
        masked = school.usage(span="week", actor=actor, reason="a check").consumers
        assert [(c.device, c.person) for c in masked] == [("Tablet", ""), ("192.0.2.8", "")]
    assert refusal(school.usage, span="day", actor="head", reason="")[0] == "reason"
    assert refusal(school.usage, span="day", actor="teacher", reason="a check")


def test_usage_of_the_week_begins_on_monday(school, steward):
    since = date.fromisoformat(school.usage(span="week", actor="it", reason="a check").since)
    assert since.weekday() == 0
    assert since <= steward.clock.now().date() < since + timedelta(days=7)


# Lists


def test_add_list_is_in_force_at_once(school, source, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("bad.example\nworse.example\n")
    before = school.status().version
    school.add_list(name="mine", category="school-blocked", path=str(path), actor="coordinator")
    source.refresh()
    assert source.current().index.mask("www.bad.example")
    assert school.explain(client="ks2", name="bad.example").rule_id == "matrix:ethos:ks2"
    entry = school.record(actor="head")[0]
    assert (entry.action, entry.subject) == ("added a list", "mine to school-blocked")
    assert entry.version == before + 1


@pytest.mark.parametrize(
    ("content", "arguments", "part"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", {}, "HTML"),
        (b"", {}, "allowed are one name a line"),
        (b"good.example\n", {"category": "gmaes"}, "is no category; allowed are"),
        (b"good.example\n", {"name": "../../etc"}, "a list is called by"),
        (b"good.example\n", {"name": "\ud800"}, "a list is called by"),
        (b"good.example\n", {"path": "/nowhere/list"}, "no such file"),
        (b"good.example\n", {"path": "a\0b"}, ""),
    ],
)
def test_add_list_refuses_and_keeps_what_was(school, source, tmp_path, content, arguments, part):
    path = tmp_path / "list"
    path.write_bytes(content)
    before = school.status().listed_names
    good = {"name": "mine", "category": "games", "path": str(path), "actor": "it"}
    assert part in refusal(school.add_list, **good | arguments)[1]
    assert school.status().listed_names == before
    assert not source.refresh()


@pytest.mark.parametrize("category", ["child-abuse", "terrorism"])
def test_nobody_adds_a_list_of_illegal_content_by_hand(school, steward, tmp_path, category):
    path = tmp_path / "list"
    path.write_text("bbc.co.uk\n")
    before = school.status().version
    for actor in ("it", "coordinator"):
        field, message = refusal(
            school.add_list, name="l", category=category, path=str(path), actor=actor
        )
        assert field == "category"
        assert f"{category!r}: what is on a list of illegal content can't be opened" in message
    note = Change("it", "it", "added a list", f"l to {category}")
    with pytest.raises(SourceError, match="only official sources"):
        steward.add_list("l", category, path, note, may_shorten=True)
    assert (school.own_lists(), school.status().version) == ((), before)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("play.example\ngoogle.com\nChildline.org.uk\n", "2 of .*: childline.org.uk, google.com;"),
        ("duckduckgo.com\n", "1 of .*: duckduckgo.com;"),
        ("cpoms.net\n", "1 of .*: cpoms.net;"),
        ("gstatic.com\n", "1 of .*: gstatic.com;"),
        ("||bing.com^\n||google.com^\n@@||google.com^\n", "1 of .*: bing.com;"),
    ],
)
def test_list_by_hand_closes_nothing_that_is_needed(school, tmp_path, content, names):
    path = tmp_path / "list"
    path.write_text(content)
    arguments = {"name": "mine", "category": "games", "path": str(path), "actor": "it"}
    assert re.search(names, refusal(school.add_list, **arguments)[1])
    assert school.own_lists() == ()
    # What lies below, or is no search, may be listed.
    path.write_text("mail.google.com\nyoutube.com\nplay.example\n")
    assert school.add_list(**arguments) == 3


def test_list_by_hand_may_be_packed_and_is_unpacked_within_bounds(school, tmp_path, monkeypatch):
    path = tmp_path / "list.gz"
    path.write_bytes(gzip.compress(b"play.example\n") + gzip.compress(b"fun.example\n"))
    arguments = {"name": "mine", "category": "games", "path": str(path), "actor": "it"}
    assert school.add_list(**arguments) == 2
    assert school.explain(client="ks2", name="fun.example", at="2026-11-24T10:00").action == "block"
    path.write_bytes(gzip.compress(b"#" * (MAX_LIST_OCTETS + 1)))
    assert "longer than the 104.9 MB" in refusal(school.add_list, **arguments)[1]
    path.write_bytes(gzip.compress(b"play.example\n")[:-12])
    assert "cut short" in refusal(school.add_list, **arguments)[1]
    assert [its.names for its in school.own_lists()] == [2]


def test_own_lists_are_told_and_taken_out_by_who_may_open(school, steward, source, tmp_path):
    path = tmp_path / "list"
    path.write_text("play.example\nfun.example\n")
    school.add_list(name="mine", category="games", path=str(path), actor="it")
    steward.sources.add(ListSource("kept", "Kept", "https://a.example/", "MIT", "games"), "")
    (its,) = school.own_lists()
    assert (its.name, its.category, its.names, its.added_by) == ("mine", "games", 2, "it")
    assert its.added_at == school.record(actor="head")[0].at
    arguments = {"name": "mine", "category": "games", "reason": "too strict"}
    assert "may not approve" in refusal(school.remove_list, **arguments, actor="it")[1]
    assert refusal(school.remove_list, **arguments | {"name": "kept"}, actor="head")[0] == "name"
    school.remove_list(**arguments, actor="head")
    source.refresh()
    assert not source.current().index.mask("play.example")
    assert school.own_lists() == ()
    entry = school.record(actor="head")[0]
    assert (entry.actor, entry.action, entry.subject) == (
        "head",
        "took out a list",
        "mine to games",
    )
    assert (entry.before, entry.reason) == ("2 names", "too strict")


def test_list_of_illegal_content_is_not_taken_out(school, steward, tmp_path, add_official):
    path = tmp_path / "list"
    path.write_text("bad.example\n")
    add_official(steward, "police", "terrorism", path)
    arguments = {"name": "police", "category": "terrorism", "reason": "r", "actor": "head"}
    assert "stays: nobody can open" in refusal(school.remove_list, **arguments)[1]
    (its,) = school.own_lists()
    assert (its.name, its.names) == ("police", 1)
    assert steward.around.index.mask("bad.example")


# The status


def test_status_wakes_who_waits_for_a_change(desk):
    before = desk.status()
    lamp = Lamp("green", "green", "on", "filtering")
    desk.report_panel(report=PanelReport(virtual=True, lamps=(lamp,)))
    after = desk.status(since=before.revision, wait_s=5)
    assert after.revision > before.revision
    assert after.panel.lamps == (lamp,)


def test_status_says_that_it_does_not_filter_while_nobody_has_confirmed(desk):
    status = desk.status()
    assert not status.filtering
    states = {c.name: c.state for c in status.components}
    assert (states["dns"], states["policy"]) == ("down", "ok")


def test_status_says_that_the_time_is_not_known(clock, school, steward):
    clock.known = False
    steward.look()
    status = school.status()
    assert status.at == ""
    assert {c.name: c.state for c in status.components}["clock"] == "degraded"


def test_edge_of_the_timetable_is_a_new_version(clock, school, steward):
    version = steward.policy.version
    steward._follow_timetable()
    assert steward.policy.version == version
    clock.move(hours=2)
    steward._follow_timetable()
    assert steward.policy.version == version + 1
    steward._follow_timetable()
    assert steward.policy.version == version + 1


# The socket


def test_desk_over_its_socket_is_the_same_desk(school, steward, people):
    server = ControlServer(steward.places.desk, Desk, school)
    server.start()
    remote = control_client(Desk, steward.places.desk)
    assert remote.propose(edits=(GAMES,), reason="r", actor="head").state == "in force"
    remote.lend(mac=people.tablet, person="p1", minutes=5, actor="head")
    for shown in ("devices", "rows", "groups", "written", "acts"):
        assert getattr(remote, shown)() == getattr(school, shown)()
    for shown in ("record", "proposals", "accounts", "verify_record"):
        assert getattr(remote, shown)(actor="auditor") == getattr(school, shown)(actor="auditor")
    assert remote.account(username="nobody") is None
    assert remote.account(username="head") == school.account(username="head")
    arguments = {"mac": "zz", "why": "r", "actor": "head"}
    assert refusal(remote.isolate, **arguments) == refusal(school.isolate, **arguments)
    text = school.export_policy(actor="it")
    assert remote.read_policy(text=text) == school.read_policy(text=text)
    server.close()
    with pytest.raises(UnavailableError):
        remote.rows()


def test_desk_of_a_dead_steward_is_unavailable(short_path):
    with pytest.raises(UnavailableError):
        control_client(Desk, short_path / "nobody").is_set_up()


def test_client_reaches_a_steward_that_came_back(desk, steward):
    path: Path = steward.places.desk
    server = ControlServer(path, Desk, desk)
    server.start()
    remote = control_client(Desk, path)
    assert not remote.is_set_up()
    server.close()
    server = ControlServer(path, Desk, desk)
    server.start()
    assert not remote.is_set_up()
    server.close()


def test_sightings_damaged_on_disk_are_begun_anew(config):
    state = Path(config.appliance.state_directory)
    state.mkdir(parents=True)
    (state / "sightings.json").write_text(json.dumps([["x"]]))
    steward = Steward(config)
    assert StewardDesk(steward).devices() == ()
    steward.close()


# Whatever somebody with an account sends

TEXTS = (
    *("", " ", "\0", "\x1b[2J", "\u202e", "\ud800", "'; drop table record; --", "../.."),
    "x" * 100_000,
)
NUMBERS = (0, -1, 2**31, 2**63, -(2**70))
COUNTER = count(1)


def spoiled(arguments):
    """Yield ``arguments`` with each text and number in them replaced by a hostile one."""
    for name, value in arguments.items():
        several = isinstance(value, tuple)
        kind = type(value[0] if several and value else value)
        # The words that the protocol closes are checked before a method is called.
        if name not in ("mode", "kind"):
            for hostile in {str: TEXTS, int: NUMBERS}.get(kind, ()):
                yield arguments | {name: (hostile,) if several else hostile}


METHODS = sorted(
    name
    for name, method in inspect.getmembers(Desk, inspect.isfunction)
    if "actor" in inspect.signature(method).parameters
)


@pytest.mark.parametrize("actor", ["coordinator", "head", "teacher"])
@pytest.mark.parametrize("method", METHODS)
def test_desk_answers_or_refuses(kept_school, samples, method, actor):
    desk, steward = kept_school
    arguments = getattr(samples(desk, actor, next(COUNTER)), method)()
    refused = 0
    for hostile in spoiled(arguments | {"actor": actor}):
        try:
            getattr(desk, method)(**hostile)
        except RefusedError:
            refused += 1
    assert refused >= len(TEXTS)  # at least each actor
    assert verify(steward.store.entries()[::-1]).fault == ""
