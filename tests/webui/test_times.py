import re

import pytest

SPAN = {
    "title": "Club",
    "days": ["0", "2"],
    "since": "13:00",
    "until": "13:30",
    "reason": "New club",
}
TERM = {"title": "Spring", "first": "2027-01-04", "last": "2027-02-12", "reason": "Term dates"}


def add_term(coordinator, settle, **sent: str) -> None:
    coordinator.post("/times/terms/add", {**TERM, **sent})
    settle()


def test_index_draws_the_week_and_says_it_in_tables(coordinator, full_desk, lesson_on):
    page = coordinator.get("/times").text
    assert page.count("<rect") == 3 * 5 + 5
    assert 'role="img"' in page
    assert "Period 2" in page.split("</svg>")[1]


def test_index_marks_what_passes_midnight(coordinator, full_desk, settle):
    sent = {**SPAN, "days": ["4"], "since": "20:00", "until": "02:00"}
    coordinator.post("/times/times/add?group=ks2", sent)
    settle()
    page = coordinator.get("/times?group=ks2").text
    assert "02:00, the day after" in page
    assert page.count("<rect") == 2


def test_certain_time_waits_for_somebody_else(coordinator, full_desk, settle):
    before = len(full_desk.written().timetable.times)
    answer = coordinator.post("/times/times/add", SPAN)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/times")
    assert len(full_desk.written().timetable.times) == before
    settle()
    added = list(full_desk.written().timetable.times.values())[-1]
    assert (added.title, added.days, added.since, added.until) == (
        "Club",
        "Mon, Wed",
        "13:00",
        "13:30",
    )


def test_terms_that_wait_together_do_not_take_each_others_place(coordinator, full_desk):
    coordinator.post("/times/terms/add", {**TERM, "title": ""})
    later = {"title": "Summer", "first": "2027-04-12", "last": "2027-07-21"}
    coordinator.post("/times/terms/add", {**TERM, **later})
    for proposal in full_desk.proposals(actor="h.example", limit=2):
        full_desk.answer(id=proposal.id, approve=True, actor="h.example")
    assert [t.title for t in full_desk.written().timetable.terms.values()] == ["Summer", ""]


def test_lesson_period_is_in_force_at_once(coordinator, full_desk):
    coordinator.post("/times/periods/add", {**SPAN, "title": "Period 9"})
    assert [p.title for p in full_desk.written().timetable.periods.values()] == ["Period 9"]
    coordinator.post("/times/periods/period-9/change", {**SPAN, "title": "Period 8"})
    assert full_desk.written().timetable.periods["period-9"].title == "Period 8"
    coordinator.post("/times/periods/period-9/remove", {"reason": "No more"})
    assert full_desk.written().timetable.periods == {}


def test_midnight_is_the_end_of_the_day(coordinator, full_desk, settle):
    page = coordinator.get("/times/times/after-school/change").text
    assert re.search(r'id="until"[^>]*value="00:00"', page)
    coordinator.post("/times/times/after-school/change", {**SPAN, "until": "00:00"})
    settle()
    assert full_desk.written().timetable.times["after-school"].until == "24:00"


@pytest.mark.parametrize(
    ("sent", "error", "words"),
    [
        ({"title": ""}, "title-error", "Enter what it is called."),
        ({"days": []}, "days-error", "Choose at least one day."),
        ({"since": "25:00"}, "since-error", "allowed are 00:00 to 24:00, such as 08:45"),
        ({"since": "half past"}, "since-error", "allowed are 00:00 to 24:00, such as 08:45"),
        ({"until": ""}, "until-error", "Enter when it ends."),
        ({"reason": ""}, "reason-error", "Write why."),
    ],
)
def test_span_says_what_is_allowed_beside_the_field(
    coordinator, full_desk, sent, error: str, words: str
):
    page = coordinator.post("/times/times/add", {**SPAN, **sent})
    assert page.status_code == 422
    assert words in page.text.replace("&#39;", "'").split(f'id="{error}"')[1].split("</p>")[0]
    assert full_desk.proposals(actor="h.example", waiting=True)[0].reason != "New club"


def test_span_in_another_is_told_in_the_words_of_the_timetable(coordinator, full_desk):
    page = coordinator.post("/times/times/add", {**SPAN, "since": "12:10", "until": "12:20"})
    assert page.status_code == 422
    assert "has no effect; leave one of them out" in page.text
    assert 'value="12:10"' in page.text


def test_terms_that_overlap_are_told_in_the_words_of_the_timetable(coordinator, full_desk, settle):
    add_term(coordinator, settle)
    sent = {**TERM, "first": "2027-02-10", "last": "2027-03-25"}
    page = coordinator.post("/times/terms/add", sent)
    assert page.status_code == 422
    assert "Terms 1 and 2 overlap: 2027-01-04 to 2027-02-12" in page.text
    assert len(full_desk.written().timetable.terms) == 1


@pytest.mark.parametrize(
    ("sent", "error"),
    [({"first": ""}, "first-error"), ({"last": "2027-02-30"}, "last-error")],
)
def test_term_says_what_is_allowed_beside_the_field(coordinator, full_desk, sent, error: str):
    page = coordinator.post("/times/terms/add", {**TERM, **sent})
    assert page.status_code == 422
    assert f'id="{error}"' in page.text


