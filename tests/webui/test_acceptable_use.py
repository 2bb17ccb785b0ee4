import re

import pytest

from gate_core.acceptable_use import ROWS
from gate_core.edits import Edit
from gate_core.written import shipped


def send_on(browser, page, **fields: str):
    """Send the form of a page that shows what a change means."""
    sent = {
        name: re.search(rf'name="{name}"[^>]*value="([^"]*)"', page.text)[1]
        .replace("&#34;", '"')
        .replace("&quot;", '"')
        for name in ("csrf_token", "edits", "back")
    }
    return browser.post_bare("/proposals", sent | fields)


def test_table_has_22_rows_and_five_columns_as_printed(coordinator):
    page = coordinator.get("/acceptable-use/ks2").text
    assert re.findall(r'<tr role="row" id="([\w-]+)">', page) == [row.id for row in ROWS]
    assert re.findall(r'<th scope="col" class="sg-matrix__column">([^<]+)', page) == [
        "Acceptable",
        "Acceptable at certain times",
        "Acceptable for nominated users",
        "Unacceptable",
        "Unacceptable and illegal",
    ]
    assert page.count("sg-matrix__cell--on") == 22
    assert page.count("Locked<span") == 4


def test_table_says_what_a_row_covers_or_that_people_have_to(coordinator, desk):
    page = coordinator.get("/acceptable-use/ks2").text
    bypass = re.search(r'id="bypass".*?</tr>', page, re.DOTALL)[0]
    assert "VPN services" in bypass
    assert "WireGuard" in bypass
    edit = Edit.of(("rows", "video", "categories"), ["video"], [])
    made = desk.propose(edits=(edit,), reason="x", actor="r.example")
    for approver in ("h.example", "s.example"):
        desk.answer(id=made.id, approve=True, actor=approver)
    page = coordinator.get("/acceptable-use/ks2").text
    assert "By supervision" in re.search(r'id="video".*?</tr>', page, re.DOTALL)[0]


def test_overview_has_every_row_and_group(coordinator, desk):
    page = coordinator.get("/acceptable-use").text
    assert re.findall(r'<tr role="row" id="([\w-]+)">', page) == [row.id for row in ROWS]
    assert page.count('class="sg-overview__cell"') == 22 * len(desk.groups())
    assert (
        'title="Video sharing, such as YouTube, Key Stage 2: acceptable at certain times"' in page
    )


def test_table_has_a_tab_for_each_group(coordinator, desk):
    page = coordinator.get("/acceptable-use/staff").text
    for group in desk.groups():
        assert f'href="/acceptable-use/{group.id}"' in page
    assert re.search(r'href="/acceptable-use/staff" aria-current="page"', page)


def test_cell_shows_its_effect_before_anything_changes(coordinator, desk):
    page = coordinator.post("/acceptable-use/ks2/video", {"cell": "acceptable"})
    assert page.status_code == 200
    assert "Key Stage 2 gains “Video sharing, such as YouTube”: now acceptable" in page.text
    assert "One other person has to approve this first" in page.text
    assert desk.cell("ks2", "video") == "times"
    assert not desk.proposals(actor="r.example", waiting=True)


def test_cell_that_opens_waits_for_somebody_else(coordinator, desk):
    page = coordinator.post("/acceptable-use/ks2/video", {"cell": "acceptable"})
    answer = send_on(coordinator, page, reason="Science week")
    # With a fragment the browser would scroll past the banner.
    assert answer.headers["Location"] == "/acceptable-use/ks2"
    after = coordinator.get("/acceptable-use/ks2").text
    assert desk.cell("ks2", "video") == "times"
    (made,) = desk.proposals(actor="r.example", waiting=True)
    assert f'href="/proposals/{made.id}">Change {made.id}</a> waits: Key Stage 2 gains' in after
    assert "Nothing has changed yet. Waits for one more person to approve" in after
    assert (made.username, made.reason) == ("r.example", "Science week")


def test_cell_that_closes_is_in_force_at_once(coordinator, desk):
    page = coordinator.post("/acceptable-use/ks2/video", {"cell": "unacceptable"})
    assert "Nobody else has to approve this" in page.text
    send_on(coordinator, page, reason="Science week is over")
    assert desk.cell("ks2", "video") == "unacceptable"
    after = coordinator.get("/acceptable-use/ks2").text
    assert "In force now: Key Stage 2 loses “Video sharing, such as YouTube”" in after


@pytest.mark.parametrize("cell", ["maybe", "illegal", "", "times"])
def test_cell_says_what_is_allowed_beside_its_field(coordinator, cell: str):
    page = coordinator.post("/acceptable-use/ks2/video", {"cell": cell})
    assert page.status_code == 422
    assert 'id="cell-error"' in page.text
    assert 'href="#cell"' in page.text


def test_cell_of_a_locked_row_says_why_and_has_no_form(coordinator):
    page = coordinator.get("/acceptable-use/ks2/grooming").text
    assert "nobody can open it" in page
    assert 'name="cell"' not in page


