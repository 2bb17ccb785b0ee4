"""What is sent in fewer octets, and what is not."""

import gzip

import pytest

GZIP = {"Accept-Encoding": "gzip, deflate, br"}


def asked(browser, path, site="same-origin", **headers):
    return browser.get(path, headers=GZIP | ({"Sec-Fetch-Site": site} if site else {}) | headers)


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_page_is_compressed_where_we_or_the_person_asked(coordinator, kept_desk, site):
    page = asked(coordinator, "/acceptable-use", site)
    assert page.headers["Content-Encoding"] == "gzip"
    assert int(page.headers["Content-Length"]) == len(page.data)
    assert len(page.data) < len(gzip.decompress(page.data)) / 4
    assert b"Acceptable use" in gzip.decompress(page.data)
    assert "Accept-Encoding" in page.headers["Vary"]


@pytest.mark.parametrize("site", ["cross-site", "same-site", ""])
def test_page_that_another_site_had_asked_for_is_not(coordinator, kept_desk, site):
    page = asked(coordinator, "/why?name=bad.example", site)
    assert "Content-Encoding" not in page.headers
    assert "Check a site" in page.text


def test_browser_that_takes_none_gets_none(coordinator, kept_desk):
    page = coordinator.get("/acceptable-use", headers={"Sec-Fetch-Site": "same-origin"})
    assert "Content-Encoding" not in page.headers
    assert "Acceptable use" in page.text


@pytest.mark.parametrize("name", ["schoolgate.css", "govuk-frontend.min.js", "htmx.min.js"])
def test_file_is_compressed_whoever_asks(stranger, kept_desk, name):
    whole = stranger.get(f"/static/{name}")
    small = asked(stranger, f"/static/{name}", "")
    assert "Content-Encoding" not in whole.headers
    assert gzip.decompress(small.data) == whole.data
    assert len(small.data) < len(whole.data) / 2


def test_copy_for_a_spreadsheet_and_faults_are_whole(coordinator, kept_full_desk):
    coordinator.look()
    copy = asked(coordinator, "/activity/copy")
    assert copy.data.startswith("\ufeff".encode())
    assert "Content-Encoding" not in asked(coordinator, "/nowhere").headers
