import re

import pytest


def names(page: str) -> list[str]:
    return re.findall(r'<td role="cell" class="sg-name">([^<\s]+)', page)


def test_page_shows_fifty_and_leads_to_older_ones(coordinator, full_desk):
    seen = []
    path = "/activity"
    for expected in (50, 50, 20):
        page = coordinator.get(path).text
        seen += names(page)
        assert len(names(page)) == expected
        older = re.search(r'href="([^"]+)" rel="next"', page)
        path = older[1].replace("&amp;", "&") if older else ""
    assert path == ""
    assert seen == [record.name for record in full_desk.records]


def test_page_narrows_and_keeps_it_while_paging(coordinator, full_desk):
    page = coordinator.get("/activity?text=EXAMPLE&action=block&source=dns&group=&device=").text
    assert set(names(page)) == {
        "www.games.example",
        "films.example",
        "chat.example",
        "tracker.example",
    }
    assert re.search(r'value="block"\s+selected', page)
    assert 'value="EXAMPLE"' in page
    assert re.search(
        r'href="/activity\?text=EXAMPLE&amp;action=block&amp;source=dns&amp;before=\d+"', page
    )


def test_page_of_one_device(coordinator, full_desk):
    page = coordinator.get("/activity?device=00:00:5e:00:53:20").text
    assert set(names(page)) == {"news.example", "tracker.example"}


def test_page_says_why_in_plain_words(coordinator, full_desk):
    page = coordinator.get("/activity?text=films").text
    assert (
        "Blocked by the acceptable-use table: “Video sharing, such as YouTube” for EYFS and Key Stage 1."
        in page
    )
    assert 'href="/why?client=00:00:5e:00:53:11&amp;name=films.example"' in page


def test_page_with_nothing_that_fits_says_so(coordinator, full_desk):
    assert "Nothing fits." in coordinator.get("/activity?text=no-such-name").text


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("action=maybe", "action-error"),
        ("source=x", "source-error"),
        ("group=ks9", "group-error"),
        ("device=x", "device-error"),
        ("text=" + "x" * 254, "text-error"),
    ],
)
def test_page_says_what_is_allowed(coordinator, full_desk, query: str, error: str):
    page = coordinator.get(f"/activity?{query}")
    assert page.status_code == 422
    assert f'id="{error}"' in page.text
    assert not names(page.text)
