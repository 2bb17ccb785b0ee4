import re
import time

import pytest

from gate_core.desk import RefusedError, WhatIfChange, WhatIfView
from gate_core.edits import Edit

OPENS = Edit.of(("groups", "ks2", "cells", "video"), "times", "acceptable")
OPENS_MUCH = Edit.of(("groups", "ks2", "cells", "social-media"), "unacceptable", "acceptable")


@pytest.fixture
def waiting(desk):
    return desk.propose(edits=(OPENS,), reason="Science week", actor="r.example")


def sent(edits: str = '[[["groups","ks2","cells","video"],"\\"times\\"","\\"acceptable\\""]]'):
    return {"edits": edits, "reason": "Science week", "back": "/acceptable-use/ks2"}


def test_index_lists_what_waits_and_what_is_decided(head, full_desk):
    page = head.get("/proposals").text
    before, decided = page.split("Decided</h2>")
    assert "Staff gains “Social media”" in before
    assert "Waits for one more person to approve" in before
    assert "Block TikTok for the whole school until Fri 15 Jan 2027 15:30" in decided
    assert "“A dare is going round”" in decided
    assert '<strong class="sg-badge">1<' in page


def test_index_with_nothing_says_so(head, desk):
    assert "No change waits." in head.get("/proposals").text


def test_index_leads_to_older_ones(head, desk):
    for number in range(30):
        word = ("unacceptable", "times")[number % 2]
        before = ("times", "unacceptable")[number % 2]
        edit = Edit.of(("groups", "ks2", "cells", "video"), before, word)
        made = desk.propose(edits=(edit,), reason=f"reason {number}.", actor="r.example")
        for approver in ("h.example", "s.example") if made.state == "waiting" else ():
            desk.answer(id=made.id, approve=True, actor=approver)
    first = head.get("/proposals").text
    assert "reason 29." in first
    assert "reason 2." not in first
    second = head.get(re.search(r'href="([^"]+)" rel="next"', first)[1]).text
    assert "reason 2." in second


def test_page_offers_others_an_answer(head, waiting):
    page = head.get(f"/proposals/{waiting.id}").text
    assert "Key Stage 2 gains “Video sharing, such as YouTube”" in page
    assert "Robin Example, E-safety coordinator" in page
    assert 'value="yes"' in page
    assert "It lapses by itself 26 January 2027, 10:41" in page


def test_page_of_ones_own_says_who_can_decide(coordinator, waiting):
    page = coordinator.get(f"/proposals/{waiting.id}").text
    assert "You asked for this, so somebody else has to decide." in page
    assert "Head teacher, Safeguarding lead, E-safety coordinator" in page
    assert 'value="yes"' not in page
    assert "Withdraw it" in page


def test_approval_puts_it_in_force(head, desk, waiting):
    path = f"/proposals/{waiting.id}"
    answer = head.post(f"{path}/answer", {"approve": "yes", "note": ""}, page=path)
    assert answer.headers["Location"] == path
    assert desk.cell("ks2", "video") == "acceptable"
    page = head.get(path).text
    assert "Approved, and in force now: Key Stage 2 gains" in page
    assert re.search(r"<strong>Approved</strong> by Harper Example, Head teacher", page)
    assert 'value="yes"' not in page


def test_risky_change_needs_two_and_it_may_be_the_second_only(head, technician, desk):
    made = desk.propose(edits=(OPENS_MUCH,), reason="Project", actor="r.example")
    path = f"/proposals/{made.id}"
    page = technician.get(path).text
    assert "IT is the second of two who approve, never the first." in page
    assert 'value="yes"' not in page
    head.post(f"{path}/answer", {"approve": "yes"}, page=path)
    page = head.get(path).text
    assert "Approved by you. Waits for one more person" in page
    assert "You have given your answer." in page
    assert desk.cell("ks2", "social-media") == "unacceptable"
    technician.post(f"{path}/answer", {"approve": "yes"}, page=path)
    assert desk.cell("ks2", "social-media") == "acceptable"


