import re
from dataclasses import replace

import pytest

from gate_core.desk import Component, RefusedError
from gate_core.edits import Edit
from gate_core.events import Event, Source


def poll(coordinator, page: str):
    found = re.search(r'id="live" hx-get="([^"]+)"', page)
    return coordinator.get(found[1].replace("&amp;", "&"), headers={"HX-Request": "true"})


def test_page_says_that_filtering_works(coordinator, full_desk):
    page = coordinator.get("/").text
    assert "Filtering is working" in page
    assert "sg-state--good" in page
    assert "41,208" in page


def test_page_says_what_is_not_covered(coordinator, full_desk):
    uncovered = ("A device that uses another resolver is not stopped.",)
    full_desk.shown |= {"mode": "resolver", "uncovered": uncovered}
    page = coordinator.get("/").text
    assert "Names only." in page
    assert "A device that uses another resolver is not stopped." in page


def test_page_mirrors_the_panel_with_its_rhythm(coordinator, full_desk):
    page = coordinator.get("/").text
    assert "sg-lamp--amber sg-lamp--blink" in page
    assert "Attention: amber, blinking" in page
    assert "Press the pause button" in page


def test_page_with_real_pins_has_no_button_to_press(coordinator, full_desk):
    full_desk.shown["panel"] = replace(full_desk.status().panel, virtual=False)
    assert "Press the pause button" not in coordinator.get("/").text


def test_live_says_nothing_while_nothing_changes(coordinator, full_desk):
    answer = poll(coordinator, coordinator.get("/").text)
    assert (answer.status_code, answer.data) == (204, b"")


def test_live_brings_the_part_that_changed_and_no_other(coordinator, full_desk):
    page = coordinator.get("/").text
    full_desk.shown["allowed_today"] = 41_209
    answer = poll(coordinator, page)
    assert answer.status_code == 200
    assert re.findall(r'id="part-(\w+)"', answer.text) == ["counts"]
    assert "41,209" in answer.text
    assert poll(coordinator, answer.text).status_code == 204


def test_live_tells_that_the_steward_is_away_and_when_it_is_back(coordinator, full_desk):
    page = coordinator.get("/").text
    full_desk.away = True
    away = poll(coordinator, page)
    assert "The steward does not answer" in away.text
    assert poll(coordinator, away.text).status_code == 204
    full_desk.away = False
    back = poll(coordinator, away.text)
    assert re.findall(r'id="part-(\w+)"', back.text) == ["state"]
    assert "Filtering is working" in back.text


def test_live_turns_red_when_a_part_dies(coordinator, full_desk):
    page = coordinator.get("/").text
    ill = Component("dns", "down", "Site names get no answer.")
    components = (ill, *full_desk.shown["components"][1:])
    full_desk.shown |= {"filtering": False, "components": components}
    answer = poll(coordinator, page)
    assert "Filtering is not fully working" in answer.text
    assert "Site names get no answer." in answer.text


@pytest.mark.parametrize("state", ["off", "down", "degraded"])
@pytest.mark.parametrize("part", ["illegal-content", "identity"])
def test_live_says_what_somebody_has_to_do(coordinator, full_desk, part, state):
    page = coordinator.get("/").text
    ill = Component(part, state, "Ask the internet provider for a test name (docs/watching.md).")
    full_desk.shown |= {"components": (*full_desk.shown["components"], ill)}
    told = poll(coordinator, page).text.partition('id="part-state"')[2].partition('id="part-')[0]
    assert "Ask the internet provider for a test name." in told  # Without a file name.
    full_desk.shown |= {"components": (replace(ill, state="ok"),)}
    told = poll(coordinator, page).text.partition('id="part-state"')[2].partition('id="part-')[0]
    assert "Ask the internet provider" not in told


