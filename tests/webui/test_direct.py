import pytest

ZOOM = {
    "title": "Zoom calls",
    "networks": "203.0.113.0/24, 198.51.100.7\n2001:db8::/32",
    "protocol": "udp",
    "ports": "8801 - 8810",
    "group": "ks2",
    "reason": "Lessons with our partner school",
}


def test_index_shows_what_comes_with_the_box_to_whoever_reads(governor):
    page = governor.get("/direct").text
    assert "Microsoft Teams calls" in page
    assert "UDP 3478-3481" in page
    assert "TCP 5223" in page
    assert "None yet." in page
    assert 'href="/direct/add"' not in page
    assert governor.get("/direct/add").status_code == 403


def test_index_says_whom_it_matters_to(coordinator):
    page = coordinator.get("/direct").text
    assert "Devices of EYFS and Key Stage 1, Key Stage 2, Guests" in page


@pytest.mark.parametrize("who", ["coordinator", "technician"])
def test_direct_connection_waits_for_somebody_else(request, full_desk, settle, who):
    browser = request.getfixturevalue(who)
    answer = browser.post("/direct/add", ZOOM)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/direct")
    assert full_desk.written().direct == {}
    settle()
    its = full_desk.written().direct["zoom-calls"]
    assert its.networks == ("203.0.113.0/24", "198.51.100.7/32", "2001:db8::/32")
    assert (its.protocol, its.ports, its.group) == ("udp", "8801-8810", "ks2")
    page = browser.get("/direct").text
    assert "UDP 8801-8810" in page
    assert "Lessons with our partner school" in page


def test_direct_connection_is_changed_and_removed(coordinator, full_desk, settle):
    coordinator.post("/direct/add", ZOOM)
    settle()
    form = coordinator.get("/direct/zoom-calls/change").text
    assert "198.51.100.7/32\n2001:db8::/32" in form
    assert "Lessons with our partner school" in form
    coordinator.post("/direct/zoom-calls/change", {**ZOOM, "ports": "8801"})
    assert full_desk.written().direct["zoom-calls"].ports == "8801"
    coordinator.post("/direct/zoom-calls/remove", {"reason": "Over"})
    assert full_desk.written().direct == {}
    entry = full_desk.entry()
    assert "is no longer reached without a name" in entry.subject
    assert entry.reason == "Over"


@pytest.mark.parametrize(
    ("sent", "error", "words"),
    [
        ({"networks": ""}, "networks-error", "Name at least one network."),
        ({"networks": "zoom.us"}, "networks-error", "is no network such as 203.0.113.0/24"),
        ({"networks": "203.0.113.5/24"}, "networks-error", "has host bits set"),
        ({"networks": "0.0.0.0/0"}, "networks-error", "it is wider than /8"),
        ({"ports": "99999"}, "ports-error", "neither a port from 1 to 65535 nor a range"),
        ({"protocol": "icmp"}, "protocol-error", "Not a valid choice"),
        ({"reason": ""}, "reason-error", "Write why."),
    ],
)
def test_direct_connection_refuses_beside_its_field(coordinator, desk, sent, error, words):
    page = coordinator.post("/direct/add", ZOOM | sent)
    assert page.status_code == 422
    assert f'id="{error}"' in page.text
    assert words in page.text
    assert not desk.proposals(actor="r.example", waiting=True)


@pytest.mark.parametrize("path", ["/direct/none/change", "/direct/none/remove"])
def test_direct_connection_that_is_not_there(coordinator, path):
    assert coordinator.get(path).status_code == 404


def test_direct_connection_is_not_a_teachers(teacher):
    assert teacher.get("/direct").status_code == 200
    assert teacher.get("/direct/add").status_code == 403
