"""Backups of a real state directory, damaged in every way that a stick or a stranger may find."""

import fcntl
import hashlib
import io
import json
import os
import shutil
import socket
import sqlite3
import stat
import tarfile
import tracemalloc
import zlib
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from gate_appliance import backup
from gate_appliance.backup import (
    CHUNK_OCTETS,
    BackupError,
    make_backup,
    open_backup,
    restore_backup,
)
from gate_appliance.evidence import check_store
from gate_appliance.library import Library, vouched_lists, vouching
from gate_appliance.places import Places
from gate_appliance.signing import Signer
from gate_appliance.store import Change, Store
from gate_appliance.supervisor import AlreadyUpError
from gate_core.categories import BY_ID
from gate_core.edits import digest
from gate_core.written import plain, shipped

ZONE = ZoneInfo("Europe/London")
AT = datetime(2027, 1, 11, 9, 30, tzinfo=ZONE)
PASSPHRASE = "correct horse battery"  # noqa: S105  # of a backup that is gone after the test
OVERHEAD = CHUNK_OCTETS + 16
HEADER = 55


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    # The reader takes the cost from the header; what is asked for in earnest takes half a second each time.
    earnest = backup._COST
    monkeypatch.setattr(backup, "_COST", (10, 8, 1))
    return earnest


@pytest.fixture
def places(short_path):
    places = Places(short_path / "state", short_path / "run")
    places.make()
    return places


@pytest.fixture
def empty(short_path):
    return Places(short_path / "new" / "state", short_path / "new" / "run")


@pytest.fixture
def config(short_path):
    path = short_path / "schoolgate.toml"
    path.write_text('[appliance]\nmode = "resolver"\n')
    return path


@pytest.fixture
def target(short_path):
    (short_path / "stick").mkdir()
    return short_path / "stick" / "schoolgate.backup"


def adopt(store, document):
    with store.changing(Change("it.person", "it", "changed the policy", ""), AT):
        store.adopt(document, AT)
        store.policy = digest(document)


def fill(places, school="Example School"):
    """Make a state directory with one of everything."""
    store = Store(places.policy)
    adopt(store, plain(replace(shipped(), school=school)))
    store.close()
    Signer(places.signing_key)
    places.sightings.write_text('[["02:00:00:00:00:01", [], "", "", 0]]')
    for name in ("certificate.pem", "secret"):
        places.web.mkdir(exist_ok=True)
        (places.web / name).write_text(f"{name} of {school}")
    (places.lists / "games").mkdir(parents=True)
    (places.lists / "games" / "our-list").write_text("game.example\n")
    places.activity.mkdir()
    for day in (10, 11):
        with closing(sqlite3.connect(places.activity / f"activity-2027-01-{day}.db")) as db:
            db.execute("create table decision (name)")
            db.execute("insert into decision values (?)", [f"{school} {day}"])
            db.commit()
    # What no backup needs.
    (places.state / "clock").touch()
    (places.state / "snapshot").mkdir()
    (places.state / "snapshot" / "policy").write_text("compiled")
    (places.web / "certificate.pem.new").write_text("half")


FILES = {
    "policy.db",
    "signing-key",
    "sightings.json",
    "configuration-in-backup.toml",
    "web/certificate.pem",
    "web/secret",
    "lists/games/our-list",
    "activity/activity-2027-01-10.db",
    "activity/activity-2027-01-11.db",
}


@pytest.fixture
def made(places, config, target):
    fill(places)
    return make_backup(places, config, target, PASSPHRASE, AT)


def restore(target, places, **how):
    how = {"actor": "command line (it)", "reason": "the card died", "at": AT} | how
    return restore_backup(target, PASSPHRASE, places, ZONE, **how)


