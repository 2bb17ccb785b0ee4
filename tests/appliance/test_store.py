import sqlite3
from datetime import UTC, datetime

import pytest

from gate_appliance.store import MIGRATIONS, UNKNOWN_GROUP, Change, Store
from gate_core.acceptable_use import SHIPPED_CELLS

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
CHANGE = Change("ann", "added a device", "00:00:5e:00:53:10", "", "laptop: ks2", "new")
DEVICE = {"mac": "00:00:5e:00:53:10", "name": "laptop", "group_id": "ks2"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "policy.db"


@pytest.fixture
def store(path):
    store = Store(path)
    yield store
    store.close()


def test_store_is_shipped_with_every_group_and_cell(store):
    groups = store.groups()
    assert {id_: dict(g.cells) for id_, g in groups.items()} == SHIPPED_CELLS
    assert UNKNOWN_GROUP in groups
    assert sorted(g.number for g in groups.values()) == list(range(1, len(groups) + 1))


def test_changing_raises_the_version_and_writes_the_audit_entry(store):
    before = store.version
    with store.changing(CHANGE, NOW) as db:
        db.table("device").insert(DEVICE)
    assert store.version == before + 1
    (entry,) = store.audit(0, 10)
    assert (entry.actor, entry.action, entry.after, entry.reason, entry.version) == (
        "ann",
        "added a device",
        "laptop: ks2",
        "new",
        before + 1,
    )
    assert entry.at == "2026-11-22T10:00:00.000+00:00"


def test_changing_that_fails_changes_nothing(store):
    before = store.version
    with pytest.raises(sqlite3.IntegrityError), store.changing(CHANGE, NOW) as db:  # noqa: PT012  # the second one fails
        db.table("device").insert(DEVICE)
        db.table("device").insert({**DEVICE, "mac": "x", "group_id": "no such group"})
    assert store.version == before
    assert store.devices() == {}
    assert store.audit(0, 10) == ()


def test_noting_writes_the_audit_entry_and_leaves_the_version(store):
    before = store.version
    with store.noting(Change("ann", "signed in", "192.0.2.9"), None):
        pass
    assert store.version == before
    assert store.audit(0, 10)[0].at == "time not known"


def test_store_outlives_closing(path):
    store = Store(path)
    with store.changing(CHANGE, NOW) as db:
        db.table("device").insert(DEVICE)
    store.close()
    again = Store(path)
    assert again.devices()["00:00:5e:00:53:10"].group == "ks2"
    again.close()


def test_store_of_a_newer_program_is_refused(path):
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"pragma user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(ValueError, match="knows forms up to"):
        Store(path)


def test_store_is_readable_by_its_owner_only(store, path):
    assert path.stat().st_mode & 0o077 == 0


def test_audit_pages_from_newest_to_oldest(store):
    for number in range(5):
        with store.noting(Change("ann", "noted", str(number)), NOW):
            pass
    first = store.audit(0, 2)
    assert [e.subject for e in first] == ["4", "3"]
    assert [e.subject for e in store.audit(first[-1].id, 2)] == ["2", "1"]
