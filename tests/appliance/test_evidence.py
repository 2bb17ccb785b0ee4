"""The record, tampered with in a real store and in the file that a governor takes away."""

import json
import shutil
import sqlite3
import zlib
from contextlib import closing
from dataclasses import astuple, replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_appliance import evidence
from gate_appliance.evidence import (
    EvidenceError,
    check_evidence,
    check_store,
    read_evidence,
    render_evidence,
)
from gate_appliance.signing import Signer
from gate_appliance.steward import Steward
from gate_appliance.store import Change, Store
from gate_core.edits import Edit, digest
from gate_core.record import NO_HASH, Entry, seal, verify
from gate_core.written import plain, shipped

AT = datetime(2027, 1, 11, 9, 30, tzinfo=ZoneInfo("Europe/London"))
ENTRIES = 8
ACCOUNT_PUT_IN = (
    "insert into account values ('zed', 'Zed', 'head', '', 0, '[]', '', '', '', 'active')"
)


def document(number):
    return plain(replace(shipped(), school=f"School {number}"))


def fill(store):
    """Write eight entries: the even ones change the policy, the odd ones note something."""
    for number in range(1, ENTRIES + 1):
        change = Change(
            "it.person", "it", "changed" if number % 2 == 0 else "signed in", str(number)
        )
        if number % 2:
            with store.noting(change, AT):
                pass
        else:
            with store.changing(change, AT):
                store.adopt(document(number), AT)
                store.policy = digest(document(number))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "policy.db"
    store = Store(path)
    fill(store)
    store.close()
    return path


@pytest.fixture
def path(good, tmp_path):
    return shutil.copy(good, tmp_path / "policy.db")


@pytest.fixture(scope="module")
def entries(good):
    with closing(sqlite3.connect(good)) as db:
        rows = db.execute("select * from record order by number").fetchall()
    return [Entry(*row) for row in rows]


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return Signer(tmp_path_factory.mktemp("key") / "signing-key")


def tamper(path, *statements):
    with closing(sqlite3.connect(path)) as db:
        triggers = db.execute("select name from sqlite_master where type = 'trigger'").fetchall()
        for (name,) in triggers:
            db.execute(f"drop trigger {name}")
        for statement in statements:
            db.execute(*statement) if isinstance(statement, tuple) else db.execute(statement)
        db.commit()


def packed(policy):
    return zlib.compress(json.dumps(policy).encode())


def forged(entry, **changes):
    entry = replace(entry, **changes)
    return replace(entry, hash=seal(entry))


def put(entry):
    values = astuple(entry)
    return f"insert into record values ({', '.join('?' * len(values))})", values  # noqa: S608  # marks alone


def test_check_store_holds_for_what_the_appliance_has_written(path, entries):
    verdict = check_store(path)
    assert (verdict.entries, verdict.head, verdict.broken, verdict.fault) == (
        ENTRIES,
        entries[-1].hash,
        0,
        "",
    )
    assert not check_store(path, 5, entries[4].hash).fault


@pytest.mark.parametrize(
    ("statement", "broken", "words"),
    [
        ("update record set actor = 'another' where number = 3", 3, "entry 3 has been changed"),
        ("update record set reason = 'a better one' where number = 6", 6, "entry 6 has been changed"),
        ("update record set approvers = 'head' where number = 8", 8, "entry 8 has been changed"),
        ("update record set at = '2020' where number = 1", 1, "entry 1 has been changed"),
        ("update record set version = 99 where number = 4", 4, "entry 4 has been changed"),
        ("update record set role = x'00ff' where number = 5", 5, "entry 5 has been changed"),
        ("update record set role = cast(x'c328' as text) where number = 5", 5, "entry 5 has been changed"),
        ("delete from record where number = 4", 4, "entry 4 is missing: entry 5 stands in its place"),
        ("delete from record where number = 1", 1, "entry 1 is missing"),
        ("update record set previous = hash where number = 7", 7, "entry 7 does not follow"),
        ("update record set number = 99 where number = 8", 8, "entry 8 is missing"),
    ],
)  # fmt: skip
def test_check_store_names_the_first_entry_that_was_tampered_with(path, statement, broken, words):
    tamper(path, statement)
    verdict = check_store(path)
    assert verdict.broken == broken
    assert verdict.fault.startswith(words)
    assert ", it" in verdict.fault  # who it was, by what is written there now


