import json
from datetime import timedelta

import pytest

from gate_appliance.changes import LAPSES_DAYS, MAX_EDITS, MAX_REQUESTS
from gate_core.desk import RefusedError
from gate_core.edits import Edit

CELL = Edit.of(("groups", "ks2", "cells", "social-media"), "unacceptable", "times")
CLOSING = Edit.of(("groups", "ks2", "cells", "games"), "times", "unacceptable")
GUEST_GAMES = ("groups", "guest", "cells", "games")
NEW_MAC = "00:00:5e:00:53:42"

COLUMNS = (
    "Acceptable",
    "Acceptable at certain times",
    "Acceptable for nominated users",
    "Unacceptable",
    "Unacceptable and illegal",
)


def table(*rows):
    """Return a table as it comes out of a document: rows of a title and the place of their mark, from 1."""
    marks = (f"{title}\t" + "\t" * (place - 1) + "X" + "\t" * (5 - place) for title, place in rows)
    return "\n".join(("\t".join(("User actions", *COLUMNS)), *marks))


ROWS = (
    ("Online gaming (non educational)", 4),
    ("Online gambling", 4),
    ("Use of social media", 2),
    ("Child sexual abuse images", 1),
)


def refusal(call, **arguments):
    with pytest.raises(RefusedError) as caught:
        call(**arguments)
    return caught.value.field, str(caught.value)


def exception(clock, id_="e1", **more):
    table = {
        "action": "allow",
        "scope": "group",
        "subject": "ks2",
        "since": clock.now().isoformat(),
        "until": (clock.now() + timedelta(days=1)).isoformat(),
        "why": "a lesson on birds",
        "names": ["birds.example"],
    }
    return Edit.of(("exceptions", id_), None, table | more)


def proposed(desk, *edits, actor="coordinator"):
    return desk.propose(edits=edits, reason="a reason", actor=actor)


def approve(desk, id_, *actors):
    for actor in actors:
        view = desk.answer(id=id_, approve=True, actor=actor)
    return view


def cell(desk, group="ks2", row="social-media"):
    return desk.written().groups[group].cells[row]


# From a proposal to a policy


def test_propose_that_only_closes_is_in_force_at_once(school, steward):
    before = school.status().version
    view = proposed(school, CLOSING)
    assert (view.state, view.approvals, view.waits_for) == ("in force", 0, "")
    assert steward.policy.groups["ks2"].cells["games"].value == "unacceptable"
    assert school.status().version == before + 1
    entry = school.record(actor="head")[0]
    assert (entry.actor, entry.action, entry.approvers) == ("coordinator", "changed the policy", "")
    assert entry.before == 'groups.ks2.cells.games: "times"'
    assert entry.after == 'groups.ks2.cells.games: "unacceptable"'


def test_propose_that_opens_what_is_unacceptable_waits_for_two(school):
    view = proposed(school, CELL)
    assert (view.state, view.approvals) == ("waiting", 2)
    assert "2 more people" in view.waits_for
    assert cell(school) == "unacceptable"
    assert school.status().waiting == 1
    assert "1 more" in approve(school, view.id, "head").waits_for.replace("one", "1")
    assert cell(school) == "unacceptable"
    assert approve(school, view.id, "safeguarding").state == "in force"
    assert cell(school) == "times"
    assert school.status().waiting == 0
    entry = school.record(actor="head")[0]
    assert (entry.actor, entry.role) == ("coordinator", "coordinator")
    assert entry.approvers == "head (head); safeguarding (safeguarding)"
    assert entry.reason == "a reason"


@pytest.mark.parametrize("approve_it", [True, False])
@pytest.mark.parametrize("actor", ["head", "coordinator", "it", "command line (x)"])
def test_requester_never_answers(school, actor, approve_it):
    id_ = proposed(school, CELL, actor=actor).id
    arguments = {"id": id_, "approve": approve_it, "note": "n", "actor": actor}
    assert refusal(school.answer, **arguments)[0] == "actor"


