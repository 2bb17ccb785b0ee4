import json
import select
from ipaddress import ip_address
from pathlib import Path

import pytest

from gate_appliance.control import ControlServer, control_client
from gate_appliance.desk import StewardDesk
from gate_appliance.publication import SnapshotSource
from gate_appliance.steward import Steward
from gate_core.desk import (
    ActivityFilter,
    Desk,
    Lamp,
    PanelReport,
    RefusedError,
    UnavailableError,
)
from gate_core.policy import decide

MAC = "00:00:5e:00:53:10"
HASH = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA"


def code(steward):
    return steward.places.first_run_code.read_text().strip()


def set_up(desk, steward):
    desk.set_up(
        code=code(steward),
        school="St Example",
        username="Ann",
        full_name="Ann Example",
        password_hash=HASH,
    )


def refusal(call, **arguments):
    with pytest.raises(RefusedError) as caught:
        call(**arguments)
    return caught.value.field, str(caught.value)


@pytest.fixture
def source(steward):
    source = SnapshotSource(steward.places.snapshots, steward.places.announce, "test")
    yield source
    source.close()


def test_first_run_code_is_secret_and_used_once(desk, steward):
    path = steward.places.first_run_code
    assert path.stat().st_mode & 0o077 == 0
    set_up(desk, steward)
    assert not path.exists()
    assert desk.is_set_up()
    assert desk.account(username="ANN").full_name == "Ann Example"
    assert desk.status().school in ("", "St Example")
    _, message = refusal(
        desk.set_up, code="x", school="s", username="u", full_name="f", password_hash=HASH
    )
    assert "sign in instead" in message


def test_set_up_with_a_wrong_code_changes_nothing(desk):
    field, _ = refusal(
        desk.set_up, code="AAAA", school="s", username="u", full_name="f", password_hash=HASH
    )
    assert field == "code"
    assert not desk.is_set_up()


def test_set_cell_is_published_with_reason_and_actor(desk, source):
    before = source.current().version
    desk.set_cell(group="ks2", row="video", cell="unacceptable", reason="a lesson", actor="ann")
    assert select.select([source], [], [], 0)[0]
    assert source.refresh()
    assert source.current().version == before + 1
    assert source.current().groups["ks2"].cells["video"].value == "unacceptable"
    entry = desk.audit()[0]
    assert (entry.actor, entry.before, entry.after, entry.reason) == (
        "ann",
        "times",
        "unacceptable",
        "a lesson",
    )


@pytest.mark.parametrize(
    ("arguments", "field", "part"),
    [
        ({"group": "ks9"}, "group", "there are ks1, ks2"),
        ({"row": "nonsense"}, "row", "no row of the table"),
        ({"cell": "maybe"}, "cell", "is none of acceptable, times, nominated, unacceptable"),
        ({"cell": "illegal"}, "cell", "is none of"),
        ({"reason": "  "}, "reason", "write 1 to 500 characters"),
        ({"row": "child-abuse", "cell": "acceptable"}, "cell", "nobody can change it"),
    ],
)
def test_set_cell_refuses_with_the_field_and_what_is_allowed(desk, source, arguments, field, part):
    good = {"group": "ks2", "row": "video", "cell": "acceptable", "reason": "r", "actor": "ann"}
    its_field, message = refusal(desk.set_cell, **good | arguments)
    assert its_field == field
    assert part in message
    assert not source.refresh()


def test_illegal_cell_lowered_in_the_database_is_refused_at_the_next_change(desk, steward, source):
    with steward.store._transaction() as db:  # as somebody with the file would
        db.execute("update cell set cell = 'acceptable' where row_id = 'child-abuse'")
    _, message = refusal(
        desk.set_cell, group="ks2", row="video", cell="acceptable", reason="r", actor="ann"
    )
    assert "illegal content" in message
    assert not source.refresh()


def test_change_that_the_disk_refuses_is_refused_and_leaves_the_old_policy(desk, steward, source):
    with steward.store._transaction() as db:  # a full disk, for SQLite
        pages = next(iter(db.query("pragma page_count")))["page_count"]
    steward.store._connection.execute(f"pragma max_page_count = {pages}")  # as above
    last = ""
    for n in range(200):
        try:
            desk.set_device(
                mac=f"00:00:5e:00:53:{n:02x}", name=f"{n:060}", group="ks2", actor="a" * 99
            )
        except RefusedError as e:
            last = str(e)
            break
    assert "can't be stored" in last
    assert desk.status().version == steward.store.version


