"""One's own account: the password, and a code besides it."""

import re
from datetime import timedelta

import pyotp
import pytest

from gate_webui.access import Kept

NEW = "violet walrus harbour"


def code_of(desk, secret, steps=0):
    now = desk.steward.clock.now()
    return pyotp.TOTP(secret).at(now + timedelta(seconds=30 * steps))


@pytest.fixture
def secret(desk, coordinator, known):
    """The coordinator signs in with a code from now on."""
    made = desk.offer_second_factor(actor=known.username)
    desk.begin_second_factor(secret=made, code=code_of(desk, made, -1), actor=known.username)
    return made


def test_page_is_one_s_own(teacher, kept_desk):
    page = teacher.get("/account").text
    assert "Taylor Example" in page
    assert "Not asked for" in page
    assert "Robin Example" not in page


def test_code_is_asked_for_from_the_picture_on(coordinator, desk, known, stranger):
    page = coordinator.get("/account/second-factor").text
    assert "<svg" in page
    made = re.search(r'name="secret" type="hidden" value="([A-Z2-7]{32})"', page)[1]
    assert made[:4] + " " + made[4:8] in page
    wrong = coordinator.post("/account/second-factor", {"secret": made, "code": "000000"})
    assert wrong.status_code == 422
    assert "6 digits" in wrong.text
    assert made in wrong.text, "the picture stays the one that was scanned"
    right = {"secret": made, "code": code_of(desk, made)}
    assert coordinator.post("/account/second-factor", right).status_code == 302
    assert "From now on you are asked for a code" in coordinator.get("/account").text

    stranger.sign_in()
    assert stranger.get("/").status_code == 302, "the password alone is not enough"


def test_sign_in_with_a_code(stranger, desk, secret):
    answer = stranger.sign_in(next="/record")
    assert (answer.status_code, answer.headers["Location"]) == (
        *(302, "/sign-in/code?next=/record"),
    )
    assert desk.entry().action != "signed in"
    wrong = stranger.post("/sign-in/code", {"code": "123456"})
    assert wrong.status_code == 422
    assert "Each is good once" in wrong.text
    assert stranger.get("/").status_code == 302
    right = stranger.post("/sign-in/code", {"code": code_of(desk, secret), "next": "/record"})
    assert (right.status_code, right.headers["Location"]) == (302, "/record")
    assert stranger.get("/").status_code == 200
    assert desk.entry().action == "signed in"


def test_code_is_good_once(browse, desk, secret):
    first, second = browse("192.0.2.31"), browse("192.0.2.32")
    for browser in (first, second):
        browser.sign_in()
    code = code_of(desk, secret)
    assert first.post("/sign-in/code", {"code": code}).status_code == 302
    assert second.post("/sign-in/code", {"code": code}).status_code == 422
    assert second.get("/").status_code == 302


def test_code_without_a_password_leads_nowhere(stranger, desk, secret):
    assert stranger.get("/sign-in/code").headers["Location"] == "/sign-in"
    answer = stranger.post("/sign-in/code", {"code": code_of(desk, secret)}, page="/sign-in")
    assert answer.headers["Location"] == "/sign-in"
    assert stranger.get("/").status_code == 302


def test_guessed_codes_are_slowed_down(stranger, desk, secret, known):
    stranger.sign_in()
    for _ in range(12):
        answer = stranger.post("/sign-in/code", {"code": "123456"})
    assert "Too many wrong attempts." in answer.text
    assert stranger.post("/sign-in/code", {"code": code_of(desk, secret)}).status_code == 422
    assert desk.entry().action == "failed to sign in"


def test_password_that_was_given_before_it_changed_counts_no_more(stranger, desk, secret, known):
    stranger.sign_in()
    hashed = desk.account(username=known.username).password_hash
    desk.change_password(password_hash=hashed, actor=known.username)
    assert stranger.get("/sign-in/code").headers["Location"] == "/sign-in"


def test_half_a_sign_in_ends_by_itself(app, stranger, desk, secret):
    stranger.sign_in()
    kept: Kept = app.extensions["schoolgate"]
    kept.halves._monotonic = lambda: 1e12
    assert stranger.get("/sign-in/code").headers["Location"] == "/sign-in"


