import pytest

from gate_core.edits import Edit

LAPTOP = "00:00:5e:00:53:10"
PERSON = {"key": "5-AB", "name": "A. B.", "kind": "pupil", "reason": "New pupil"}
LOAN = {"mac": LAPTOP, "person": "p-17", "lesson": "Year 5 maths", "minutes": "60"}


def test_index_shows_who_has_what(coordinator, full_desk):
    page = coordinator.get("/people").text
    assert "Pupil 17" in page
    assert "Laptop 7" in page
    assert "School office" in page


def test_add_registers_somebody_at_once(coordinator, full_desk):
    answer = coordinator.post("/people/add", PERSON)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/people")
    assert full_desk.written().people["5-ab"].name == "A. B."
    assert full_desk.entry().reason == "New pupil"


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"key": ""}, "key-error"),
        ({"key": "a b"}, "key-error"),
        ({"key": "p-17"}, "key-error"),
        ({"name": ""}, "name-error"),
        ({"name": "x" * 81}, "name-error"),
        ({"kind": "ghost"}, "kind-error"),
        ({"reason": ""}, "reason-error"),
    ],
)
def test_add_says_what_is_allowed_beside_the_field(coordinator, full_desk, sent, error: str):
    page = coordinator.post("/people/add", {**PERSON, **sent})
    assert page.status_code == 422
    assert f'id="{error}"' in page.text
    assert set(full_desk.written().people) == {"p-17", "office"}


def test_change_keeps_the_code(coordinator, full_desk):
    assert 'name="key"' not in coordinator.get("/people/p-17/change").text
    sent = {"name": "Pupil Seventeen", "kind": "pupil", "reason": "Clearer"}
    assert coordinator.post("/people/p-17/change", sent).status_code == 302
    assert full_desk.written().people["p-17"].name == "Pupil Seventeen"


def test_remove_takes_devices_and_nominations_with_it(coordinator, full_desk, settle):
    edit = Edit.of(("nominees", "games"), None, ["person:p-17", "person:office"])
    full_desk.propose(edits=(edit,), reason="Chess club", actor="r.example")
    settle()
    assert coordinator.post("/people/p-17/remove", {"reason": "Left"}).status_code == 302
    settle()
    written = full_desk.written()
    assert "p-17" not in written.people
    assert written.devices[LAPTOP].person == ""
    assert written.nominees["games"] == ("person:office",)


def test_remove_of_nobody_is_no_page(coordinator, full_desk):
    assert coordinator.get("/people/p-99/remove").status_code == 404
    assert coordinator.get("/people/p-99/change").status_code == 404


def test_nominate_waits_for_somebody_else_and_taking_away_does_not(coordinator, full_desk, settle):
    path = "/people/nominees/games"
    sent = {"person": "person:p-17", "device": f"device:{LAPTOP}", "reason": "Chess club"}
    assert coordinator.post(path, sent).status_code == 302
    assert "games" not in full_desk.written().nominees
    settle()
    assert full_desk.written().nominees["games"] == ("person:p-17", f"device:{LAPTOP}")
    assert "Pupil 17 (p-17), Laptop 7" in coordinator.get("/people/nominees").text
    sent = {"keep": [f"device:{LAPTOP}"], "person": "", "device": "", "reason": "Left the club"}
    coordinator.post(path, sent)
    assert full_desk.written().nominees["games"] == (f"device:{LAPTOP}",)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"person": "person:nobody"}, "person-error"),
        ({"device": "device:x"}, "device-error"),
        ({"reason": ""}, "reason-error"),
    ],
)
def test_nominate_says_what_is_allowed_beside_the_field(coordinator, full_desk, sent, error: str):
    sent = {"person": "person:p-17", "device": "", "reason": "Club", **sent}
    page = coordinator.post("/people/nominees/games", sent)
    assert page.status_code == 422
    assert f'id="{error}"' in page.text


def test_nominees_leave_out_the_rows_of_illegal_content(coordinator, full_desk):
    page = coordinator.get("/people/nominees").text
    assert "nominees/video" in page
    for row in full_desk.rows():
        assert (f'nominees/{row.id}"' in page) is not row.locked


def test_lend_and_take_back_are_in_the_history(coordinator, full_desk):
    assert coordinator.post("/people/loans/lend", LOAN).status_code == 302
    loan = full_desk.acts().loans[0]
    assert (loan.person, loan.lesson) == ("p-17", "Year 5 maths")
    assert loan.until == "2027-01-12T11:41:07+00:00"
    page = coordinator.get("/people/loans").text
    assert "Lent at present (1)" in page
    assert "Lent before" not in page
    coordinator.post(f"/people/loans/{loan.id}/back", page="/people/loans")
    page = coordinator.get("/people/loans").text
    assert "The device is back." in page
    assert "Nothing is lent at present." in page
    assert "Lent before" in page


def test_lend_until_the_end_of_the_lesson(coordinator, full_desk, lesson_on):
    page = coordinator.get("/people/loans/lend").text
    assert "Until Period 2 ends, at 11:00" in page
    coordinator.post("/people/loans/lend", {**LOAN, "minutes": "lesson"})
    assert full_desk.acts().loans[0].until == "2027-01-12T11:00:07+00:00"


def test_lend_until_the_end_of_a_lesson_that_is_over_says_so(coordinator, full_desk):
    page = coordinator.post("/people/loans/lend", {**LOAN, "minutes": "lesson"})
    assert page.status_code == 422
    assert 'id="minutes-error"' in page.text
    assert full_desk.acts().loans == ()


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"mac": ""}, "mac-error"),
        ({"mac": "3e:1f:a0:00:53:41"}, "mac-error"),
        ({"person": ""}, "person-error"),
        ({"lesson": "x" * 61}, "lesson-error"),
        ({"minutes": "9999"}, "minutes-error"),
    ],
)
def test_lend_says_what_is_allowed_beside_the_field(coordinator, full_desk, sent, error: str):
    page = coordinator.post("/people/loans/lend", {**LOAN, **sent})
    assert page.status_code == 422
    assert f'id="{error}"' in page.text
    assert full_desk.acts().loans == ()


def test_lend_offers_a_teacher_the_devices_of_their_classes(teacher, full_desk):
    page = teacher.get("/people/loans/lend").text
    assert "Laptop 7" in page
    assert "Office PC" not in page
    teacher.post("/people/loans/lend", LOAN)
    assert full_desk.acts().loans[0].by == "t.example"


def test_people_lead_a_teacher_to_the_loans(teacher, full_desk):
    assert teacher.get("/people").headers["Location"] == "/people/loans"
    for path in ("/people/add", "/people/p-17/change", "/people/p-17/remove", "/people/nominees"):
        assert teacher.get(path).status_code == 403


@pytest.mark.parametrize("who", ["governor", "auditor"])
def test_people_are_not_for_those_who_only_read(request, full_desk, who: str):
    browser = request.getfixturevalue(who)
    for path in ("/people", "/people/loans", "/people/loans/lend"):
        assert browser.get(path).status_code == 403


def test_every_form_wants_a_token(coordinator, full_desk):
    for path in (
        "/people/add",
        "/people/p-17/remove",
        "/people/loans/lend",
        "/people/loans/1/back",
    ):
        assert coordinator.post_bare(path, {**PERSON, **LOAN}).status_code == 400
