import pytest

from gate_core.edits import Edit

LESSON = {"names": "www.bbc.co.uk", "minutes": "30"}
ASK = {
    "names": "https://films.example/volcanoes",
    "subject": "ks2",
    "until": "2027-01-15",
    "reason": "Topic work",
}


def test_index_of_a_teacher_is_their_class(teacher, full_desk):
    page = teacher.get("/my-class").text
    assert "Key Stage 2" in page
    assert "EYFS" not in page
    assert "You may open more sites for up to 60 minutes at a time." in page
    assert "Nobody can open illegal content." in page


def test_index_of_the_coordinator_has_every_class_and_room(coordinator, full_desk):
    page = coordinator.get("/my-class?of=room:ict").text
    assert 'href="/my-class?of=room:ict" aria-current="page"' in page
    assert 'href="/my-class?of=group:ks1"' in page


def test_pause_is_one_press_until_the_end_of_the_lesson(teacher, full_desk, lesson_on):
    page = teacher.get("/my-class").text
    assert "Until Period 2 ends, at 11:00" in page
    answer = teacher.post("/my-class?of=group:ks2", {"minutes": "lesson"}, page="/my-class")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/my-class?of=group:ks2")
    pause = full_desk.acts().pauses[0]
    assert (pause.groups, pause.by) == (("ks2",), "t.example")
    assert pause.until == "2027-01-12T11:00:07+00:00"
    page = teacher.get("/my-class").text
    assert "Internet pause until 11:00" in page
    teacher.post(f"/holds/pauses/{pause.id}/end", {"back": "/my-class"}, page="/my-class")
    assert full_desk.acts().pauses == ()


def test_pause_says_which_lengths_there_are(teacher, full_desk):
    page = teacher.post("/my-class", {"minutes": "7"}, page="/my-class")
    assert page.status_code == 422
    assert 'id="minutes-error"' in page.text
    assert full_desk.acts().pauses == ()


@pytest.mark.parametrize("mode", ["only", "also"])
def test_lesson_begins_and_is_ended_by_a_button(teacher, full_desk, mode: str):
    names = "https://www.bbc.co.uk/bitesize\n\n=maps.example\nwww.bbc.co.uk"
    sent = {"names": names, "services": ["youtube"], "minutes": "30"}
    assert teacher.post(f"/my-class/lesson/{mode}", sent).status_code == 302
    lesson = full_desk.acts().lessons[0]
    assert (lesson.group, lesson.mode) == ("ks2", mode)
    assert lesson.names == ("=maps.example", "www.bbc.co.uk")
    assert lesson.services == ("youtube",)
    assert lesson.until == "2027-01-12T11:11:07+00:00"
    page = teacher.get("/my-class").text
    assert "these sites until 11:11" in page
    assert "YouTube, =maps.example, www.bbc.co.uk" in page
    teacher.post(f"/my-class/lesson/{lesson.id}/end", {"back": "/my-class"}, page="/my-class")
    assert full_desk.acts().lessons == ()
    assert "The lesson has ended." in teacher.get("/my-class").text


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"names": ""}, "Write at least one site, or choose a service."),
        ({"names": "\n \n"}, "Write at least one site, or choose a service."),
        ({"names": "www.bbc.co.uk\nwww.*.example"}, "Line 2: "),
        ({"names": "two words"}, "Line 1: "),
    ],
)
def test_lesson_says_beside_the_field_what_is_wrong(teacher, full_desk, sent, words: str):
    page = teacher.post("/my-class/lesson/only", {**LESSON, **sent})
    assert page.status_code == 422
    assert words in page.text.split('id="names-error"')[1].split("</p>")[0]
    assert full_desk.acts().lessons == ()


def test_lesson_keeps_what_was_chosen_when_something_else_is_wrong(teacher, full_desk):
    sent = {**LESSON, "services": ["youtube"], "minutes": "7"}
    page = teacher.post("/my-class/lesson/only", sent).text
    assert "1 chosen" in page
    assert "www.bbc.co.uk" in page


def test_lesson_that_opens_for_longer_than_allowed_is_refused_beside_the_field(teacher, full_desk):
    page = teacher.post("/my-class/lesson/also", {**LESSON, "minutes": "90"})
    assert page.status_code == 422
    told = page.text.split('id="minutes-error"')[1].split("</p>")[0]
    assert "A teacher may set a lesson for at most 60 minutes; start it again then" in told


