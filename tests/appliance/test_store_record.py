import inspect
import json
import sqlite3
from itertools import count

import pytest

from gate_appliance.desk import StewardDesk
from gate_appliance.steward import Steward
from gate_core.desk import Desk, PanelReport, RefusedError
from gate_core.edits import Edit, digest
from gate_core.record import NO_HASH, verify
from gate_core.written import plain

NUMBERS = count(100)

WITHOUT_ACTOR = {
    "is_set_up": dict,
    "account": lambda: {"username": "head"},
    "record_sign_in": lambda: {"username": "head", "address": "192.0.2.9", "succeeded": True},
    "check_second_factor": lambda: {"username": "head", "code": "123456"},
    "status": dict,
    "written": dict,
    "rows": dict,
    "groups": dict,
    "hours": dict,
    "devices": dict,
    "explain": lambda: {"client": "ks2", "name": "a.example"},
    "preview": lambda: {"edits": (Edit.of(("school",), "St Example", "St Other"),)},
    "bank_holidays": dict,
    "read_policy": lambda: {"text": "school = 'St Other'"},
    "read_table": lambda: {"text": "Unacceptable\nGaming\tX\n", "groups": ("ks2",)},
    "what_if": lambda: {"id": "none"},
    "acts": dict,
    "sources": dict,
    "own_lists": dict,
    "report_panel": lambda: {"report": PanelReport(virtual=True, lamps=())},
}
"""Methods in nobody's name, and their arguments; the first run and invitations have tests of their own."""

CHANGES = {
    *("propose_beyond", "answer", "audit_exception", "add_list", "remove_list"),
    *("start_pause", "start_pause_beyond", "end_pause", "end_pause_beyond"),
    *("start_lesson", "start_lesson_beyond", "end_lesson", "end_lesson_beyond"),
    *("isolate", "end_isolation", "suspend", "end_suspension"),
    *("lend", "lend_beyond", "take_back", "take_back_beyond"),
}
"""What changes what is decided."""


def methods():
    return {name for name, _ in inspect.getmembers(Desk, inspect.isfunction) if name[0] != "_"}


def in_somebody_s_name():
    return {m for m in methods() if "actor" in inspect.signature(getattr(Desk, m)).parameters}


def state(steward):
    return steward.store.version, steward.store.newest, digest(plain(steward.written))


def entries(steward):
    return steward.store.entries()[::-1]


def holds(steward, before, ended_before):
    """Tell whether something has changed, after making sure that the record speaks of it."""
    new = entries(steward)[ended_before:]
    after = state(steward)
    for entry in new:
        assert entry.policy == after[2]
    if after != before:
        assert new, "the policy has changed, and the record has no entry"
        assert new[-1].version == after[0] == steward.policy.version
    if after[1:] != before[1:]:
        assert steward.store.edition(after[1]).digest == new[-1].policy == after[2]
        assert steward.store.vouched(after[1]) == after[2]
    assert verify(entries(steward)).fault == ""
    return after != before


def test_every_method_is_walked(samples):
    own = {"set_up", "accept_invitation", "recover"}
    assert methods() == own | set(WITHOUT_ACTOR) | in_somebody_s_name()
    assert in_somebody_s_name() <= set(vars(samples))


@pytest.mark.parametrize("method", WITHOUT_ACTOR)
def test_what_is_in_nobody_s_name_changes_nothing(kept_school, method):
    desk, steward = kept_school
    before, count_ = state(steward), len(entries(steward))
    try:
        getattr(desk, method)(**WITHOUT_ACTOR[method]())
    except RefusedError:
        assert method in ("what_if", "read_table")
    assert not holds(steward, before, count_)


@pytest.mark.parametrize("method", sorted(in_somebody_s_name()))
def test_nothing_that_changes_policy_avoids_the_record(kept_school, samples, method):
    for sample in (method, f"{method}_beyond"):
        if hasattr(samples, sample):
            walk(*kept_school, samples, method, sample)


def walk(desk, steward, samples, method, sample):
    for actor in ("coordinator", "head", "governor", "command line (test)"):
        arguments = getattr(samples(desk, actor, next(NUMBERS)), sample)()
        before, count_ = state(steward), len(entries(steward))
        try:
            getattr(desk, method)(**arguments, actor=actor)
        except RefusedError:
            assert not holds(steward, before, count_)
            continue
        assert holds(steward, before, count_) is (sample in CHANGES)
        return
    assert sample in ("withdraw_beyond", "activity_beyond")


def test_first_run_and_invitation_are_recorded(desk, steward, people):
    before = state(steward)
    desk.set_up(
        code=steward.places.first_run_code.read_text(),
        school="St Example",
        username="ann",
        full_name="Ann",
        password_hash=people.hash,
    )
    assert holds(steward, before, 0)
    before = state(steward)
    invitation = desk.invite(
        username="head", full_name="H", role="head", reason="joins", actor="ann"
    )
    desk.accept_invitation(username="head", code=invitation.code, password_hash=people.hash)
    assert not holds(steward, before, 1)
    actions = [e.action for e in entries(steward)]
    assert actions == ["first run", "opened an account", "took up the invitation"]