def tree(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def rows(path, query):
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def test_make_backup_reports_what_is_in_it(made, places, target):
    manifest = made.manifest
    assert set(manifest.files) == FILES
    assert (manifest.made, manifest.school) == ("2027-01-11T09:30:00+00:00", "Example School")
    assert (manifest.version, manifest.entries, manifest.left_out) == (2, 1, ())
    assert manifest.head == check_store(places.policy).head
    assert (made.size_octets, made.fault) == (target.stat().st_size, "")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_make_backup_leaves_nothing_else_behind(made, places, target):
    assert list(target.parent.iterdir()) == [target]
    assert not list((places.state / "backup-in-progress").iterdir())


def test_make_backup_hides_what_is_in_it(made, target):
    octets = target.read_bytes()
    assert octets.startswith(b"schoolgate backup 1\n")
    assert not any(
        word in octets for word in (b"policy", b"PRIVATE", b"Example", b"SQLite", b"ustar")
    )


def test_make_backup_takes_64_mib_for_each_guess_of_the_passphrase(
    places, config, target, cheap, monkeypatch
):
    monkeypatch.setattr(backup, "_COST", cheap)
    fill(places)
    make_backup(places, config, target, PASSPHRASE, AT)
    log_n, r, p = target.read_bytes()[20:23]
    assert 128 * r << log_n == 64 << 20  # RFC 7914, section 2
    assert p == 2
    assert open_backup(target, PASSPHRASE).school == "Example School"


def test_make_backup_is_another_file_each_time(made, places, config, target):
    before = target.read_bytes()
    make_backup(places, config, target, PASSPHRASE, AT)
    after = target.read_bytes()
    assert before[HEADER : HEADER + 64] != after[HEADER : HEADER + 64]


def test_make_backup_takes_what_a_running_steward_has_just_written(places, config, target, empty):
    fill(places)
    store = Store(places.policy)
    adopt(store, plain(replace(shipped(), school="Just changed")))
    assert make_backup(places, config, target, PASSPHRASE, None).manifest.school == "Just changed"
    adopt(store, plain(replace(shipped(), school="And again")))
    store.close()
    restore(target, empty)
    assert check_store(empty.policy).entries == 2 + 1


def test_make_backup_refuses_a_short_passphrase(places, config, target):
    fill(places)
    with pytest.raises(BackupError, match="at least 12 characters"):
        make_backup(places, config, target, "short", AT)
    assert not target.exists()


def test_make_backup_leaves_out_a_damaged_day(places, config, target):
    fill(places)
    (places.activity / "activity-2027-01-10.db").write_bytes(b"no database" * 1000)
    manifest = make_backup(places, config, target, PASSPHRASE, AT).manifest
    assert manifest.left_out == ("activity-2027-01-10.db",)
    assert set(manifest.files) == FILES - {"activity/activity-2027-01-10.db"}


def test_make_backup_tells_of_a_broken_record(places, config, target):
    fill(places)
    with closing(sqlite3.connect(places.policy)) as db:
        db.execute("drop trigger record_update")
        db.execute("update record set actor = 'another'")
        db.commit()
    assert "entry 1 has been changed" in make_backup(places, config, target, PASSPHRASE, AT).fault


@pytest.mark.parametrize("octets", [None, b"no database" * 1000])
def test_make_backup_without_a_policy_keeps_the_backup_before(made, places, config, target, octets):
    before = target.read_bytes()
    places.policy.unlink()
    if octets:
        places.policy.write_bytes(octets)
    with pytest.raises(BackupError, match="the policy can't be read"):
        make_backup(places, config, target, PASSPHRASE, AT)
    assert target.read_bytes() == before
    assert list(target.parent.iterdir()) == [target]


def test_make_backup_refuses_a_second_at_the_same_time(places, config, target):
    fill(places)
    folder = places.state / "backup-in-progress"
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(BackupError, match="another backup is being made"):
        make_backup(places, config, target, PASSPHRASE, AT)
    os.close(descriptor)
    (folder / "left").mkdir()
    (folder / "left" / "by-a-power-cut").write_text("octets")
    make_backup(places, config, target, PASSPHRASE, AT)
    assert not list(folder.iterdir())


# Reading


def test_open_backup_returns_the_manifest(made, target):
    assert open_backup(target, PASSPHRASE) == made.manifest


def test_open_backup_takes_the_passphrase_of_another_keyboard(places, config, target):
    fill(places)
    make_backup(places, config, target, "caf\u00e9 au lait noir", AT)
    assert open_backup(target, "cafe\u0301 au lait noir").school == "Example School"


def test_open_backup_refuses_another_passphrase(made, target):
    with pytest.raises(BackupError, match="passphrase is not the one"):
        open_backup(target, PASSPHRASE + " ")


@pytest.mark.parametrize(
    "octets", [b"", b"schoolgate backup 1\n", b"PK\3\4" * 100, b"schoolgate backup 2\n" * 9]
)
def test_open_backup_refuses_a_foreign_file(target, octets):
    target.write_bytes(octets)
    with pytest.raises(BackupError, match="no backup of this program"):
        open_backup(target, PASSPHRASE)


@pytest.mark.parametrize("cost", [(40, 8, 2), (16, 255, 2), (16, 8, 255), (0, 8, 2)])
def test_open_backup_refuses_a_header_that_asks_for_all_memory(made, target, cost):
    octets = bytearray(target.read_bytes())
    octets[20:23] = bytes(cost)
    target.write_bytes(octets)
    with pytest.raises(BackupError, match="asks for more work"):
        open_backup(target, PASSPHRASE)


@pytest.fixture
def long(places, config, target):
    """Return the chunks of a backup with five of them, and what comes before."""
    fill(places)
    (places.lists / "games" / "our-list").write_bytes(os.urandom(4 * CHUNK_OCTETS))
    make_backup(places, config, target, PASSPHRASE, AT)
    octets = target.read_bytes()
    chunks = [octets[n : n + OVERHEAD] for n in range(HEADER, len(octets), OVERHEAD)]
    assert len(chunks) == 5
    return octets[:HEADER], chunks


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda c: c[:-1], "its end is missing", id="cut between chunks"),
        pytest.param(lambda c: c[:1], "its end is missing", id="cut to one chunk"),
        pytest.param(lambda c: [*c[:-1], c[-1][:-1]], "damaged or cut between", id="cut within a chunk"),
        pytest.param(lambda c: [*c[:-1], c[-1][:7]], "damaged or cut between", id="cut within a tag"),
        pytest.param(lambda c: [*c, c[0]], "damaged or cut between", id="appended"),
        pytest.param(lambda c: [*c, b"x"], "damaged or cut between", id="an octet appended"),
        pytest.param(lambda c: [c[1], c[0], *c[2:]], "between octets 55 and 65607", id="reordered"),
        pytest.param(lambda c: [c[0], *c[2:]], "between octets 65607 and", id="one taken out"),
        pytest.param(lambda c: [c[0], c[0], *c[1:]], "between octets 65607 and", id="one doubled"),
        pytest.param(lambda c: [*c[:3], bytes([c[3][0] ^ 1]) + c[3][1:], c[4]], "damaged", id="one bit"),
        pytest.param(lambda c: [], "its end is missing", id="header alone"),
    ],
)  # fmt: skip
def test_open_backup_notices_what_was_done_to_the_file(long, target, change, words):
    header, chunks = long
    target.write_bytes(header + b"".join(change(chunks)))
    with pytest.raises(BackupError, match=words):
        open_backup(target, PASSPHRASE)