def test_two_names_at_the_command_line_are_one_person(school):
    id_ = proposed(school, CELL, actor="command line (x)").id
    approve(school, id_, "head")
    assert refusal(school.answer, id=id_, approve=True, actor="command line (y)")[0] == "actor"
    assert cell(school) == "unacceptable"


def test_same_person_does_not_approve_twice(school):
    id_ = proposed(school, CELL).id
    approve(school, id_, "head")
    assert "already" in refusal(school.answer, id=id_, approve=True, actor="head")[1]


def test_it_approves_as_the_second_only(school):
    id_ = proposed(school, CELL).id
    assert "as the second of two" in refusal(school.answer, id=id_, approve=True, actor="it")[1]
    assert approve(school, id_, "head", "it").state == "in force"
    single = proposed(school, Edit.of(GUEST_GAMES, "unacceptable", "times"), actor="head").id
    assert refusal(school.answer, id=single, approve=True, actor="command line (x)")[0] == "actor"


def test_approval_of_somebody_whose_account_ended_counts_no_more(school):
    id_ = proposed(school, CELL).id
    approve(school, id_, "head")
    school.remove_account(username="head", reason="leaves", actor="coordinator")
    school.answer(id=id_ + 1, approve=True, actor="safeguarding")
    (view,) = school.proposals(actor="it", waiting=True)
    assert "2 more people" in view.waits_for
    assert refusal(school.answer, id=id_, approve=True, actor="it")[0] == "actor"
    assert approve(school, id_, "safeguarding").state == "waiting"
    assert approve(school, id_, "it").state == "in force"


def test_approval_stands_for_nobody_else_of_that_name(school, people):
    people.join(school, "head2", "head")
    id_ = proposed(school, CELL).id
    approve(school, id_, "head2")
    school.remove_account(username="head2", reason="leaves", actor="coordinator")
    school.answer(id=id_ + 1, approve=True, actor="head")
    assert refusal(school.answer, id=id_, approve=True, actor="it")[0] == "actor"


def test_refusal_says_why_and_ends_it(school):
    id_ = proposed(school, CELL).id
    assert refusal(school.answer, id=id_, approve=False, actor="head")[0] == "note"
    view = school.answer(id=id_, approve=False, note="not for this age", actor="head")
    assert (view.state, view.answers[0].note) == ("refused", "not for this age")
    assert school.record(actor="head")[0].action == "refused a proposal"
    assert refusal(school.answer, id=id_, approve=True, actor="safeguarding")[0] == "id"
    assert cell(school) == "unacceptable"


def test_withdraw_is_for_the_one_who_proposed_it(school):
    id_ = proposed(school, CELL).id
    assert refusal(school.withdraw, id=id_, actor="head")[0] == "actor"
    assert school.withdraw(id=id_, actor="coordinator").state == "withdrawn"
    assert refusal(school.answer, id=id_, approve=True, actor="head")[0] == "id"
    assert refusal(school.withdraw, id=id_, actor="coordinator")[0] == "id"


@pytest.mark.parametrize("id_", [0, -1, 99, 2**63, 2**70])
def test_proposal_that_is_not_there_is_refused(school, id_):
    assert refusal(school.answer, id=id_, approve=True, actor="head")[0] == "id"
    assert refusal(school.withdraw, id=id_, actor="head")[0] == "id"


def test_proposals_pages_and_tells_the_waiting_from_the_others(school):
    ids = [proposed(school, CLOSING).id, proposed(school, CELL).id]
    assert [p.id for p in school.proposals(actor="head", limit=1)] == ids[1:]
    assert ids[0] in [p.id for p in school.proposals(actor="head", before=ids[1])]
    assert [p.id for p in school.proposals(actor="head", waiting=True)] == ids[1:]
    assert school.proposals(actor="head", before=2**70) == ()


# Time and other changes between proposal and approval