def test_bank_holidays_of_the_terms_are_offered_and_added(coordinator, full_desk, settle):
    add_term(coordinator, settle, first="2027-04-12", last="2027-07-21")
    assert "Add the bank holidays of these terms" in coordinator.get("/times").text
    page = coordinator.get("/times/holidays/list?bank=1").text
    offered = re.search(r"<textarea[^>]*>\s*([^<]*)</textarea>", page)[1]
    assert [line[:10] for line in offered.splitlines()] == ["2027-05-03", "2027-05-31"]
    coordinator.post("/times/holidays/list", {"days": offered, "reason": "Bank holidays"})
    settle()
    assert set(full_desk.written().timetable.holidays) == {"2027-05-03", "2027-05-31"}
    assert "Monday 3 May 2027" in coordinator.get("/times").text


def test_holidays_take_dates_as_people_write_them(coordinator, full_desk, settle):
    sent = {"days": "3/5/2027 May Day\n\n2027-05-31  Spring bank holiday ", "reason": "Closed"}
    assert coordinator.post("/times/holidays/list", sent).status_code == 302
    settle()
    assert dict(full_desk.written().timetable.holidays) == {
        "2027-05-03": "May Day",
        "2027-05-31": "Spring bank holiday",
    }


@pytest.mark.parametrize(
    ("days", "words"),
    [
        ("", "Write at least one day."),
        ("3/5/2027 May Day\n31/2/2027 No day", "Line 2: “31/2/2027” is not a date"),
        ("3/5/2027", "Line 1: after the date stands what it is called"),
        ("3/5/2027 " + "x" * 61, "in at most 60 characters"),
    ],
)
def test_holidays_say_which_line_is_wrong(coordinator, full_desk, days: str, words: str):
    page = coordinator.post("/times/holidays/list", {"days": days, "reason": "Closed"})
    assert page.status_code == 422
    assert words in page.text
    assert full_desk.written().timetable.holidays == {}


def test_holiday_is_added_once(coordinator, full_desk, settle):
    sent = {"key": "2027-05-03", "title": "May Day", "reason": "Closed"}
    coordinator.post("/times/holidays/add", sent)
    settle()
    page = coordinator.post("/times/holidays/add", sent)
    assert page.status_code == 422
    assert "There is an entry 2027-05-03 already" in page.text
    coordinator.post("/times/holidays/2027-05-03/remove", {"reason": "Open after all"})
    settle()
    assert full_desk.written().timetable.holidays == {}


def test_one_off_day_has_times_of_its_own(coordinator, full_desk, settle):
    sent = {
        "key": "2027-06-26",
        "title": "Fair",
        "school": "open",
        "open": "10:00 - 12:00\n13:00-15:00",
        "reason": "Summer fair",
    }
    assert coordinator.post("/times/one_off/add", sent).status_code == 302
    settle()
    day = full_desk.written().timetable.one_off["2027-06-26"]
    assert (day.open, day.school) == (("10:00-12:00", "13:00-15:00"), True)
    assert "Saturday 26 June 2027" in coordinator.get("/times").text
    page = coordinator.get("/times/one_off/2027-06-26/change").text
    assert "10:00-12:00\n13:00-15:00" in page


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"open": "noon"}, "is not a span such as 12:00-13:00"),
        ({"school": "closed"}, "is closed but has times"),
    ],
)
def test_one_off_day_says_what_contradicts_itself(coordinator, full_desk, sent, words: str):
    good = {
        "key": "2027-06-26",
        "title": "Fair",
        "school": "open",
        "open": "10:00-12:00",
        "reason": "Fair",
    }
    page = coordinator.post("/times/one_off/add", {**good, **sent})
    assert page.status_code == 422
    assert words in page.text


def test_group_has_the_times_of_the_school_until_it_has_its_own(coordinator, full_desk, settle):
    assert (
        "Key Stage 2 has the certain times of the school"
        in coordinator.get("/times?group=ks2").text
    )
    answer = coordinator.post("/times/times/add?group=ks2", SPAN)
    assert answer.headers["Location"] == "/times?group=ks2"
    settle()
    assert [t.title for t in full_desk.written().groups["ks2"].times.values()] == ["Club"]
    assert "Certain times of Key Stage 2" in coordinator.get("/times?group=ks2").text


def test_unknown_kind_entry_or_group_is_no_page(coordinator, full_desk):
    for path in (
        "/times/tides/add",
        "/times/terms/terms-9/change",
        "/times/terms/terms-9/remove",
        "/times?group=ks9",
        "/times/times/add?group=ks9",
    ):
        assert coordinator.get(path).status_code == 404


@pytest.mark.parametrize("who", ["governor", "auditor", "teacher"])
def test_times_are_read_by_all_and_changed_by_few(request, full_desk, who: str):
    browser = request.getfixturevalue(who)
    page = browser.get("/times")
    assert page.status_code == 200
    assert "Add a term" not in page.text
    for path in ("/times/terms/add", "/times/times/before-school/remove", "/times/holidays/list"):
        assert browser.get(path).status_code == 403


def test_every_form_wants_a_token(coordinator, full_desk):
    for path in ("/times/terms/add", "/times/times/before-school/remove", "/times/holidays/list"):
        assert coordinator.post_bare(path, TERM).status_code == 400
