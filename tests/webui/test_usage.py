import re

import pytest

from gate_core.events import MANY, Traffic, Who
from gate_webui.words import megabytes


def rows(page: str) -> list[list[str]]:
    """Return the cells of the table without markup, a row a list."""
    table = page.partition("<tbody>")[2].partition("</tbody>")[0]
    cells = (re.findall(r"<td.*?</td>", row, re.DOTALL) for row in table.split("<tr ")[1:])
    return [[" ".join(re.sub("<[^>]+>", " ", cell).split()) for cell in row] for row in cells]


@pytest.fixture
def looking(coordinator):
    coordinator.look()
    return coordinator


def test_page_asks_why_first_and_goes_on_where_one_wanted_to(coordinator, full_desk):
    page = coordinator.get("/usage/week")
    assert "Why do you look?" in page.text
    assert "Office PC" not in page.text
    sent = {"reason": "The line is slow", "next": "/usage/week"}
    answer = coordinator.post("/activity/reason", sent, page="/usage/week")
    assert answer.headers["Location"] == "/usage/week"
    assert "Office PC" in coordinator.get("/usage/week").text
    entry = full_desk.entry()
    assert (entry.action, entry.reason) == ("looked at the log", "The line is slow")


def test_page_of_today_tells_who_used_the_most(looking, full_desk):
    page = looking.get("/usage").text
    assert "The whole school: <strong>486 MB</strong> down, <strong>11 MB</strong> up." in page
    assert rows(page) == [
        ["Tablet 2", "EYFS and Key Stage 1", "450 MB", "4.0 MB", "stories.example (454 MB)"],
        ["Laptop 7 used by Pupil 17", "Key Stage 2", "30 MB", "1.0 MB", "sums.example (31 MB)"],
        ["Office PC", "Staff", "6.0 MB", "6.0 MB", "No name seen (12 MB)"],
    ]
    assert 'href="/activity?device=00:00:5e:00:53:11"' in page


def test_page_of_the_week_adds_up_the_days(looking, full_desk):
    assert rows(looking.get("/usage/week").text)[::2] == [
        [
            "Office PC",
            "Staff",
            "2,006 MB",
            "66 MB",
            "news.example (2,060 MB) , No name seen (12 MB)",
        ],
        ["Laptop 7 used by Pupil 17", "Key Stage 2", "120 MB", "3.0 MB", "sums.example (123 MB)"],
    ]


def test_page_hides_people_from_it(technician, full_desk):
    technician.look()
    page = technician.get("/usage").text
    assert "Laptop 7" in page
    assert "Pupil 17" not in page
    assert "Names of people are not shown to your role." in page


def test_page_tells_of_devices_that_could_not_be_told_apart(looking, full_desk, known):
    at_ms = int(known.now.timestamp() * 1000)
    nobody = Who("", "", "", "ks2", "")
    full_desk.steward.activity.append_sums(
        [Traffic(at_ms, (nobody,), (0,), (MANY,), (10**9,), (0,), (1,))]
    )
    first = rows(looking.get("/usage").text)[0]
    assert first == ["Many devices", "Key Stage 2", "1,000 MB", "0.0 MB", "Many names (1,000 MB)"]


def test_page_says_where_there_is_nothing_and_why(looking, desk):
    assert "No connection has been counted yet" in looking.get("/usage").text
    desk.shown["mode"] = "resolver"
    assert "can't count what they carry" in looking.get("/usage").text


@pytest.mark.parametrize(
    ("octets", "words"),
    [(0, "0.0 MB"), (9_940_000, "9.9 MB"), (9_960_000, "10 MB"), (1_234_400_000, "1,234 MB")],
)
def test_megabytes(octets: int, words: str):
    assert megabytes(octets) == words
