import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werkzeug.test import Client

from gate_core.desk import Explanation, UnavailableError
from gate_webui.block import HEADERS, STYLE_PATH, create_block_app

OWN = {"SERVER_NAME": "192.0.2.2", "REMOTE_ADDR": "192.0.2.10"}


@pytest.fixture
def pupil(full_desk) -> Client:
    return Client(create_block_app(full_desk))


def look(client: Client, host: str, path: str = "/", method: str = "GET", **kwargs):
    return client.open(path, method=method, headers={"Host": host}, environ_overrides=OWN, **kwargs)


def test_page_is_kind_and_tells_the_rule(pupil: Client):
    page = look(pupil, "www.games.example")
    assert page.status_code == 403
    assert "This website is closed at school" in page.text
    assert "www.games.example" in page.text
    assert "Ask your teacher." in page.text
    assert "“Online games (not educational)” for Key Stage 2." in page.text


def test_page_is_small_and_has_no_script(pupil: Client):
    page = look(pupil, "www.games.example")
    assert len(page.data) < 2048
    assert "<script" not in page.text
    for name, value in HEADERS.items():
        assert page.headers[name] == value


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND", "PATCH"])
@pytest.mark.parametrize("path", ["/", "/a/b?c=d", "/%00", "/..%2f..%2fetc/passwd"])
def test_page_answers_any_path_and_method(pupil: Client, method: str, path: str):
    page = look(pupil, "www.games.example", path, method)
    assert page.status_code == 403
    assert "This website is closed at school" in page.text


def test_head_has_the_same_fields(pupil: Client):
    assert look(pupil, "www.games.example", method="HEAD").status_code == 403


def test_pause_has_its_own_page(pupil: Client, full_desk):
    full_desk.start_pause(groups=("ks2",), minutes=10, actor="button")
    page = look(pupil, "www.games.example").text
    assert "<h1>Internet pause</h1>" in page
    assert "It will come back." in page


def test_illegal_content_is_not_spelt_out(pupil: Client):
    page = look(pupil, "www.bad.example").text
    assert "This page cannot be opened" in page
    assert "bad.example" not in page
    assert "Child sexual" not in page
    assert "For your teacher" not in page
    assert "Childline" in page


def test_site_that_is_open_again_says_so(pupil: Client):
    page = look(pupil, "sums.example")
    assert page.status_code == 403
    assert "This website is open now" in page.text
    assert "For your teacher" not in page.text


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("isolated", "This device is not on the internet now"),
        ("suspended", "This device is not on the internet now"),
        ("lesson", "Not in this lesson"),
        ("default", "Your school has not checked this website yet"),
        ("exception", "This website is closed at school"),
        ("a reason of later years", "This website is closed at school"),
    ],
)
def test_page_fits_the_reason(full_desk, monkeypatch, reason: str, words: str):
    def explain(*, client: str, name: str) -> Explanation:
        assert (client, name) == ("192.0.2.10", "www.example.org")
        return Explanation("", "", "", name, "block", reason, "", "Because.", (), ())

    monkeypatch.setattr(full_desk, "explain", explain)
    page = look(Client(create_block_app(full_desk)), "www.example.org").text
    assert f"<h1>{words}</h1>" in page
    assert "Because." in page


def test_page_without_the_steward_is_general(pupil: Client, full_desk):
    full_desk.away = True
    page = look(pupil, "www.games.example")
    assert page.status_code == 403
    assert "This website is closed at school" in page.text
    assert "www.games.example" in page.text
    assert "For your teacher" not in page.text


@pytest.mark.parametrize(
    "host",
    ["<script>alert(1)</script>", '"><img src=x>', "a b", "", "x" * 300, ":"],
)
def test_host_that_is_no_name_is_not_shown(pupil: Client, host: str):
    page = look(pupil, host)
    assert page.status_code == 403
    assert '<p class="name">' not in page.text
    assert "<img" not in page.text


@given(
    host=st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=80),
    path=st.text(max_size=40),
)
@settings(max_examples=150, deadline=None)
def test_any_host_and_path_get_the_page(host: str, path: str):
    class Away:
        def explain(self, **_: str) -> None:
            raise UnavailableError("nobody there")

    statuses = []
    environ = {
        **OWN,
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path.encode().decode("latin-1"),
        "HTTP_HOST": host,
        "wsgi.url_scheme": "http",
        "SERVER_PORT": "80",
    }
    body = b"".join(create_block_app(Away())(environ, lambda status, _: statuses.append(status)))
    if statuses[0].startswith("403"):
        assert b"This website is closed at school" in body
        assert not re.search(rb"<script|<img", body)
    else:
        assert statuses[0].startswith("302")


@pytest.mark.parametrize(
    ("host", "location"),
    [
        ("192.0.2.2", "https://192.0.2.2:8443/"),
        ("192.0.2.2:80", "https://192.0.2.2:8443/"),
        ("schoolgate.local", "https://schoolgate.local:8443/"),
        ("SchoolGate", "https://schoolgate:8443/"),
    ],
)
def test_the_box_itself_leads_to_the_coordinators_pages(pupil: Client, host: str, location: str):
    answer = look(pupil, host, "/first-run")
    assert (answer.status_code, answer.headers["Location"]) == (302, location)
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_box_itself_over_ipv6(full_desk):
    client = Client(create_block_app(full_desk, https_port=9443))
    own = {**OWN, "SERVER_NAME": "2001:db8::2"}
    answer = client.get("/", headers={"Host": "[2001:DB8::2]"}, environ_overrides=own)
    assert answer.headers["Location"] == "https://[2001:db8::2]:9443/"


def test_another_address_is_not_the_box(pupil: Client):
    assert look(pupil, "192.0.2.3").status_code == 403


def test_style_comes_from_any_name(pupil: Client):
    answer = look(pupil, "www.games.example", STYLE_PATH)
    assert (answer.status_code, answer.mimetype) == (200, "text/css")
    assert "url(" not in answer.text


def test_page_links_the_style(pupil: Client):
    assert f'href="{STYLE_PATH}"' in look(pupil, "www.games.example").text


@pytest.mark.parametrize(
    ("accepted", "title"),
    [("cy-GB,en;q=0.5", "Mae'r wefan hon ar gau yn yr ysgol"), ("fr", "This website is closed at school")],
)  # fmt: skip
def test_page_speaks_the_language_of_the_browser(pupil: Client, accepted: str, title: str):
    page = pupil.get("/", headers={"Host": "games.example", "Accept-Language": accepted})
    assert title in page.get_data(as_text=True).replace("&#39;", "'")
    assert page.headers["Vary"] == "Accept-Language"


def test_code_of_the_page_leads_to_why_it_was_shown(app, coordinator, full_desk):
    codes = app.extensions["schoolgate"].services.codes
    page = look(Client(create_block_app(full_desk, codes=codes)), "www.games.example").text
    code = re.search("Code: ([A-Z]{4})<", page)[1]
    assert "block page" in coordinator.get("/why").text
    found = coordinator.get(f"/why/code?code={code.lower()}", follow_redirects=True).text
    assert "www.games.example is blocked for Laptop 7" in found
    assert "“Online games (not educational)” for Key Stage 2." in found
    wrong = coordinator.get("/why/code?code=AEIO", follow_redirects=True).text
    assert "No block page has shown the code “AEIO” today." in wrong


def test_illegal_content_has_no_code(pupil: Client):
    assert "Code:" not in look(pupil, "bad.example").text
