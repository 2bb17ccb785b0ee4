import pytest
from flask import Flask

from gate_webui.access import own_path


@pytest.mark.parametrize("target", ["/", "/activity?text=a&before=7", "/devices/00:00:5e:00:53:10"])
def test_own_path_keeps_pages_of_this_site(target: str):
    assert own_path(target) == target


@pytest.mark.parametrize(
    "target",
    [
        None,
        "",
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "/\t/evil.example",
        "/%0d%0a\r\nX: y",
        "javascript:alert(1)",
        " /activity",
        "/a b",
        "/a\\..\\b",
    ],
)
def test_own_path_refuses_all_else(target: str | None):
    assert own_path(target) is None


def closed_rules(app: Flask) -> list[tuple[str, str]]:
    """Return method and path of every route that wants somebody signed in."""
    values = {
        "group": "ks2",
        "row": "video",
        "mac": "00:00:5e:00:53:10",
        "id_": "1",
        "kind": "rooms",
        "mode": "only",
        "username": "t.example",
    }
    found = []
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            if rule.endpoint == "static" or hasattr(app.view_functions[rule.endpoint], "is_public"):
                continue
            path = app.url_map.bind("").build(
                rule.endpoint, {k: v for k, v in values.items() if k in rule.arguments}
            )
            found += [(m, path) for m in sorted(rule.methods & {"GET", "POST"})]
    return found


def test_every_page_but_five_wants_somebody_signed_in(app: Flask, stranger):
    closed = closed_rules(app)
    assert len(closed) >= 15
    for method, path in closed:
        answer = stranger.get(path) if method == "GET" else stranger.post_bare(path)
        assert answer.status_code == 302, path
        assert answer.headers["Location"].startswith("/sign-in?next="), path


SEEN_BY = {
    "/acceptable-use": "coordinator head safeguarding technician governor teacher auditor",
    "/why": "coordinator head safeguarding technician governor teacher auditor",
    "/record": "coordinator head safeguarding technician governor teacher auditor",
    "/proposals": "coordinator head safeguarding technician governor teacher auditor",
    "/rows/new": "coordinator head safeguarding technician",
    "/policy-text": "coordinator head safeguarding technician",
    "/policy-text/export": "coordinator head safeguarding technician",
    "/policy-text/import": "coordinator head safeguarding technician",
    "/exceptions/new": "coordinator head safeguarding technician teacher",
    "/activity": "coordinator head safeguarding technician",
    "/activity/copy": "coordinator head safeguarding technician",
    "/usage": "coordinator head safeguarding technician",
    "/usage/week": "coordinator head safeguarding technician",
}


@pytest.mark.parametrize("path", SEEN_BY)
@pytest.mark.parametrize(
    "who",
    ["coordinator", "head", "safeguarding", "technician", "governor", "teacher", "auditor"],
)
def test_page_is_shown_to_roles_that_may(
    request: pytest.FixtureRequest, kept_desk, path: str, who: str
):
    page = request.getfixturevalue(who).get(path)
    if who in SEEN_BY[path].split():
        assert page.status_code == 200
    else:
        assert page.status_code == 403
        assert "This page is not for you" in page.text
        assert "our role may" in page.text


def test_menu_has_what_the_role_may(governor, coordinator):
    assert 'href="/activity"' in coordinator.get("/record").text
    page = governor.get("/record").text
    assert 'href="/activity"' not in page
    assert 'href="/why"' in page


def test_public_pages_are_these(app: Flask):
    is_public = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if hasattr(app.view_functions[rule.endpoint], "is_public")
    }
    assert is_public == {
        "/first-run",
        "/sign-in",
        "/welcome",
        "/cannot-see",
        "/language",
        "/sign-in/code",
        "/sign-in/recover",
    }


def test_every_change_wants_a_token(app: Flask, coordinator):
    posts = [path for method, path in closed_rules(app) if method == "POST"]
    assert len(posts) >= 7
    for path in posts:
        answer = coordinator.post_bare(path, {"cell": "acceptable", "reason": "x", "minutes": "5"})
        assert answer.status_code == 400, path
        assert "open for too long" in answer.text


def test_a_token_of_another_browser_is_worth_nothing(browse, coordinator, desk):
    other = browse()
    other.enter()
    answer = coordinator.post_bare("/pause", {"minutes": "5", "csrf_token": other.token("/")})
    assert answer.status_code == 400
    assert desk.status().pause is None


def test_a_form_from_elsewhere_is_refused(coordinator, desk):
    token = coordinator.token("/")
    answer = coordinator.post_bare(
        "/pause",
        {"minutes": "5", "csrf_token": token},
        headers={"Referer": "https://evil.example/"},
    )
    assert answer.status_code == 400
    assert desk.status().pause is None


def test_ended_epoch_ends_the_session(coordinator, desk, known):
    assert coordinator.get("/").status_code == 200
    desk.end_sessions(username=known.username, actor=known.username)
    assert coordinator.get("/").status_code == 302


def test_account_gone_ends_the_session(coordinator, desk):
    assert desk.remove_account(username="r.example", reason="Left", actor="i.example")
    desk.answer(
        id=desk.proposals(actor="i.example", waiting=True)[0].id, approve=True, actor="h.example"
    )
    assert coordinator.get("/devices").status_code == 302


def test_sign_out_ends_a_copied_cookie_too(browse, coordinator):
    thief = browse()
    cookie = coordinator.client.get_cookie("__Host-schoolgate", domain="192.0.2.2")
    thief.client.set_cookie(cookie.key, cookie.value, domain="192.0.2.2", secure=True)
    assert thief.get("/").status_code == 200
    assert coordinator.post("/sign-out", page="/").status_code == 302
    assert thief.get("/").status_code == 302
    assert coordinator.get("/").status_code == 302


def test_what_polls_is_sent_to_sign_in_as_a_whole_page(stranger):
    answer = stranger.get("/live", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (204, "/sign-in")


@pytest.mark.parametrize(
    "host",
    [
        "192.0.2.2:8443",
        "[2001:db8::2]:8443",
        "schoolgate.local:8443",
        "schoolgate",
        "LOCALHOST:8443",
        "127.0.0.1",
    ],
)
def test_host_of_the_box_is_served(app: Flask, host: str):
    assert app.test_client().get("/cannot-see", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "schoolgate.local.evil.example", "192.0.2.2.evil.example", "", "a b", "[::1"],
)
def test_host_of_another_is_refused(app: Flask, host: str):
    answer = app.test_client().get("/cannot-see", headers={"Host": host})
    assert answer.status_code == 400
    assert "evil.example" not in answer.text