def test_open_backup_notices_a_whole_file_with_octets_behind(long, target):
    header, chunks = long
    target.write_bytes(header + b"".join(chunks) + os.urandom(OVERHEAD))
    with pytest.raises(BackupError, match="damaged"):
        open_backup(target, PASSPHRASE)


# Archives that only somebody with the passphrase can have made


def pack(target, members, manifest=None):
    """Write an encrypted archive of ``(TarInfo, octets)``."""
    with target.open("wb") as file:
        writer = backup._SealingWriter(file, PASSPHRASE)
        octets = io.BytesIO()
        with tarfile.open(mode="w:gz", fileobj=octets, format=tarfile.GNU_FORMAT) as archive:
            for member, content in members:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            if manifest is not None:
                member = tarfile.TarInfo("manifest.json")
                member.size = len(manifest)
                archive.addfile(member, io.BytesIO(manifest))
        writer.write(octets.getvalue())
        writer.finish()


def member(name, kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b""


@pytest.mark.parametrize(
    "awkward",
    [
        member("/etc/passwd"),
        member("../policy.db"),
        member("lists/../../policy.db"),
        member("lists/games/../x"),
        member("web/other"),
        member("clock"),
        member("policy.db\n"),
        member("policy.db", tarfile.SYMTYPE, "/etc/passwd"),
        member("policy.db", tarfile.LNKTYPE, "signing-key"),
        member("policy.db", tarfile.FIFOTYPE),
        member("policy.db", tarfile.CHRTYPE),
        member("lists", tarfile.DIRTYPE),
        member("activity", tarfile.SYMTYPE, "/tmp"),  # noqa: S108  # named, not used
    ],
    ids=lambda m: f"{m[0].name!r} {m[0].type!r}",
)
def test_restore_backup_refuses_what_no_backup_holds(empty, target, awkward):
    pack(target, [member("signing-key"), awkward])
    with pytest.raises(BackupError, match="which no backup does"):
        restore(target, empty)
    assert not tree(empty.state)


def test_restore_backup_refuses_a_file_twice(empty, target):
    pack(target, [member("signing-key"), member("signing-key")])
    with pytest.raises(BackupError, match="'signing-key', which no backup does"):
        restore(target, empty)


def manifest_of(files, **changes):
    table = {"made": "", "school": "", "program": "", "version": 1, "entries": 0, "head": ""}
    return json.dumps({**table, "files": files, "left_out": [], **changes}).encode()


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (None, "does not say what it holds"),
        (b"[]", "in a form that this program reads"),
        (b"{", "in a form that this program reads"),
        (manifest_of({"policy.db": {"size_octets": "1", "sha256": ""}}), "in a form"),
        (manifest_of({}, more=1), "in a form that this program reads"),
        (manifest_of({}), "does not hold the files that it says"),
        (manifest_of({"policy.db": {"size_octets": 0, "sha256": "0"}}), "does not hold the files that it says"),
    ],
)  # fmt: skip
def test_restore_backup_refuses_a_manifest_that_does_not_fit(empty, target, manifest, words):
    pack(target, [member("policy.db")], manifest)
    with pytest.raises(BackupError, match=words):
        restore(target, empty)