def test_code_is_done_without_by_the_password(coordinator, desk, secret, known):
    wrong = coordinator.post("/account/second-factor/end", {"current": "not the right one"})
    assert wrong.status_code == 422
    assert "This is not your password." in wrong.text
    assert desk.account(username=known.username).second_factor
    right = coordinator.post("/account/second-factor/end", {"current": known.password})
    assert right.status_code == 302
    assert not desk.account(username=known.username).second_factor


def test_lost_phone_is_for_whoever_grants_accounts(technician, teacher, desk, secret, known):
    assert "Signs in with a code" in technician.get("/accounts").text
    assert technician.post(f"/accounts/{known.username}/code", page="/accounts").status_code == 302
    assert not desk.account(username=known.username).second_factor
    assert (desk.entry().actor, desk.entry().action) == ("i.example", "ended a second factor")
    refused = teacher.post(f"/accounts/{known.username}/code", page="/account")
    assert refused.status_code == 403


def test_password_is_changed_by_whoever_knows_it(coordinator, browse, desk, known):
    elsewhere = browse("192.0.2.31")
    elsewhere.enter()
    fields = {"current": known.password, "password": NEW, "again": NEW}
    for faulty, words in (
        ({"current": "not the right one"}, "This is not your password."),
        ({"password": "password1234", "again": "password1234"}, "easy to guess"),
        ({"again": "another one of it"}, "not the same"),
        ({"current": ""}, "Enter your password."),
    ):
        answer = coordinator.post("/account/password", fields | faulty)
        assert answer.status_code == 422
        assert words in answer.text
    assert coordinator.post("/account/password", fields).status_code == 302
    assert "Your password is changed." in coordinator.get("/account").text
    assert elsewhere.get("/").status_code == 302
    assert elsewhere.sign_in().status_code == 422
    assert elsewhere.sign_in(NEW).status_code == 302
    assert "changed their password" in {e.action for e in desk.steward.store.entries(limit=4)}


def printed(browser, known):
    """Print recovery codes; return them."""
    page = browser.post("/account/recovery-codes", {"current": known.password})
    assert page.headers["Cache-Control"] == "no-store"
    codes = re.findall(r"<li><code>([A-Z2-7-]{19})</code></li>", page.text)
    assert len(set(codes)) == 8
    return codes


def test_recovery_codes_are_shown_once_to_whoever_knows_the_password(coordinator, known):
    wrong = coordinator.post("/account/recovery-codes", {"current": "somebody else's"})
    assert (wrong.status_code, "This is not your password" in wrong.text) == (422, True)
    assert "<code>" not in wrong.text
    assert "You have none at present" in coordinator.get("/account/recovery-codes").text
    codes = printed(coordinator, known)
    later = coordinator.get("/account/recovery-codes").text
    assert "8 codes are left" in later
    assert not any(code in later for code in codes)
    assert "8 left" in coordinator.get("/account").text


def test_recovery_code_lets_in_without_password_and_phone(
    coordinator, stranger, desk, secret, known
):
    desk.shown.clear()
    (code, *_) = printed(coordinator, known)
    assert 'href="/sign-in/recover"' in stranger.get("/sign-in").text
    fields = {"username": "R.Example", "code": code, "password": NEW, "again": NEW}
    short = stranger.post("/sign-in/recover", fields | {"password": "short", "again": "short"})
    assert (short.status_code, code in short.text) == (422, True)
    wrong = stranger.post("/sign-in/recover", fields | {"code": "AAAA-AAAA-AAAA-AAAA"})
    assert (wrong.status_code, "each is good once" in wrong.text) == (422, True)

    answer = stranger.post("/sign-in/recover", fields)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/account")
    page = stranger.get("/account").text
    assert "Print new codes now" in page
    assert "7 left" in page
    assert "Not asked for" in page
    assert coordinator.get("/").status_code == 302, "sessions from before are over"
    assert "A recovery code was used on" in stranger.get("/").text
    stranger.post("/account/recovery-codes", {"current": NEW})
    assert "A recovery code was used on" not in stranger.get("/").text


def test_guessed_recovery_codes_are_slowed_down(coordinator, stranger, known):
    (code, *_) = printed(coordinator, known)
    fields = {"username": known.username, "code": "AAAA", "password": NEW, "again": NEW}
    for _ in range(20):
        if "Too many" in (page := stranger.post("/sign-in/recover", fields).text):
            break
    assert "Too many" in page
    assert stranger.post("/sign-in/recover", fields | {"code": code}).status_code == 422
