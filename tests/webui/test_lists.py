from pathlib import Path

import pytest

from gate_appliance import lists
from gate_core.categories import CATEGORIES, ILLEGAL_MASK
from gate_core.sources import ListSource, Outcome
from gate_webui.lists import WITHOUT_SITES

STARTER = Path(lists.__file__).with_name("starter")

CHOSEN = "ut1-games"
SOURCE = {
    "title": "Trust list",
    "id": "trust",
    "url": "rpz://192.0.2.53/rpz.trust.example",
    "category": "games",
    "trust": "official",
    "licence": "Members only",
    "interval_h": "6",
    "format": "rpz",
    "key_name": "school-key",
    "key_algorithm": "hmac-sha256",
    "secret": "c2Nob29sZ2F0ZSBzY2hvb2xnYXRlIHNjaG9vbGdhdGU=",
}


@pytest.fixture
def refused(full_desk):
    """A source whose newest list lacks a lot."""
    sources = full_desk.steward.sources
    sources.add(ListSource("short", "Short list", "https://lists.example/", "MIT", "games"), "")
    outcome = Outcome(
        "refused", "it lacks 5 of the 9 names of the last good one", names=9, refused_lost=5
    )
    sources.note("short", outcome)


def test_published_list_is_added_by_choosing_it(coordinator, full_desk):
    assert full_desk.sources().sources == ()
    assert "34,000" in coordinator.get("/lists").text
    page = coordinator.get(f"/lists/choose/{CHOSEN}").text
    assert "CC BY-SA 4.0" in page
    assert full_desk.sources().sources == ()
    answer = coordinator.post(f"/lists/choose/{CHOSEN}", {})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/lists")
    (its,) = full_desk.sources().sources
    assert (its.source.id, its.source.category, its.state) == (CHOSEN, "games", "new")
    assert coordinator.get("/lists/choose/nonsense").status_code == 404


def test_source_of_the_school_is_added_and_its_key_never_shown(coordinator, full_desk):
    assert coordinator.post("/lists/add", SOURCE).status_code == 302
    (its,) = full_desk.sources().sources
    assert (its.source.url, its.source.key_name) == (SOURCE["url"], "school-key")
    keys = full_desk.steward.places.source_keys
    assert SOURCE["secret"] in keys.read_text()
    assert keys.stat().st_mode & 0o777 == 0o600
    record = str(full_desk.record(actor="h.example", limit=500))
    for text in (coordinator.get("/lists").text, record, repr(full_desk.sources())):
        assert SOURCE["secret"] not in text


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"url": "ftp://lists.example/"}, "Begin it with https://, http:// or rpz://."),
        ({"url": "lists.example/names"}, "Begin it with https://, http:// or rpz://."),
        ({"url": "rpz://trust.example/zone"}, "with an IP address"),
        ({"url": "file:/etc/passwd", "key_name": "", "secret": ""}, "at its command line"),
        ({"url": "https://me:secret@lists.example/"}, "without user name and password"),
        ({"id": "A list"}, "“A list” can&#39;t be a short name."),
        ({"trust": ""}, "Choose who answers for it."),
        ({"category": "terrorism", "trust": "community"}, "only official sources feed those."),
        ({"secret": "short"}, "The key in base64, 16 to 512 octets, is wanted."),
        ({"secret": ""}, "Enter the key, or leave its name empty."),
        ({"key_name": ""}, "Write the name of the key, or leave the key empty."),
        ({"title": ""}, "Write what it is called."),
    ],
)
def test_what_is_no_source_is_said_beside_its_field(coordinator, full_desk, changed, part):
    answer = coordinator.post("/lists/add", SOURCE | changed)
    assert answer.status_code == 422
    assert part in answer.text
    assert full_desk.sources().sources == ()


