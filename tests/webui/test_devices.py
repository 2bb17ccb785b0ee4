import re

import pytest

from gate_core.edits import Edit

NEW = "/devices/3e:1f:a0:00:53:41"
LAPTOP = "/devices/00:00:5e:00:53:10"
LAPTOP_MAC = "00:00:5e:00:53:10"
NEW_MAC = "3e:1f:a0:00:53:41"
SENT = {"name": "Tablet 3", "group": "ks2", "room": "", "person": "", "until": "", "reason": "New"}


def test_index_shows_unknown_devices_first(coordinator, full_desk):
    page = coordinator.get("/devices").text
    assert page.index("Not in a group yet (2)") < page.index("In a group (4)")
    assert page.index(NEW_MAC) < page.index("Laptop 7")


def test_index_says_randomised_addresses_in_words(coordinator, full_desk):
    page = coordinator.get("/devices").text
    assert page.count("This device hides its hardware address.") == 1


def test_device_says_what_a_randomised_address_means(coordinator, full_desk):
    assert "is then a new device with the strictest rules" in coordinator.get(NEW).text
    assert "is then a new device" not in coordinator.get(LAPTOP).text


def test_device_of_pupils_is_in_its_group_at_once(coordinator, full_desk):
    answer = coordinator.post(NEW, SENT)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/devices")
    device = full_desk.written().devices[NEW_MAC]
    assert (device.name, device.group) == ("Tablet 3", "ks2")
    assert (full_desk.entry().actor, full_desk.entry().reason) == ("r.example", "New")
    page = coordinator.get("/devices").text
    assert "In force now" in page
    assert "is in Key Stage 2" in page


def test_device_that_goes_to_staff_waits_for_somebody_else(coordinator, full_desk, settle):
    coordinator.post(NEW, {**SENT, "group": "staff"})
    assert NEW_MAC not in full_desk.written().devices
    page = coordinator.get("/devices").text
    assert "Nothing has changed yet" in page
    settle()
    assert full_desk.written().devices[NEW_MAC].group == "staff"


def test_device_keeps_room_person_and_last_day(coordinator, full_desk, settle):
    coordinator.post(
        NEW, {**SENT, "group": "guest", "room": "ict", "person": "p-17", "until": "2027-01-15"}
    )
    settle()
    device = full_desk.written().devices[NEW_MAC]
    assert (device.room, device.person, device.until) == ("ict", "p-17", "2027-01-16T00:00:00")
    assert "until the end of 15 January 2027" in coordinator.get("/devices").text
    assert 'value="2027-01-15"' in coordinator.get(NEW).text


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"name": ""}, "name-error"),
        ({"name": "x" * 61}, "name-error"),
        ({"name": "Laptop 7"}, "name-error"),
        ({"group": ""}, "group-error"),
        ({"group": "ks9"}, "group-error"),
        ({"room": "attic"}, "room-error"),
        ({"person": "nobody"}, "person-error"),
        ({"until": "2027-02-30"}, "until-error"),
        ({"reason": ""}, "reason-error"),
    ],
)
def test_device_says_what_is_allowed_and_keeps_what_was_typed(
    coordinator, full_desk, sent, error: str
):
    sent = {**SENT, **sent}
    page = coordinator.post(NEW, sent)
    assert page.status_code == 422
    assert f'id="{error}"' in page.text
    assert f'value="{sent["name"]}"' in page.text or not sent["name"]
    if sent["group"] == "ks2":
        assert re.search(r'value="ks2"\s+selected', page.text)
    assert NEW_MAC not in full_desk.written().devices


def test_device_changed_by_somebody_else_meanwhile_is_shown_again(coordinator, full_desk):
    was = re.search(r'name="was" type="hidden" value="([^"]+)"', coordinator.get(LAPTOP).text)[1]
    was = was.replace("&#34;", '"').replace("&quot;", '"')
    edit = Edit.of(("devices", LAPTOP_MAC, "name"), "Laptop 7", "Laptop seven")
    full_desk.propose(edits=(edit,), reason="Relabelled", actor="h.example")
    page = coordinator.post(LAPTOP, {**SENT, "was": was})
    assert page.status_code == 422
    assert "Somebody has changed this since you opened the page." in page.text
    assert full_desk.written().devices[LAPTOP_MAC].name == "Laptop seven"