def test_cell_of_a_locked_row_cannot_be_changed(coordinator, desk):
    page = coordinator.post(
        "/acceptable-use/ks2/grooming", {"cell": "acceptable"}, page="/acceptable-use/ks2/video"
    )
    assert page.status_code == 422
    assert "this row is illegal content" in page.text
    assert 'name="reason"' not in page.text
    edit = Edit.of(("groups", "ks2", "cells", "grooming"), "illegal", "acceptable")
    token = coordinator.token("/acceptable-use/ks2/video")
    edits = f'[[["{edit.path[0]}","ks2","cells","grooming"],"\\"illegal\\"","\\"acceptable\\""]]'
    page = coordinator.post_bare(
        "/proposals", {"csrf_token": token, "edits": edits, "reason": "x", "back": ""}
    )
    assert page.status_code == 422
    assert desk.cell("ks2", "grooming") == "illegal"


def test_cell_is_shown_without_a_form_to_who_may_not_propose(governor):
    page = governor.get("/acceptable-use/ks2/video").text
    assert "Acceptable at certain times: Open only at the times" in page
    assert 'name="cell"' not in page
    answer = governor.post(
        "/acceptable-use/ks2/video", {"cell": "acceptable"}, page="/acceptable-use"
    )
    assert answer.status_code == 403


def test_cell_changed_meanwhile_is_refused(coordinator, desk):
    page = coordinator.post("/acceptable-use/ks2/video", {"cell": "acceptable"})
    edit = Edit.of(("groups", "ks2", "cells", "video"), "times", "unacceptable")
    desk.propose(edits=(edit,), reason="x", actor="h.example")
    again = send_on(coordinator, page, reason="Science week")
    assert again.status_code == 422
    assert "omebody has changed this since" in again.text
    assert desk.cell("ks2", "video") == "unacceptable"


def test_cell_tells_what_changed_here(governor, full_desk):
    page = governor.get("/acceptable-use/ks2/games").text
    assert (
        "acceptable at certain times → unacceptable, because “Too many asked for games in lessons.”"
        in page
    )
    assert "What changed here" not in governor.get("/acceptable-use/ks2/video").text


def test_new_row_is_shown_and_comes_into_force(coordinator, head, desk):
    page = coordinator.post(
        "/rows/new", {"title": "Smart watches", "note": "They film.", "services": "spotify"}
    )
    assert page.status_code == 200
    assert "Row “Smart watches” added" in page.text
    send_on(coordinator, page, reason="Parents asked")
    (made,) = desk.proposals(actor="r.example", waiting=True)
    desk.answer(id=made.id, approve=True, actor="h.example")
    row = desk.written().rows["smart-watches"]
    assert (row.number, row.services, row.note) == (23, ("spotify",), "They film.")
    assert "Smart watches" in coordinator.get("/acceptable-use/ks2").text


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"title": ""}, "title-error"),
        ({"title": "x" * 301}, "title-error"),
        ({"title": "x", "note": "x" * 501}, "note-error"),
        ({"title": "x", "categories": "child-abuse"}, "categories-error"),
        ({"title": "x", "services": "no-such"}, "services-error"),
    ],
)
def test_new_row_says_what_is_allowed(coordinator, sent: dict[str, str], error: str):
    page = coordinator.post("/rows/new", sent)
    assert page.status_code == 422
    assert f'id="{error}"' in page.text


def test_row_is_worded_anew(coordinator, desk):
    page = coordinator.post("/rows/video", {"title": "Watching films", "categories": "video"})
    assert "A row is worded “Watching films”, before “Video sharing, such as YouTube”" in page.text
    send_on(coordinator, page, reason="As printed")
    (made,) = desk.proposals(actor="r.example", waiting=True)
    assert [edit.path for edit in made.edits] == [("rows", "video", "title")]


def test_row_as_it_is_says_so(coordinator):
    row = shipped().rows["video"]
    page = coordinator.post("/rows/video", {"title": row.title, "categories": row.categories[0]})
    assert page.status_code == 422
    assert "Nothing is different" in page.text


def test_row_of_illegal_content_cannot_be_worded(coordinator):
    page = coordinator.get("/rows/grooming").text
    assert "Nobody can change it" in page
    assert 'name="title"' not in page
    answer = coordinator.post("/rows/grooming", {"title": "Fine"}, page="/rows/video")
    assert answer.status_code == 403


def group(desk, id_="ks2"):
    return desk.written().groups[id_]


def test_table_says_how_a_group_searches(coordinator):
    page = coordinator.get("/acceptable-use/ks2").text
    said = re.sub(r"<[^>]+>", "", page.split('id="searching"')[1].split("</p>")[0])
    assert "Search engines: safe results only." in said
    assert "YouTube, where the table opens it: Restricted mode, strict." in said
    assert 'href="/searching/ks2"' in page


def test_searching_begins_with_what_holds(coordinator):
    page = coordinator.get("/searching/staff").text
    chosen = re.findall(r'name="(\w+)" type="radio" value="(\w+)" checked', page)
    assert chosen == [("safe_search", "safe"), ("youtube", "moderate")]


