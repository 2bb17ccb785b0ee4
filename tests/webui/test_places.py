import pytest

LAPTOP = "00:00:5e:00:53:10"
PLACE = {"key": "10.20.4.0/24", "group": "ks2", "room": "ict", "reason": "New trolley"}


def test_room_is_added_changed_and_removed_at_once(coordinator, full_desk):
    coordinator.post("/network-places/rooms/add", {"title": "Hall", "reason": "Assemblies"})
    assert full_desk.written().rooms["hall"].title == "Hall"
    sent = {"title": "Main hall", "reason": "Clearer"}
    coordinator.post("/network-places/rooms/hall/change", sent)
    assert "Main hall" in coordinator.get("/network-places").text
    coordinator.post("/network-places/rooms/hall/remove", {"reason": "Closed"})
    assert set(full_desk.written().rooms) == {"ict"}


def test_rooms_of_one_name_get_ids_of_their_own(coordinator, full_desk):
    for _ in range(2):
        coordinator.post("/network-places/rooms/add", {"title": "Hall 2", "reason": "Two"})
    coordinator.post("/network-places/rooms/add", {"title": "—", "reason": "No letters"})
    assert set(full_desk.written().rooms) == {"ict", "hall-2", "hall-2-2", "entry"}


def test_room_that_goes_leaves_nothing_in_it(coordinator, full_desk, settle):
    device = {
        "name": "Laptop 7",
        "group": "ks2",
        "room": "ict",
        "person": "p-17",
        "until": "",
        "reason": "Stays there",
    }
    coordinator.post(f"/devices/{LAPTOP}", device)
    settle()
    assert full_desk.written().devices[LAPTOP].room == "ict"
    coordinator.post("/network-places/rooms/ict/remove", {"reason": "Closed"})
    settle()
    assert full_desk.written().devices[LAPTOP].room == ""
    assert full_desk.written().rooms == {}


def test_network_waits_for_somebody_else(coordinator, full_desk, settle):
    answer = coordinator.post("/network-places/networks/add", {**PLACE, "key": " 10.20.4.0/24 "})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/network-places")
    assert full_desk.written().networks == {}
    settle()
    its = full_desk.written().networks["10.20.4.0/24"]
    assert (its.group, its.room) == ("ks2", "ict")
    page = coordinator.get("/network-places").text
    assert "10.20.4.0/24" in page
    assert coordinator.get("/network-places/networks/10.20.4.0/24/change").status_code == 200
    coordinator.post("/network-places/networks/10.20.4.0/24/remove", {"reason": "Gone"})
    settle()
    assert full_desk.written().networks == {}


def test_vlan_waits_for_somebody_else(coordinator, full_desk, settle):
    coordinator.post("/network-places/vlans/add", {**PLACE, "key": "40", "room": ""})
    settle()
    assert full_desk.written().vlans["40"].group == "ks2"
    assert "VLAN 40" in coordinator.get("/network-places").text


@pytest.mark.parametrize(
    ("kind", "sent", "error", "words"),
    [
        ("rooms", {"title": ""}, "title-error", "Enter a name for the room."),
        ("networks", {"key": "10.20.4.0/33"}, "key-error", "does not appear to be"),
        ("networks", {"key": "10.20.4.1/24"}, "key-error", "has host bits set"),
        ("networks", {"group": ""}, "group-error", "Choose a group."),
        ("vlans", {"key": "4095"}, "key-error", "is not a VLAN number from 1 to 4094"),
        ("vlans", {"key": "x"}, "key-error", "is not a VLAN number from 1 to 4094"),
        ("vlans", {"key": "40", "reason": ""}, "reason-error", "Write why."),
    ],
)
def test_add_says_what_is_allowed_beside_the_field(
    coordinator, full_desk, kind: str, sent, error: str, words: str
):
    page = coordinator.post(f"/network-places/{kind}/add", {**PLACE, "title": "Hall", **sent})
    assert page.status_code == 422
    assert words in page.text.split(f'id="{error}"')[1].split("</p>")[0]
    assert full_desk.written().networks == full_desk.written().vlans == {}


def test_unknown_kind_or_entry_is_no_page(coordinator, full_desk):
    for path in ("attics/add", "rooms/attic/change", "networks/192.0.2.0/24/remove"):
        assert coordinator.get(f"/network-places/{path}").status_code == 404


def test_places_are_not_changed_by_a_teacher_nor_seen_by_a_governor(teacher, governor, full_desk):
    page = teacher.get("/network-places")
    assert page.status_code == 200
    assert "Add a room" not in page.text
    assert teacher.get("/network-places/rooms/add").status_code == 403
    assert governor.get("/network-places").status_code == 403


def test_every_form_wants_a_token(coordinator, full_desk):
    for path in ("rooms/add", "rooms/ict/change", "rooms/ict/remove", "vlans/add"):
        assert coordinator.post_bare(f"/network-places/{path}", PLACE).status_code == 400