def test_proposal_lapses(clock, school):
    id_ = proposed(school, CELL).id
    approve(school, id_, "head")
    clock.move(days=LAPSES_DAYS)
    assert school.proposals(actor="head")[0].state == "lapsed"
    field, message = refusal(school.answer, id=id_, approve=True, actor="safeguarding")
    assert field == "id"
    assert f"proposal {id_} is lapsed: its time to be approved ended on 2026-12-07" in message
    assert cell(school) == "unacceptable"
    assert school.status().waiting == 0
    assert school.record(actor="head")[0].action == "ended by itself: proposal"


def test_proposal_that_nobody_answers_lapses_with_an_entry(clock, school, steward):
    id_ = proposed(school, CELL).id
    school.invite(username="new", full_name="New", role="it", reason="r", actor="coordinator")
    assert school.status().waiting == 2
    clock.move(days=LAPSES_DAYS)
    steward._follow_timetable()
    steward.look()
    assert school.status().waiting == 0
    assert school.proposals(actor="head", waiting=True) == ()
    newest = school.record(actor="head", limit=2)
    assert {e.action for e in newest} == {"ended by itself: proposal"}
    assert any(e.subject.startswith(f"proposal {id_} of coordinator: ") for e in newest)
    (account,) = (a for a in school.accounts(actor="head") if a.username == "new")
    assert account.state == "ended"


def test_proposal_is_overtaken_by_a_change_of_its_place(school):
    first, second = proposed(school, CELL).id, proposed(school, CELL, actor="head").id
    approve(school, second, "coordinator", "safeguarding")
    _, message = refusal(school.answer, id=first, approve=True, actor="head")
    assert "the policy has changed since this was proposed" in message
    assert school.proposals(actor="head", before=second)[0].state == "overtaken"
    assert school.record(actor="head")[0].action == "found a proposal overtaken"


def test_proposal_that_means_something_else_now_is_read_again(school):
    id_ = proposed(school, CELL).id
    approve(school, id_, "head")
    lunch = school.written().timetable.times["lunch"]
    longer = Edit.of(("timetable", "times", "lunch", "until"), lunch.until, "15:00")
    approve(school, proposed(school, longer).id, "head")
    assert "read it again" in refusal(school.answer, id=id_, approve=True, actor="safeguarding")[1]
    (view,) = school.proposals(actor="head", waiting=True)
    assert "12:00-15:00" in view.sentences[0]
    assert view.answers == ()
    approve(school, id_, "safeguarding")
    assert cell(school) == "unacceptable"
    assert approve(school, id_, "head").state == "in force"


def test_site_that_came_onto_a_list_of_illegal_content_is_not_let_in(
    clock, school, tmp_path, add_official
):
    id_ = proposed(school, exception(clock)).id
    path = tmp_path / "list"
    path.write_text("birds.example\n")
    add_official(school._steward, "l", "child-abuse", path)
    assert "illegal content" in refusal(school.answer, id=id_, approve=True, actor="head")[1]
    assert school.proposals(actor="head")[0].state == "overtaken"


def test_propose_with_an_outdated_value_is_a_conflict(school):
    edit = Edit.of(CELL.path, "acceptable", "times")
    assert (
        "somebody has changed this since"
        in refusal(school.propose, edits=(edit,), reason="r", actor="head")[1]
    )


def test_change_that_the_disk_refuses_leaves_the_old_policy(school, steward):
    connection = steward.store._connection  # a full disk, for SQLite
    pages = connection.execute("pragma page_count").fetchone()[0]
    connection.execute(f"pragma max_page_count = {pages}")
    before, last = school.status().version, ""
    for n in range(300):
        device = {"name": f"{n:060}", "group": "ks2"}
        edit = Edit.of(("devices", f"02:00:5e:00:{n // 256:02x}:{n % 256:02x}"), None, device)
        try:
            proposed(school, edit)
        except RefusedError as e:
            last = str(e)
            break
        before += 1
    assert "can't be stored" in last
    assert school.status().version == steward.store.version == before
    assert len(school.written().devices) == len(steward.policy.devices)