def test_steward_whose_store_was_lost_goes_on_above_the_published_version(config):
    first = Steward(config)
    desk = StewardDesk(first)
    for n in range(3):
        desk.set_device(mac=MAC, name=f"n{n}", group="ks2", actor="ann")
    version = first.policy.version
    first.close()
    for path in Path(config.appliance.state_directory).glob("policy.db*"):
        path.unlink()
    second = Steward(config)
    assert second.policy.version > version
    second.close()


def test_pause_reaches_the_groups_of_the_button_and_ends(desk, source):
    desk.start_pause(groups=(), minutes=10, actor="button")
    source.refresh()
    (pause,) = source.current().pauses
    assert pause.groups == {"ks1", "ks2", "guest", "quarantine"}
    assert not desk.status(since=desk.status().revision - 1).pause.on_the_wire
    desk.end_pause(actor="ann")
    source.refresh()
    assert source.current().pauses == ()


def test_pause_outlives_a_restart(config):
    first = Steward(config)
    first.start()
    StewardDesk(first).start_pause(groups=("ks2",), minutes=10, actor="button")
    first.close()
    second = Steward(config)
    assert [p.groups for p in second.policy.pauses] == [{"ks2"}]
    assert second.policy.version > 1
    second.close()


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"minutes": 0}, "minutes"), ({"minutes": 481}, "minutes"), ({"groups": ("x",)}, "groups")],
)
def test_start_pause_refuses(desk, arguments, field):
    good = {"groups": (), "minutes": 5, "actor": "ann"}
    assert refusal(desk.start_pause, **good | arguments)[0] == field


def test_set_device_moves_it_and_forget_makes_it_unknown(desk, source):
    desk.set_device(mac=MAC.upper(), name=" Year 4  laptop ", group="ks2", actor="ann")
    (view,) = desk.devices()
    assert (view.mac, view.name, view.group, view.known) == (MAC, "Year 4 laptop", "ks2", True)
    desk.forget_device(mac=MAC, actor="ann")
    source.refresh()
    assert source.current().devices == {}


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"mac": "zz"}, "mac"), ({"name": ""}, "name"), ({"group": "nobody"}, "group")],
)
def test_set_device_refuses(desk, arguments, field):
    good = {"mac": MAC, "name": "x", "group": "ks2", "actor": "ann"}
    assert refusal(desk.set_device, **good | arguments)[0] == field


def test_explain_is_the_decision_with_its_place(desk, steward):
    desk.set_device(mac=MAC, name="laptop", group="ks2", actor="ann")
    e = desk.explain(client="laptop", name="www.bet365.com")
    assert (e.action, e.rule_id) == ("block", "matrix:gambling:ks2")
    assert [s.decides for s in e.steps].index(True) == 6
    client = steward.policy.client(ip_address("192.0.2.1"), MAC)
    assert decide(steward.policy, client, "www.bet365.com", None).rule_id == e.rule_id


@pytest.mark.parametrize(
    ("arguments", "field"),
    [({"client": "nobody here"}, "client"), ({"name": "not a name"}, "name")],
)
def test_explain_refuses(desk, arguments, field):
    assert refusal(desk.explain, **{"client": "ks2", "name": "x.example"} | arguments)[0] == field