def test_refusal_wants_a_reason_and_changes_nothing(head, desk, waiting):
    path = f"/proposals/{waiting.id}"
    page = head.post(f"{path}/answer", {"approve": "no", "note": " "}, page=path)
    assert page.status_code == 422
    assert 'id="note-error"' in page.text
    assert "Write why you refuse." in page.text
    head.post(f"{path}/answer", {"approve": "no", "note": "Not this week"}, page=path)
    page = head.get(path).text
    assert "is refused. Nothing has changed." in page
    assert "“Not this week”" in page
    assert desk.cell("ks2", "video") == "times"


@pytest.mark.parametrize("who", ["coordinator", "governor", "teacher", "auditor", "technician"])
def test_approval_of_whom_it_is_not_for_is_refused(
    request: pytest.FixtureRequest, desk, waiting, who: str
):
    browser = request.getfixturevalue(who)
    answer = browser.post(
        f"/proposals/{waiting.id}/answer", {"approve": "yes"}, page="/acceptable-use"
    )
    assert answer.status_code in {404, 422}
    assert desk.cell("ks2", "video") == "times"


def test_approval_without_a_token_is_refused(head, desk, waiting):
    answer = head.post_bare(f"/proposals/{waiting.id}/answer", {"approve": "yes"})
    assert answer.status_code == 400
    assert desk.cell("ks2", "video") == "times"


def test_withdrawn_by_whose_it_is(coordinator, head, desk, waiting):
    path = f"/proposals/{waiting.id}"
    refused = head.post(f"{path}/withdraw", page=path)
    assert refused.status_code == 422
    assert "Only who made a proposal can withdraw it" in refused.text
    assert coordinator.post(f"{path}/withdraw", page=path).status_code == 302
    assert "is withdrawn. Nothing has changed." in coordinator.get("/proposals").text
    assert not desk.proposals(actor="r.example", waiting=True)


def test_account_waits_here_too(head, governor, desk):
    desk.invite(
        username="x.example", full_name="Xen Example", role="it", reason="New", actor="r.example"
    )
    (made,) = desk.proposals(actor="r.example", waiting=True)
    page = governor.get(f"/proposals/{made.id}").text
    assert "Xen Example (x.example) gets an account as IT" in page
    assert 'value="yes"' in page
    assert "Try it on past days" not in page


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ("", "Nothing would change."),
        ("[]", "Nothing would change."),
        ("nonsense", "This change is not complete."),
        ("{}", "Nothing would change."),
        ("[1]", "This change is not complete."),
        ('[[["groups","ks2"],"x","y"]]', "is no JSON"),
        ('[[["nowhere"],"","1"]]', "nowhere"),
    ],
)
def test_propose_refuses_what_is_no_change(coordinator, desk, edits: str, words: str):
    page = coordinator.post("/proposals", sent(edits), page="/rows/new")
    assert page.status_code == 422
    assert words in page.text
    assert not desk.proposals(actor="r.example", waiting=True)


def test_propose_wants_a_reason_and_shows_the_effect_again(coordinator, desk):
    page = coordinator.post("/proposals", {**sent(), "reason": " "}, page="/rows/new")
    assert page.status_code == 422
    assert 'id="reason-error"' in page.text
    assert "Key Stage 2 gains" in page.text
    assert "groups&#34;, &#34;ks2" in page.text


@pytest.mark.parametrize("who", ["governor", "auditor"])
def test_propose_is_not_for_who_only_reads(request: pytest.FixtureRequest, desk, who: str):
    browser = request.getfixturevalue(who)
    assert browser.post("/proposals", sent(), page="/record").status_code == 403
    assert not desk.proposals(actor="r.example", waiting=True)


@pytest.mark.parametrize("back", ["//evil.example/", "https://evil.example/", "/sign-out", ""])
def test_propose_leads_nowhere_else(coordinator, back: str):
    answer = coordinator.post("/proposals", {**sent(), "back": back}, page="/rows/new")
    assert answer.headers["Location"] == "/proposals"


def test_propose_takes_a_whole_policy(coordinator, desk):
    names = [f"site-{number}.example" for number in range(2_000)]
    edit = Edit.of(("names", "protected"), [], names)
    edits = f'[[["names","protected"],"{edit.before}",{_as_text(edit.after)}]]'
    assert len(edits) > 40_000
    answer = coordinator.post("/proposals", sent(edits), page="/rows/new")
    assert answer.status_code == 302
    assert len(desk.proposals(actor="r.example", waiting=True)) == 1


