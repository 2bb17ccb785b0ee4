import re

import pytest

from gate_core.acceptable_use import ROWS
from gate_core.desk import RefusedError


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


def test_table_has_a_tab_for_each_group(coordinator, desk):
    page = coordinator.get("/acceptable-use/staff").text
    for group in desk.groups():
        assert f'href="/acceptable-use/{group.id}"' in page
    assert re.search(r'href="/acceptable-use/staff" aria-current="page"', page)


def test_cell_changes_with_a_reason(coordinator, desk):
    path = "/acceptable-use/ks2/video"
    answer = coordinator.post(path, {"cell": "acceptable", "reason": "Science week"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/acceptable-use/ks2#video")
    assert desk.cells["ks2"]["video"] == "acceptable"
    assert (desk.entries[0].actor, desk.entries[0].reason) == ("r.example", "Science week")
    assert "for Key Stage 2: acceptable." in coordinator.get("/acceptable-use/ks2").text


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"cell": "acceptable", "reason": ""}, "reason-error"),
        ({"cell": "acceptable", "reason": " \n "}, "reason-error"),
        ({"cell": "acceptable", "reason": "x" * 501}, "reason-error"),
        ({"cell": "maybe", "reason": "Science week"}, "cell-error"),
        ({"cell": "illegal", "reason": "Science week"}, "cell-error"),
    ],
)
def test_cell_says_what_is_allowed_and_keeps_what_was_typed(coordinator, desk, sent, error: str):
    page = coordinator.post("/acceptable-use/ks2/video", sent)
    assert page.status_code == 422
    assert f'id="{error}"' in page.text
    assert desk.cells["ks2"]["video"] == "times"
    if sent["reason"].strip():
        assert sent["reason"] in page.text
    if sent["cell"] == "acceptable":
        assert re.search(r'value="acceptable"\s+checked', page.text)


def test_cell_shows_what_the_desk_refuses(coordinator, desk, monkeypatch: pytest.MonkeyPatch):
    def refuse(**_: object) -> None:
        raise RefusedError("two people must approve this", "cell")

    monkeypatch.setattr(desk, "set_cell", refuse)
    page = coordinator.post(
        "/acceptable-use/ks2/video", {"cell": "acceptable", "reason": "Science week"}
    )
    assert page.status_code == 422
    assert "Two people must approve this" in page.text
    assert "Science week" in page.text


def test_cell_of_a_locked_row_says_why_and_has_no_form(coordinator):
    page = coordinator.get("/acceptable-use/ks2/grooming").text
    assert "nobody can open it" in page
    assert 'name="reason"' not in page


def test_cell_of_a_locked_row_cannot_be_changed(coordinator, desk):
    answer = coordinator.post(
        "/acceptable-use/ks2/grooming",
        {"cell": "acceptable", "reason": "x"},
        page="/acceptable-use/ks2/video",
    )
    assert answer.status_code == 422
    assert desk.cells["ks2"]["grooming"] == "illegal"


def test_cell_lost_when_the_steward_goes_is_a_plain_page(coordinator, desk):
    token = coordinator.token("/acceptable-use/ks2/video")
    desk.away = True
    answer = coordinator.post_bare(
        "/acceptable-use/ks2/video", {"cell": "acceptable", "reason": "x", "csrf_token": token}
    )
    assert answer.status_code == 503
    desk.away = False
    assert desk.cells["ks2"]["video"] == "times"


def test_cell_carries_what_it_was_shown_with(coordinator):
    page = coordinator.get("/acceptable-use/ks2/video").text
    assert re.search(r'name="was" type="hidden" value="times"', page)


def test_cell_changed_meanwhile_is_refused_once_with_what_it_says_now(coordinator, desk):
    desk.set_cell(group="ks2", row="video", cell="unacceptable", reason="x", actor="r.example")
    before = len(desk.entries)
    sent = {"cell": "acceptable", "reason": "Science week", "was": "times"}
    page = coordinator.post("/acceptable-use/ks2/video", sent)
    assert page.status_code == 422
    assert "it now says “Unacceptable”" in page.text
    assert "Science week" in page.text
    assert desk.cells["ks2"]["video"] == "unacceptable"
    assert len(desk.entries) == before
    assert re.search(r'name="was" type="hidden" value="unacceptable"', page.text)
    sent["was"] = "unacceptable"
    assert coordinator.post("/acceptable-use/ks2/video", sent).status_code == 302


def test_cell_saved_as_it_is_says_so_and_records_nothing(coordinator, desk):
    before = len(desk.entries)
    sent = {"cell": "times", "reason": "Science week", "was": "times"}
    assert coordinator.post("/acceptable-use/ks2/video", sent).status_code == 302
    page = coordinator.get("/acceptable-use/ks2").text
    assert "for Key Stage 2 was already acceptable at certain times." in page
    assert len(desk.entries) == before