# Teachers


def test_teacher_asks_for_an_exception_and_somebody_approves(clock, school):
    for n, action in enumerate(("allow", "block")):
        view = proposed(school, exception(clock, f"e{n}", action=action), actor="teacher")
        assert (view.state, view.approvals) == ("waiting", 1)
    assert approve(school, view.id, "head").state == "in force"
    assert [p.username for p in school.proposals(actor="teacher")] == ["teacher"] * 2


def test_teacher_asks_for_nothing_else(clock, school):
    e = exception(clock)
    proposed(school, e)
    id_ = school.proposals(actor="head")[0].id
    approve(school, id_, "head")
    full = json.loads(json.dumps(school._steward.document["exceptions"]["e1"]))
    later = Edit.of(("exceptions", "e1", "until"), full["until"], "2027-01-01T00:00")
    asked = (CELL, CLOSING, later, Edit.of(("exceptions", "e1"), full, None))
    for edits in (*((a,) for a in asked), (exception(clock, "e2"), CLOSING)):
        field = refusal(school.propose, edits=edits, reason="r", actor="teacher")[0]
        assert field == "actor", edits


def test_teacher_asks_for_so_much_at_once(clock, school):
    most = tuple(exception(clock, f"e{n}") for n in range(MAX_REQUESTS))
    assert proposed(school, *most, actor="teacher").state == "waiting"
    many = (*most, exception(clock, "more"))
    names = [f"{n}.example" for n in range(2000)]
    for edits in (many, (exception(clock, "long", names=names),)):
        field, message = refusal(school.propose, edits=edits, reason="r", actor="teacher")
        assert (field, "at most 20 exceptions" in message) == ("edits", True)


# A school of one person


def test_daily_work_goes_on_while_nobody_else_could_approve(desk, steward, people):
    desk.set_up(
        code=steward.places.first_run_code.read_text(),
        school="S",
        username="ann",
        full_name="Ann",
        password_hash=people.hash,
    )
    device = Edit.of(("devices", NEW_MAC), None, {"name": "Laptop", "group": "staff"})
    view = proposed(desk, device, actor="ann")
    assert view.state == "in force"
    assert desk.record(actor="ann")[0].approvers == "nobody else could approve yet"
    other = proposed(desk, Edit.of(GUEST_GAMES, "unacceptable", "times"), actor="ann")
    assert other.state == "waiting"
    assert "too few accounts may approve" in other.waits_for


def test_daily_work_that_opens_waits_where_somebody_could_approve(school):
    device = Edit.of(("devices", NEW_MAC), None, {"name": "New", "group": "staff"})
    assert proposed(school, device).state == "waiting"


# The end of exceptions


def test_audit_ticks_an_exception_that_has_ended(clock, school):
    e = exception(clock, action="block")
    proposed(school, e)
    arguments = {"id": "e1", "note": "looked at", "actor": "it"}
    assert "has not ended" in refusal(school.audit_exception, **arguments)[1]
    clock.move(days=1)
    assert refusal(school.audit_exception, **arguments | {"note": ""})[0] == "note"
    school.audit_exception(**arguments)
    assert school.written().exceptions == {}
    entry = school.record(actor="head")[0]
    assert entry.action == "audited an exception"
    assert "birds.example" in entry.before
    assert refusal(school.audit_exception, **arguments)[0] == "id"


def test_exception_with_the_id_of_an_audited_one_ends_in_the_record_too(clock, school, steward):
    for _ in range(2):
        proposed(school, exception(clock, action="block"))
        clock.move(days=1, minutes=1)
        steward._follow_timetable()
        school.audit_exception(id="e1", note="looked at", actor="it")
    ended = [e for e in school.record(actor="head") if "ended by itself" in e.action]
    assert len(ended) == 2


# As text


