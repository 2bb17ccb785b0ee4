"""The written policy is what the wire does: exceptions, lessons, rooms, isolation, and a store that somebody has bent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from appliance import STATE, USERNAME, Appliance
from clients import curl, dig
from plan import BOX, LAPTOP, ROUTER, STAFF, TABLET
from sites import ALLOWED, BLOCKED, SHOP

from gate_core.desk import RefusedError
from gate_core.edits import Edit
from gate_core.written import plain

ILLEGAL = "illegal.example"
LOWER = """
import json, sqlite3, sys, zlib
from gate_core.edits import digest
store = sqlite3.connect(sys.argv[1])
version, octets = store.execute("select version, document from edition order by version desc").fetchone()
document = json.loads(zlib.decompress(octets))
for group in document["groups"].values():
    group["cells"]["child-abuse"] = "acceptable"
document["rows"]["child-abuse"]["categories"] = []
changed = zlib.compress(json.dumps(document).encode()), digest(document), version
store.execute("update edition set document = ?, digest = ? where version = ?", changed)
store.commit()
"""
"""What somebody with the card in their hands would do to the store."""


def opens(school: Appliance, client: str, name: str) -> bool:
    return curl(school.lab, client, f"https://{name}/").status == 200


@pytest.fixture(autouse=True)
def nothing_behind(school: Appliance) -> Iterator[None]:
    yield
    desk = school.desk
    acts = desk.acts()
    desk.end_pause(actor="button")
    for lesson in acts.lessons:
        desk.end_lesson(id=lesson.id, actor=USERNAME)
    for isolation in acts.isolations:
        desk.end_isolation(mac=isolation.mac, why="a test", actor=USERNAME)
    school.wait_until_filtering()


def ended(school: Appliance) -> list[str]:
    entries = school.desk.record(actor="head")
    return [
        e.subject.partition(",")[0] for e in entries if e.action == "ended by itself: exception"
    ]


def exception(
    action: str, names: tuple[str, ...], seconds: int, **more: object
) -> dict[str, object]:
    now = datetime.now(UTC)  # noqa: TID251  # the time of the laboratory is the machine's
    return {
        "action": action,
        "scope": "group",
        "subject": "ks2",
        "names": list(names),
        "since": (now - timedelta(minutes=1)).isoformat(),
        "until": (now + timedelta(seconds=seconds)).isoformat(),
        "why": "a test",
        **more,
    }


def test_exception_waits_for_two_then_opens_and_ends_by_itself(school: Appliance) -> None:
    desk = school.desk
    edit = Edit.of(("exceptions", "shop"), None, exception("allow", (SHOP,), 12))
    assert not opens(school, "laptop", SHOP)
    proposal = desk.propose(edits=(edit,), reason="a test", actor=USERNAME)
    assert (proposal.state, proposal.approvals) == ("waiting", 2)
    with pytest.raises(RefusedError, match="nobody approves"):
        desk.answer(id=proposal.id, approve=True, actor=USERNAME)
    assert desk.answer(id=proposal.id, approve=True, actor="head").state == "waiting"
    assert not opens(school, "laptop", SHOP)
    assert desk.answer(id=proposal.id, approve=True, actor="lead").state == "in force"
    school.wait_until_filtering()
    assert opens(school, "laptop", SHOP)
    school.lab.wait_for(lambda: not opens(school, "laptop", SHOP), "the exception to end", 30)
    school.lab.wait_for(lambda: ended(school) == ["shop"], "its entry in the record", 10)
    desk.audit_exception(id="shop", note="seen", actor=USERNAME)
    assert "shop" not in desk.written().exceptions


def test_service_is_closed_with_one_press(school: Appliance) -> None:
    edit = Edit.of(
        ("exceptions", "chat"),
        None,
        exception("block", (), 600, services=["whatsapp"], scope="school", subject=""),
    )
    assert school.desk.propose(edits=(edit,), reason="a test", actor=USERNAME).state == "in force"
    school.wait_until_filtering()
    try:
        for client in ("laptop", "staff"):
            assert dig(school.lab, client, "web.whatsapp.com").data == (BOX.v4,)
            assert not opens(school, client, "web.whatsapp.com")
    finally:
        before = plain(school.desk.written())["exceptions"]["chat"]
        school.adopt(Edit.of(("exceptions", "chat"), before, None))
        school.wait_until_filtering()


def test_pause_of_a_room_reaches_that_room_alone(school: Appliance) -> None:
    school.adopt(
        Edit.of(("rooms", "oak"), None, {"title": "Oak room"}),
        Edit.of(("devices", LAPTOP.mac, "room"), "", "oak"),
    )
    school.desk.start_pause(rooms=("oak",), minutes=5, why="a test", actor=USERNAME)
    school.wait_until_filtering()
    assert not opens(school, "laptop", ALLOWED)
    assert opens(school, "tablet", ALLOWED)
    school.desk.end_pause(actor=USERNAME)
    school.wait_until_filtering()
    assert opens(school, "laptop", ALLOWED)
    school.adopt(
        Edit.of(("devices", LAPTOP.mac, "room"), "oak", ""),
        Edit.of(("rooms", "oak"), {"title": "Oak room"}, None),
    )


def test_lesson_leaves_only_its_sites(school: Appliance) -> None:
    lesson = {"group": "ks2", "mode": "only", "minutes": 5, "actor": USERNAME}
    # What the school calls unacceptable no lesson opens.
    with pytest.raises(RefusedError, match="is unacceptable for Key Stage 2"):
        school.desk.start_lesson(names=(ALLOWED, BLOCKED), **lesson)
    school.desk.start_lesson(names=(ALLOWED,), **lesson)
    school.wait_until_filtering()
    assert opens(school, "tablet", ALLOWED)
    assert not opens(school, "tablet", "www.wikipedia.org")
    assert not opens(school, "tablet", BLOCKED)
    assert opens(school, "staff", "www.wikipedia.org")


def test_isolated_device_gets_and_sends_nothing(school: Appliance) -> None:
    lab = school.lab
    ping = ["ping", "-c", "1", "-W", "1", ROUTER.v4]
    assert lab.run("tablet", ping).returncode == 0
    school.desk.isolate(mac=TABLET.mac, why="a test", actor=USERNAME)
    school.wait_until_filtering()
    lab.run("tablet", ["ip", "neigh", "flush", "all"])
    assert lab.run("tablet", ping).returncode != 0
    # Not even ARP is answered: it is cut off below IP.
    neighbours = lab.run("tablet", ["ip", "neigh", "show", ROUTER.v4]).stdout
    assert "lladdr" not in neighbours
    assert lab.run("tablet", ["dig", "+time=1", "+tries=1", ALLOWED]).returncode != 0
    assert opens(school, "laptop", ALLOWED)
    school.desk.end_isolation(mac=TABLET.mac, why="a test", actor=USERNAME)
    school.wait_until_filtering()
    lab.wait_for(lambda: lab.run("tablet", ping).returncode == 0, "the tablet to be back", 10)


def test_what_holds_survives_a_power_cut(fresh_school: Appliance) -> None:
    school = fresh_school
    school.start()
    school.wait_until_filtering()
    school.seed()
    school.desk.start_pause(groups=("ks2",), minutes=30, actor="button")
    school.desk.isolate(mac=STAFF.mac, why="a test", actor=USERNAME)
    school.wait_until_filtering()
    school.kill_supervisor()
    school.start()
    school.wait_until_filtering()
    assert not opens(school, "laptop", ALLOWED)
    assert not opens(school, "staff", ALLOWED)
    acts = school.desk.acts()
    assert [p.groups for p in acts.pauses] == [("ks2",)]
    assert [i.mac for i in acts.isolations] == [STAFF.mac]


def test_illegal_row_lowered_in_the_store_stays_closed(fresh_school: Appliance) -> None:
    school = fresh_school
    school.start()
    school.wait_until_filtering()
    school.seed()
    imports = STATE / "lists-import"
    brought = school.lab.path(imports)
    brought.mkdir(exist_ok=True)
    (brought / "illegal.txt").write_text(f"{ILLEGAL}\n")
    source = ("police", "child-abuse", f"file:{imports / 'illegal.txt'}", "--title", "Police")
    school.gate("lists", "add-source", *source, "--licence", "ours", "--trust", "official")
    school.wait_until_filtering()
    assert not opens(school, "staff", ILLEGAL)
    school.stop()
    school.lab.run(BOX.name, [sys.executable, "-c", LOWER, str(STATE / "policy.db")], check=True)
    school.start()
    school.wait_until_filtering()
    for client in ("laptop", "staff", "guest"):
        assert not opens(school, client, ILLEGAL)
        assert opens(school, client, ALLOWED)
    policy = next(c for c in school.status()["components"] if c["name"] == "policy")
    assert policy["state"] == "degraded"
    assert "illegal" in policy["detail"]
    assert "BROKEN" in school.gate("evidence", "verify", check=False)
