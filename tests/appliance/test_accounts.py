import inspect
import re
from datetime import timedelta
from itertools import count

import pyotp
import pytest
from argon2 import PasswordHasher

from gate_appliance.accounts import RECOVERY_CODES
from gate_appliance.desk import StewardDesk
from gate_appliance.steward import Steward
from gate_core.desk import AccountView, Desk, RefusedError
from gate_core.record import Entry, verify
from gate_core.roles import ACCOUNT_ROLES

FIRST = {"school": "St Example", "username": "ann", "full_name": "Ann", "password_hash": ""}


@pytest.fixture(autouse=True)
def _hash(people, monkeypatch):
    monkeypatch.setitem(FIRST, "password_hash", people.hash)


def first_code(steward):
    return steward.places.first_run_code.read_text().strip()


def refusal(call, **arguments):
    with pytest.raises(RefusedError) as caught:
        call(**arguments)
    return caught.value.field, str(caught.value)


def state_of(desk, username):
    (state,) = (a.state for a in desk.accounts(actor="coordinator") if a.username == username)
    return state


def invited(desk, username="new", role="teacher", actor="coordinator", **more):
    return desk.invite(
        username=username, full_name="New", role=role, reason="joins", actor=actor, **more
    )


def grant_id(desk, username, actor="coordinator"):
    waiting = desk.proposals(actor=actor, waiting=True)
    (id_,) = (p.id for p in waiting if f"({username})" in p.sentences[0])
    return id_


def end(desk, username, approver="safeguarding", actor="coordinator"):
    """End an account, with the approval that it takes."""
    if desk.remove_account(username=username, reason="leaves", actor=actor):
        desk.answer(
            id=desk.proposals(actor=actor, waiting=True)[0].id, approve=True, actor=approver
        )


# The first run


def test_first_run_code_is_secret_and_used_once(desk, steward):
    path = steward.places.first_run_code
    assert path.stat().st_mode & 0o077 == 0
    desk.set_up(code=first_code(steward), **FIRST)
    assert not path.exists()
    assert desk.is_set_up()
    assert desk.account(username="ANN").role == "coordinator"
    assert desk.status().school == desk.written().school == "St Example"
    assert "sign in instead" in refusal(desk.set_up, code="x", **FIRST)[1]


@pytest.mark.parametrize("spelled", [str.lower, lambda c: c.replace("-", " "), lambda c: f" {c} "])
def test_set_up_takes_the_code_however_it_is_typed(desk, steward, spelled):
    desk.set_up(code=spelled(first_code(steward)), **FIRST)
    assert desk.is_set_up()


@pytest.mark.parametrize(
    ("argument", "value", "field"),
    [
        ("code", "AAAA", "code"),
        ("code", "", "code"),
        *(
            ("username", u, "username")
            for u in ("Bad Name!", "1st", "a" * 41, "a\0b", "", "button")
        ),
        ("full_name", " ", "full_name"),
        ("school", "x" * 101, "school"),
        ("school", "St \x1b[31m", "school"),
        ("password_hash", "secret", "password_hash"),
    ],
)
def test_set_up_refuses_and_changes_nothing(desk, steward, argument, value, field):
    arguments = {"code": first_code(steward), **FIRST, argument: value}
    assert refusal(desk.set_up, **arguments)[0] == field
    assert not desk.is_set_up()
    assert desk.written().school == ""


# Invitations


def test_invitation_is_taken_up_once_with_its_code(school, people):
    code = invited(school).code
    assert state_of(school, "new") == "invited"
    assert school.account(username="new") is None
    school.accept_invitation(username=" NEW ", code=code.lower(), password_hash=people.hash)
    assert school.account(username="new").password_hash == people.hash
    again = {"username": "new", "code": code, "password_hash": people.hash}
    assert refusal(school.accept_invitation, **again)[0] == "code"


