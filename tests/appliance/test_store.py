import hashlib
import json
import sqlite3
from datetime import UTC, datetime

import pytest

from gate_appliance.store import FIRST_FORM, MIGRATIONS, Change, Store, state_digest
from gate_core.edits import digest
from gate_core.record import verify
from gate_core.written import plain, shipped

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
CHANGE = Change("ann", "coordinator", "isolated a device", "a tablet", reason="strange traffic")
DEVICE = {"mac": "00:00:5e:00:53:10", "since": NOW.isoformat(), "by": "ann", "why": "strange"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "policy.db"


@pytest.fixture
def store(path):
    store = Store(path)
    yield store
    store.close()


def test_store_begins_with_the_shipped_policy(store):
    (edition,) = store.editions()
    assert edition.document == plain(shipped())
    assert edition.whole
    assert store.version == store.newest == 1
    assert store.policy == digest(edition.document)
    assert store.entries() == []


def test_changing_raises_the_version_and_writes_the_entry(store):
    before = store.version
    with store.changing(CHANGE, NOW) as db:
        db.table("isolation").insert(DEVICE)
    assert store.version == before + 1
    (entry,) = store.entries()
    assert (entry.number, entry.actor, entry.role, entry.action, entry.subject, entry.reason) == (
        1,
        "ann",
        "coordinator",
        "isolated a device",
        "a tablet",
        "strange traffic",
    )
    assert (entry.version, entry.policy) == (before + 1, store.policy)
    assert entry.at == entry.at_utc == "2026-11-22T10:00:00.000+00:00"
    assert verify([entry]).fault == ""


def test_entry_has_the_state_after_it(store, path):
    with store.noting(CHANGE, NOW):
        pass
    with store.changing(CHANGE, NOW) as db:
        db.table("isolation").insert(DEVICE)
    with store.noting(CHANGE, NOW) as db:
        db.table("isolation").delete(DEVICE["mac"])
    last, isolated, first = store.entries()
    assert first.state == last.state != isolated.state
    connection = sqlite3.connect(path)
    assert state_digest(connection) == last.state
    connection.close()


def test_state_digest_is_what_it_promises(store):
    with store.changing(CHANGE, NOW) as db:
        db.table("isolation").insert(DEVICE)
    rows = [[DEVICE["mac"], DEVICE["since"], "ann", "strange"]]
    array = json.dumps({"isolation": rows}, separators=(",", ":"))
    assert store.entries()[0].state == hashlib.sha256(array.encode()).hexdigest()


def test_state_digest_counts_tables_that_are_missing_as_empty(store):
    empty = sqlite3.connect(":memory:")
    assert state_digest(empty) == state_digest(store._connection)
    empty.close()


def test_changing_that_fails_changes_nothing(store):
    before = store.version
    with pytest.raises(sqlite3.IntegrityError), store.changing(CHANGE, NOW) as db:  # noqa: PT012  # the second one fails
        db.table("isolation").insert(DEVICE)
        db.table("isolation").insert(DEVICE)
    assert store.version == before
    assert store.acts().isolations == ()
    assert store.entries() == []


def test_noting_writes_the_entry_and_leaves_the_version(store):
    before = store.version
    with store.noting(Change("ann", "head", "signed in", "192.0.2.9"), None):
        pass
    assert store.version == before
    assert store.entries()[0].at == "time not known"


def test_adopt_keeps_the_edition_before(store):
    document = plain(shipped()) | {"school": "St Example"}
    with store.changing(CHANGE, NOW):
        store.adopt(document, NOW)
    newest, first = store.editions()
    assert (newest.version, newest.document["school"], first.document["school"]) == (
        2,
        "St Example",
        "",
    )
    assert store.vouched(2) == store.policy == newest.digest == digest(document)
    assert store.vouched(1) is None
    assert store.last_adopted() == (1, 2, newest.digest)


def test_adopt_that_fails_leaves_the_policy_in_force(store):
    before = store.policy
    with pytest.raises(sqlite3.IntegrityError), store.changing(CHANGE, NOW) as db:  # noqa: PT012  # the last one fails
        store.adopt(plain(shipped()) | {"school": "St Example"}, NOW)
        db.table("isolation").insert(DEVICE)
        db.table("isolation").insert(DEVICE)
    assert store.policy == before
    assert store.newest == 1


def test_store_outlives_closing(path):
    store = Store(path)
    with store.changing(CHANGE, NOW) as db:
        db.table("isolation").insert(DEVICE)
    store.close()
    again = Store(path)
    assert [i.mac for i in again.acts().isolations] == ["00:00:5e:00:53:10"]
    assert again.version == 2
    again.close()


@pytest.mark.parametrize("form", [FIRST_FORM - 1, FIRST_FORM + len(MIGRATIONS)])
def test_store_of_another_program_is_refused(path, form):
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"pragma user_version = {form}")
    connection.close()
    with pytest.raises(ValueError, match="this program knows forms"):
        Store(path)


def test_read_all_tells_a_store_that_fails_from_one_that_is_damaged(store):
    # As it is where another program holds it, or the disk refuses: SQLite gives up in the middle of reading.
    store._connection.set_progress_handler(lambda: 1, 1)
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        store._read_all()
    store._connection.set_progress_handler(None, 1)
    store._connection.execute("drop table pause")
    with pytest.raises(sqlite3.DatabaseError, match="no such table: pause") as caught:
        store._read_all()
    assert not isinstance(caught.value, sqlite3.OperationalError)


def test_store_is_readable_by_its_owner_only(store, path):
    assert path.stat().st_mode & 0o077 == 0


def test_entries_page_from_newest_to_oldest_and_by_person(store):
    for number in range(5):
        with store.noting(Change("ann", "head", "noted", str(number)), NOW):
            pass
    with store.noting(Change("jo", "it", "noted", "other"), NOW):
        pass
    first = store.entries(limit=2)
    assert [e.subject for e in first] == ["other", "4"]
    assert [e.subject for e in store.entries(first[-1].number, 2)] == ["3", "2"]
    assert [e.subject for e in store.entries(actor="jo")] == ["other"]
    assert store.noted("noted") == {"0", "1", "2", "3", "4", "other"}


def test_raise_version_goes_above_what_is_named(store):
    store.raise_version()
    assert store.version == 2
    store.raise_version(above=40)
    assert store.version == 41
    store.raise_version(above=3)
    assert store.version == 42
    assert store.entries() == []
