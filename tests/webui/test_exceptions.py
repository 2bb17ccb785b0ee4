import re

import pytest

from gate_core.edits import Edit

GOOD = {
    "action": "block",
    "services": "snapchat",
    "names": "",
    "whom": "group:ks2",
    "until": "2027-01-12T15:30",
    "until_time": "",
    "since": "",
    "reason": "A dare is going round",
}


def sent(**fields: str) -> dict[str, str]:
    """Return the form as a browser sends it: boxes that are not ticked are left out."""
    return {
        name: value for name, value in {**GOOD, **fields}.items() if value or name != "services"
    }


def only(desk):
    """The one exception of the policy in force."""
    (its,) = desk.written().exceptions.values()
    return its


def newest(desk):
    return desk.proposals(actor="r.example", limit=1)[0]


def test_index_shows_what_is_active_coming_and_ended(head, full_desk):
    page = head.get("/exceptions").text
    active, coming, ended = re.search(
        r"Active</h2>(.*)Coming</h2>(.*)Ended, to be looked at</h2>(.*)id=\"services\"",
        page,
        re.DOTALL,
    ).groups()
    assert "Block: TikTok" in active
    assert "The whole school" in active
    assert "until 15 January 2027, 15:30" in active
    assert "Topic work on volcanoes" in coming
    assert "Film club" in ended
    assert "Asked for by Robin Example, approved by Harper Example" in ended


def test_index_lists_every_service_with_a_way_to_block_it(coordinator):
    page = coordinator.get("/exceptions").text
    assert len(re.findall(r'action=block&amp;service=[\w-]+"', page)) >= 40
    assert 'href="/exceptions/new?action=allow&amp;service=tiktok"' in page


@pytest.mark.parametrize("text", ["tik", "TIKTOK", "musical.ly"])
def test_index_finds_a_service_by_name_or_site(coordinator, text: str):
    page = coordinator.get(f"/exceptions?text={text}").text
    assert re.findall(r"action=block&amp;service=([\w-]+)", page) == ["tiktok"]


def test_index_that_finds_nothing_offers_the_site(coordinator):
    page = coordinator.get("/exceptions?text=nothing.example").text
    assert 'href="/exceptions/new?name=nothing.example"' in page


def test_index_has_no_buttons_for_who_only_reads(governor):
    page = governor.get("/exceptions").text
    assert "action=block" not in page
    assert governor.get("/exceptions/new").status_code == 403


def test_new_begins_with_the_service_that_was_pressed(coordinator):
    page = coordinator.get("/exceptions/new?action=block&service=snapchat").text
    assert re.search(r'value="block"\s+checked', page)
    assert re.search(r'value="snapchat"\s+checked', page)
    assert "Services: Snapchat" in page
    assert "Today, until 15:30" in page
    assert "This week, until Friday, 15:30" in page


def test_new_block_is_in_force_at_once(coordinator, desk):
    assert coordinator.post("/exceptions/new", GOOD).headers["Location"] == "/exceptions"
    made = newest(desk)
    assert (made.state, made.reason) == ("in force", "A dare is going round")
    its = only(desk)
    assert (its.action, its.scope, its.subject) == ("block", "group", "ks2")
    assert (its.since, its.until) == ("2027-01-12T10:41", "2027-01-12T15:30")
    page = coordinator.get("/exceptions").text
    assert "In force now: Block Snapchat" in page
    assert desk.explain(client="ks2", name="snapchat.com").action == "block"


def test_new_allowance_waits_for_somebody_else(coordinator, head, desk):
    names = "https://www.Films.example/a\n=b.example"
    coordinator.post("/exceptions/new", sent(action="allow", services="", names=names))
    made = newest(desk)
    assert made.state == "waiting"
    page = head.get("/exceptions").text
    assert f'href="/proposals/{made.id}"' in page
    assert "asked for by Robin Example" in page
    desk.answer(id=made.id, approve=True, actor="h.example")
    assert only(desk).names == ("www.films.example", "=b.example")


def test_new_until_the_end_of_term(coordinator, desk):
    term = {"first": "2027-01-04", "last": "2027-02-12", "title": "Spring"}
    edit = Edit.of(("timetable", "terms", "spring"), None, term)
    made = desk.propose(edits=(edit,), reason="x", actor="r.example")
    desk.answer(id=made.id, approve=True, actor="h.example")
    assert "This term, until 12 February" in coordinator.get("/exceptions/new").text
    coordinator.post("/exceptions/new", sent(until="2027-02-12T23:59"))
    assert only(desk).until == "2027-02-12T23:59"


def test_new_of_a_time_to_come(coordinator, desk):
    times = {"until": "time", "since": "2027-02-01T09:00", "until_time": "2027-02-05T15:30"}
    coordinator.post("/exceptions/new", sent(**times))
    page = coordinator.get("/exceptions").text
    assert "Coming</h2>" in page
    assert "1 February 2027, 09:00" in page


def test_new_by_a_teacher_is_a_request(teacher, desk):
    teacher.post("/exceptions/new", GOOD)
    made = newest(desk)
    assert (made.state, made.username) == ("waiting", "t.example")