@pytest.mark.parametrize(
    ("username", "code", "hash_", "field"),
    [
        ("new", "AAAA-AAAA-AAAA", None, "code"),
        ("new", "", None, "code"),
        ("nobody", None, None, "code"),
        ("head", None, None, "code"),
        ("\ud800", None, None, "code"),
        ("new", None, "", "password_hash"),
    ],
)
def test_accept_invitation_refuses_and_leaves_it_open(school, people, username, code, hash_, field):
    good = invited(school).code
    arguments = {
        "username": username,
        "code": good if code is None else code,
        "password_hash": people.hash if hash_ is None else hash_,
    }
    assert refusal(school.accept_invitation, **arguments)[0] == field
    assert state_of(school, "new") == "invited"


def test_wrong_code_is_recorded(school, people):
    invited(school)
    refusal(
        school.accept_invitation, username="new", code="AAAAAAAAAAAA", password_hash=people.hash
    )
    assert school.record(actor="head")[0].action == "gave a wrong invitation code"


def test_invitation_ends_after_seven_days(clock, desk, people):
    desk.set_up(code=first_code(desk._steward), **FIRST)
    code = invited(desk, actor="ann").code
    clock.move(days=7)
    arguments = {"username": "new", "code": code, "password_hash": people.hash}
    assert refusal(desk.accept_invitation, **arguments)[0] == "code"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"role": "panel"}, "role"),
        ({"role": "admin"}, "role"),
        ({"username": "head"}, "username"),
        ({"username": "HEAD "}, "username"),
        ({"username": "command line (x)"}, "username"),
        ({"username": "button"}, "username"),
        ({"full_name": "\u202e"}, "full_name"),
        ({"rooms": ("attic",)}, "rooms"),
        ({"role": "head", "rooms": ("room-1",)}, "rooms"),
        ({"until": "soon"}, "until"),
        ({"until": "2026-01-01"}, "until"),
        ({"reason": ""}, "reason"),
    ],
)
def test_invite_refuses(school, arguments, field):
    good = {"username": "new", "full_name": "New", "role": "teacher", "reason": "joins"}
    assert refusal(school.invite, **good | arguments, actor="coordinator")[0] == field
    assert "new" not in [a.username for a in school.accounts(actor="head")]


# Who approves whom


def test_third_account_that_approves_needs_the_approval_of_another_one(desk, steward, people):
    desk.set_up(code=first_code(steward), **FIRST)
    assert invited(desk, "head", "head", "ann").waits_for == ""
    third = invited(desk, "dsl", "safeguarding", "ann")
    assert "Somebody else has to approve" in third.waits_for
    taken_up = {"username": "dsl", "code": third.code, "password_hash": people.hash}
    assert "waits for an approval" in refusal(desk.accept_invitation, **taken_up)[1]
    own = refusal(desk.answer, id=grant_id(desk, "dsl", "ann"), approve=True, actor="ann")
    assert own[0] == "actor"
    assert desk.account(username="dsl") is None


@pytest.mark.parametrize("role", [r.value for r in ACCOUNT_ROLES])
def test_account_waits_where_it_has_a_say_in_what_others_get(school, role):
    has_a_say = role not in ("teacher", "auditor")
    assert bool(invited(school, role=role).waits_for) is has_a_say


@pytest.mark.parametrize(
    ("actor", "may"),
    [
        ("head", True),
        ("safeguarding", True),
        ("governor", True),
        ("it", True),
        ("command line (x)", False),
        ("coordinator", False),
        ("teacher", False),
        ("auditor", False),
        ("button", False),
        ("new", False),
        ("nobody", False),
    ],
)
def test_account_is_approved_by_somebody_else(school, people, actor, may):
    code = invited(school, role="head").code
    id_ = grant_id(school, "new")
    if not may:
        assert refusal(school.answer, id=id_, approve=True, actor=actor)[0] == "actor"
        assert state_of(school, "new") == "waiting"
        return
    school.answer(id=id_, approve=True, actor=actor)
    school.accept_invitation(username="new", code=code, password_hash=people.hash)
    assert school.account(username="new").role == "head"