def test_lesson_is_not_offered_where_the_policy_leaves_it_to_others(teacher, full_desk):
    edit = Edit.of(("groups", "ks2", "teacher_minutes"), 60, 0)
    full_desk.propose(edits=(edit,), reason="Not this term", actor="r.example")
    page = teacher.get("/my-class").text
    assert "only others may change what is open" in page
    assert "/my-class/lesson/" not in page
    assert "Ask for a site" in page


def test_lesson_of_another_mode_is_no_page(teacher, full_desk):
    assert teacher.get("/my-class/lesson/party").status_code == 404


def test_ask_waits_and_shows_among_what_one_asked_for(teacher, full_desk):
    answer = teacher.post("/my-class/ask", ASK)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/my-class?of=group:ks2")
    made = full_desk.proposals(actor="h.example", waiting=True)[0]
    assert (made.username, made.state, made.reason) == ("t.example", "waiting", "Topic work")
    after = made.edits[0].values()[1]
    assert (after["action"], after["scope"], after["subject"]) == ("allow", "group", "ks2")
    assert after["names"] == ["films.example"]
    assert after["until"] == "2027-01-16T00:00:00"
    page = teacher.get("/my-class").text
    assert "Topic work" in page
    assert "Waiting</strong>" in page
    full_desk.answer(id=made.id, approve=False, note="Show it to the class", actor="h.example")
    page = teacher.get("/my-class").text
    assert "Refused</strong>" in page
    assert "Show it to the class" in page


def test_ask_twice_and_both_can_be_approved(teacher, full_desk):
    for names in ("films.example", "maps.example"):
        teacher.post("/my-class/ask", {**ASK, "names": names})
    asked = full_desk.proposals(actor="t.example")
    assert len(asked) == 2
    for proposal in asked:
        for approver in ("h.example", "s.example")[: proposal.approvals]:
            made = full_desk.answer(id=proposal.id, approve=True, actor=approver)
        assert made.state == "in force"


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"names": ""}, "names-error"),
        ({"subject": ""}, "subject-error"),
        ({"subject": "staff"}, "subject-error"),
        ({"until": ""}, "until-error"),
        ({"until": "2027-01-10"}, "until-error"),
        ({"until": "2029-01-10"}, "until-error"),
        ({"reason": ""}, "reason-error"),
    ],
)
def test_ask_says_what_is_allowed_beside_the_field(teacher, full_desk, sent, error: str):
    page = teacher.post("/my-class/ask", {**ASK, **sent})
    assert page.status_code == 422
    assert f'id="{error}"' in page.text
    assert full_desk.proposals(actor="t.example") == ()


def test_ask_for_illegal_content_is_refused(teacher, full_desk):
    page = teacher.post("/my-class/ask", {**ASK, "names": "bad.example"})
    assert page.status_code == 422
    assert "nobody can allow it" in page.text


def test_index_of_a_teacher_without_a_class_says_whom_to_ask(browse, full_desk, known):
    invitation = full_desk.invite(
        username="n.example",
        full_name="Nic Example",
        role="teacher",
        reason="New",
        actor=known.username,
    )
    hashed = full_desk.account(username=known.username).password_hash
    full_desk.accept_invitation(username="n.example", code=invitation.code, password_hash=hashed)
    browser = browse()
    browser.enter("n.example")
    assert "You have no class or room yet." in browser.get("/my-class").text
    assert browser.get("/my-class/lesson/only").headers["Location"] == "/my-class"


@pytest.mark.parametrize("who", ["governor", "auditor", "technician"])
def test_my_class_is_not_for_those_who_hold_no_lessons(request, full_desk, who: str):
    browser = request.getfixturevalue(who)
    for path in ("/my-class", "/my-class/lesson/only", "/my-class/ask"):
        assert browser.get(path).status_code == 403


def test_every_form_wants_a_token(teacher, full_desk):
    for path in ("/my-class", "/my-class/lesson/only", "/my-class/ask", "/my-class/lesson/1/end"):
        assert teacher.post_bare(path, {**LESSON, **ASK}).status_code == 400
