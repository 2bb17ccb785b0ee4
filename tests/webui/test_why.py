import re
from dataclasses import replace

import pytest

from gate_core.desk import ActivityFilter
from gate_core.events import Event, Source
from gate_core.policy import PLACES

LAPTOP = "00:00:5e:00:53:10"
TUNNEL = Event(
    1_799_750_400_000, Source.DNS, "192.0.2.10", LAPTOP, "Laptop 7", "ks2", "x.hidden.example",
    "TXT", "block", "tunnel", "tunnel:hidden.example", 0, 1,
)  # fmt: skip
"""What no rule of the policy says of the name."""


def link_of(browser, desk, event: Event) -> str:
    """Return where "Why?" leads to from ``event`` on the page Activity, once it is recorded."""
    desk.steward.activity.append([event])
    page = browser.get(f"/activity?text={event.name}").text
    return re.search(r'href="(/why\?[^"]+)"', page)[1].replace("&amp;", "&")


def test_page_tells_the_verdict_and_all_places(coordinator, full_desk):
    page = coordinator.get("/why?client=ks2&name=www.games.example").text
    assert "www.games.example is blocked for any device of Key Stage 2" in page
    steps = re.search(r'<ol class="sg-steps">(.*?)</ol>', page, re.DOTALL)[1]
    assert steps.count("<li") == len(PLACES)
    assert steps.count("sg-steps__decides") == 1
    assert "Online games (not educational)" in steps


def test_page_tells_it_of_a_device(coordinator, full_desk):
    page = coordinator.get("/why?client=00:00:5e:00:53:20&name=news.example").text
    assert "news.example is allowed for Office PC" in page
    assert "Its group: <strong>Staff</strong>" in page


def test_page_tells_it_of_a_person(coordinator, full_desk):
    page = coordinator.get("/why?client=p-17&name=www.games.example").text
    assert "www.games.example is blocked for Laptop 7" in page
    assert '<option value="p-17" selected>Pupil 17 (pupil)</option>' in page


def test_page_names_no_people_to_who_only_reads(governor, full_desk):
    page = governor.get("/why").text
    assert "Anyone in Key Stage 2" in page
    assert "Pupil 17" not in page
    assert "Laptop 7" not in page


def test_page_tells_it_of_another_time(coordinator, full_desk):
    now = coordinator.get("/why?client=ks2&name=films.example").text
    assert "films.example is blocked for any device of Key Stage 2" in now
    lunch = coordinator.get("/why?client=ks2&name=films.example&at=2027-01-12T12:30").text
    assert "films.example is allowed today, 12:30, for any device of Key Stage 2" in lunch
    assert 'value="2027-01-12T12:30"' in lunch


def test_page_begins_with_a_site_that_a_link_names(coordinator):
    page = coordinator.get("/why?name=a.example")
    assert page.status_code == 200
    assert 'value="a.example"' in page.text


def test_page_takes_a_pasted_address(coordinator, full_desk):
    page = coordinator.get("/why?client=ks2&name=https://www.games.example/play?level=1").text
    assert "www.games.example is blocked" in page


def test_page_takes_an_address_from_a_record_of_no_device(coordinator, full_desk):
    assert (
        "is blocked for 192.0.2.99"
        in coordinator.get("/why?client=192.0.2.99&name=chat.example").text
    )


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("client=ks2&name=", "name-error"),
        ("client=ks2&name=a..b", "name-error"),
        ("client=ks2&name=192.0.2.1", "name-error"),
        ("client=ks2&name=bbc news", "name-error"),
        ("client=&name=a.example", "client-error"),
        ("client=ks2&at=soon&name=a.example", "at-error"),
        ("client=ks2&at=2027-13-01T10:00&name=a.example", "at-error"),
    ],
)
def test_page_says_what_is_allowed_and_keeps_what_was_typed(
    coordinator, full_desk, query: str, error: str
):
    page = coordinator.get(f"/why?{query}")
    assert page.status_code == 422
    assert f'id="{error}"' in page.text
    assert f'value="{query.split("name=")[1]}"' in page.text or query.endswith("=")


def test_page_says_in_plain_words_what_a_site_is_called(coordinator, full_desk):
    page = coordinator.get("/why?client=ks2&name=a..b").text
    assert "“a..b” is not the name of a site. Write it like www.bbc.co.uk, or paste a whole" in page
    assert "without http" not in page
    assert "label" not in re.search(r'<p id="name-error".*?</p>', page, re.DOTALL)[0]


def test_cannot_see_is_for_everybody(stranger):
    assert "No filter sees everything." in stranger.get("/cannot-see").text


def test_page_names_the_safe_version(coordinator):
    page = coordinator.get("/why?client=ks2&name=www.bing.com").text
    assert "Answered by the safe version of Bing, strict.bing.com, as the policy has it" in page
    assert "safe version" not in coordinator.get("/why?client=ks2&name=www.bbc.co.uk").text