@pytest.mark.parametrize("asker", ["it", "command line (x)"])
@pytest.mark.parametrize("actor", ["it", "command line (x)", "command line (y)"])
def test_it_alone_makes_no_account_that_approves(school, asker, actor):
    invited(school, role="head", actor=asker)
    assert refusal(school.answer, id=grant_id(school, "new"), approve=True, actor=actor)[0] == (
        "actor"
    )


def test_refused_account_ends_and_may_be_asked_for_again(school):
    invited(school, role="head")
    school.answer(id=grant_id(school, "new"), approve=False, note="who?", actor="head")
    assert state_of(school, "new") == "ended"
    # That there was one who could approve is not forgotten.
    assert refusal(invited, desk=school, role="teacher")[0] == "username"
    assert invited(school, role="head").waits_for


def test_approval_of_an_account_grants_no_later_one_of_that_name(school):
    invited(school, role="it")
    old = grant_id(school, "new")
    school.remove_account(username="new", reason="a mistake", actor="coordinator")
    invited(school, role="it")
    field, message = refusal(school.answer, id=old, approve=True, actor="head")
    assert field == "id"
    assert "withdrawn" in message
    assert state_of(school, "new") == "waiting"


def test_nobody_ends_alone_who_could_approve(school):
    for username in ("head", "safeguarding", "it", "governor"):
        assert school.remove_account(username=username, reason="r", actor="coordinator")
        assert school.account(username=username)
    (first, *_) = school.proposals(actor="coordinator", waiting=True)
    for actor in ("coordinator", "command line (x)", "teacher"):
        assert refusal(school.answer, id=first.id, approve=True, actor=actor)[0] == "actor"
    # Whoever leaves may agree to it.
    assert first.sentences == ("The governor, Governor, has an account no longer",)
    assert school.answer(id=first.id, approve=True, actor="governor").state == "in force"
    assert state_of(school, "governor") == "ended"


def test_box_approves_where_nobody_else_is_left(school):
    for username, approver in (("governor", "head"), ("it", "head"), ("safeguarding", "head")):
        end(school, username, approver)
    end(school, "head", "head")
    assert invited(school, "head2", "head").waits_for
    id_ = grant_id(school, "head2")
    assert school.answer(id=id_, approve=True, actor="command line (x)").state == "in force"


# Changes of an account


CHANGE = {"rooms": (), "until": "", "reason": "r", "actor": "coordinator"}


def changed(desk, username, **more):
    return desk.change_account(**CHANGE | {"username": username} | more)


def test_change_account_gives_a_teacher_another_class_and_an_end(school, clock):
    changed(school, "teacher", rooms=("ks1",), until="2027-07-21")
    account = school.account(username="teacher")
    assert (account.rooms, account.until[:10]) == (("ks1",), "2027-07-21")
    entry = school.record(actor="head")[0]
    assert (entry.action, entry.subject) == ("changed an account", "teacher")
    assert "ks2" in entry.before
    assert "ks1" in entry.after
    changed(school, "teacher", rooms=("ks1",))
    assert school.account(username="teacher").until == ""


@pytest.mark.parametrize(
    ("username", "arguments", "field"),
    [
        ("nobody", {}, "username"),
        ("coordinator", {}, "username"),
        ("head", {"rooms": ("ks2",)}, "rooms"),
        ("teacher", {"rooms": ("attic",)}, "rooms"),
        ("teacher", {"until": "2020-01-01"}, "until"),
        ("teacher", {"reason": ""}, "reason"),
    ],
)
def test_change_account_refuses(school, username, arguments, field):
    before = school.accounts(actor="head")
    good = CHANGE | {"username": username}
    assert refusal(school.change_account, **good | arguments)[0] == field
    assert school.accounts(actor="head") == before


def test_end_of_an_account_that_approves_is_changed_by_nobody_alone(school, people):
    people.join(school, "supply", "head", until="2026-12-18")
    for username in ("supply", "head", "it"):
        for until in ("2026-12-19", "2026-12-01", "2099-01-01"):
            arguments = CHANGE | {"username": username, "until": until}
            assert refusal(school.change_account, **arguments)[0] == "until"


# The end of an account