def test_refused_list_is_accepted_or_removed_with_a_reason(coordinator, full_desk, refused):
    page = coordinator.get("/lists").text
    assert "It lacks 5 of the 9 names" in page
    assert coordinator.post("/lists/short/accept", {"reason": ""}).status_code == 422
    assert coordinator.post("/lists/short/accept", {"reason": "Cleaned up"}).status_code == 302
    entry = full_desk.record(actor="h.example")[0]
    assert (entry.action, entry.reason) == ("accepted a list", "Cleaned up")
    assert coordinator.post("/lists/short/remove", {"reason": "Not kept up"}).status_code == 302
    entry = full_desk.record(actor="h.example")[0]
    assert (entry.action, entry.reason) == ("removed a source of lists", "Not kept up")


def test_it_looks_and_adds_but_does_not_decide(technician, full_desk, refused):
    page = technician.get("/lists").text
    assert "Accept it" not in page
    for action in ("accept", "remove"):
        answer = technician.get(f"/lists/short/{action}")
        assert answer.status_code == 403
        assert "decide: Head teacher, Safeguarding lead, E-safety coordinator." in answer.text
    assert technician.post("/lists/update", {}).status_code == 302
    assert full_desk.sources().progress is not None


def test_page_follows_an_update(coordinator, full_desk, refused):
    assert coordinator.get("/lists/live").headers["HX-Refresh"] == "true"
    full_desk.steward.updates._tell("short", "downloading", 5_000_000, 20_000_000)
    for path in ("/lists", "/lists/live"):
        text = coordinator.get(path).text
        assert "<strong>Short list</strong>: Downloading: 5.0 of 20.0 MB." in text


def test_list_that_did_not_come_says_why_in_words(coordinator, full_desk, refused):
    sources = full_desk.steward.sources
    for id_, outcome in (
        ("away", Outcome(reason="[Errno 113] No route to host")),
        ("page", Outcome("refused", "HTML or XML, not a list of names; allowed are hosts lines")),
    ):
        sources.add(ListSource(id_, id_, "https://lists.example/", "MIT", "malware"), "")
        sources.note(id_, outcome)
    text = coordinator.get("/lists").text
    away = text.partition("<strong>away</strong>")[2].partition("</tr>")[0]
    assert "Did not come" in away
    assert "No route to host. The box tries again within the hour." in away
    assert "Errno" not in text
    assert "HTML or XML, not a list of names. The box looks again in time." in text
    assert "allowed are" not in text
    assert "Nothing of it has come into force" in coordinator.get("/lists/away/remove").text
    assert "Its 9 sites are on it no more" in coordinator.get("/lists/short/remove").text


def test_page_says_that_lists_cannot_be_put_in_force(governor, full_desk):
    assert "be put in force" not in governor.get("/lists").text
    full_desk.steward.updates._fault = "New lists can't be put in force: No space left on device."
    text = governor.get("/lists").text
    assert "New lists can&#39;t be put in force: No space left on device." in text
    assert "The lists in force stay." in text


def test_page_names_categories_that_no_list_is_for(coordinator, head, full_desk):
    assert "<li>Malware and its control servers</li>" in head.get("/lists").text
    sources = full_desk.steward.sources
    sources.add(ListSource("bad", "Bad sites", "https://lists.example/", "MIT", "malware"), "")
    assert "<li>Malware and its control servers</li>" in coordinator.get("/lists").text
    sources.note("bad", Outcome("ok", names=9))
    text = coordinator.get("/lists").text
    assert "<li>Malware and its control servers</li>" not in text
    assert "<li>Phishing and scams</li>" in text
    starter = {path.stem for path in STARTER.iterdir()}
    brought = {c.id for c in CATEGORIES if not c.mask & ILLEGAL_MASK and c.id != "school-blocked"}
    assert set(WITHOUT_SITES) == brought - starter


def test_lists_by_hand_are_shown(coordinator, full_desk, tmp_path):
    (tmp_path / "list").write_text("".join(f"n{n}.example\n" for n in range(1200)))
    arguments = {"name": "mine", "category": "self-harm", "path": str(tmp_path / "list")}
    full_desk.add_list(**arguments, actor="r.example")
    page = coordinator.get("/lists").text
    row = page[page.index("<strong>mine</strong>") :].split("</tr>")[0]
    for text in ("Self-harm, suicide and eating disorders", "1,200", "r.example"):
        assert text in row
    assert "<li>Self-harm, suicide and eating disorders</li>" not in page