def test_open_backup_refuses_what_is_no_archive(target):
    with target.open("wb") as file:
        writer = backup._SealingWriter(file, PASSPHRASE)
        writer.write(b"no archive at all")
        writer.finish()
    with pytest.raises(BackupError, match="none of this program's"):
        open_backup(target, PASSPHRASE)


# Putting back


def test_restore_backup_puts_everything_on_an_empty_machine(made, places, target, empty, config):
    report = restore(target, empty)
    assert report.manifest == made.manifest
    assert report.set_aside is None
    assert report.configuration.read_text() == config.read_text()
    assert set(tree(empty.state)) == FILES
    for name in FILES - {"configuration-in-backup.toml"}:
        if not name.endswith(".db"):
            assert (empty.state / name).read_bytes() == (places.state / name).read_bytes()
    for name in ("activity-2027-01-10.db", "activity-2027-01-11.db"):
        query = "select * from decision"
        assert rows(empty.activity / name, query) == rows(places.activity / name, query)
    verdict = check_store(empty.policy)
    assert (verdict.entries, verdict.fault) == (2, "")
    store = Store(empty.policy)
    entry, adopted = store.entries()
    assert (entry.actor, entry.role) == ("command line (it)", "it")
    assert (entry.action, entry.subject) == (
        "restored a backup",
        "made 2027-01-11T09:30:00+00:00",
    )
    assert (entry.before, entry.reason) == ("nothing", "the card died")
    assert (entry.previous, entry.policy) == (made.manifest.head, adopted.policy)
    assert [e.document["school"] for e in store.editions()] == ["Example School", ""]
    store.close()