def test_entry_tells_who_what_when_and_of_which_policy(clock, school, steward):
    edit = Edit.of(("groups", "ks2", "cells", "games"), "times", "unacceptable")
    school.propose(edits=(edit,), reason="after the parents' evening", actor="head")
    (entry,) = school.record(actor="auditor", limit=1)
    assert (entry.actor, entry.role, entry.reason) == ("head", "head", "after the parents' evening")
    assert (entry.at, entry.at_utc) == (
        "2026-11-23T10:00:00.000+00:00",
        "2026-11-23T10:00:00.000+00:00",
    )
    assert entry.version == steward.policy.version
    assert entry.policy == digest(plain(school.written()))
    clock.move(days=200)
    school.start_pause(minutes=5, actor="button")
    (entry,) = school.record(actor="auditor", limit=1)
    assert (entry.at[11:16], entry.at_utc[11:16]) == ("11:00", "10:00")


def test_record_holds_after_many_changes_and_a_restart(school, steward, config):
    for n in range(60):
        school.start_pause(groups=("ks1", "ks2")[n % 2 :], minutes=n + 1, actor="head")
        school.record_sign_in(username="head", address="192.0.2.9", succeeded=True)
    steward.close()
    again = Steward(config)
    found = entries(again)
    assert verify(found).fault == ""
    assert [e.number for e in found] == list(range(1, len(found) + 1))
    assert found[0].previous == NO_HASH
    assert StewardDesk(again).verify_record(actor="auditor").entries == len(found)
    again.close()


@pytest.mark.parametrize(
    "statement",
    [
        "update record set reason = 'x' where number = 1",
        "update record set number = 1000 where number = 1",
        "delete from record where number = 1",
        "delete from record",
        "insert or replace into record select * from record where number = 1",
        "replace into record select * from record order by number desc limit 1",
        "insert into record select 0, at, at_utc, actor, role, action, subject, before, after,"
        " reason, approvers, version, policy, state, previous, hash from record limit 1",
    ],
)
def test_store_refuses_to_change_the_record(school, steward, statement):
    before = entries(steward)
    with pytest.raises(sqlite3.IntegrityError, match="can only be added to"):
        steward.store._connection.execute(statement)
    assert entries(steward) == before


@pytest.mark.parametrize("column", ["reason", "approvers", "policy", "version", "at", "hash"])
def test_entry_that_was_changed_is_found_and_named(school, steward, column):
    connection = steward.store._connection
    connection.execute("drop trigger record_update")
    value = 99 if column == "version" else "changed"
    statement = f"update record set {column} = ? where number = 5"  # noqa: S608  # one of the above
    connection.execute(statement, [value])
    verdict = school.verify_record(actor="governor")
    assert verdict.broken == 5
    assert "entry 5" in verdict.fault


def test_entry_that_was_taken_out_is_found(school, steward):
    steward.store._connection.execute("drop trigger record_delete")
    steward.store._connection.execute("delete from record where number = 5")
    verdict = school.verify_record(actor="governor")
    assert (verdict.broken, "entry 5 is missing" in verdict.fault) == (5, True)


def test_governor_signs_up_to_an_entry(school):
    (last,) = school.record(actor="governor", limit=1)
    signed = school.sign_record(number=last.number, actor="governor")
    assert (signed.actor, signed.action) == ("governor", "has read the record")
    assert signed.subject == f"to entry {last.number}"
    assert signed.after == last.hash
    assert signed.number == last.number + 1
    assert school.record(actor="head", limit=1) == (signed,)


@pytest.mark.parametrize("number", [0, -1, 10_000, 2**63 - 1, 2**63, 2**70])
def test_governor_signs_no_entry_that_is_not_there(school, number):
    with pytest.raises(RefusedError, match="is no entry; there are 1 to") as caught:
        school.sign_record(number=number, actor="governor")
    assert caught.value.field == "number"


def test_record_pages_from_newest_to_oldest_and_a_teacher_sees_their_own(school):
    all_ = school.record(actor="head", limit=500)
    assert [e.number for e in all_] == list(range(len(all_), 0, -1))
    assert school.record(actor="head", limit=2, before=all_[1].number) == all_[2:4]
    assert school.record(actor="head", limit=10**30, before=2**70) == ()
    assert {e.actor for e in school.record(actor="teacher")} == {"teacher"}


def test_evidence_is_the_whole_record(school, steward):
    lines = school.evidence(actor="auditor").splitlines()
    numbers = [json.loads(line)["number"] for line in lines[1:]]
    assert numbers == [e.number for e in entries(steward)]
    assert school.record(actor="head", limit=1)[0].action == "took a copy of the record"


def test_look_at_the_log_is_recorded_once_for_each_reason(school, samples):
    arguments = samples(school, "head", 1).activity()
    before = school.record(actor="auditor", limit=1)[0].number
    for _ in range(3):
        school.activity(**arguments, actor="head")
    school.activity(**arguments, actor="safeguarding")
    school.activity(**arguments | {"reason": "another"}, actor="head")
    new = [e for e in school.record(actor="auditor") if e.number > before]
    assert [(e.actor, e.reason) for e in reversed(new)] == [
        ("head", "reason 1"),
        ("safeguarding", "reason 1"),
        ("head", "another"),
    ]