def test_ended_account_signs_in_no_more_and_its_sessions_end(school):
    epoch = school.account(username="teacher").session_epoch
    school.remove_account(username="teacher", reason="leaves", actor="it")
    assert school.account(username="teacher") is None
    assert state_of(school, "teacher") == "ended"
    assert refusal(school.export_policy, actor="teacher")[0] == "actor"
    school.record_sign_in(username="teacher", address="192.0.2.9", succeeded=True)
    invited(school, "teacher")
    assert school._store.account("teacher")["session_epoch"] > epoch + 1


def test_account_with_an_end_ends_by_itself(clock, school, people):
    until = clock.now() + timedelta(days=2)
    people.join(school, "guest", "auditor", until=until.isoformat())
    assert school.record(actor="guest")
    clock.move(days=2)
    assert school.account(username="guest") is None
    assert state_of(school, "guest") == "ended"
    assert refusal(school.record, actor="guest")[0] == "actor"


def test_account_with_an_end_may_nothing_while_the_time_is_not_known(clock, school, people):
    people.join(school, "guest", "auditor", until=(clock.now() + timedelta(days=2)).isoformat())
    clock.known = False
    assert school.account(username="guest") is None
    assert school.account(username="head") is not None


def test_last_account_that_grants_stays(school):
    end(school, "it")
    arguments = {"username": "coordinator", "reason": "leaves"}
    for actor in ("coordinator", "command line (x)"):
        assert refusal(school.remove_account, **arguments, actor=actor)[0] == "username"
    assert school.account(username="coordinator")


def test_last_account_that_grants_is_none_that_ends(school, people):
    end(school, "it")
    people.join(school, "it2", "it", until="2099-01-01")
    arguments = {"username": "coordinator", "reason": "leaves", "actor": "it2"}
    assert refusal(school.remove_account, **arguments)[0] == "username"


def test_choose_language_is_kept_by_person(school, steward):
    assert school.account(username="teacher").language == ""
    for language in ("cy", "en", "cy"):
        school.choose_language(language=language, actor="teacher")
        assert school.account(username="teacher").language == language
    assert school.account(username="head").language == ""
    assert refusal(school.choose_language, language="tlh", actor="head") == (
        "language",
        "'tlh' is no language of the pages; allowed are en, cy",
    )
    assert verify(steward.store.entries()[::-1]).fault == ""


def code(school, secret, steps=0):
    now = school._steward.clock.now_or_floor()
    return pyotp.TOTP(secret).at(now + timedelta(seconds=30 * steps))


def begun(school, username):
    """Give an account a second factor; return its secret."""
    secret = school.offer_second_factor(actor=username)
    school.begin_second_factor(secret=secret, code=code(school, secret, -1), actor=username)
    return secret


def test_second_factor_is_begun_with_a_code_of_the_app(school, steward):
    secret = school.offer_second_factor(actor="teacher")
    assert not school.account(username="teacher").second_factor
    for wrong in ("", "12345", "abcdef", code(school, secret, 5), "\u0661" * 6):
        field, words = refusal(
            school.begin_second_factor, secret=secret, code=wrong, actor="teacher"
        )
        assert (field, "6 digits" in words) == ("code", True)
    spaced = f"{code(school, secret)[:3]} {code(school, secret)[3:]}"
    school.begin_second_factor(secret=secret, code=spaced, actor="teacher")
    assert school.account(username="teacher").second_factor
    assert not school.account(username="head").second_factor
    entry = steward.store.entries(limit=1)[0]
    assert (entry.actor, entry.action) == ("teacher", "began to sign in with a second factor")
    assert secret not in str(steward.store.entries())
    assert verify(steward.store.entries()[::-1]).fault == ""


@pytest.mark.parametrize("secret", ["", "A" * 31, "a" * 32, "1" * 32, "A" * 33])
def test_second_factor_has_a_secret_that_was_offered(school, secret):
    assert refusal(school.begin_second_factor, secret=secret, code="123456", actor="head") == (
        "secret",
        "this is no secret that was offered",
    )