def test_restore_backup_writes_for_the_owner_of_the_state(made, target, empty):
    restore(target, empty)
    owner = empty.state.stat().st_uid
    for path in empty.state.rglob("*"):
        assert path.stat().st_uid == owner
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_restore_backup_writes_down_which_record_it_set_aside(made, target, empty):
    empty.make()
    fill(empty, "Another School")
    head = check_store(empty.policy).head
    restore(target, empty, replace=True)
    store = Store(empty.policy)
    assert store.entries(limit=1)[0].before == f"entry 1, hash {head}"
    store.close()
    empty.policy.write_bytes(b"no database" * 1000)
    restore(target, empty, replace=True, at=None)
    store = Store(empty.policy)
    (entry,) = store.entries(limit=1)
    assert (entry.before, entry.at) == ("a record that can't be read", "time not known")
    store.close()


@pytest.mark.parametrize("reason", ["", " \n"])
def test_restore_backup_refuses_without_a_reason(made, target, empty, reason):
    with pytest.raises(BackupError, match="say why"):
        restore(target, empty, reason=reason)
    assert not empty.state.exists()


def test_restore_backup_vouches_for_no_policy_that_the_record_does_not_speak_of(
    places, config, target, empty
):
    fill(places)
    store = Store(places.policy)
    version = store.version
    store.close()
    slipped_in = plain(replace(shipped(), school="Slipped in"))
    with closing(sqlite3.connect(places.policy)) as db:
        octets = zlib.compress(json.dumps(slipped_in).encode())
        values = [digest(slipped_in), octets, version]
        db.execute("update edition set digest = ?, document = ? where version = ?", values)
        db.commit()
    make_backup(places, config, target, PASSPHRASE, AT)
    restore(target, empty, broken_record=True)
    store = Store(empty.policy)
    assert store.entries(limit=1)[0].action == "restored a backup"
    assert store.vouched(version) not in (None, digest(slipped_in))
    store.close()
    assert check_store(empty.policy).fault


def test_restore_backup_refuses_where_a_policy_is(made, places, target):
    before = tree(places.state)
    with pytest.raises(BackupError, match="is there already"):
        restore(target, places)
    assert tree(places.state) == before


def test_restore_backup_sets_aside_what_it_replaces(made, target, empty):
    empty.make()
    fill(empty, "Another School")
    (empty.state / "policy.db.damaged").write_text("older")
    (empty.activity / "activity-2026-12-01.db").write_bytes(b"")
    before = tree(empty.state)
    report = restore(target, empty, replace=True)
    aside = tree(report.set_aside)
    kept = {"clock", "snapshot/policy"}
    assert set(aside) == set(before) - kept
    assert {n: o for n, o in aside.items() if not n.endswith(".db")} == {
        n: o for n, o in before.items() if not n.endswith(".db") and n not in kept
    }
    assert "Another School" in str(Store(report.set_aside / "policy.db").edition(2))
    now = {n for n in tree(empty.state) if not n.startswith("before-restore-1/")}
    assert now == FILES | kept
    again = restore(target, empty, replace=True)
    assert again.set_aside == empty.state / "before-restore-2"


def test_restore_backup_leaves_no_log_of_the_old_policy(made, target, empty, short_path):
    empty.make()
    live = short_path / "live.db"
    store = Store(live)
    adopt(store, plain(replace(shipped(), school="Only in the log")))
    for end in ("", "-wal", "-shm"):
        shutil.copy(f"{live}{end}", f"{empty.policy}{end}")
    store.close()
    report = restore(target, empty, replace=True)
    assert sorted(p.name for p in empty.state.glob("policy.db*")) == ["policy.db"]
    assert "Example School" in str(Store(empty.policy).edition(2))
    assert "Only in the log" in str(Store(report.set_aside / "policy.db").edition(2))


