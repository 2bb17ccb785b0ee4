import json
import re

import pytest

from gate_core.edits import Edit
from gate_core.record import Verdict


def test_page_tells_who_did_what_and_why(coordinator, full_desk):
    page = coordinator.get("/record").text
    assert "Changed the policy: Key Stage 2 loses “Online games (not educational)”" in page
    assert "Too many asked for games in lessons." in page
    assert 'title="r.example">Robin Example<' in page
    assert ">The button on the panel<" in page
    assert "until today, 10:51" in page
    assert "Approved by Harper Example (Head teacher)" in page
    assert "groups.ks2.cells.games: &#34;times&#34;" in page


def test_page_leads_to_older_ones(coordinator, full_desk):
    words = ("times", "unacceptable")
    for number in range(60):
        edit = Edit.of(("groups", "ks2", "title"), words[number % 2], words[1 - number % 2])
        if number == 0:
            edit = Edit.of(("groups", "ks2", "title"), "Key Stage 2", words[1])
        full_desk.propose(edits=(edit,), reason=f"reason {number}.", actor="r.example")
    first = coordinator.get("/record").text
    assert "reason 59." in first
    assert "reason 9." not in first
    second = coordinator.get(re.search(r'href="([^"]+)" rel="next"', first)[1]).text
    assert "reason 9." in second


@pytest.mark.parametrize("who", ["governor", "auditor", "head"])
def test_check_tells_that_the_record_holds(request: pytest.FixtureRequest, full_desk, who: str):
    page = request.getfixturevalue(who).get("/record/check").text
    assert "The record holds" in page
    count = full_desk.verify_record(actor="g.example").entries
    assert f"All {count} entries are as they were written." in page


def test_check_tells_where_it_is_broken(governor, full_desk, monkeypatch: pytest.MonkeyPatch):
    broken = Verdict(7, "0" * 64, 7, "entry 7 has been changed: its hash does not fit its text")
    monkeypatch.setattr(full_desk, "verify_record", lambda **_: broken, raising=False)
    page = governor.get("/record/check").text
    assert "The record does not hold" in page
    assert "Entry 7 has been changed" in page
    assert "The first entry at fault is 7." in page


def test_governor_signs_up_to_the_entry_that_was_shown(governor, full_desk):
    newest = full_desk.entry().number
    page = governor.get("/record").text
    assert f"I have read the record up to entry {newest}" in page
    answer = governor.post("/record/sign", {"number": str(newest)}, page="/record")
    assert answer.status_code == 302
    entry = full_desk.entry()
    assert (entry.actor, entry.action) == ("g.example", "has read the record")
    assert entry.subject == f"to entry {newest}"
    page = governor.get("/record").text
    assert f"you have read the record up to entry {newest}." in page
    # The seal on paper is that of the entry that was read, as gate evidence verify asks for it.
    read = full_desk.record(limit=2, actor="g.example")[1]
    assert f"entry {newest}, seal {read.hash}" in page


def test_sign_is_offered_again_only_after_something_else(governor, full_desk):
    newest = full_desk.entry().number
    governor.post("/record/sign", {"number": str(newest)}, page="/record")
    assert "I have read the record" not in governor.get("/record").text
    full_desk.start_pause(minutes=5, groups=("ks2",), actor="r.example")
    assert f"I have read the record up to entry {newest + 2}" in governor.get("/record").text


def test_sign_is_offered_for_what_came_while_one_read(governor, full_desk):
    newest = full_desk.entry().number
    full_desk.start_pause(minutes=5, groups=("ks2",), actor="r.example")
    governor.post("/record/sign", {"number": str(newest)}, page="/record")
    assert f"I have read the record up to entry {newest + 2}" in governor.get("/record").text


@pytest.mark.parametrize(("number", "status"), [("999999", 422), ("0", 422), ("x", 400), ("", 400)])
def test_sign_refuses_what_is_no_entry(governor, full_desk, number: str, status: int):
    before = full_desk.entry()
    answer = governor.post("/record/sign", {"number": number}, page="/record")
    assert answer.status_code == status
    assert full_desk.entry() == before


@pytest.mark.parametrize("who", ["coordinator", "head", "auditor", "teacher"])
def test_sign_is_for_governors(request: pytest.FixtureRequest, full_desk, who: str):
    browser = request.getfixturevalue(who)
    before = full_desk.entry()
    assert "I have read the record" not in browser.get("/record").text
    assert browser.post("/record/sign", {"number": "1"}, page="/record").status_code == 403
    assert full_desk.entry() == before


def test_teacher_reads_their_own(teacher, full_desk):
    page = teacher.get("/record").text
    assert "Taylor Example" in page
    assert "Robin Example" not in page


def test_evidence_is_a_file_of_all_entries(auditor, full_desk):
    answer = auditor.get("/record/evidence")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="evidence.jsonl"'
    lines = [json.loads(line) for line in answer.text.splitlines() if line.startswith(("[", "{"))]
    assert len(lines) >= full_desk.entry().number


def test_evidence_is_not_for_teachers(teacher, full_desk):
    answer = teacher.get("/record/evidence")
    assert answer.status_code == 422
    assert "A teacher reads their own entries" in answer.text