def _as_text(text: str) -> str:
    escaped = text.replace('"', '\\"')
    return f'"{escaped}"'


def test_what_if_shows_what_would_have_changed(coordinator, full_desk):
    edits = '[[["groups","ks1","cells","video"],"\\"unacceptable\\"","\\"acceptable\\""]]'
    answer = coordinator.post("/proposals/what-if", {"edits": edits, "days": "7"}, page="/rows/new")
    assert answer.status_code == 302
    path = answer.headers["Location"]
    for _ in range(1000):
        page = coordinator.get(path).text
        if 'http-equiv="refresh"' not in page:
            break
        time.sleep(0.01)
    caption = re.search(r"<caption>([^<]+)</caption>.*?</table>", page, re.DOTALL)
    assert caption[1] == "EYFS and Key Stage 1"
    assert "films.example" in caption[0]
    assert full_desk.cell("ks1", "video") == "unacceptable"


@pytest.mark.parametrize("who", ["teacher", "governor", "auditor"])
def test_what_if_is_for_who_may_search_the_log(
    request: pytest.FixtureRequest, desk, waiting, who: str
):
    browser = request.getfixturevalue(who)
    answer = browser.post("/proposals/what-if", {**sent(), "days": "7"}, page="/record")
    assert answer.status_code == 403
    assert browser.get("/proposals/what-if/1").status_code == 403


RUNNING = WhatIfView("running", 300, 1200, (), 0, 1.0, "")


def test_what_if_on_its_way_shows_how_far_and_asks_again(coordinator, desk, monkeypatch):
    monkeypatch.setattr(desk, "what_if", lambda **_: RUNNING, raising=False)
    page = coordinator.get("/proposals/what-if/1").text
    assert "300 of 1,200 recorded decisions looked at." in page
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in page
    assert 'hx-get="/proposals/what-if/1/live"' in page
    assert "300 of 1,200" in coordinator.get("/proposals/what-if/1/live").text


def test_what_if_that_is_done_is_grouped_and_ends_the_asking(coordinator, desk, monkeypatch):
    changes = (
        WhatIfChange("ks2", "Key Stage 2", "a.example", "allow", "block", 1300, 2, "Because."),
        WhatIfChange("ks1", "Key Stage 1", "a.example", "block", "allow", 5, 1, "Because."),
        WhatIfChange("ks2", "Key Stage 2", "b.example", "allow", "block", 1, 1, "Because."),
    )
    done = WhatIfView("done", 5000, 5000, changes, 1306, 2.0, "")
    monkeypatch.setattr(desk, "what_if", lambda **_: done, raising=False)
    page = coordinator.get("/proposals/what-if/1").text
    assert "Of 5,000 recorded decisions 1,306 would have come out otherwise." in page
    assert page.count("<caption>Key Stage 2</caption>") == 1
    assert "1,300, by 2 devices" in page
    assert coordinator.get("/proposals/what-if/1/live").headers["HX-Refresh"] == "true"


def test_what_if_that_failed_says_why(coordinator, desk, monkeypatch):
    failed = WhatIfView("failed", 0, 0, (), 0, 0.0, "the log is damaged")
    monkeypatch.setattr(desk, "what_if", lambda **_: failed, raising=False)
    page = coordinator.get("/proposals/what-if/1").text
    assert "This did not work: the log is damaged." in page


def test_what_if_that_is_forgotten_says_so(coordinator, desk, monkeypatch):
    def gone(**_: str) -> None:
        raise RefusedError("this replay is over and forgotten; start it again", "id")

    monkeypatch.setattr(desk, "what_if", gone, raising=False)
    page = coordinator.get("/proposals/what-if/1")
    assert page.status_code == 422
    assert "This replay is over and forgotten" in page.text


@pytest.mark.parametrize("days", ["", "0", "32", "-1", "many", "1e1", "٣"])
def test_what_if_says_which_days_are_allowed(coordinator, desk, days: str):
    page = coordinator.post("/proposals/what-if", {**sent(), "days": days}, page="/rows/new")
    assert page.status_code == 422
    assert 'id="days-error"' in page.text
    assert "Enter a whole number of days from 1 to 31." in page.text