def test_device_sent_without_a_change_changes_nothing(coordinator, full_desk):
    version = full_desk.status().version
    coordinator.post(LAPTOP, {**SENT, "name": "Laptop 7", "person": "p-17"})
    assert full_desk.status().version == version
    assert "Nothing was different" in coordinator.get("/devices").text


def test_forget_makes_it_unknown_again_and_no_nominee(coordinator, full_desk, settle):
    edit = Edit.of(("nominees", "games"), None, [f"device:{LAPTOP_MAC}"])
    full_desk.propose(edits=(edit,), reason="Chess club", actor="r.example")
    settle()
    assert coordinator.post(f"{LAPTOP}/forget", {"reason": "Sold"}).status_code == 302
    settle()
    assert LAPTOP_MAC not in full_desk.written().devices
    assert full_desk.written().nominees["games"] == ()


def test_forget_an_unknown_device_is_not_offered(coordinator, full_desk):
    assert "Remove it from the register" not in coordinator.get(NEW).text
    assert "Remove it from the register" in coordinator.get(LAPTOP).text
    assert coordinator.get(f"{NEW}/forget").status_code == 404


def test_isolate_wants_a_reason(coordinator, full_desk):
    page = coordinator.post(f"{LAPTOP}/isolate", {"why": " "})
    assert page.status_code == 422
    assert 'id="why-error"' in page.text
    assert full_desk.acts().isolations == ()


def test_isolate_cuts_off_at_once_and_let_back_ends_it(technician, full_desk):
    assert technician.post(f"{LAPTOP}/isolate", {"why": "Strange traffic"}).status_code == 302
    assert [i.mac for i in full_desk.acts().isolations] == [LAPTOP_MAC]
    page = technician.get(LAPTOP).text
    assert "Isolated since today, 10:41 by Indra Example: Strange traffic" in page
    assert "Isolated</strong>" in technician.get("/devices").text
    assert technician.post(f"{LAPTOP}/let-back", {"why": "Looked at it"}).status_code == 302
    assert full_desk.acts().isolations == ()


def test_what_isolation_cannot_cut_is_said_before_and_after(technician, full_desk):
    beside = "talk to each other without passing the box"
    assert beside not in technician.get(LAPTOP).text
    assert beside in technician.get(f"{LAPTOP}/isolate").text
    technician.post(f"{LAPTOP}/isolate", {"why": "Strange traffic"})
    assert beside in technician.get(LAPTOP).text


def test_isolate_twice_says_so(coordinator, full_desk):
    coordinator.post(f"{LAPTOP}/isolate", {"why": "First"})
    page = coordinator.post(f"{LAPTOP}/isolate", {"why": "Second"})
    assert page.status_code == 422
    assert "is isolated already" in page.text


def test_let_back_of_a_device_that_is_not_isolated_is_no_page(coordinator, full_desk):
    assert coordinator.get(f"{LAPTOP}/let-back").status_code == 404


@pytest.mark.parametrize("who", ["governor", "auditor"])
def test_index_is_not_for_those_who_only_read(request, full_desk, who: str):
    browser = request.getfixturevalue(who)
    assert browser.get("/devices").status_code == 403
    assert browser.get(LAPTOP).status_code == 403


def test_index_shows_a_teacher_their_own_and_nothing_to_change(teacher, full_desk):
    page = teacher.get("/devices").text
    assert "Laptop 7" in page
    assert "Office PC" not in page
    assert NEW_MAC not in page
    device = teacher.get(LAPTOP).text
    assert "Lend it to somebody" in device
    assert "Isolate it" not in device
    assert 'name="group"' not in device
    assert teacher.get("/devices/00:00:5e:00:53:20").status_code == 404


def test_device_is_not_changed_by_a_teacher(teacher, full_desk):
    assert teacher.post(LAPTOP, {**SENT, "name": "Mine"}, page="/my-class").status_code == 403
    assert teacher.get(f"{LAPTOP}/isolate").status_code == 403
    assert teacher.get(f"{LAPTOP}/forget").status_code == 403
    assert full_desk.written().devices[LAPTOP_MAC].name == "Laptop 7"


def test_every_form_wants_a_token(coordinator, full_desk):
    for path in (LAPTOP, f"{LAPTOP}/isolate", f"{LAPTOP}/forget"):
        assert coordinator.post_bare(path, {**SENT, "why": "x"}).status_code == 400
    assert full_desk.acts().isolations == ()