def test_export_read_again_changes_nothing(clock, school):
    proposed(school, exception(clock, action="block"))
    view = school.read_policy(text=school.export_policy(actor="head"))
    assert view.edits == ()
    assert view.preview.faults == ()
    assert "as this appliance has written it" in view.signature


def test_import_is_a_proposal_like_any_other(school):
    text = school.export_policy(actor="it").replace('default = "allow"', 'default = "block"', 1)
    group = next(g for g, its in school.written().groups.items() if its.default == "allow")
    view = school.read_policy(text=text)
    assert view.edits == (Edit.of(("groups", group, "default"), "allow", "block"),)
    assert "has been changed since it was signed" in view.signature
    assert school.written().groups[group].default == "allow"
    assert proposed(school, *view.edits).state == "in force"
    assert school.read_policy(text=text).edits == ()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("not TOML", "line 1"),
        ("[rows]\nx = 1\n", "rows.x: 1 is not a table"),
        ("[groups.ks2]\nnumber = 99\n", "groups.ks2.number: 99 is not a number of a group from 1"),
        ("[timetable.times]\nt = {days = 'Mo', since = '1', until = '2'}\n", "timetable.times.t"),
        ("colour = 'red'\n", "colour: 'red'"),
        ("", "rows.child-abuse: is missing"),
        ("x = " + "[" * 3000, "a table without end"),
        ("\ud800", "line 1"),
    ],
)
def test_read_policy_tells_place_and_what_is_allowed(school, text, part):
    view = school.read_policy(text=text)
    assert view.edits == ()
    assert view.preview.sentences == ()
    assert part.partition(":")[0] in "\n".join(view.preview.faults)


def test_table_is_understood_shown_and_proposed(school):
    view = school.read_table(text=table(*ROWS), groups=("ks2", "guest"))
    understood = {r.row: r.cell for r in view.rows}
    assert understood["games"] == "unacceptable"
    assert understood["social-media"] == "times"
    assert not [e for e in view.edits if "child-abuse" in e.place]
    assert school.written().groups["ks2"].cells["games"] == "times"
    places = {e.place: e.after for e in view.edits}
    assert places["groups.ks2.cells.games"] == '"unacceptable"'
    done = proposed(school, *view.edits)
    assert done.approvals == view.preview.approvals == 2
    approve(school, done.id, "head", "safeguarding")
    assert (cell(school), cell(school, row="games")) == ("times", "unacceptable")
    assert school.read_table(text=table(*ROWS), groups=("ks2", "guest")).edits == ()


def test_table_row_that_the_school_s_table_lacks_becomes_a_row(school):
    text = table(*ROWS, ("Borrowing a tablet for the weekend", 2))
    view = school.read_table(text=text, groups=("staff",))
    done = proposed(school, *view.edits)
    approve(school, done.id, "head", "safeguarding")
    (row,) = (r for r in school.rows() if r.title.startswith("Borrowing"))
    assert row.by_supervision
    cells = {id_: g.cells[row.id] for id_, g in school.written().groups.items()}
    assert cells.pop("staff") == "times"
    assert set(cells.values()) == {"unacceptable"}


@pytest.mark.parametrize(
    ("text", "groups", "field"),
    [
        ("no table at all", ("ks2",), "text"),
        ("", ("ks2",), "text"),
        (table(*ROWS), ("ks9",), "groups"),
    ],
)
def test_read_table_refuses(school, text, groups, field):
    assert refusal(school.read_table, text=text, groups=groups)[0] == field


def test_bank_holidays_are_those_of_the_terms_and_offered_once(school):
    term = {"first": "2026-11-01", "last": "2027-01-31"}
    edit = Edit.of(("timetable", "terms", "winter"), None, term)
    assert school.bank_holidays() == ()
    approve(school, proposed(school, edit).id, "head")
    days = school.bank_holidays()
    assert {e.path[-1] for e in days} >= {"2026-12-25", "2027-01-01"}
    approve(school, proposed(school, *days).id, "head")
    assert school.bank_holidays() == ()