@pytest.mark.parametrize(
    ("reason", "rule_id", "words"),
    [
        ("tunnel", "tunnel:hidden.example", "look like other traffic hidden in site names"),
        ("rebinding", "rebinding", "Blocked because its answer led into a private network"),
        ("matrix", "matrix:bypass:ks2", "Blocked by the acceptable-use table: “Getting round"),
    ],
)
def test_page_from_an_entry_begins_with_what_was_recorded(
    coordinator, full_desk, reason: str, rule_id: str, words: str
):
    coordinator.look()
    event = replace(TUNNEL, reason=reason, rule_id=rule_id)
    page = coordinator.get(link_of(coordinator, full_desk, event)).text
    recorded, _, today = page.partition("What the policy says of it now")
    assert "x.hidden.example was blocked " in recorded
    assert " for Laptop 7</h2>" in recorded
    assert words in recorded
    assert f"Rule in the record: {rule_id}" in recorded
    assert "x.hidden.example is allowed for Laptop 7" in today


def test_page_tells_it_of_a_protocol(coordinator, full_desk):
    page = coordinator.get("/why?client=ks2&name=&protocol=wireguard").text
    assert "WireGuard is blocked for any device of Key Stage 2" in page
    assert '<option value="wireguard" selected>WireGuard</option>' in page
    named = coordinator.get("/why?client=ks2&name=dns.example&protocol=doh").text
    assert "DNS over HTTPS: dns.example is blocked for any device of Key Stage 2" in named


@pytest.mark.parametrize(
    ("changes", "recorded", "today"),
    [
        pytest.param(
            {"kind": "wireguard", "reason": "matrix", "rule_id": "matrix:bypass:ks2"},
            "WireGuard: 203.0.113.5 port 51820/udp was blocked ",
            "WireGuard is blocked for Laptop 7",
            id="by its protocol",
        ),
        pytest.param(
            {"kind": "udp/51820", "reason": "unasked", "rule_id": "unasked:ks2"},
            "203.0.113.5 port 51820/udp was blocked ",
            "",
            id="by its address",
        ),
        pytest.param(
            {"kind": "udp/51820", "reason": "nameless", "rule_id": "nameless:ks2"},
            "203.0.113.5 port 51820/udp was blocked ",
            "",
            id="by showing nothing",
        ),
    ],
)
def test_page_from_an_entry_of_a_connection_without_a_name(
    coordinator, full_desk, changes, recorded, today
):
    coordinator.look()
    remote = "203.0.113.5 51820/udp"
    event = replace(TUNNEL, source=Source.FIREWALL, name="", remote=remote, **changes)
    full_desk.steward.activity.append([event])
    rows = coordinator.get("/activity?text=203.0.113.5").text
    link = re.search(r'href="(/why\?[^"]+)"', rows)[1].replace("&amp;", "&")
    page = coordinator.get(link)
    assert page.status_code == 200
    assert recorded in page.text
    # Where it went is nothing that the policy decides by itself.
    assert today in page.text
    assert ("How this was decided" in page.text) is bool(today)
    asks = "Does a service need this" in page.text
    assert asks is (event.reason in {"unasked", "nameless"})


def test_page_from_an_entry_asks_first_why_somebody_looks(coordinator, browse, full_desk):
    coordinator.look()
    link = link_of(coordinator, full_desk, TUNNEL)
    other = browse()
    other.enter()
    page = other.get(link).text
    assert "Why you look" in page
    assert "hidden in site names" not in page
    assert re.search(r'name="next"[^>]+value="/why[?]client=', page)


def test_page_tells_no_record_to_who_may_not_see_it(coordinator, governor, full_desk):
    coordinator.look()
    link = link_of(coordinator, full_desk, TUNNEL)
    assert governor.get(link).status_code == 403
    assert governor.get(link.partition("&record=")[0]).status_code == 200


def test_page_of_a_record_that_is_gone_tells_what_the_policy_says(coordinator, full_desk):
    coordinator.look()
    found = full_desk.activity(filter=ActivityFilter(limit=1), actor="r.example", reason="x")
    newest = found.records[0]
    page = coordinator.get(f"/why?client=ks2&name=www.games.example&record={newest.id + 9}")
    assert page.status_code == 200
    assert "Rule in the record" not in page.text
    assert "www.games.example is blocked" in page.text
    assert coordinator.get("/why?client=ks2&name=a.example&record=x").status_code == 400


def test_page_says_that_a_space_is_at_fault(coordinator, full_desk):
    page = coordinator.get("/why?client=ks2&name=bbc+news").text
    assert "“bbc news” has a space in it. Write one site without spaces" in page