def test_check_store_says_who_did_what_and_when_in_the_broken_entry(path):
    tamper(path, "update record set subject = 'a' || char(27, 8238) || 'b' where number = 3")
    fault = check_store(path).fault
    assert fault.endswith("(entry 3: 2027-01-11T09:30:00.000+00:00, it.person, it: signed in a??b)")


def test_check_store_finds_two_entries_that_changed_places(path):
    tamper(
        path,
        "update record set number = 99 where number = 3",
        "update record set number = 3 where number = 4",
        "update record set number = 4 where number = 99",
    )
    assert check_store(path).broken == 3


def test_check_store_finds_a_forged_entry_between_others(path, entries):
    new = forged(entries[2], actor="another")
    tamper(path, "delete from record where number = 3", put(new))
    verdict = check_store(path)
    assert verdict.broken == 4
    assert verdict.fault.startswith("entry 4 does not follow the entry before it")


def test_check_store_finds_a_missing_end_by_the_hash_that_was_kept(path, entries):
    tamper(path, "delete from record where number > 6", "delete from edition where version > 4")
    assert not check_store(path).fault  # nothing but the kept hash can tell
    verdict = check_store(path, 7, entries[6].hash)
    assert (verdict.broken, verdict.fault) == (7, "the record ends at entry 6, before entry 7")


def test_check_store_finds_a_missing_change_of_the_policy_at_the_end(path):
    tamper(path, "delete from record where number = 8")
    assert check_store(path).broken == 7
    assert "is not the one that entry 7 speaks of" in check_store(path).fault


def test_check_store_finds_a_record_written_anew_by_the_hash_that_was_kept(path, entries):
    anew, previous = [], NO_HASH
    for entry in entries:
        anew.append(forged(entry, actor="another", previous=previous))
        previous = anew[-1].hash
    tamper(path, "delete from record", *map(put, anew))
    assert not check_store(path).fault
    assert check_store(path, 3, entries[2].hash).broken == 3


def test_check_store_finds_a_policy_that_was_swapped(path):
    other = plain(replace(shipped(), school="Another"))
    tamper(
        path,
        (
            "update edition set document = ?, digest = ? where version = (select max(version) from edition)",
            (packed(other), digest(other)),
        ),
    )
    verdict = check_store(path)
    assert verdict.broken == 8
    assert verdict.fault.startswith(
        "the written policy in the store is not the one that entry 8 speaks of: somebody has changed it without an entry"
    )


def test_check_store_finds_a_policy_changed_beside_its_digest(path):
    tamper(path, ("update edition set document = ? where version = 3", (packed(document(99)),)))
    assert check_store(path).fault.startswith(
        "the written policy in the store is not the one that entry 5 speaks of"
    )


def test_check_store_finds_a_digest_that_was_changed_alone(path):
    tamper(
        path, "update edition set digest = 'f' where version = (select max(version) from edition)"
    )
    assert "the digest beside the written policy of version 5" in check_store(path).fault


def test_check_store_finds_the_policy_before_any_entry_changed(path):
    tamper(path, ("update edition set document = ? where version = 1", (packed(document(99)),)))
    assert check_store(path).broken


@pytest.mark.parametrize(
    "blob", [b"", b"no zlib", zlib.compress(b"[1]"), packed({})[:-3], "text", None]
)
def test_check_store_finds_a_policy_that_is_none(path, blob):
    tamper(path, ("update edition set document = ? where version = 3", (blob,)))
    assert check_store(path).fault == "the written policy of version 3 in the store can't be read"


def test_check_store_finds_a_newer_policy_without_an_entry(path):
    other = document(99)
    tamper(path, ("insert into edition values (9, '', ?, ?)", (digest(other), packed(other))))
    assert "is not the one that entry 8 speaks of" in check_store(path).fault


def test_check_store_finds_that_all_policies_are_gone(path):
    tamper(path, "delete from edition")
    assert "is not the one that entry 8 speaks of" in check_store(path).fault


