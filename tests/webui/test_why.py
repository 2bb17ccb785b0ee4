import re

import pytest

from gate_core.policy import PLACES


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
    assert "That is not the name of a site. Write it like www.bbc.co.uk, without http://" in page
    assert "label" not in re.search(r'<p id="name-error".*?</p>', page, re.DOTALL)[0]


def test_cannot_see_is_for_everybody(stranger):
    assert "No filter sees everything." in stranger.get("/cannot-see").text


def test_page_names_the_safe_version(coordinator):
    page = coordinator.get("/why?client=ks2&name=www.bing.com").text
    assert "Answered by the safe version of Bing, strict.bing.com, as the policy has it" in page
    assert "safe version" not in coordinator.get("/why?client=ks2&name=www.bbc.co.uk").text