def test_restore_backup_replaces_a_damaged_policy(made, target, empty):
    empty.make()
    empty.policy.write_bytes(b"no database" * 1000)
    (empty.state / "policy.db-wal").write_bytes(b"no log")
    report = restore(target, empty, replace=True)
    assert set(tree(report.set_aside)) >= {"policy.db"}
    assert not check_store(empty.policy).fault


@pytest.mark.parametrize(("method", "moves"), [*(("rename", n) for n in range(11)), ("replace", 0)])
def test_restore_backup_can_be_done_again_after_a_power_cut(
    made, target, empty, monkeypatch, method, moves
):
    empty.make()
    fill(empty, "Another School")
    move, left = getattr(Path, method), iter(range(moves))

    def cut(self, to):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return move(self, to)

    monkeypatch.setattr(Path, method, cut)
    with pytest.raises(KeyboardInterrupt):
        restore(target, empty, replace=True)
    monkeypatch.setattr(Path, method, move)
    assert "Another School" in str(Store(empty.policy).edition(2))
    restore(target, empty, replace=True)
    assert {n for n in tree(empty.state) if not n.startswith("before-")} >= FILES
    assert "Example School" in str(Store(empty.policy).edition(2))
    # Nothing of the old state is lost over the two attempts.
    old = [n.split("/", 1)[1] for n in tree(empty.state) if n.startswith("before-")]
    assert set(old) >= FILES - {"configuration-in-backup.toml"}


# Lists of illegal content


def add_illegal(places, tmp_path, *names, name="police"):
    """Add a list, and its entry, as the steward does."""
    source = tmp_path / "source"
    source.write_text("".join(f"{name}\n" for name in names))
    library = Library(places.lists, tmp_path / "compiled")
    staged = library.stage(name, "terrorism", source)
    library.put(staged)
    store = Store(places.policy)
    vouched = vouching("f", staged.sha256)
    entry = Change("it", "it", "added a list", f"{name} to terrorism", "", vouched)
    with store.noting(entry, AT):
        pass
    store.close()


def opened(places, tmp_path, *names):
    """Return which of the names no list of illegal content has, and what is said of the lists."""
    (tmp_path / "compiled").mkdir(exist_ok=True)
    library = Library(places.lists, tmp_path / "compiled", vouched_lists(places.policy))
    lists = library.compile()
    wrong = [name for name in names if lists.index.mask(name) != BY_ID["terrorism"].mask]
    return wrong, lists.faults


@pytest.fixture
def old(places, config, target, tmp_path):
    """A backup with a list of illegal content, and the appliance that it is of, with a newer one of that name."""
    fill(places)
    add_illegal(places, tmp_path, "old.example")
    made = make_backup(places, config, target, PASSPHRASE, AT)
    add_illegal(places, tmp_path, "old.example", "new.example")
    return made


def test_make_backup_takes_the_copies_of_lists_of_illegal_content(old, target, empty):
    lists = {"lists/terrorism/police", "lists/.kept/terrorism/police"}
    assert set(old.manifest.files) == FILES | lists
    restore(target, empty)
    assert set(tree(empty.state)) == FILES | lists