def test_check_store_says_that_a_file_was_cut(path):
    octets = path.read_bytes()
    path.write_bytes(octets[: len(octets) // 2])
    with pytest.raises(EvidenceError, match=r"policy\.db: is damaged"):
        check_store(path)


@pytest.mark.parametrize(
    "octets", [b"SQLite format 3\0" + b"\xff" * 5000, b"school = 'Example'\n" * 100, b""]
)
def test_check_store_says_that_a_file_is_none(path, octets):
    path.write_bytes(octets)
    with pytest.raises(EvidenceError, match=r"policy\.db: is damaged, or no store"):
        check_store(path)


def test_check_store_says_that_there_is_no_file(tmp_path):
    with pytest.raises(EvidenceError, match="there is no such file"):
        check_store(tmp_path / "policy.db")


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.endswith("-shm")}


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_check_store_changes_nothing_around_a_store_at_rest(path):
    before = contents(path.parent)
    check_store(path)
    assert contents(path.parent) == before
    assert names(path.parent) == ["policy.db"]


def test_check_store_sees_what_a_running_steward_has_just_written(tmp_path):
    store = Store(tmp_path / "policy.db")
    fill(store)
    before = contents(tmp_path), names(tmp_path)
    assert len(before[0]["policy.db-wal"]) > 0
    assert check_store(tmp_path / "policy.db").entries == ENTRIES
    assert (contents(tmp_path), names(tmp_path)) == before
    with store.noting(Change("it.person", "it", "signed in", ""), AT):
        pass
    assert check_store(tmp_path / "policy.db").entries == ENTRIES + 1
    store.close()


def test_check_store_sees_the_store_at_one_moment(tmp_path, monkeypatch):
    store = Store(tmp_path / "policy.db")
    fill(store)

    def meanwhile(entries, **kept):
        verdict = verify(entries, **kept)
        with store.changing(Change("it.person", "it", "changed", ""), AT):
            store.adopt(document(99), AT)
        return verdict

    monkeypatch.setattr(evidence, "verify_chain", meanwhile)
    verdict = check_store(tmp_path / "policy.db")
    store.close()
    assert (verdict.entries, verdict.fault) == (ENTRIES, "")


@pytest.mark.parametrize("ends", [("", "-wal"), ("", "-wal", "-shm")])
def test_check_store_reads_the_copy_of_a_store_in_use(tmp_path, ends):
    live, copy = tmp_path / "live", tmp_path / "copy"
    live.mkdir()
    copy.mkdir()
    store = Store(live / "policy.db")
    fill(store)
    for end in ends:
        shutil.copy(live / f"policy.db{end}", copy)
    store.close()
    before = contents(copy), names(copy)
    copy.chmod(0o500)
    try:
        assert check_store(copy / "policy.db").entries == ENTRIES
    finally:
        copy.chmod(0o700)
    assert (contents(copy), names(copy)) == before


# What lies beside the written policy


@pytest.fixture
def busy(school, samples, people):
    """Fill every table: what is in force for a while, what waits with an answer, and what is over."""
    sample = samples(school, "coordinator", 1)
    school.start_pause(groups=("ks2",), minutes=30, actor="head")
    school.start_lesson(**sample.start_lesson(), actor="head")
    school.isolate(**sample.isolate(), actor="head")
    school.suspend(**sample.suspend(), actor="head")
    school.lend(mac=people.tablet, person="p1", minutes=30, actor="head")
    school.lend(mac=people.tablet, person="p2", minutes=30, actor="head")
    sample.answer()
    school.withdraw(id=sample.proposed("teacher"), actor="teacher")
    return school


def restarted(steward, config, *statements):
    """Return the verdict on the store after an edit of it, and how a steward sees it that comes then."""
    steward.close()
    tamper(steward.places.policy, *statements)
    verdict = check_store(steward.places.policy)
    with closing(Steward(config)) as again:
        (component,) = (c for c in again.status(0, 0).components if c.name == "policy")
        assert again.document == steward.document
        return verdict, component


@pytest.mark.parametrize(
    "statement",
    [
        "update account set role = 'coordinator' where username = 'teacher'",
        "update account set password_hash = 'another' where username = 'head'",
        "delete from account where username = 'governor'",
        ACCOUNT_PUT_IN,
        "update pause set until = '2099-01-01T00:00:00+00:00'",
        "delete from pause",
        "update lesson set names = '[\"b.example\"]'",
        "delete from isolation",
        "update suspension set essentials_stay = 1",
        "delete from suspension",
        "update loan set person = 'p1' where person = 'p2'",
        "update loan set returned = 'x' where person = 'p2'",
        "update loan set returned = '' where person = 'p1'",
        "update proposal set approvals = 0 where state = 'waiting'",
        "update proposal set edits = '[]' where state = 'waiting'",
        "update proposal set state = 'lapsed' where state = 'waiting'",
        "update proposal set state = 'waiting' where state = 'withdrawn'",
        "update answer set username = 'safeguarding' where proposal = (select id from proposal where state = 'waiting')",
    ],
)  # fmt: skip
def test_edit_beside_the_written_policy_is_found(busy, steward, config, statement):
    last = busy.record(actor="head", limit=1)[0]
    verdict, component = restarted(steward, config, statement)
    words = f"ccounts, holds or proposals are not those that entry {last.number} speaks of: somebody has changed them without an entry"  # fmt: skip
    assert verdict.broken == last.number
    assert verdict.fault.startswith(f"a{words} (entry {last.number}: {last.at}, {last.actor}, ")
    assert (component.state, component.detail) == ("degraded", f"A{words}.")


def test_octets_beside_the_written_policy_are_found(busy, steward):
    steward.close()
    tamper(steward.places.policy, "update isolation set why = x'00ff'")
    assert "olds or proposals are not those" in check_store(steward.places.policy).fault


def test_edit_of_what_is_over_is_none_that_decides(busy, steward, config):
    verdict, component = restarted(
        steward,
        config,
        "update loan set person = 'p2' where person = 'p1'",
        "update proposal set reason = 'another' where state = 'withdrawn'",
    )
    assert (verdict.fault, component.state) == ("", "ok")


def test_edit_is_told_beside_another_fault_of_the_policy(busy, steward, config):
    steward.close()
    tamper(steward.places.policy, "delete from pause", "delete from edition")
    with closing(Steward(config)) as again:
        assert again.policy_fault.startswith("No edition is left; ")
        assert "in force. Accounts, holds or proposals are not those" in again.policy_fault


def test_account_in_a_store_without_entries_is_found(steward, config):
    verdict, component = restarted(steward, config, ACCOUNT_PUT_IN)
    assert verdict.broken == 1
    assert verdict.fault.startswith(
        "there are accounts, holds or proposals, and the record has no entry"
    )
    assert component.state == "degraded"


# The file


@pytest.fixture(scope="module")
def text(entries, signer):
    return render_evidence(iter(entries), signer, school="Example School")


def test_render_evidence_is_read_back(text, entries, signer):
    header, found = read_evidence(text)
    assert list(found) == entries
    assert (header.school, header.appliance) == ("Example School", signer.fingerprint)
    assert (header.entries, header.head) == (ENTRIES, entries[-1].hash)
    assert text.isascii()
    assert len(text.splitlines()) == ENTRIES + 1


def test_check_evidence_holds_for_text_and_file(text, entries, signer, tmp_path):
    (tmp_path / "evidence").write_text(text)
    for given_as in (text, tmp_path / "evidence"):
        check = check_evidence(given_as, 8, entries[7].hash)
        assert check.verdict == verify(entries)
        assert check.signed
        assert signer.fingerprint in check.signature


def test_check_evidence_holds_for_what_the_desk_gives_out(school):
    edits = (
        Edit.of(("school",), "St Example", "St Other"),
        Edit.of(("rooms", "room-1", "title"), "Room 1", "The library"),
    )
    school.propose(edits=edits, reason="new names", actor="head")
    entry = school.record(actor="head", limit=1)[0]
    assert "\n" in entry.before
    check = check_evidence(school.evidence(actor="auditor"), entry.number, entry.hash)
    assert (check.verdict.entries, check.verdict.fault, check.signed) == (
        entry.number + 1,
        "",
        True,
    )


def test_check_evidence_holds_for_a_record_without_entries(signer):
    check = check_evidence(render_evidence((), signer, school=""))
    assert check.signed
    assert (check.verdict.entries, check.verdict.head, check.verdict.fault) == (0, NO_HASH, "")


def line(text, number, **changes):
    """Return the text with keys of one line changed."""
    lines = text.splitlines()
    lines[number - 1] = json.dumps({**json.loads(lines[number - 1]), **changes})
    return "\n".join(lines)


def test_check_evidence_names_the_entry_that_was_changed(text):
    check = check_evidence(line(text, 4, reason="another"))
    assert check.verdict.broken == 3
    assert check.verdict.fault.startswith("entry 3 has been changed")
    assert "it.person, it: signed in 3" in check.verdict.fault


def test_check_evidence_finds_entries_cut_off(text):
    check = check_evidence("".join(text.splitlines(keepends=True)[:-2]))
    assert (check.verdict.broken, check.signed) == (7, True)
    assert check.verdict.fault == "there are 6 entries, where the first line tells of 8"


def test_check_evidence_finds_a_last_entry_that_was_written_anew(text, entries):
    new = forged(entries[-1], actor="another")
    check = check_evidence(line(text, 9, actor="another", hash=new.hash))
    assert check.verdict.broken == 8
    assert "another one than the first line tells of" in check.verdict.fault


@pytest.mark.parametrize(
    "change",
    [{"school": "Another"}, {"appliance": "1234"}, {"signature": "AAAA"}, {"public_key": "!"}],
)
def test_check_evidence_finds_a_changed_header(text, change):
    check = check_evidence(line(text, 1, **change))
    assert not check.signed
    assert "has been changed" in check.signature
    assert not check.verdict.fault


def test_check_evidence_finds_a_header_that_fits_what_was_cut(text, entries):
    lines = line(text, 1, entries=6, head=entries[5].hash).splitlines()[:-2]
    assert not check_evidence("\n".join(lines)).signed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: "", "line 1: is no JSON"),
        (lambda t: "[]", "line 1: is no JSON object"),
        (lambda t: line(t, 1, form="2"), "line 1: form: '2' is not 'schoolgate evidence 1'"),
        (lambda t: line(t, 1, entries=True), "line 1: entries: 'True' is not a whole number"),
        (lambda t: line(t, 5, more=1), "line 5: 'more' is an unknown key; allowed are number, at"),
        (lambda t: line(t, 5, actor=None), "line 5: actor: 'None' is not a text"),
        (lambda t: t.replace('"actor"', '"aktor"'), "line 2: 'aktor' is an unknown key"),
        (lambda t: t.replace('"actor": "it.person", ', ""), "line 2: actor: is missing"),
        (lambda t: line(t, 1, **{"\x1b[2J": ""}), "line 1: '\\x1b[2J' is an unknown key"),
        (lambda t: t[:-20], "line 9: is no JSON"),
        (lambda t: t + "\n", "line 10: is no JSON"),
        (lambda t: t.replace('"number": 4', '"number": 9, "number": 4'), "line 5: is no JSON: a key stands there twice"),
        (lambda t: "[" * 100_000, "line 1: is no JSON"),
    ],
)  # fmt: skip
def test_read_evidence_names_the_line_at_fault(text, change, words):
    with pytest.raises(EvidenceError) as caught:
        read_evidence(change(text))
    assert str(caught.value).startswith(words)


def test_check_evidence_refuses_a_file_that_is_no_text(tmp_path):
    (tmp_path / "evidence").write_bytes(b"{\xff")
    with pytest.raises(EvidenceError, match="octet 1: is no text"):
        check_evidence(tmp_path / "evidence")


@given(st.data())
def test_check_evidence_never_holds_for_a_changed_octet(text, data):
    at = data.draw(st.integers(0, len(text) - 2))
    other = data.draw(st.characters(codec="ascii").filter(lambda c: c != text[at]))
    changed = text[:at] + other + text[at + 1 :]
    try:
        check = check_evidence(changed)
    except EvidenceError:
        return
    same = [[json.loads(x) for x in t[:-1].split("\n")] for t in (changed, text)]
    assert bool(check.verdict.fault or not check.signed) == (same[0] != same[1])