def test_new_requests_that_wait_do_not_get_in_each_others_way(teacher, coordinator, desk):
    for browser in (teacher, coordinator):
        browser.post("/exceptions/new", sent(action="allow"))
    waiting = desk.proposals(actor="h.example", waiting=True)
    assert len(waiting) == 2
    for proposal in waiting:
        for approver in ("h.example", "s.example")[: proposal.approvals]:
            desk.answer(id=proposal.id, approve=True, actor=approver)
    assert len(desk.written().exceptions) == 2


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("action", "", "action"),
        ("action", "maybe", "action"),
        ("services", "", "names"),
        ("services", "no-such", "services"),
        ("names", "not a site", "names"),
        ("names", "www.*.example", "names"),
        ("names", "192.0.2.1", "names"),
        ("whom", "", "whom"),
        ("whom", "group:ks9", "whom"),
        ("until", "", "until"),
        ("until", "2030-01-01T00:00", "until"),
        ("until", "time", "until_time"),
        ("since", "soon", "since"),
        ("since", "2027-01-13T09:00", "until"),
        ("reason", " ", "reason"),
        ("reason", "x" * 501, "reason"),
    ],
)
def test_new_says_what_is_allowed_beside_the_field(
    coordinator, desk, field: str, value: str, error: str
):
    page = coordinator.post("/exceptions/new", sent(**{field: value}))
    assert page.status_code == 422
    assert f'id="{error}-error"' in page.text
    assert not desk.written().exceptions


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("bbc .co.uk", "“bbc .co.uk” has a space in it. Write one site without spaces"),
        ("a..b", "“a..b” is not the name of a site. Write it like www.bbc.co.uk"),
        (
            "co.uk",
            "anybody may have a name below co.uk, and it would cover all of them; names below",
        ),
        ("https://sch.uk/", "anybody may have a name below sch.uk"),
        ("bbc.co.uk\ncom", "a single label would cover a whole top-level domain; two or more are"),
    ],
)
@pytest.mark.parametrize("action", ["allow", "block"])
def test_new_says_plainly_what_is_wrong_with_a_site(
    coordinator, desk, action: str, names: str, words: str
):
    page = coordinator.post("/exceptions/new", sent(action=action, services="", names=names))
    assert page.status_code == 422
    fault = re.search(r'<p id="names-error".*?</p>', page.text, re.DOTALL)[0]
    assert words in fault
    assert newest(desk).reason != GOOD["reason"]


def test_new_says_how_much_it_takes(coordinator, desk):
    sites = "\n".join(f"site{number}.example" for number in range(3000))
    page = coordinator.post("/exceptions/new", sent(services="", names=sites))
    assert page.status_code == 413
    assert "at most 16,384 characters in all" in page.text


def test_new_never_allows_illegal_content(coordinator, full_desk):
    page = coordinator.post(
        "/exceptions/new", sent(action="allow", services="", names="bad.example")
    )
    assert page.status_code == 422
    assert "nobody can allow it" in page.text
    assert 'id="names-error"' in page.text


def test_new_without_a_token_changes_nothing(coordinator, desk):
    assert coordinator.post_bare("/exceptions/new", GOOD).status_code == 400
    assert not desk.written().exceptions


def test_page_tells_all_of_one(governor, full_desk):
    page = governor.get("/exceptions/exception-2").text
    assert "Allow: films.example" in page
    assert "Robin Example, E-safety coordinator" in page
    assert "Harper Example (Head teacher)" in page
    assert "I have looked at it" not in page


def test_end_of_an_active_one_shows_what_it_means(coordinator, full_desk):
    page = coordinator.post("/exceptions/exception-1/end", page="/exceptions/exception-1")
    assert page.status_code == 200
    assert "One other person has to approve this first" in page.text
    assert "Ends the block of TikTok for the whole school on Tue 12 Jan 2027 10:41" in page.text
    assert "Block TikTok" not in page.text
    assert "2027-01-12T10:41" in page.text


def test_end_of_one_to_come_takes_it_out(coordinator, full_desk):
    page = coordinator.post("/exceptions/exception-3/end", page="/exceptions/exception-3")
    assert "Ends the permission of films.example" in page.text
    assert "Nobody else has to approve this" in page.text


def test_audit_ticks_one_that_has_ended(technician, full_desk):
    path = "/exceptions/exception-2"
    page = technician.post(f"{path}/audit", {"note": ""}, page=path)
    assert page.status_code == 422
    assert 'id="note-error"' in page.text
    assert technician.post(f"{path}/audit", {"note": "As meant"}, page=path).status_code == 302
    assert "exception-2" not in full_desk.written().exceptions
    assert full_desk.entry().action == "audited an exception"


def test_audit_of_an_active_one_is_refused(technician, full_desk):
    answer = technician.post(
        "/exceptions/exception-1/audit", {"note": "x"}, page="/exceptions/exception-1"
    )
    assert answer.status_code == 422
    assert "exception-1" in full_desk.written().exceptions


def test_audit_is_not_for_who_only_reads(governor, full_desk):
    answer = governor.post("/exceptions/exception-2/audit", {"note": "x"}, page="/record")
    assert answer.status_code == 403
    assert "exception-2" in full_desk.written().exceptions