def test_restore_backup_opens_nothing_that_was_blocked_as_illegal(old, places, target, tmp_path):
    add_illegal(places, tmp_path, "another.example", name="another")
    report = restore(target, places, replace=True)
    names = ("old.example", "new.example", "another.example")
    assert opened(places, tmp_path, *names) == ([], ())
    lists = {p.removeprefix("lists/") for p in tree(places.state) if p.startswith("lists/")}
    illegal = {"terrorism/police", "terrorism/police-2", "terrorism/another"}
    assert lists == {"games/our-list", *illegal, *(f".kept/{name}" for name in illegal)}
    assert (places.lists / "terrorism" / "police-2").read_text() == "old.example\n"
    store = Store(places.policy)
    assert store.entries(limit=1)[0].action == "restored a backup"
    assert {e.subject for e in store.entries() if e.reason == "the card died"} == {
        "made 2027-01-11T09:30:00+00:00",
        "another to terrorism",
        "police to terrorism",
        "police-2 to terrorism",
    }
    store.close()
    assert not check_store(places.policy).fault
    assert (
        (report.set_aside / "lists" / "terrorism" / "police").read_text().endswith("new.example\n")
    )
    # From now on the record speaks of each of them.
    for name in ("police", "police-2", "another"):
        (places.lists / "terrorism" / name).unlink()
    wrong, faults = opened(places, tmp_path, *names)
    assert wrong == []
    assert len(faults) == 3
    # The same backup once more brings nothing new.
    restore(target, places, replace=True)
    assert opened(places, tmp_path, *names) == ([], ())
    assert not list(places.lists.glob("*/*-3"))


def test_restore_backup_keeps_what_is_illegal_over_a_backup_without_lists(
    places, config, target, tmp_path
):
    fill(places)
    shutil.rmtree(places.lists)
    make_backup(places, config, target, PASSPHRASE, AT)
    add_illegal(places, tmp_path, "new.example")
    (places.lists / "games").mkdir()
    (places.lists / "games" / "our-list").write_text("game.example\n")
    restore(target, places, replace=True)
    assert opened(places, tmp_path, "new.example") == ([], ())
    assert not (places.lists / "games" / "our-list").exists()


def test_restore_backup_keeps_what_is_illegal_where_the_policy_is_damaged(
    old, places, target, tmp_path
):
    places.policy.write_bytes(b"no database" * 1000)
    restore(target, places, replace=True)
    assert opened(places, tmp_path, "old.example", "new.example") == ([], ())


def test_restore_backup_brings_back_a_list_that_was_deleted(places, config, target, tmp_path):
    fill(places)
    add_illegal(places, tmp_path, "old.example")
    make_backup(places, config, target, PASSPHRASE, AT)
    shutil.rmtree(places.lists)
    assert opened(places, tmp_path, "old.example")[0]
    restore(target, places, replace=True)
    assert opened(places, tmp_path, "old.example") == ([], ())


def test_restore_backup_does_not_hide_that_a_list_was_made_smaller(old, places, target, tmp_path):
    shutil.rmtree(places.lists)
    restore(target, places, replace=True)
    wrong, (fault,) = opened(places, tmp_path, "old.example", "new.example")
    assert wrong == ["new.example"]
    assert "“police” of illegal content (terrorism) is not the one that the record" in fault


def test_restore_backup_keeps_file_and_copy_where_nobody_knows_which_is_right(
    old, places, target, tmp_path
):
    (places.lists / "terrorism" / "police").write_text("file.example\n")
    (places.lists / ".kept" / "terrorism" / "police").write_text("copy.example\n")
    restore(target, places, replace=True)
    wrong, (fault,) = opened(places, tmp_path, "file.example", "copy.example", "old.example")
    assert wrong == []
    assert "not the one that the record speaks of" in fault


def test_restore_backup_finds_a_name_for_a_list_whose_name_is_as_long_as_can_be(
    places, config, target, tmp_path
):
    fill(places)
    add_illegal(places, tmp_path, "old.example", name="x" * 40)
    add_illegal(places, tmp_path, "second.example", name=f"{'x' * 38}-2")
    make_backup(places, config, target, PASSPHRASE, AT)
    add_illegal(places, tmp_path, "old.example", "new.example", name="x" * 40)
    restore(target, places, replace=True)
    names = ("old.example", "new.example", "second.example")
    assert opened(places, tmp_path, *names) == ([], ())
    assert (places.lists / "terrorism" / f"{'x' * 38}-3").read_text() == "old.example\n"