def test_code_is_good_once_and_for_a_minute_and_a_half(school):
    secret = begun(school, "head")

    def passes(steps):
        return school.check_second_factor(username="Head", code=code(school, secret, steps))

    # The one that it was begun with is used, and so is what was before it.
    assert [passes(s) for s in (-2, -1, 0, 0, -1, 1, 1, 2)] == [
        *(False, False, True, False, False, True, False, False)
    ]
    assert not school.check_second_factor(username="head", code="000000 or 1=1")
    assert not school.check_second_factor(username="teacher", code=code(school, secret))
    assert not school.check_second_factor(username="nobody", code="123456")


def test_recovery_code_sets_a_password_once_and_is_told_until_there_are_new_ones(
    school, steward, people
):
    begun(school, "head")
    codes = school.make_recovery_codes(actor="head")
    others = school.make_recovery_codes(actor="it")
    assert len({*codes, *others}) == 2 * RECOVERY_CODES
    assert all(re.fullmatch("(?:[A-Z2-7]{4}-){3}[A-Z2-7]{4}", code) for code in codes)
    epoch = school.account(username="head").session_epoch
    hash_ = people.hash.replace("$argon2id$", "$argon2id$new")
    for username, code_ in (
        ("head", others[0]),
        ("head", ""),
        ("nobody", codes[0]),
        ("it", codes[0]),
    ):
        arguments = {"username": username, "code": code_, "password_hash": hash_}
        assert refusal(school.recover, **arguments)[0] == "code"
    assert "accounts" not in parts(steward)

    school.recover(username=" HEAD ", code=codes[0].lower().replace("-", " "), password_hash=hash_)
    account = school.account(username="head")
    assert (account.password_hash, account.second_factor) == (hash_, False)
    assert account.session_epoch == epoch + 1
    assert school.recovery_codes(actor="head") == RECOVERY_CODES - 1
    assert "account of The head." in parts(steward)["accounts"].detail
    assert parts(steward)["accounts"].state == "degraded"
    entry = steward.store.entries(limit=1)[0]
    assert (entry.actor, entry.action) == ("head", "used a recovery code")
    again = {"username": "head", "code": codes[0], "password_hash": hash_}
    assert refusal(school.recover, **again)[0] == "code"
    assert not {code_ for code_ in codes if code_ in str(steward.store.entries())}

    school.make_recovery_codes(actor="head")
    assert "accounts" not in parts(steward)
    assert refusal(school.recover, **again | {"code": codes[1]})[0] == "code"
    assert verify(steward.store.entries()[::-1]).fault == ""


def test_account_that_is_over_is_not_recovered(school, people):
    (code_, *_) = school.make_recovery_codes(actor="teacher")
    school.remove_account(username="teacher", reason="leaves", actor="it")
    arguments = {"username": "teacher", "code": code_, "password_hash": people.hash}
    assert refusal(school.recover, **arguments)[0] == "code"


def parts(steward):
    return {part.name: part for part in steward.status(since=-1, wait_s=0.0).components}


def test_end_second_factor_is_for_oneself_and_those_who_grant(school, steward):
    begun(school, "teacher")
    assert refusal(school.end_second_factor, username="teacher", actor="head")[0] == "actor"
    school.end_second_factor(username="teacher", actor="it")
    assert not school.account(username="teacher").second_factor
    assert steward.store.entries(limit=1)[0].action == "ended a second factor"
    assert refusal(school.end_second_factor, username="teacher", actor="it")[0] == "username"
    begun(school, "teacher")
    school.end_second_factor(username="teacher", actor="teacher")
    assert not school.account(username="teacher").second_factor


def test_account_that_ends_takes_its_second_factor_along(school, steward):
    begun(school, "teacher")
    school.remove_account(username="teacher", reason="leaves", actor="coordinator")
    assert steward.store.second_factor("teacher") == ("", 0)