def test_searching_shows_what_a_change_means_before_anything_changes(coordinator, desk):
    page = coordinator.post("/searching/ks2", {"safe_search": "all", "youtube": "moderate"})
    assert page.status_code == 200
    assert "Key Stage 2: search engines give all results" in page.text
    assert "Key Stage 2: YouTube in restricted mode, moderate, before" in page.text
    assert "Two other people have to approve this first" in page.text
    assert (group(desk).safe_search, group(desk).youtube) == (True, "strict")


def test_searching_that_closes_is_in_force_at_once(coordinator, desk):
    page = coordinator.post("/searching/staff", {"safe_search": "safe", "youtube": "strict"})
    answer = send_on(coordinator, page, reason="Assembly")
    assert answer.headers["Location"] == "/acceptable-use/staff"
    assert group(desk, "staff").youtube == "strict"


def test_searching_that_opens_waits_for_somebody_else(coordinator, desk):
    page = coordinator.post("/searching/ks2", {"safe_search": "safe", "youtube": "moderate"})
    send_on(coordinator, page, reason="Films for science")
    assert group(desk).youtube == "strict"
    (made,) = desk.proposals(actor="r.example", waiting=True)
    assert made.edits == (Edit.of(("groups", "ks2", "youtube"), "strict", "moderate"),)


@pytest.mark.parametrize(
    "fields",
    [
        {"safe_search": "safe", "youtube": "strict"},
        {"safe_search": "some", "youtube": "strict"},
        {},
    ],
    ids=["nothing different", "no such choice", "nothing chosen"],
)
def test_searching_refuses(coordinator, fields):
    page = coordinator.post("/searching/ks2", fields)
    assert page.status_code == 422
    assert "There is a problem" in page.text


@pytest.mark.parametrize("id_", ["quarantine", "nobody"])
def test_searching_is_there_for_no_other_group(coordinator, id_):
    assert coordinator.get(f"/searching/{id_}").status_code == 404
    assert f'href="/searching/{id_}"' not in coordinator.get("/acceptable-use/quarantine").text


def test_searching_is_not_for_who_only_reads(governor):
    assert governor.get("/searching/ks2").status_code == 403
    page = governor.get("/acceptable-use/ks2").text
    assert "safe results only" in page
    assert 'href="/searching/ks2"' not in page


def test_table_says_which_connections_a_group_has(coordinator):
    said = {
        id_: re.sub(r"<[^>]+>", "", page.split('id="connecting"')[1].split("</p>")[0])
        for id_ in ("ks2", "staff", "quarantine")
        for page in [coordinator.get(f"/acceptable-use/{id_}").text]
    }
    assert (
        "Devices reach: only addresses that our own name service gave, and only by a name."
        in said["ks2"]
    )
    assert "QUIC (HTTP/3): closed." in said["ks2"]
    assert "Devices reach: any address. QUIC (HTTP/3): open." in said["staff"]
    assert "For new and unknown devices this always stays so." in said["quarantine"]


def test_connecting_begins_with_what_holds(coordinator):
    page = coordinator.get("/connecting/staff").text
    chosen = re.findall(r'name="(\w+)" type="radio" value="(\w+)" checked', page)
    assert chosen == [("named_only", "any"), ("quic", "open")]


def test_connecting_that_opens_waits_for_two(coordinator, desk):
    page = coordinator.post("/connecting/ks2", {"named_only": "any", "quic": "open"})
    assert "Key Stage 2: devices reach any address" in page.text
    assert "Key Stage 2: QUIC (HTTP/3) is open" in page.text
    assert "Two other people have to approve this first" in page.text
    send_on(coordinator, page, reason="Video lessons")
    assert (group(desk).named_only, group(desk).quic) == (True, False)
    (made,) = desk.proposals(actor="r.example", waiting=True)
    assert set(made.edits) == {
        Edit.of(("groups", "ks2", "named_only"), True, False),
        Edit.of(("groups", "ks2", "quic"), False, True),
    }


def test_connecting_that_closes_is_in_force_at_once(coordinator, desk):
    page = coordinator.post("/connecting/staff", {"named_only": "named", "quic": "closed"})
    answer = send_on(coordinator, page, reason="No VPNs")
    assert answer.headers["Location"] == "/acceptable-use/staff"
    assert (group(desk, "staff").named_only, group(desk, "staff").quic) == (True, False)


@pytest.mark.parametrize(
    "fields",
    [{"named_only": "named", "quic": "closed"}, {"named_only": "some", "quic": "open"}, {}],
    ids=["nothing different", "no such choice", "nothing chosen"],
)
def test_connecting_refuses(coordinator, fields):
    page = coordinator.post("/connecting/ks2", fields)
    assert page.status_code == 422
    assert "There is a problem" in page.text


@pytest.mark.parametrize("id_", ["quarantine", "nobody"])
def test_connecting_is_there_for_no_other_group(coordinator, id_):
    assert coordinator.get(f"/connecting/{id_}").status_code == 404
    assert f'href="/connecting/{id_}"' not in coordinator.get("/acceptable-use/quarantine").text


def test_connecting_is_not_for_who_only_reads(governor):
    assert governor.get("/connecting/ks2").status_code == 403
    assert 'href="/connecting/ks2"' not in governor.get("/acceptable-use/ks2").text