def test_add_list_is_in_force_at_once(desk, source, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("bad.example\nworse.example\n")
    desk.add_list(name="mine", category="school-blocked", path=str(path), actor="ann")
    source.refresh()
    assert source.current().index.mask("www.bad.example")
    assert desk.explain(client="ks2", name="bad.example").rule_id == "matrix:ethos:ks2"


@pytest.mark.parametrize(
    ("content", "arguments", "part"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", {}, "HTML"),
        (b"", {}, "allowed are one name a line"),
        (b"good.example\n", {"category": "gmaes"}, "is no category; allowed are"),
        (b"good.example\n", {"name": "../../etc"}, "a list is called by"),
    ],
)
def test_add_list_refuses_and_keeps_what_was(  # noqa: PLR0917  # fixtures and a table
    desk, source, tmp_path, content, arguments, part
):
    path = tmp_path / "list"
    path.write_bytes(content)
    before = desk.status().listed_names
    good = {"name": "mine", "category": "games", "path": str(path), "actor": "ann"}
    _, message = refusal(desk.add_list, **good | arguments)
    assert part in message
    assert desk.status().listed_names == before
    assert not source.refresh()


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
    assert {c.name: c.state for c in status.components}["dns"] == "down"


def test_end_sessions_raises_the_epoch(desk, steward):
    set_up(desk, steward)
    desk.end_sessions(username="ann", actor="ann")
    assert desk.account(username="ann").session_epoch == 2


def test_desk_over_its_socket_is_the_same_desk(desk, steward):
    server = ControlServer(steward.places.desk, Desk, desk)
    server.start()
    remote = control_client(Desk, steward.places.desk)
    remote.set_device(mac=MAC, name="laptop", group="ks2", actor="ann")
    assert remote.devices() == desk.devices()
    assert remote.rows() == desk.rows()
    assert remote.activity(filter=ActivityFilter(limit=3)) == ()
    assert remote.account(username="nobody") is None
    field, _ = refusal(remote.set_device, mac="zz", name="x", group="ks2", actor="ann")
    assert field == "mac"
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


def test_second_pause_leaves_the_first_one_s_other_groups_paused(desk, source):
    desk.start_pause(groups=("ks2", "guest"), minutes=10, actor="ann")
    desk.start_pause(groups=("ks1", "guest"), minutes=5, actor="jo")
    source.refresh()
    pauses = {p.by: p.groups for p in source.current().pauses}
    assert pauses == {"ann": {"ks2"}, "jo": {"ks1", "guest"}}
    desk.start_pause(groups=("ks2",), minutes=5, actor="jo")
    source.refresh()
    assert [p.groups for p in source.current().pauses] == [{"guest", "ks1"}, {"ks2"}]


def test_record_sign_in_of_nobody_writes_nothing_and_failures_are_thinned(desk, steward):
    set_up(desk, steward)
    before = len(desk.audit())
    for n in range(5):
        desk.record_sign_in(username=f"stranger {n}", address="192.0.2.9", succeeded=False)
        desk.record_sign_in(username="ann", address="192.0.2.9", succeeded=False)
    assert [e.action for e in desk.audit()][: len(desk.audit()) - before] == ["failed to sign in"]
    desk.record_sign_in(username=" Ann ", address="192.0.2.9", succeeded=True)
    assert desk.audit()[0].action == "signed in"


@pytest.mark.parametrize("spelled", [str.lower, lambda c: c.replace("-", " "), lambda c: f" {c} "])
def test_set_up_takes_the_code_however_it_is_typed(desk, steward, spelled):
    arguments = {"school": "S", "username": "ann", "full_name": "A", "password_hash": HASH}
    desk.set_up(code=spelled(code(steward)), **arguments)
    assert desk.is_set_up()


@pytest.mark.parametrize("username", ["Bad Name!", "1st", "a" * 41, "a\x00b", ""])
def test_set_up_refuses_a_user_name_that_can_t_be_typed_anywhere(desk, steward, username):
    arguments = {"school": "S", "full_name": "A", "password_hash": HASH}
    field, _ = refusal(desk.set_up, code=code(steward), username=username, **arguments)
    assert field == "username"
    assert not desk.is_set_up()


def test_set_device_refuses_control_characters_and_a_name_in_use(desk):
    desk.set_device(mac=MAC, name="tablet", group="ks2", actor="ann")
    other = "00:00:5e:00:53:11"
    assert refusal(desk.set_device, mac=other, name="Tablet", group="ks2", actor="ann")[0] == "name"
    for name in ("a\x00b", "a\x1b[31m", "a\u202eb"):
        assert refusal(desk.set_device, mac=other, name=name, group="ks2", actor="a")[0] == "name"


def test_explain_by_the_name_of_a_device_is_about_that_device(desk):
    desk.set_device(mac=MAC, name="Tablet", group="staff", actor="ann")
    assert desk.explain(client="tablet", name="x.example").group == "staff"