def test_changed_password_ends_all_sessions(school, steward):
    before = school.account(username="teacher")
    other = PasswordHasher().hash("another long text")
    school.change_password(password_hash=other, actor="teacher")
    after = school.account(username="teacher")
    assert (after.password_hash, after.session_epoch) == (other, before.session_epoch + 1)
    assert steward.store.entries(limit=1)[0].action == "changed their password"
    plain = {"password_hash": "plain"}
    assert refusal(school.change_password, **plain, actor="teacher")[0] == "password_hash"


def test_end_sessions_is_for_oneself_and_those_who_grant(school):
    school.end_sessions(username="teacher", actor="teacher")
    assert school.account(username="teacher").session_epoch == 2
    school.end_sessions(username="Teacher", actor="it")
    assert school.account(username="teacher").session_epoch == 3
    assert refusal(school.end_sessions, username="head", actor="teacher")[0] == "actor"
    assert refusal(school.end_sessions, username="nobody", actor="it")[0] == "username"


def test_new_code_comes_from_the_box_alone_and_ends_the_old_password(school, people):
    before = school.account(username="teacher")
    arguments = {"username": "teacher", "reason": "forgot the password"}
    for actor in ("coordinator", "it", "head"):
        assert refusal(school.renew_invitation, **arguments, actor=actor)[0] == "actor"
    renewed = school.renew_invitation(**arguments, actor="command line (test)")
    assert school.account(username="teacher") is None
    taken = {"username": "teacher", "code": renewed.code, "password_hash": people.hash + "A"}
    school.accept_invitation(**taken)
    after = school.account(username="teacher")
    assert after.password_hash == people.hash + "A"
    assert after.session_epoch > before.session_epoch
    assert refusal(school.accept_invitation, **taken)[0] == "code"


def test_new_code_makes_nobody_who_approves_while_others_do(school):
    for username in ("head", "coordinator", "it", "governor"):
        arguments = {"username": username, "reason": "forgot", "actor": "command line (test)"}
        assert refusal(school.renew_invitation, **arguments)[0] == "username"


def test_record_sign_in_of_nobody_writes_nothing_and_failures_are_thinned(school):
    before = school.record(actor="head")[0].number
    for n in range(5):
        school.record_sign_in(username=f"stranger {n}", address="192.0.2.9", succeeded=False)
        school.record_sign_in(username="head", address="192.0.2.9", succeeded=False)
    school.record_sign_in(username="\ud800", address="192.0.2.9", succeeded=False)
    (entry,) = (e for e in school.record(actor="head") if e.number > before)
    assert entry.action == "failed to sign in"
    school.record_sign_in(username=" Head ", address="192.0.2.9", succeeded=True)
    assert school.record(actor="head")[0].action == "signed in"


def test_accounts_outlive_a_restart(school, steward, config):
    before = school.accounts(actor="head")
    steward.close()
    again = Steward(config)
    assert StewardDesk(again).accounts(actor="head") == before
    assert not again.places.first_run_code.exists()
    again.close()


# Roles

