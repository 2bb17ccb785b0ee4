import pytest

from gate_core.sources import ListSource, Outcome

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
        ({"url": "ftp://lists.example/"}, "https://HOST/PATH"),
        ({"url": "file:/etc/passwd", "key_name": "", "secret": ""}, "at its command line"),
        ({"url": "https://me:secret@lists.example/"}, "without user name and password"),
        ({"id": "A list"}, "a-z, 0-9"),
        ({"category": "terrorism", "trust": "community"}, "only official sources"),
        ({"secret": "short"}, "in base64"),
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
    assert technician.get("/lists/short/accept").status_code == 403
    assert technician.post("/lists/update", {}).status_code == 302
    assert full_desk.sources().progress is not None


def test_page_follows_an_update(coordinator, full_desk, refused):
    assert coordinator.get("/lists/live").headers["HX-Refresh"] == "true"
    full_desk.steward.updates._tell("short", "downloading", 5_000_000, 20_000_000)
    for path in ("/lists", "/lists/live"):
        text = coordinator.get(path).text
        assert "<strong>Short list</strong>: Downloading: 5,000,000 of 20,000,000 octets" in text
