import re

import pytest
from flask import Flask

from gate_core.edits import Edit
from gate_core.events import Event, Source
from gate_webui.app import HEADERS

PAGES = [
    "/",
    "/live",
    "/acceptable-use",
    "/acceptable-use/ks1",
    "/acceptable-use/ks2/video",
    "/acceptable-use/ks2/grooming",
    "/rows/new",
    "/rows/video",
    "/exceptions",
    "/exceptions?text=tik",
    "/exceptions/new",
    "/times",
    "/policy-text",
    "/policy-text/import",
    "/policy-text/table",
    "/proposals",
    "/proposals?before=2",
    "/devices",
    "/people",
    "/accounts",
    "/holds",
    "/activity",
    "/activity?text=a&group=ks2&action=block&source=dns&before=100",
    "/why",
    "/why?client=ks2&name=games.example",
    "/record",
    "/record?before=2",
    "/record/check",
    "/cannot-see",
]
NOW_MS = 1_799_750_467_000
HOSTILE = '<script>alert("x")</script>'


@pytest.mark.parametrize("path", PAGES)
def test_page_renders_with_data(coordinator, kept_full_desk, path: str):
    assert coordinator.get(path).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_page_renders_with_nothing_to_show(coordinator, kept_desk, path: str):
    assert coordinator.get(path).status_code == 200


@pytest.mark.parametrize(
    "path", [*PAGES, "/nowhere", "/activity?before=x", "/static/schoolgate.css", "/static/x"]
)
def test_every_answer_has_the_security_headers(coordinator, kept_full_desk, path: str):
    answer = coordinator.get(path)
    for name, value in HEADERS.items():
        assert answer.headers[name] == value, name
    assert "Server" not in answer.headers


def test_every_route_has_the_security_headers(app: Flask, stranger):
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "x", rule.rule)
        for answer in (stranger.get(path), stranger.post_bare(path)):
            for name, value in HEADERS.items():
                assert answer.headers[name] == value, (path, name)


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_kept_by_no_cache(coordinator, kept_desk, path: str):
    assert coordinator.get(path).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", [*PAGES, "/sign-in", "/nowhere", "/devices/3e:1f:a0:00:53:41"])
def test_pages_need_nothing_inline_and_nothing_from_elsewhere(
    coordinator, kept_full_desk, path: str
):
    page = coordinator.get(path).text
    assert not re.findall(r"<script(?![^>]*\bsrc=\"/static/)[^>]*>", page)
    assert not re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    assert not re.findall(r"(?:src|href|action)=\"(?:https?:)?//", page)


def test_what_pages_load_is_there_and_may_be_kept(coordinator, kept_full_desk):
    page = coordinator.get("/").text
    loaded = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page))
    assert len(loaded) >= 4
    for path in loaded:
        answer = coordinator.get(path)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_first_visit_weighs_at_most_100_kilobytes(coordinator, kept_full_desk):
    loaded = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', coordinator.get("/").text))
    assert len(loaded) == 5
    headers = {"Accept-Encoding": "gzip", "Sec-Fetch-Site": "same-origin"}
    octets = sum(len(coordinator.get(path, headers=headers).data) for path in {"/", *loaded})
    assert octets <= 100 * 1024


def test_style_has_no_typeface_or_image_of_the_government(coordinator, kept_desk):
    style = coordinator.get("/static/schoolgate.css").text
    assert "GDS Transport" not in style
    assert "url(" not in style


@pytest.mark.parametrize("path", PAGES)
def test_pages_without_the_steward_say_so(coordinator, desk, path: str):
    desk.away = True
    answer = coordinator.get(path)
    if path == "/live":
        assert answer.status_code == 200
    else:
        assert answer.status_code == 503
    assert "The steward does not answer" in answer.text
    assert "iltering goes on" in answer.text


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/nowhere", 404, "Page not found"),
        ("/acceptable-use/ks9", 404, "Page not found"),
        ("/acceptable-use/ks2/nothing", 404, "Page not found"),
        ("/devices/no-such-device", 404, "Page not found"),
        ("/pause", 405, "This page cannot be used in this way"),
        ("/proposals/999", 404, "Page not found"),
        ("/proposals/99999999999999999999", 404, "Page not found"),
        ("/exceptions/exception-999", 404, "Page not found"),
        ("/record?before=x", 400, "This link is not complete"),
        ("/record?before=-1", 400, "This link is not complete"),
        ("/proposals?before=%C2%B2", 400, "This link is not complete"),
    ],
)
def test_faults_have_a_plain_page(coordinator, kept_desk, path: str, status: int, words: str):
    answer = coordinator.get(path)
    assert answer.status_code == status
    assert words in answer.text
    assert "Traceback" not in answer.text


