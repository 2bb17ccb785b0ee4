import re

import pytest

INVITE = {
    "full_name": "Nic Example",
    "username": "N.Example",
    "role": "teacher",
    "rooms": ["ict"],
    "reason": "New teacher",
}
WELCOME = {
    "username": "n.example",
    "password": "violet kettle harbour",
    "again": "violet kettle harbour",
}


def invited(coordinator, **sent: str) -> str:
    """Invite somebody and return the code."""
    page = coordinator.post("/accounts/invite", {**INVITE, **sent})
    assert page.status_code == 200
    return re.search(r'class="sg-code">([^<]+)<', page.text)[1]


def account(desk, username: str):
    return next(a for a in desk.accounts(actor="r.example") if a.username == username)


def test_index_lists_roles_in_words(coordinator, full_desk):
    page = coordinator.get("/accounts").text
    for words in ("E-safety coordinator", "Head teacher", "Safeguarding lead", "Teacher"):
        assert words in page
    assert "Key Stage 2" in page


def test_invite_shows_the_code_once(coordinator, full_desk):
    code = invited(coordinator)
    assert re.fullmatch("[A-Z2-7]{4}(-[A-Z2-7]{4}){2}", code)
    its = account(full_desk, "n.example")
    assert (its.state, its.rooms) == ("invited", ("ict",))
    assert code not in coordinator.get("/accounts").text


def test_invite_says_that_an_approver_needs_approval(coordinator, full_desk):
    page = coordinator.post("/accounts/invite", {**INVITE, "role": "head"})
    assert "The account opens only after an approval." in page.text
    its = account(full_desk, "n.example")
    # Rooms are a teacher's alone.
    assert (its.state, its.rooms) == ("waiting", ())
    assert "Waits for approval" in coordinator.get("/accounts").text


def test_invite_an_auditor_until_a_day(coordinator, full_desk):
    invited(coordinator, role="auditor", until="2027-02-28")
    assert account(full_desk, "n.example").until == "2027-03-01T00:00:00+00:00"
    assert "until the end of 28 February 2027" in coordinator.get("/accounts").text


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"full_name": ""}, "full_name-error"),
        ({"username": ""}, "username-error"),
        ({"username": "nic example"}, "username-error"),
        ({"username": "h.example"}, "username-error"),
        ({"role": "panel"}, "role-error"),
        ({"role": ""}, "role-error"),
        ({"rooms": ["attic"]}, "rooms-error"),
        ({"until": "2027-01-01"}, "until-error"),
        ({"reason": ""}, "reason-error"),
    ],
)
def test_invite_says_what_is_allowed_beside_the_field(coordinator, full_desk, sent, error: str):
    before = full_desk.accounts(actor="r.example")
    page = coordinator.post("/accounts/invite", {**INVITE, **sent})
    assert page.status_code == 422
    assert f'id="{error}"' in page.text
    assert full_desk.accounts(actor="r.example") == before


def test_remove_ends_the_account_and_its_session(coordinator, teacher, full_desk):
    assert teacher.get("/").status_code == 200
    assert coordinator.post("/accounts/t.example/remove", {"reason": "Retired"}).status_code == 302
    assert account(full_desk, "t.example").state == "ended"
    assert teacher.get("/").status_code == 302
    assert "accounts/t.example/remove" not in coordinator.get("/accounts").text


def test_remove_of_who_may_approve_waits_for_somebody_else(coordinator, head, full_desk):
    coordinator.post("/accounts/h.example/remove", {"reason": "Retired"})
    told = coordinator.get("/accounts").text
    assert "goes on for now" in told
    assert "Somebody else has to approve this" in told
    assert head.get("/").status_code == 200
    assert "has an account no longer" in head.get("/proposals").text
    id_ = full_desk.proposals(actor="h.example", waiting=True)[0].id
    full_desk.answer(id=id_, approve=True, actor="h.example")
    assert account(full_desk, "h.example").state == "ended"
    assert head.get("/").status_code == 302


