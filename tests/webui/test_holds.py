import pytest

LAPTOP = "00:00:5e:00:53:10"
PAUSE = {"groups": ["ks2"], "minutes": "20", "why": "Assembly"}
SUSPEND = {
    "subject": "person:p-17",
    "until": "2027-01-15",
    "review": "2027-01-12",
    "why": "Agreed with the parents",
}


def test_pause_of_a_group_and_a_room(coordinator, full_desk):
    answer = coordinator.post("/holds/pause", {**PAUSE, "rooms": ["ict"]})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/holds")
    pause = full_desk.acts().pauses[0]
    assert (pause.groups, pause.rooms, pause.why) == (("ks2",), ("ict",), "Assembly")
    assert pause.until == "2027-01-12T11:01:07+00:00"
    page = coordinator.get("/holds").text
    assert "Key Stage 2, ICT room" in page
    assert "20 minutes left" in page
    assert "Robin Example" in page


def test_pause_of_nobody_named_is_that_of_the_button(coordinator, full_desk):
    coordinator.post("/holds/pause", {"minutes": "10", "why": "Fire drill"})
    assert full_desk.acts().pauses[0].groups == ("guest", "ks1", "ks2", "quarantine")


def test_pause_until_the_end_of_the_lesson(coordinator, full_desk, lesson_on):
    coordinator.post("/holds/pause", {**PAUSE, "minutes": "lesson"})
    assert full_desk.acts().pauses[0].until == "2027-01-12T11:00:07+00:00"


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"groups": ["staff"]}, "groups-error"),
        ({"rooms": ["attic"]}, "rooms-error"),
        ({"minutes": "481"}, "minutes-error"),
        ({"minutes": "lesson"}, "minutes-error"),
        ({"why": ""}, "why-error"),
    ],
)
def test_pause_says_what_is_allowed_beside_the_field(coordinator, full_desk, sent, error: str):
    page = coordinator.post("/holds/pause", {**PAUSE, **sent})
    assert page.status_code == 422
    assert f'id="{error}"' in page.text
    assert full_desk.acts().pauses == ()


def test_end_pause_ends_that_one_and_leads_back(coordinator, full_desk):
    full_desk.start_pause(groups=("ks1",), minutes=30, actor="r.example")
    full_desk.start_pause(rooms=("ict",), minutes=30, actor="r.example")
    first, second = full_desk.acts().pauses
    coordinator.post(f"/holds/pauses/{first.id}/end", page="/holds")
    assert full_desk.acts().pauses == (second,)
    answer = coordinator.post(
        f"/holds/pauses/{second.id}/end", {"back": "/my-class?of=room:ict"}, page="/holds"
    )
    assert answer.headers["Location"] == "/my-class?of=room:ict"
    assert full_desk.acts().pauses == ()


def test_end_pause_leads_nowhere_else(coordinator, full_desk):
    sent = {"back": "https://evil.example/"}
    answer = coordinator.post("/holds/pauses/9/end", sent, page="/holds")
    assert answer.headers["Location"] == "/holds"


def test_suspend_lasts_to_the_end_of_the_last_day_and_says_when_review_is_due(
    safeguarding, full_desk
):
    sent = {**SUSPEND, "essentials_stay": "y"}
    assert safeguarding.post("/holds/suspend", sent).status_code == 302
    its = full_desk.acts().suspensions[0]
    assert (its.kind, its.subject, its.essentials_stay) == ("person", "p-17", True)
    assert its.until == "2027-01-16T00:00:00+00:00"
    page = safeguarding.get("/holds").text
    assert "the end of 15 January 2027" in page
    assert "Tuesday 12 January 2027" in page
    assert "Due now" in page
    assert "What is essential stays open." in page


def test_suspend_of_a_device_from_its_page(coordinator, full_desk):
    page = coordinator.get(f"/devices/{LAPTOP}").text
    assert f'href="/holds/suspend?subject=device:{LAPTOP}"' in page
    sent = {**SUSPEND, "subject": f"device:{LAPTOP}", "review": ""}
    coordinator.post("/holds/suspend", sent)
    assert full_desk.acts().suspensions[0].subject == LAPTOP
    assert (
        "Suspended until the end of 15 January 2027" in coordinator.get(f"/devices/{LAPTOP}").text
    )
    assert "Due now" not in coordinator.get("/holds").text


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"subject": ""}, "subject-error"),
        ({"subject": "person:nobody"}, "subject-error"),
        ({"until": ""}, "until-error"),
        ({"until": "2027-01-10"}, "until-error"),
        ({"until": "2029-01-10"}, "until-error"),
        ({"review": "soon"}, "review-error"),
        ({"why": ""}, "why-error"),
    ],
)
def test_suspend_says_what_is_allowed_beside_the_field(coordinator, full_desk, sent, error: str):
    page = coordinator.post("/holds/suspend", {**SUSPEND, **sent})
    assert page.status_code == 422
    assert f'id="{error}"' in page.text
    assert full_desk.acts().suspensions == ()


def test_end_suspension_wants_a_reason(coordinator, full_desk):
    coordinator.post("/holds/suspend", SUSPEND)
    path = f"/holds/suspensions/{full_desk.acts().suspensions[0].id}/end"
    page = coordinator.post(path, {"why": ""})
    assert page.status_code == 422
    assert len(full_desk.acts().suspensions) == 1
    assert coordinator.post(path, {"why": "Parents agreed"}).status_code == 302
    assert full_desk.acts().suspensions == ()
    assert coordinator.get(path).status_code == 404


def test_index_lists_isolated_devices(coordinator, full_desk):
    full_desk.isolate(mac="00:00:5e:00:53:42", why="Strange", actor="i.example")
    page = coordinator.get("/holds").text
    assert page.count("00:00:5e:00:53:42</strong>") == 1
    assert "Indra Example" in page
    assert "/devices/00:00:5e:00:53:42/let-back" in page


def test_it_suspends_nobody(technician, full_desk):
    page = technician.get("/holds").text
    assert "Isolated devices" in page
    assert "Suspensions" not in page
    assert technician.get("/holds/suspend").status_code == 403


def test_a_teacher_pauses_their_own_classes_alone(teacher, full_desk):
    page = teacher.get("/holds/pause").text
    assert 'value="ks2"' in page
    assert 'value="ks1"' not in page
    assert 'name="rooms"' not in page
    for groups in (["ks1"], []):
        sent = {**PAUSE, "groups": groups}
        assert teacher.post("/holds/pause", sent).status_code == 422
    assert full_desk.acts().pauses == ()
    assert teacher.post("/holds/pause", PAUSE).status_code == 302
    assert "Isolated devices" not in teacher.get("/holds").text


def test_a_teacher_does_not_end_the_pause_of_others(teacher, full_desk):
    full_desk.start_pause(groups=("ks1",), minutes=30, actor="r.example")
    id_ = full_desk.acts().pauses[0].id
    teacher.post(f"/holds/pauses/{id_}/end", page="/holds")
    assert len(full_desk.acts().pauses) == 1
    assert "Only your own classes and rooms: ks2." in teacher.get("/holds").text


@pytest.mark.parametrize("who", ["governor", "auditor"])
def test_index_is_not_for_those_who_only_read(request, full_desk, who: str):
    browser = request.getfixturevalue(who)
    for path in ("/holds", "/holds/pause", "/holds/suspend"):
        assert browser.get(path).status_code == 403


def test_every_form_wants_a_token(coordinator, full_desk):
    for path in ("/holds/pause", "/holds/suspend", "/holds/pauses/1/end"):
        assert coordinator.post_bare(path, {**PAUSE, **SUSPEND}).status_code == 400