def test_start_pause_pauses_for_the_minutes_asked(coordinator, full_desk):
    answer = coordinator.post("/pause", {"minutes": "45", "group": "ks2"}, page="/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    pause = full_desk.status().pause
    assert pause.groups == ("ks2",)
    assert pause.until == "2027-01-12T11:26:07+00:00"
    assert pause.by == "r.example"
    page = coordinator.get("/").text
    assert "Internet pause is on" in page
    assert "(45 minutes left)" in page
    assert "Started by Robin Example" in page


def test_start_pause_without_a_group_reaches_all_that_the_button_does(coordinator, full_desk):
    coordinator.post("/pause", {"minutes": "5"}, page="/")
    assert full_desk.status().pause.groups == ("guest", "ks1", "ks2", "quarantine")


def test_start_pause_says_what_is_allowed_and_keeps_what_was_typed(coordinator, full_desk):
    for typed in ("0", "481", "soon", "", "1.5", "9" * 30, "9" * 400, "+30", "１５"):  # noqa: RUF001  # full-width digits
        page = coordinator.post("/pause", {"minutes": typed, "group": "ks2"}, page="/")
        assert page.status_code == 422
        assert 'id="minutes-error"' in page.text
        assert "whole number of minutes from 1 to 480" in page.text
        assert f'value="{typed}"' in page.text or not typed
        assert re.search(r'value="ks2"\s+selected', page.text)
    assert full_desk.status().pause is None


def test_start_pause_refuses_a_group_that_is_not_offered(coordinator, full_desk):
    assert (
        coordinator.post("/pause", {"minutes": "5", "group": "staff"}, page="/").status_code == 422
    )
    assert full_desk.status().pause is None


def test_start_pause_shows_what_the_desk_refuses(coordinator, full_desk, monkeypatch):
    def refuse(**_: object) -> None:
        raise RefusedError("the clock is not known yet", "minutes")

    monkeypatch.setattr(full_desk, "start_pause", refuse)
    page = coordinator.post("/pause", {"minutes": "5"}, page="/")
    assert page.status_code == 422
    assert "The clock is not known yet" in page.text


def test_end_pause_ends_it(coordinator, full_desk):
    coordinator.post("/pause", {"minutes": "5"}, page="/")
    assert coordinator.post("/pause/end", page="/").status_code == 302
    assert full_desk.status().pause is None


def test_end_pause_with_none_on_does_nothing(coordinator, full_desk):
    answer = coordinator.post("/pause/end", page="/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")


def test_page_tells_of_a_room_that_is_paused_and_of_others(head, full_desk):
    full_desk.start_pause(rooms=("ict",), minutes=60, why="Assembly", actor="r.example")
    page = head.get("/").text
    assert "For <strong>ICT room</strong>" in page
    assert ": Assembly." in page
    assert "2 pauses are on" not in page
    full_desk.start_pause(groups=("ks1",), minutes=30, actor="r.example")
    page = head.get("/").text
    assert "2 pauses are on" in page
    assert "End all pauses" in page
    head.post("/pause/end", page="/")
    assert full_desk.acts().pauses == ()


def test_page_leads_a_teacher_to_their_class(teacher, full_desk):
    page = teacher.get("/").text
    assert 'href="/my-class"' in page
    assert "Press the pause button" not in page
    assert 'action="/pause"' not in page
    assert teacher.post("/pause", {"minutes": "5"}, page="/").status_code == 422
    assert teacher.post("/panel/press", page="/").status_code == 403
    assert full_desk.acts().pauses == ()


def test_page_offers_no_pause_to_a_governor(governor, full_desk, buttons):
    page = governor.get("/").text
    assert 'action="/pause"' not in page
    assert "Last decisions" not in page
    for path in ("/pause", "/pause/end", "/panel/press"):
        assert governor.post(path, {"minutes": "5"}, page="/").status_code == 403
    assert buttons.pressed == []


def test_page_shows_last_decisions_to_who_has_said_why(coordinator, full_desk):
    assert "Say why you look" in coordinator.get("/").text
    coordinator.look()
    page = coordinator.get("/").text
    assert "Say why you look" not in page
    assert "www.games.example" in page


def test_press_presses_the_button(coordinator, full_desk, buttons):
    assert coordinator.post("/panel/press", page="/").status_code == 302
    assert buttons.pressed == ["pause"]


def test_press_without_the_panel_says_so(coordinator, full_desk, buttons):
    buttons.away = True
    coordinator.post("/panel/press", page="/")
    assert "The panel does not answer." in coordinator.get("/").text


def test_start_pause_names_whom_it_reaches(coordinator, full_desk):
    page = coordinator.get("/").text
    assert "Pupils, guests and new devices" in page
    assert "Everyone except" not in page


def test_page_says_what_its_counts_count(coordinator, full_desk):
    page = coordinator.get("/").text
    assert "Decisions to allow, today" in page
    assert "One visit to a site makes several" in page


def test_page_shows_one_visit_once(coordinator, full_desk, known):
    at_ms = int(known.now.timestamp() * 1000)
    full_desk.steward.activity.append(
        Event(at_ms, source, "192.0.2.10", "", "Laptop 7", "ks2", "new.example", kind,
              "allow", "default", "default:ks2", 0, 1, 1)
        for source, kind in ((Source.DNS, "A"), (Source.DNS, "AAAA"), (Source.FIREWALL, "tls"))
    )  # fmt: skip
    coordinator.look()
    last = coordinator.get("/").text.split("Last decisions")[1]
    assert len(re.findall("<tr role=.row. class", last)) == 10
    assert last.count("new.example<span") == 1
    assert "Looked up 2 times, connected" in last


def test_page_tells_who_can_answer_that_changes_wait(head, coordinator, full_desk):
    told = "1 change waits for your answer"
    assert f'href="/proposals">{told}</a>' in head.get("/").text
    (made,) = full_desk.proposals(actor="h.example", waiting=True)
    assert made.username == "r.example"
    assert told not in coordinator.get("/").text
    full_desk.answer(id=made.id, approve=True, actor="h.example")
    assert told not in head.get("/").text


def test_page_counts_what_it_may_answer_once_somebody_else_has(technician, full_desk):
    edit = Edit.of(("groups", "ks2", "cells", "social-media"), "unacceptable", "acceptable")
    made = full_desk.propose(edits=(edit,), reason="Project", actor="r.example")
    assert "for your answer" not in technician.get("/").text
    full_desk.answer(id=made.id, approve=True, actor="h.example")
    assert "1 change waits for your answer" in technician.get("/").text


def test_page_asks_for_no_changes_where_none_waits(head, desk):
    head.get("/")
    assert "proposals" not in {name for name, _ in desk.asked}


def test_page_has_a_picture_of_the_day_with_the_same_as_numbers(coordinator, full_desk):
    page = coordinator.get("/").text
    assert page.count("<rect ") == 2
    for its in full_desk.blocked_most(actor="r.example"):
        assert f'>{its.name}</a></th><td role="cell" data-label="Times">{its.count}</td>' in page
    allowed = sum(its.allowed for its in full_desk.hours())
    assert f"10:00: {allowed}</title>" in page
    assert "New devices today" in page
    assert 'hx-get="/day" hx-trigger="every 60s"' in page
    assert coordinator.get("/day").text.strip() in page


@pytest.mark.parametrize("who", ["governor", "teacher", "auditor"])
def test_picture_names_no_site_to_roles_that_may_not_search(request, full_desk, who):
    page = request.getfixturevalue(who).get("/").text
    assert "By group" in page
    assert "Blocked most" not in page
    assert "games.example" not in page
