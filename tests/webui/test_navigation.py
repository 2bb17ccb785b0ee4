import re

import pytest


def menu(page: str) -> list[str]:
    """Return the sections in the first line of the navigation."""
    found = re.search(r'<nav aria-label="Pages".*?</nav>', page, re.DOTALL)[0]
    texts = re.findall(r"<a [^>]*>(.*?)</a>", found, re.DOTALL)
    bare = (re.sub(r'<strong class="sg-badge">.*', "", text, flags=re.DOTALL) for text in texts)
    return [re.sub("<[^>]+>", "", text).strip() for text in bare]


def test_sections_of_the_coordinator(coordinator):
    assert menu(coordinator.get("/record").text) == [
        "Today",
        "Policy",
        "Changes",
        "People and devices",
        "In class",
        "Activity",
        "Record",
    ]


@pytest.mark.parametrize("who", ["governor", "auditor"])
def test_sections_of_who_only_reads(request: pytest.FixtureRequest, who: str):
    page = request.getfixturevalue(who).get("/record").text
    assert menu(page) == ["Today", "Policy", "Changes", "Activity", "Record"]
    # The section leads to the first of its pages that the role may see.
    assert 'href="/why"' in page
    assert 'href="/activity"' not in page


def test_sections_tell_how_many_changes_wait_for_ones_answer(head, full_desk):
    page = head.get("/record").text
    badge = '<strong class="sg-badge">1<span class="govuk-visually-hidden"> waiting for your answer</span>'
    button, links = re.search(r"<button[^>]*toggle.*?</nav>", page, re.DOTALL)[0].split("</button>")
    assert badge in button
    assert badge in links


@pytest.mark.parametrize("who", ["coordinator", "technician", "governor", "teacher"])
def test_sections_tell_nothing_to_who_cannot_answer(
    request: pytest.FixtureRequest, full_desk, who: str
):
    assert full_desk.status().waiting == 1
    assert '<strong class="sg-badge">' not in request.getfixturevalue(who).get("/record").text


def test_sections_are_there_while_the_steward_is_away(coordinator, desk, monkeypatch):
    account = desk.account(username="r.example")
    desk.away = True
    monkeypatch.setattr(desk, "account", lambda **_: account, raising=False)
    page = coordinator.get("/record")
    assert page.status_code == 503
    assert "Policy" in menu(page.text)
    assert '<strong class="sg-badge">' not in page.text


def test_sections_lead_to_pages_that_are_there(coordinator):
    page = coordinator.get("/acceptable-use").text
    links = set(re.findall(r"<(?:nav|section).*?</(?:nav|section)>", page, re.DOTALL))
    paths = {path for nav in links for path in re.findall(r'href="(/[^"#]*)"', nav)}
    assert len(paths) >= 10
    for path in paths:
        assert coordinator.get(path).status_code == 200, path


def test_pages_for_the_whole_school_are_not_shown_to_teachers(teacher, coordinator):
    assert 'href="/policy-text"' in coordinator.get("/acceptable-use").text
    assert 'href="/policy-text"' not in teacher.get("/acceptable-use").text
