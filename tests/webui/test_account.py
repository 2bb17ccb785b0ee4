import re

import pytest

from gate_core.desk import UnavailableError
from gate_webui.passwords import BusyError, Passwords

FIRST_RUN = {
    "school": "Example Primary School",
    "full_name": "Robin Example",
    "username": "r.example",
    "password": "copper otter umbrella",
    "again": "copper otter umbrella",
}


def test_first_run_takes_the_code_from_the_link(fresh):
    page = fresh.get("/first-run?code=KESTREL-7421")
    assert page.status_code == 200
    assert 'value="KESTREL-7421"' in page.text


def usernames(desk) -> set[str]:
    return {row["username"] for row in desk.steward.store.accounts()}


def sign_ins(desk) -> list[tuple[str, str, bool]]:
    asked = [arguments for method, arguments in desk.asked if method == "record_sign_in"]
    return [(a["username"], a["address"], a["succeeded"]) for a in asked]


def test_first_run_sets_up_the_school_and_signs_in(fresh, empty_desk, code: str):
    answer = fresh.post("/first-run", {**FIRST_RUN, "code": code})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    account = empty_desk.account(username="r.example")
    assert account.password_hash.startswith("$argon2id$")
    assert "otter" not in repr(account)
    page = fresh.get("/")
    assert "Schoolgate is set up" in page.text
    assert "Today at Example Primary School" in page.text


def test_first_run_lower_cases_the_user_name(fresh, empty_desk, code: str):
    fresh.post("/first-run", {**FIRST_RUN, "code": code, "username": " R.Example "})
    assert usernames(empty_desk) == {"r.example"}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("code", "", "Enter the first-run code."),
        ("code", "WRONG", "This is not the first-run code of this appliance"),
        ("school", "", "Enter the name of the school."),
        ("school", "x" * 101, "Use at most 100 characters."),
        ("full_name", "  ", "Enter your full name."),
        ("username", "", "Enter a user name."),
        (
            "username",
            "robin example",
            "Use letters a to z, digits, full stops, hyphens and underscores only, beginning with a letter.",
        ),
        (
            "username",
            "<script>",
            "Use letters a to z, digits, full stops, hyphens and underscores only, beginning with a letter.",
        ),
        ("password", "", "Enter a password."),
        ("password", "short", "Use 12 to 200 characters."),
        ("password", "passwordpassword", "This password is easy to guess."),
        ("again", "another otter umbrella", "The two passwords are not the same."),
    ],
)
def test_first_run_says_what_is_allowed_and_keeps_the_rest(
    fresh, empty_desk, code, field, value, message
):
    page = fresh.post("/first-run", {**FIRST_RUN, "code": code, field: value})
    assert page.status_code == 422
    assert message in page.text
    assert f'id="{field}-error"' in page.text
    assert f'href="#{field}"' in page.text
    for kept in {"school", "full_name"} - {field}:
        assert f'value="{FIRST_RUN[kept]}"' in page.text
    assert "otter" not in page.text
    assert not usernames(empty_desk)


def test_first_run_is_closed_once_done(stranger, desk):
    assert stranger.get("/first-run?code=KESTREL-7421").headers["Location"] == "/sign-in"
    before = usernames(desk)
    sent = {**FIRST_RUN, "code": "KESTREL-7421", "username": "x.example"}
    assert stranger.post("/first-run", sent, page="/sign-in").status_code == 302
    assert usernames(desk) == before


def test_first_run_slows_down_who_guesses_codes(fresh, empty_desk, code: str):
    for _ in range(5):
        fresh.post("/first-run", {**FIRST_RUN, "code": "WRONG"})
    page = fresh.post("/first-run", {**FIRST_RUN, "code": code})
    assert "Too many wrong attempts. Wait 5 seconds" in page.text
    assert not usernames(empty_desk)


def test_sign_in_before_the_first_run_leads_there(fresh):
    assert fresh.get("/").headers["Location"] == "/sign-in?next=/"
    assert fresh.get("/sign-in").headers["Location"] == "/first-run"


def test_sign_in_lets_in_and_is_recorded(stranger, desk):
    answer = stranger.sign_in()
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert sign_ins(desk) == [("r.example", "192.0.2.20", True)]
    assert "Robin Example" in stranger.get("/").text


def test_sign_in_leads_where_one_wanted_to_go(stranger):
    assert (
        stranger.get("/activity?text=x").headers["Location"] == "/sign-in?next=/activity%3Ftext%3Dx"
    )
    assert stranger.sign_in(next="/activity?text=x").headers["Location"] == "/activity?text=x"


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_sign_in_leads_nowhere_else(stranger, target: str):
    assert stranger.sign_in(next=target).headers["Location"] == "/"


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("r.example", "wrong"),
        ("nobody", "copper otter umbrella"),
        ("r.example", "copper otter umbrella "),
    ],
)
def test_sign_in_refuses_alike(stranger, desk, username: str, password: str):
    page = stranger.sign_in(password, username)
    assert page.status_code == 422
    assert "The user name or the password is wrong." in page.text
    assert f'value="{username}"' in page.text
    assert sign_ins(desk) == [(username, "192.0.2.20", False)]


@pytest.mark.parametrize("field", ["username", "password"])
def test_sign_in_says_what_is_missing(stranger, field: str):
    page = stranger.post("/sign-in", {"username": "r.example", "password": "x", field: ""})
    assert page.status_code == 422
    assert f'id="{field}-error"' in page.text


def test_sign_in_waits_after_failures_whatever_the_password(stranger, desk):
    for _ in range(5):
        stranger.sign_in("wrong")
    page = stranger.sign_in()
    assert page.status_code == 422
    assert "Too many wrong attempts. Wait 5 seconds and try again." in page.text
    assert len(sign_ins(desk)) == 5