# What nobody may send


def nested(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("edits", "part"),
    [
        ((), "1 to 5000 edits, not 0"),
        ((CLOSING,) * (MAX_EDITS + 1), "1 to 5000 edits"),
        ((Edit((), "", '"x"'),), "names a place"),
        ((Edit(("groups", "ks2", "cells", "games", "x"), "", '"x"'),), "no table"),
        ((Edit(("rows", "games", "categories", "0"), "", '"x"'),), "no table"),
        ((Edit(("school",), '"St Example"', "{"),), "is no JSON"),
        ((Edit(("school",), '"St Example"', nested(50_000)),), "is no JSON"),
        ((Edit(("school",), '"St Example"', nested(900)),), "school: "),
        ((Edit(("school",), '"St Example"', "9" * 5000),), "is no JSON"),
        ((Edit(("school",), '"St Example"', "NaN"),), "is not a text"),
        ((Edit(("school",), '"St Example"', '"a\\u0000b"'),), "printable"),
        ((Edit(("school",), '"St Example"', '"\\ud800"'),), "printable"),
        ((Edit(("school",), '"St Example"', json.dumps("x" * 101)),), "1"),
        ((Edit(("rows",), "", "null"),), "somebody has changed this"),
        ((Edit(("gruops", "x"), "", '"x"'),), "there is no 'gruops'"),
        ((Edit(("gruops",), "", "{}"),), "gruops"),
        ((Edit(("people", "\ud800"), "", '{"name":"x"}'),), "is no id"),
        ((Edit(("people", "p9"), "", '{"name":"x","kind":["pupil"]}'),), "is none of"),
        ((Edit(("people", "p9"), "", "[]"),), "is not a table"),
        ((CLOSING, Edit.of(CLOSING.path, "unacceptable", "times")), "changes nothing"),
    ],
)
def test_propose_refuses_with_the_place(school, edits, part):
    before = school.status().version, school.record(actor="head")[0].number
    assert part in refusal(school.propose, edits=edits, reason="r", actor="head")[1]
    assert part.split("\n")[0] in "\n".join(school.preview(edits=edits).faults)
    assert (school.status().version, school.record(actor="head")[0].number) == before


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "a\0b", "a\x1b[2J", "\u202e", "\ud800"])
def test_propose_refuses_a_reason(school, reason):
    assert refusal(school.propose, edits=(CLOSING,), reason=reason, actor="head")[0] == "reason"


@pytest.mark.parametrize(
    "actor",
    [
        *("", " head", "head ", "Head", "HEAD", "head\0", "he\u0430d", "\ud800", "*", "%"),
        *("command line", "command line(x)", "Command line (x)", " command line (x)"),
        *("command line (\ud800)", "command line (\n)", "Button", "button ", "the appliance"),
    ],
)
def test_nobody_passes_as_somebody_else(school, actor):
    arguments = {"edits": (CLOSING,), "reason": "r", "actor": actor}
    assert refusal(school.propose, **arguments)[0] == "actor"


def test_record_keeps_what_changes_and_not_how_it_was_sent(school):
    twice = Edit(CLOSING.path, CLOSING.before, ' "unacceptable" ')
    there = Edit.of(("people", "p9"), None, {"name": "x"})
    back = Edit.of(("people", "p9"), {"name": "x"}, None)
    view = proposed(school, there, twice, back)
    assert view.edits == (CLOSING,)
    assert "p9" not in school.record(actor="head")[0].after


def test_two_meanings_in_one_value_are_told_as_the_one_that_counts(school):
    edit = Edit(("people", "p9"), "", '{"name":"harmless","name":"other"}')
    (kept,) = proposed(school, edit).edits
    assert json.loads(kept.after) == {"name": "other", "kind": "pupil"}
    assert "harmless" not in school.record(actor="head")[0].after