ACTORS = (
    *("head", "safeguarding", "coordinator", "it", "governor", "teacher", "auditor"),
    *("button", "command line (test)", "nobody"),
)
TABLE = {
    #                    head dsl coord it   gov teacher auditor button line nobody
    "accounts":          "yes yes yes yes  yes yes  yes no  yes  no",
    "invite":            "no  no  yes yes  no  no   no  no  yes  no",
    "change_account":    "no  no  yes yes  no  no   no  no  yes  no",
    "renew_invitation":  "no  no  no  no   no  no   no  no  yes  no",
    "remove_account":    "no  no  yes yes  no  no   no  no  yes  no",
    "choose_language":   "yes yes yes yes  yes yes  yes no  no   no",
    "offer_second_factor": "yes yes yes yes  yes yes  yes no  no   no",
    "begin_second_factor": "yes yes yes yes  yes yes  yes no  no   no",
    "end_second_factor": "no  no  yes yes  no  no   no  no  yes  no",
    "make_recovery_codes": "yes yes yes yes  yes yes  yes no  no   no",
    "recovery_codes":    "yes yes yes yes  yes yes  yes no  no   no",
    "change_password":   "yes yes yes yes  yes yes  yes no  no   no",
    "end_sessions":      "no  no  yes yes  no  no   no  no  yes  no",
    "activity":          "yes yes yes part no  no   no  no  part no",
    "blocked_most":      "yes yes yes yes  no  no   no  no  yes  no",
    "usage":             "yes yes yes yes  no  no   no  no  yes  no",
    "propose":           "yes yes yes yes  no  part no  no  yes  no",
    "proposals":         "yes yes yes yes  yes part yes no  yes  no",
    "answer":            "yes yes yes part no  no   no  no  part no",
    "withdraw":          "part part part part no part no no part no",
    "audit_exception":   "yes yes yes yes  no  no   no  no  yes  no",
    "export_policy":     "yes yes yes yes  no  no   no  no  yes  no",
    "start_what_if":     "yes yes yes yes  no  no   no  no  yes  no",
    "start_pause":       "yes yes yes yes  no  part no  yes yes  no",
    "end_pause":         "yes yes yes yes  no  part no  yes yes  no",
    "start_lesson":      "yes yes yes no   no  part no  no  no   no",
    "end_lesson":        "yes yes yes no   no  part no  no  no   no",
    "isolate":           "yes yes yes yes  no  no   no  no  yes  no",
    "end_isolation":     "yes yes yes yes  no  no   no  no  yes  no",
    "suspend":           "yes yes yes no   no  no   no  no  no   no",
    "end_suspension":    "yes yes yes no   no  no   no  no  no   no",
    "lend":              "yes yes yes yes  no  part no  no  yes  no",
    "take_back":         "yes yes yes yes  no  part no  no  yes  no",
    "record":            "yes yes yes yes  yes part yes no  yes  no",
    "verify_record":     "yes yes yes yes  yes yes  yes no  yes  no",
    "sign_record":       "no  no  no  no   yes no   no  no  no   no",
    "evidence":          "yes yes yes yes  yes no   yes no  yes  no",
    "add_list":          "no  no  yes yes  no  no   no  no  yes  no",
    "add_source":        "no  no  yes yes  no  no   no  no  yes  no",
    "remove_list":       "yes yes yes no   no  no   no  no  no   no",
    "remove_source":     "yes yes yes part no  no   no  no  part no",
    "update_lists":      "no  no  yes yes  no  no   no  no  yes  no",
    "accept_list":       "yes yes yes no   no  no   no  no  no   no",
}  # fmt: skip
"""What each role may do at the desk; ``part``: their own, as the second of two, or without names."""

NUMBERS = count(1)


def with_actor():
    """Return the methods of the desk that are done in somebody's name."""
    return {
        name
        for name, method in inspect.getmembers(Desk, inspect.isfunction)
        if "actor" in inspect.signature(method).parameters
    }


def test_table_of_roles_has_a_line_for_every_method_in_somebody_s_name():
    assert set(TABLE) == with_actor()
    assert {len(line.split()) for line in TABLE.values()} == {len(ACTORS)}


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("method", TABLE)
def test_role_may_do_what_the_table_says(kept_school, samples, method, actor):
    desk, _ = kept_school
    expected = TABLE[method].split()[ACTORS.index(actor)]
    assert outcome(desk, samples, method, actor) == expected


def outcome(desk, samples, method, actor):
    def does(kind):
        arguments = getattr(samples(desk, actor, next(NUMBERS)), kind)()
        try:
            result = getattr(desk, method)(**arguments, actor=actor)
        except RefusedError as e:
            # What is at fault is who asks, or what only others may ask for.
            if e.field not in ("actor", "person", "mac", "id"):
                raise
            return False, None
        return True, result

    allowed, result = does(method)
    if not allowed:
        return "no"
    if hasattr(samples, f"{method}_beyond"):
        return "yes" if does(f"{method}_beyond")[0] else "part"
    if isinstance(result, tuple) and result and not isinstance(result[0], AccountView | str):
        whose = {x.actor if isinstance(x, Entry) else x.username for x in result}
        return "part" if whose <= {actor} else "yes"
    return "yes"