def test_sign_in_goes_on_for_others_whatever_an_account_failed_from_elsewhere(browse):
    for last in range(9):
        browse(f"192.0.2.{last}").sign_in("wrong")
    assert browse("192.0.2.99").sign_in().status_code == 302


def test_sign_in_takes_the_addresses_of_one_64_for_one(browse):
    for last in range(5):
        browse(f"2001:db8::{last + 1}").sign_in("wrong")
    assert "Too many" in browse("2001:db8::99").sign_in().text
    assert browse("2001:db8:0:1::99").sign_in().status_code == 302


def test_sign_in_goes_on_where_somebody_has_signed_in_before(browse):
    assert browse("2001:db8::20").sign_in().status_code == 302
    for last in range(30):
        browse(f"2001:db8::{last + 0x100:x}").sign_in("wrong")
    assert browse("2001:db8::20").sign_in().status_code == 302


def test_sign_in_bounds_what_strangers_try_together(browse, desk):
    assert browse("192.0.2.20").sign_in().status_code == 302
    pages = [browse(f"198.51.100.{last}").sign_in("wrong").text for last in range(14)]
    assert "Others are signing in at this moment" in pages[-1]
    assert len(sign_ins(desk)) <= 12
    assert browse("192.0.2.20").sign_in().status_code == 302


def test_sign_in_of_somebody_signed_in_leads_to_today(coordinator):
    answer = coordinator.get("/sign-in?next=/activity")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")


def test_first_run_failures_are_no_accounts(fresh, empty_desk, known):
    for _ in range(5):
        fresh.post("/first-run", {**FIRST_RUN, "code": "WRONG"})
    throttle = fresh._app.extensions["schoolgate"].throttle
    assert throttle.wait_s("first run from 192.0.2.20") > 0
    assert throttle.wait_s("account first-run from 192.0.2.20") == 0


@pytest.mark.parametrize(
    "typed", [str.lower, lambda code: f" {code.title().replace('-', ' ')} ", str.strip]
)
def test_first_run_takes_the_code_as_people_type_it(fresh, empty_desk, code: str, typed):
    assert fresh.post("/first-run", {**FIRST_RUN, "code": typed(code)}).status_code == 302
    assert usernames(empty_desk)


def test_first_run_says_where_the_code_is(fresh):
    page = fresh.get("/first-run").text
    assert "12 letters and digits" in page
    assert "file first-run-code of its state directory" in page


@pytest.mark.parametrize(
    "path",
    ["/pause", "/pause/end", "/panel/press", "/sign-out", "/record/sign"],
)
def test_sign_in_after_a_button_leads_to_today(stranger, path: str):
    answer = stranger.post_bare(path)
    assert answer.headers["Location"] == "/sign-in?next=/" or path == "/sign-out"
    assert stranger.sign_in(next=path).headers["Location"] == "/"


def test_sign_in_waits_for_the_address_with_any_account(browse):
    browser = browse()
    for name in "abcde":
        browser.sign_in("wrong", name)
    assert "Too many" in browser.sign_in().text
    assert browse("192.0.2.99").sign_in().status_code == 302


def test_sign_in_gives_a_new_cookie_and_token(stranger):
    before = stranger.token("/sign-in")
    cookie = stranger.client.get_cookie("__Host-schoolgate", domain="192.0.2.2").value
    stranger.sign_in()
    assert stranger.client.get_cookie("__Host-schoolgate", domain="192.0.2.2").value != cookie
    answer = stranger.post_bare("/pause", {"minutes": "5", "csrf_token": before})
    assert answer.status_code == 400


def test_sign_in_again_ends_the_session_before(browse):
    browser, thief = browse(), browse()
    token = browser.token("/sign-in")
    browser.enter()
    cookie = browser.client.get_cookie("__Host-schoolgate", domain="192.0.2.2")
    thief.client.set_cookie(cookie.key, cookie.value, domain="192.0.2.2", secure=True)
    assert thief.get("/").status_code == 200
    browser.post_bare("/sign-out", {"csrf_token": token})
    assert browser.sign_in().status_code == 302
    assert thief.get("/").status_code == 302


def test_sign_in_cookie_is_kept_from_scripts_and_plain_http(stranger):
    field = stranger.sign_in().headers["Set-Cookie"]
    assert re.match(r"__Host-schoolgate=[^;]+; Secure; HttpOnly; Path=/; SameSite=Lax$", field)


def test_sign_in_cookie_of_ones_own_making_is_worth_nothing(stranger):
    stranger.client.set_cookie(
        "__Host-schoolgate", "eyJzaWQiOiJ4In0.x.x", domain="192.0.2.2", secure=True
    )
    assert stranger.get("/").status_code == 302


def test_sign_in_is_told_to_wait_while_many_others_are(stranger, monkeypatch: pytest.MonkeyPatch):
    def busy(*_: object, **__: object) -> bool:
        raise BusyError

    monkeypatch.setattr(Passwords, "matches", busy)
    page = stranger.sign_in()
    assert page.status_code == 422
    assert "Others are signing in at this moment." in page.text


def test_sign_in_without_the_steward_says_so(stranger, desk, monkeypatch: pytest.MonkeyPatch):
    token = stranger.token("/sign-in")

    def away(**_: object) -> None:
        raise UnavailableError("nobody there")

    monkeypatch.setattr(desk, "account", away)
    page = stranger.post_bare("/sign-in", {"username": "a", "password": "b", "csrf_token": token})
    assert page.status_code == 503
    assert "The steward does not answer" in page.text
