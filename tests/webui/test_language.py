"""Which language a page speaks, and whether all of it does."""

from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

import gate_webui
from gate_appliance.store import Change
from gate_core.desk import LANGUAGES

WELSH = {"Accept-Language": "cy-GB,cy;q=0.9,en;q=0.5"}
CATALOGUE = Path(gate_webui.__file__).parent / "translations/cy/LC_MESSAGES/messages.po"


def language_of(page):
    return page.text.split('<html lang="')[1][:2]


def choose(browser, language, page="/sign-in", **more):
    return browser.post("/language", {"language": language, **more}, page=page)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("cy", "cy"), ("cy-GB,cy;q=0.9,en;q=0.5", "cy"), ("en-GB,cy;q=0.3", "en"), ("fr", "en"), ("", "en")],
)  # fmt: skip
def test_stranger_gets_the_language_of_their_browser(stranger, kept_desk, accepted, language):
    page = stranger.get("/sign-in", headers={"Accept-Language": accepted})
    assert language_of(page) == language
    assert ("Mewngofnodi" if language == "cy" else "Sign in") in page.text


def test_choice_of_a_stranger_lasts_beyond_signing_in_and_out(stranger, kept_desk):
    answer = choose(stranger, "cy", next="/cannot-see")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/cannot-see")
    assert language_of(stranger.get("/sign-in")) == "cy"
    stranger.sign_in()
    assert language_of(stranger.get("/")) == "cy"
    stranger.post("/sign-out", page="/")
    assert language_of(stranger.get("/sign-in")) == "cy"


def test_choice_of_a_person_is_theirs_in_every_browser(browse, coordinator, head, kept_desk):
    assert choose(coordinator, "cy", page="/").status_code == 302
    elsewhere = browse("192.0.2.21")
    elsewhere.enter()
    assert language_of(elsewhere.get("/")) == "cy"
    assert language_of(head.get("/")) == "en"
    # What they have chosen weighs more than what the browser asks for.
    choose(coordinator, "en", page="/")
    assert language_of(coordinator.get("/", headers=WELSH)) == "en"


@pytest.mark.parametrize("language", ["tlh", "", "en\n", "../cy"])
def test_language_that_there_is_not_is_refused(coordinator, kept_desk, language):
    answer = choose(coordinator, language, page="/")
    assert answer.status_code == 400
    assert "This is no language of these pages." in answer.text


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/language", ""])
def test_nobody_is_sent_elsewhere_for_a_language(coordinator, kept_desk, target):
    assert choose(coordinator, "cy", page="/", next=target).headers["Location"] == "/"


class Texts(HTMLParser):
    """Collects what stands between tags."""

    def __init__(self):
        super().__init__()
        self.found = set()
        self._aside = 0

    def handle_starttag(self, tag, attrs):
        self._aside += tag in ("script", "style")

    def handle_endtag(self, tag):
        self._aside -= tag in ("script", "style")

    def handle_data(self, data):
        if data.strip() and not self._aside:
            self.found.add(" ".join(data.split()))


def english_only():
    """Return the texts that another one stands for in Welsh, and that are no Welsh text themselves."""
    with CATALOGUE.open("rb") as file:
        catalogue = read_po(file, locale="cy")
    pairs = [(m.id, m.string) for m in catalogue if m.id and isinstance(m.id, str)]
    return {text for text, welsh in pairs if text != welsh} - {welsh for _, welsh in pairs}


def pages(app, browser):
    """Yield the pages that a link or a menu leads to."""
    for rule in app.url_map.iter_rules():
        if "GET" in rule.methods and not rule.arguments and rule.endpoint != "static":
            page = browser.get(rule.rule, follow_redirects=True)
            if page.mimetype == "text/html" and page.status_code == 200:
                yield rule.rule, page.text


def test_pages_are_welsh_all_through(app, coordinator, kept_desk):
    """What the core says of itself, such as why a list did not come, is not yet."""
    choose(coordinator, "cy", page="/")
    english, seen = english_only(), 0
    for path, page in pages(app, coordinator):
        texts = Texts()
        texts.feed(page)
        assert texts.found & english == set(), path
        seen += 1
    assert seen > 30


def test_days_are_those_of_the_language(coordinator, desk):
    steward = desk.steward
    with steward.store.noting(
        Change("r.example", "coordinator", "noted", "this"), steward.clock.now() - timedelta(days=9)
    ):
        pass
    assert "3 January 2027, 10:41" in coordinator.get("/record").text
    choose(coordinator, "cy", page="/")
    assert "3 Ionawr 2027, 10:41" in coordinator.get("/record").text


def test_every_page_offers_the_other_language(coordinator, stranger, kept_desk):
    assert '<button class="sg-plain-button" name="language" value="cy" lang="cy">Cymraeg' in stranger.get("/sign-in").text  # fmt: skip
    choose(coordinator, "cy", page="/")
    page = coordinator.get("/record").text
    assert 'value="en" lang="en">English' in page
    assert 'value="cy"' not in page
    assert set(LANGUAGES) == {"cy", "en"}