@pytest.mark.parametrize("moves", range(13))
def test_no_power_cut_while_restoring_opens_what_is_illegal(
    old, places, target, tmp_path, monkeypatch, moves
):
    move, left = Path.rename, iter(range(moves))

    def cut(self, to):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return move(self, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut)
        with pytest.raises(KeyboardInterrupt):
            restore(target, places, replace=True)
    assert opened(places, tmp_path, "old.example", "new.example") == ([], ())
    restore(target, places, replace=True)
    assert opened(places, tmp_path, "old.example", "new.example") == ([], ())
    assert (places.lists / "games" / "our-list").exists()
    assert not list(places.lists.glob("*/*-3"))


def test_restore_backup_refuses_while_the_appliance_is_up(made, target, empty):
    empty.make()
    with (empty.run / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(AlreadyUpError, match="stop it first"):
            restore(target, empty)
    assert not tree(empty.state)


def test_restore_backup_refuses_while_the_steward_runs_by_itself(made, target, empty):
    empty.make()
    with socket.socket(socket.AF_UNIX) as steward:
        steward.bind(str(empty.desk))
        steward.listen()
        with pytest.raises(AlreadyUpError, match="the steward is up"):
            restore(target, empty)
    # What is left of a dead one's socket does not matter.
    restore(target, empty)


def test_restore_backup_refuses_a_lowered_illegal_tier(places, config, target, empty):
    fill(places)
    lowered = plain(shipped())
    lowered["groups"]["staff"]["cells"]["grooming"] = "acceptable"
    store = Store(places.policy)
    adopt(store, lowered)  # with an entry of its own: the record is whole
    store.close()
    assert not check_store(places.policy).fault
    make_backup(places, config, target, PASSPHRASE, AT)
    with pytest.raises(BackupError) as caught:
        restore(target, empty)
    assert str(caught.value).split("\n") == [
        "the policy in the backup is refused:",
        "groups.staff.cells.grooming: 'acceptable' is refused: this row is illegal content, its cell is always 'illegal'",
    ]
    assert not tree(empty.state)


def test_restore_backup_refuses_a_policy_without_an_entry(places, config, target, empty):
    fill(places)
    other = json.dumps(plain(replace(shipped(), school="Another"))).encode()
    with closing(sqlite3.connect(places.policy)) as db:
        db.execute("update edition set document = ? where version = 2", [zlib.compress(other)])
        db.commit()
    make_backup(places, config, target, PASSPHRASE, AT)
    with pytest.raises(BackupError, match="record: the written policy in the store is not the one"):
        restore(target, empty)
    assert not tree(empty.state)


def test_restore_backup_refuses_a_policy_that_is_no_database(target, empty):
    octets = b"no database" * 1000
    part = {"size_octets": len(octets), "sha256": hashlib.sha256(octets).hexdigest()}
    pack(target, [(tarfile.TarInfo("policy.db"), octets)], manifest_of({"policy.db": part}))
    with pytest.raises(BackupError, match="is damaged, or no store"):
        restore(target, empty)
    assert not tree(empty.state)


def test_restore_backup_refuses_where_there_is_no_room(made, target, empty, monkeypatch):
    usage = shutil._ntuple_diskusage(1 << 30, 1 << 30, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(BackupError, match="1000 octets free"):
        restore(target, empty)


def test_backup_and_restore_hold_little_in_memory_however_long_the_log(
    places, config, target, empty
):
    fill(places)
    name = f"activity-{date(2027, 1, 12)}.db"
    with closing(sqlite3.connect(places.activity / name)) as db:
        db.execute("create table decision (name)")
        db.executemany("insert into decision values (randomblob(?))", [(1 << 20,)] * 50)
        db.commit()
    assert (places.activity / name).stat().st_size > 50 << 20
    tracemalloc.start()
    made = make_backup(places, config, target, PASSPHRASE, AT)
    restore(target, empty)
    _, peak_octets = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.size_octets > 50 << 20
    assert (empty.activity / name).stat().st_size > 50 << 20
    assert peak_octets < 8 << 20