def test_remove_never_takes_the_last_who_may_grant(coordinator, full_desk):
    coordinator.post("/accounts/i.example/remove", {"reason": "Left"})
    id_ = full_desk.proposals(actor="h.example", waiting=True)[0].id
    full_desk.answer(id=id_, approve=True, actor="h.example")
    page = coordinator.post("/accounts/r.example/remove", {"reason": "Left"})
    assert page.status_code == 422
    assert "This is the last account" in page.text


def test_remove_of_nobody_is_no_page(coordinator, full_desk):
    assert coordinator.get("/accounts/nobody/remove").status_code == 404


def test_sign_out_ends_every_session(coordinator, head, full_desk):
    assert head.get("/").status_code == 200
    coordinator.post("/accounts/h.example/sign-out", page="/accounts")
    assert head.get("/").status_code == 302


@pytest.mark.parametrize("who", ["head", "safeguarding", "governor", "teacher", "auditor"])
def test_accounts_are_for_those_who_grant_them(request, full_desk, who: str):
    browser = request.getfixturevalue(who)
    for path in ("/accounts", "/accounts/invite", "/accounts/t.example/remove"):
        assert browser.get(path).status_code == 403


def test_welcome_sets_the_password_and_signs_in(coordinator, stranger, full_desk):
    code = invited(coordinator)
    sent = {**WELCOME, "username": "N.Example", "code": code.lower().replace("-", " ")}
    answer = stranger.post("/welcome", sent)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert "Your password is set, and you are signed in." in stranger.get("/").text
    assert full_desk.account(username="n.example").password_hash.startswith("$argon2id$")
    assert stranger.get("/welcome").headers["Location"] == "/"


def test_welcome_takes_a_code_once(coordinator, browse, full_desk):
    sent = {**WELCOME, "code": invited(coordinator)}
    assert browse().post("/welcome", sent).status_code == 302
    page = browse("192.0.2.21").post("/welcome", sent)
    assert page.status_code == 422
    assert "There is no open invitation with this user name and code" in page.text


def test_welcome_of_an_account_that_waits_says_so(coordinator, stranger, full_desk):
    sent = {**WELCOME, "code": invited(coordinator, role="head")}
    page = stranger.post("/welcome", sent)
    assert page.status_code == 422
    assert "This account waits for an approval" in page.text


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"username": ""}, "username-error"),
        ({"code": ""}, "code-error"),
        ({"code": "AAAA-BBBB-CCCC"}, "code-error"),
        ({"password": "short", "again": "short"}, "password-error"),
        ({"password": "passwordpassword", "again": "passwordpassword"}, "password-error"),
        ({"again": "violet kettle harbor"}, "again-error"),
    ],
)
def test_welcome_says_what_is_allowed_beside_the_field(
    coordinator, stranger, full_desk, sent, error: str
):
    page = stranger.post("/welcome", {**WELCOME, "code": invited(coordinator), **sent})
    assert page.status_code == 422
    assert f'id="{error}"' in page.text
    assert "violet kettle" not in page.text
    assert account(full_desk, "n.example").state == "invited"


def test_welcome_slows_down_who_guesses_codes(coordinator, browse, full_desk):
    code = invited(coordinator)
    guesser = browse("198.51.100.7")
    for _ in range(5):
        guesser.post("/welcome", {**WELCOME, "code": "AAAA-BBBB-CCCC"})
    page = guesser.post("/welcome", {**WELCOME, "code": code})
    assert "Too many wrong attempts. Wait 5 seconds" in page.text
    assert account(full_desk, "n.example").state == "invited"


def test_welcome_guesses_count_with_those_at_the_password(coordinator, browse, full_desk):
    invited(coordinator)
    guesser = browse("198.51.100.7")
    for _ in range(5):
        guesser.post("/welcome", {**WELCOME, "code": "AAAA-BBBB-CCCC"})
    assert "Too many wrong attempts." in guesser.sign_in().text


def test_sign_in_leads_whoever_is_invited_to_welcome(stranger, full_desk):
    assert 'href="/welcome"' in stranger.get("/sign-in").text


def test_every_form_wants_a_token(coordinator, stranger, full_desk):
    for path in ("/accounts/invite", "/accounts/h.example/remove", "/accounts/h.example/sign-out"):
        assert coordinator.post_bare(path, INVITE).status_code == 400
    assert stranger.post_bare("/welcome", WELCOME).status_code == 400