def test_unknown_page_is_shown_to_strangers_without_the_menu(stranger):
    page = stranger.get("/nowhere")
    assert page.status_code == 404
    assert "Sign out" not in page.text


def test_long_form_is_refused(coordinator, desk):
    answer = coordinator.post(
        "/acceptable-use/ks2/video", {"cell": "acceptable", "reason": "x" * 20_000}
    )
    assert answer.status_code == 413
    assert "That was too long" in answer.text
    assert "at most 16,384 characters in all" in answer.text
    assert desk.cell("ks2", "video") == "times"


def test_our_own_fault_has_a_plain_page(coordinator, desk, monkeypatch: pytest.MonkeyPatch):
    def broken() -> None:
        raise TypeError("something of ours")

    monkeypatch.setattr(desk, "rows", broken)
    answer = coordinator.get("/acceptable-use")
    assert answer.status_code == 500
    assert "Something went wrong on this page" in answer.text
    assert "something of ours" not in answer.text


def make_hostile(desk) -> None:
    """Put a script wherever somebody else chooses a text: names, reasons, titles, sites."""
    device = desk.steward.document["devices"]["00:00:5e:00:53:10"]
    row = {"number": 23, "title": HOSTILE, "note": HOSTILE, "categories": [], "services": []}
    exception = desk.steward.document["exceptions"]["exception-1"]
    made = desk.propose(
        edits=(
            Edit.of(("school",), desk.steward.document["school"], HOSTILE),
            Edit.of(("rows", "hostile"), None, row),
            Edit.of(("devices", "00:00:5e:00:53:10", "name"), device["name"], HOSTILE),
            Edit.of(("people", "p-17", "name"), "Pupil 17", HOSTILE),
            Edit.of(("exceptions", "exception-1", "why"), exception["why"], HOSTILE),
        ),
        reason=HOSTILE,
        actor="r.example",
    )
    for approver in ("h.example", "s.example"):
        if made.state == "waiting":
            made = desk.answer(id=made.id, approve=True, note=HOSTILE, actor=approver)
    assert made.state == "in force"
    event = Event(
        int(NOW_MS), Source.DNS, "192.0.2.10", "00:00:5e:00:53:10", HOSTILE, "ks2", HOSTILE, "A",
        "block", "default", "default:ks2", 0, 1,
    )  # fmt: skip
    desk.steward.activity.append([event])


@pytest.mark.parametrize(
    "path",
    [
        *PAGES,
        "/devices/00:00:5e:00:53:10",
        "/exceptions/exception-1",
        "/exceptions?text=<script>",
        "/exceptions/new?name=<script>",
        "/activity?text=<script>",
        "/why?name=<script>&client=<script>",
    ],
)
def test_names_from_the_network_are_shown_as_text(coordinator, full_desk, path: str):
    make_hostile(full_desk)
    coordinator.look(HOSTILE)
    page = coordinator.get(path).text
    assert "<script>" not in page
    assert '<script>alert("x")' not in page
    shown = {"/", "/activity", "/devices", "/record", "/exceptions", "/proposals", "/people"}
    if path in shown:
        assert "&lt;script&gt;" in page


def test_menu_marks_the_section_and_the_page_one_is_on(coordinator, kept_desk):
    page = coordinator.get("/exceptions").text
    assert re.search(r'href="/acceptable-use"\s+aria-current="true"', page)
    assert re.search(r'href="/exceptions" aria-current="page"', page)
    assert page.count("aria-current") == 2


@pytest.mark.parametrize(
    "path",
    ["/", "/live", "/acceptable-use/ks2", "/devices", "/activity", "/why", "/record", "/proposals"],
)
def test_page_asks_a_steward_that_is_away_once(coordinator, desk, path: str):
    desk.away = True
    desk.asked.clear()
    coordinator.get(path)
    assert len(desk.asked) == 1
