"""The illegal tier through every writer: whatever somebody does, a name on its lists is blocked for everybody."""

import hashlib
import json
import shutil
import sqlite3
import tempfile
import zlib
from contextlib import closing
from copy import deepcopy
from dataclasses import astuple, fields, replace
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from gate_appliance.backup import make_backup, restore_backup
from gate_appliance.desk import StewardDesk
from gate_appliance.publication import SnapshotSource
from gate_appliance.steward import Steward
from gate_core.acceptable_use import ILLEGAL_ROWS, SHIPPED_CELLS
from gate_core.categories import ILLEGAL_MASK, in_mask
from gate_core.clients import Client
from gate_core.desk import RefusedError
from gate_core.edits import Edit, digest
from gate_core.policy import decide
from gate_core.record import NO_HASH, Entry, seal

CATEGORIES = tuple(category.id for category in in_mask(ILLEGAL_MASK))
NAMES = tuple(f"www.{category}.example" for category in CATEGORIES)
GROUPS = tuple(SHIPPED_CELLS)
ROWS = tuple(sorted(ILLEGAL_ROWS))
WORDS = ("acceptable", "times", "nominated", "unacceptable", None)


@pytest.fixture(scope="module")
def first_state(furnished_state, open_copy, add_official):
    """Of the school, with a list in each category of the illegal tier."""
    with tempfile.TemporaryDirectory(prefix="gate") as folder:
        with open_copy(furnished_state, Path(folder)) as (_, steward):
            for category in CATEGORIES:
                path = Path(folder) / category
                path.write_text(f"{category}.example\n")
                add_official(steward, "list", category, path)
        yield steward.places.state


@pytest.fixture
def listed(school):
    """That school."""
    assert_blocked(school._steward)
    return school


@pytest.fixture(scope="module")
def kept(first_state, open_copy):
    """The same for tests that change nothing."""
    with (
        tempfile.TemporaryDirectory(prefix="gate") as folder,
        open_copy(first_state, Path(folder)) as opened,
    ):
        yield opened


def assert_blocked(steward):
    """Whoever asks and whatever the time, in the steward's policy and in what the data plane reads."""
    places = steward.places
    with closing(SnapshotSource(places.snapshots, places.announce, "test")) as source:
        policies = (steward.policy, source.current())
    for policy in policies:
        assert set(policy.groups) >= set(GROUPS)
        clients = [Client(ip_address("192.0.2.7"), None, g, g) for g in policy.groups]
        clients += [policy.client(ip_address("192.0.2.7"), mac) for mac in policy.devices]
        for client in clients:
            for name in NAMES:
                for at in (steward.clock.now(), None):
                    decision = decide(policy, client, name, at)
                    assert decision.blocked, (client, name)
                    assert decision.rule_id.startswith("illegal:"), (client, name)


def refused(desk, *edits):
    """Tell why ``edits`` are refused, after making sure that nothing came of them."""
    version = desk.status().version
    with pytest.raises(RefusedError) as caught:
        desk.propose(edits=edits, reason="r", actor="coordinator")
    assert "\n".join(desk.preview(edits=edits).faults) == str(caught.value)
    assert desk.status().version == version
    return str(caught.value)


def document(desk):
    return deepcopy(desk._steward.document)


# Proposals


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("group", GROUPS)
def test_no_cell_is_lowered(kept, group, row, word):
    desk, _ = kept
    message = refused(desk, Edit.of(("groups", group, "cells", row), "illegal", word))
    assert f"groups.{group}.cells.{row}" in message
    assert "illegal content" in message


def put(path, value):
    """Return the edit that puts ``value`` (or what it makes of the old one) at a place."""

    def edit(document):
        old = document
        for name in path:
            old = old.get(name) if old else None
        return Edit.of(path, old, value(deepcopy(old)) if callable(value) else value)

    return edit


def without(*names):
    return lambda table: {k: v for k, v in table.items() if k not in names}


NEW_GROUP = {"title": "New", "number": 40, "cells": {}}
NEW_ROW = {"title": "New", "number": 40, "categories": ["child-abuse"]}


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param([put(("groups", "ks2", "cells"), {})], id="all cells"),
        pytest.param([put(("groups", "staff", "cells"), without(ROWS[0]))], id="one cell"),
        pytest.param([put(("groups", "new"), NEW_GROUP)], id="a group without them"),
        pytest.param([put(("groups",), without("quarantine"))], id="the strictest group"),
        pytest.param([put(("groups", "quarantine"), None)], id="the strictest group's place"),
        pytest.param([put(("groups",), {})], id="all groups"),
        pytest.param([put(("rows",), {})], id="all rows"),
        pytest.param([put(("rows",), without(*ROWS))], id="its rows"),
        *(pytest.param([put(("rows", row), None)], id=row) for row in ROWS),
        *(
            pytest.param([put(("rows", row, "categories"), [])], id=f"categories of {row}")
            for row in ROWS
        ),
        pytest.param(
            [put(("rows", "child-abuse", "categories"), ["games"])], id="other categories"
        ),
        pytest.param(
            [
                put(("rows", "child-abuse", "categories"), []),
                put(("rows", "games", "categories"), lambda old: [*old, "child-abuse"]),
            ],
            id="its category moved",
        ),
        pytest.param(
            [put(("rows", "games", "categories"), lambda old: [*old, "child-abuse"])],
            id="its category in another row besides",
        ),
        pytest.param([put(("rows", "new"), NEW_ROW)], id="a new row with its category"),
        pytest.param(
            [
                put(("rows", "child-abuse"), None),
                put(("rows", "new"), NEW_ROW),
                *(put(("groups", g, "cells"), without("child-abuse")) for g in GROUPS),
            ],
            id="a new row in its place",
        ),
        pytest.param(
            [put(("groups", "ks2", "cells", "games"), "illegal")], id="another row's cell"
        ),
        pytest.param(
            [
                put(("groups", "ks2", "cells", "child-abuse"), "times"),
                put(("school",), "St Other"),
            ],
            id="beside something harmless",
        ),
    ],
)
def test_no_edit_lowers_it(kept, edits):
    desk, _ = kept
    assert refused(desk, *(edit(document(desk)) for edit in edits))


EXCEPTION = {
    "action": "allow",
    "scope": "school",
    "since": "2026-11-23T00:00",
    "until": "2026-12-23T00:00",
    "why": "r",
}


@pytest.mark.parametrize("name", [NAMES[0], f"={NAMES[0]}", NAMES[3].removeprefix("www.")])
@pytest.mark.parametrize(
    ("scope", "subject"),
    [("school", ""), ("group", "investigation"), ("person", "p1"), ("device", "00:00:5e:00:53:01")],
)
def test_no_exception_names_it(kept, scope, subject, name):
    desk, _ = kept
    table = EXCEPTION | {"scope": scope, "subject": subject, "names": ["a.example", name]}
    assert "nobody can allow it" in refused(desk, Edit.of(("exceptions", "e1"), None, table))


@pytest.mark.parametrize("key", ["essential", "protected"])
def test_no_list_of_what_stays_open_names_it(kept, key):
    desk, _ = kept
    edit = Edit.of(("names", key), [], [NAMES[0]])
    assert "nobody can allow it" in refused(desk, edit)


def test_what_names_it_from_far_opens_nothing(listed, people):
    edits = (
        Edit.of(("names", "essential"), [], ["example"]),
        Edit.of(("names", "protected"), [], ["example"]),
        Edit.of(("nominees", "child-abuse"), None, ["person:p1"]),
        Edit.of(("groups", "ks2", "default"), "allow", "block"),
    )
    id_ = listed.propose(edits=edits, reason="r", actor="coordinator").id
    for actor in ("head", "safeguarding"):
        listed.answer(id=id_, approve=True, actor=actor)
    listed.start_pause(minutes=5, actor="button")
    for mode in ("also", "only"):
        lesson = {"room": "room-1", "mode": mode, "minutes": 5, "actor": "head"}
        with pytest.raises(RefusedError, match="stays closed"):
            listed.start_lesson(**lesson, names=NAMES)
        listed.start_lesson(**lesson, names=("example",))
        assert_blocked(listed._steward)
    listed.lend(mac=people.tablet, person="p1", minutes=5, actor="head")
    listed.suspend(
        kind="device",
        subject=people.laptop,
        until=(listed._steward.clock.now() + timedelta(hours=1)).isoformat(),
        why="r",
        essentials_stay=True,
        actor="head",
    )
    assert_blocked(listed._steward)


# Texts


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *(('"illegal"', f'"{word}"') for word in WORDS[:4]),
        ('categories = ["child-abuse"]', "categories = []"),
        ("[rows.child-abuse]", "[rows.child-abused]"),
    ],
)
def test_import_lowers_nothing(kept, old, new):
    desk, _ = kept
    text = desk.export_policy(actor="it")
    assert old in text
    view = desk.read_policy(text=text.replace(old, new))
    assert view.edits == ()
    assert "illegal content" in "\n".join(view.preview.faults)
    assert any("line " in fault for fault in view.preview.faults)


def test_import_with_an_exception_names_nothing(kept):
    desk, _ = kept
    table = "\n".join(f"{k} = {json.dumps(v)}" for k, v in EXCEPTION.items())
    text = desk.export_policy(actor="it").replace("[exceptions]\n", "")
    view = desk.read_policy(text=f'{text}\n[exceptions.e1]\n{table}\nnames = ["{NAMES[0]}"]\n')
    assert "nobody can allow it" in "\n".join(view.preview.faults)


@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_pasted_table_lowers_nothing(kept, place):
    desk, _ = kept
    head = (
        "Actions",
        "Acceptable",
        "Acceptable at certain times",
        "Acceptable for nominated users",
    )
    head += ("Unacceptable", "Unacceptable and illegal")
    titles = [r.title for r in desk.rows() if r.locked]
    titles += ["Child sexual abuse images", "Online gaming"]
    marks = ("\t".join([t, *("X" if n == place else "" for n in range(1, 6))]) for t in titles)
    view = desk.read_table(text="\n".join(("\t".join(head), *marks)), groups=GROUPS)
    assert {r.row for r in view.rows} >= ILLEGAL_ROWS
    assert view.edits or place == 2
    assert not [e for e in view.edits if ILLEGAL_ROWS & set(e.path)]
    assert view.preview.faults == ()


# The database, edited while the steward is away


class Database:
    """The store as somebody with its file sees it."""

    def __init__(self, connection):
        self.connection = connection
        self.version, octets = self.ask("select max(version), document from edition")[0]
        self.document = json.loads(zlib.decompress(octets))

    def ask(self, query, *values):
        return self.connection.execute(query, values).fetchall()

    def lowered(self):
        made = deepcopy(self.document)
        for group in made["groups"].values():
            group["cells"] |= dict.fromkeys(ROWS, "acceptable")
        return made

    def put(self, version, document, *, digest_too=True):
        """Put a document in place of an edition, or add it."""
        octets = zlib.compress(json.dumps(document).encode())
        self.ask(
            "insert into edition (version, at, digest, document) values (?, '', 'x', ?)"
            " on conflict do update set document = excluded.document",
            version,
            octets,
        )
        if digest_too:
            self.ask("update edition set digest = ? where version = ?", digest(document), version)

    def forge_record(self, since, document):
        """Write the record anew: from an entry on it speaks of ``document``, and its chain holds."""
        for trigger in ("insert", "update", "delete"):
            self.ask(f"drop trigger if exists record_{trigger}")
        names = ", ".join(f.name for f in fields(Entry))
        entries = [Entry(*row) for row in self.ask(f"select {names} from record order by number")]  # noqa: S608  # the fields of a class
        previous = NO_HASH
        self.ask("delete from record")
        for entry in entries:
            policy = digest(document) if entry.version >= since else entry.policy
            made = replace(entry, policy=policy, previous=previous)
            made = replace(made, hash=seal(made))
            previous = made.hash
            marks = ", ".join("?" * len(astuple(made)))
            self.ask(f"insert into record ({names}) values ({marks})", *astuple(made))  # noqa: S608  # as above


def edited(db):
    db.put(db.version, db.lowered(), digest_too=False)


def edited_with_digest(db):
    db.put(db.version, db.lowered())


def edited_with_record(db):
    db.put(db.version, db.lowered())
    db.forge_record(db.version, db.lowered())


def row_taken_out_with_record(db):
    made = db.document
    del made["rows"]["child-abuse"]
    for group in made["groups"].values():
        del group["cells"]["child-abuse"]
    db.put(db.version, made)
    db.forge_record(db.version, made)


def category_moved_with_record(db):
    made = db.document
    made["rows"]["child-abuse"]["categories"] = []
    made["rows"]["games"]["categories"].append("child-abuse")
    db.put(db.version, made)
    db.forge_record(db.version, made)


def newest_taken_out(db):
    db.ask("delete from edition where version = ?", db.version)


def all_taken_out(db):
    db.ask("delete from edition")


def all_edited(db):
    for (version,) in db.ask("select version from edition"):
        db.put(version, db.lowered())


def first_edited_and_others_taken_out(db):
    made = db.document
    made["groups"]["ks2"]["default"] = "allow"
    made["groups"]["ks2"]["cells"]["gambling"] = "acceptable"
    db.ask("delete from edition where version > 1")
    db.put(1, made)


def newer_put_in(db):
    db.put(db.version + 50, db.lowered())


def newer_put_in_with_record(db):
    db.put(db.version + 50, db.lowered())
    db.ask("update meta set value = ? where key = 'version'", str(db.version + 50))
    db.forge_record(0, db.lowered())


def newer_put_in_that_lowers_something_else(db):
    made = db.document
    made["groups"]["ks2"]["cells"]["gambling"] = "acceptable"
    db.put(db.version + 50, made)


def no_document(db):
    for document in ([], 1, "x", None):
        db.put(db.version, document)


def no_octets(db):
    db.ask("update edition set document = x'00ff' where version = ?", db.version)


def deep_document(db):
    octets = zlib.compress(b"[" * 100_000)
    db.ask("update edition set document = ? where version = ?", octets, db.version)


@pytest.mark.parametrize(
    ("edit", "part"),
    [
        (edited, "this row is illegal content"),
        (edited_with_digest, "this row is illegal content"),
        (edited_with_record, "this row is illegal content"),
        (row_taken_out_with_record, "it can't be removed"),
        (category_moved_with_record, "it can't be emptied"),
        (newest_taken_out, "is gone"),
        (all_taken_out, "o edition is left"),
        (all_edited, "this row is illegal content"),
        (first_edited_and_others_taken_out, "the record has no entry for it"),
        (newer_put_in, "this row is illegal content"),
        (newer_put_in_with_record, "this row is illegal content"),
        (newer_put_in_that_lowers_something_else, "the record has no entry for it"),
        (no_document, "is gone"),
        (no_octets, "is gone"),
        (deep_document, "is gone"),
    ],
    ids=lambda x: getattr(x, "__name__", "says"),
)
def test_edited_database_lowers_nothing_and_is_told(listed, steward, config, edit, part):
    steward.close()
    with closing(sqlite3.connect(steward.places.policy)) as connection:
        edit(Database(connection))
        connection.commit()
    with closing(Steward(config)) as again:
        assert_blocked(again)
        (component,) = (c for c in again.status(0, 0).components if c.name == "policy")
        assert component.state == "degraded"
        assert part in component.detail
        assert again.written.groups["ks2"].cells["gambling"] == "unacceptable"
        # Who signs in, or changes something, does not make it true.
        desk = StewardDesk(again)
        desk.record_sign_in(username="head", address="192.0.2.9", succeeded=True)
        desk.start_pause(minutes=5, actor="button")
        desk.close()
    with closing(Steward(config)) as once_more:
        assert_blocked(once_more)
        assert once_more.written.groups["ks2"].cells["gambling"] == "unacceptable"
        assert once_more.policy_fault


@pytest.mark.parametrize("version", ["0", "1", "100000"])
def test_version_edited_in_the_database_lowers_nothing(listed, steward, config, version):
    published = steward.policy.version
    steward.close()
    with closing(sqlite3.connect(steward.places.policy)) as connection:
        connection.execute("update meta set value = ? where key = 'version'", [version])
        connection.commit()
    with closing(Steward(config)) as again:
        assert_blocked(again)
        assert again.policy.version > published
        desk = StewardDesk(again)
        school = desk.written().school
        edit = Edit.of(("school",), school, "St Other")
        assert desk.propose(edits=(edit,), reason="r", actor="head").state == "in force"
        desk.close()


def test_policy_that_was_changed_after_an_edited_one_is_in_force_from_then_on(
    listed, steward, config
):
    steward.close()
    with closing(sqlite3.connect(steward.places.policy)) as connection:
        newer_put_in(Database(connection))
        connection.commit()
    with closing(Steward(config)) as again:
        desk = StewardDesk(again)
        edit = Edit.of(("school",), "St Example", "St Other")
        desk.propose(edits=(edit,), reason="r", actor="head")
        assert again.policy_fault == ""
        desk.close()
    with closing(Steward(config)) as once_more:
        assert (once_more.written.school, once_more.policy_fault) == ("St Other", "")
        assert_blocked(once_more)


@pytest.mark.parametrize("edit", [lambda p: p.unlink(), lambda p: p.write_text("x.example\n")])
def test_edited_lists_are_put_back_and_it_is_told(listed, steward, config, edit):
    steward.close()
    for category in CATEGORIES:
        edit(steward.places.lists / category / "list")
    with closing(Steward(config)) as again:
        assert_blocked(again)
        (component,) = (c for c in again.status(0, 0).components if c.name == "lists")
        assert component.state == "degraded"
        assert component.detail.count("it has been put back") == len(CATEGORIES)
    with closing(Steward(config)) as once_more:
        assert_blocked(once_more)
        (component,) = (c for c in once_more.status(0, 0).components if c.name == "lists")
        assert component.state == "ok"


def test_lists_deleted_with_their_copies_are_told(listed, steward, config):
    steward.close()
    shutil.rmtree(steward.places.lists)
    with closing(Steward(config)) as again:
        (component,) = (c for c in again.status(0, 0).components if c.name == "lists")
        assert component.state == "degraded"
        assert component.detail.count("not the one that the record speaks of") == len(CATEGORIES)


def test_restored_backup_opens_nothing(listed, steward, config, tmp_path):
    target = tmp_path / "school.backup"
    toml = tmp_path / "schoolgate.toml"
    toml.write_text('[appliance]\nmode = "inline"\n')
    steward.close()
    places = steward.places
    lists = tmp_path / "lists"
    places.lists.rename(lists)
    passphrase = "correct horse battery"  # noqa: S105  # of a backup that is gone after the test
    make_backup(places, toml, target, passphrase, None)
    lists.rename(places.lists)
    restore_backup(
        target,
        passphrase,
        places,
        steward.clock.zone,
        actor="command line (it)",
        reason="r",
        at=steward.clock.now(),
        replace=True,
    )
    with closing(Steward(config)) as again:
        assert_blocked(again)
        assert again.policy_fault == ""
        (component,) = (c for c in again.status(0, 0).components if c.name == "lists")
        assert component.state == "ok"


def lowered_snapshot(octets):
    first, _, body = octets.partition(b"\n")
    made = json.loads(body)
    text = json.dumps(made).replace('"illegal"', '"acceptable"').encode()
    assert text != json.dumps(made).encode()
    magic, form, version, *_ = first.split()
    head = [magic, form, version, b"%d" % len(text), hashlib.sha256(text).hexdigest().encode()]
    return b" ".join(head) + b"\n" + text


@pytest.mark.parametrize("edit", [lowered_snapshot, lambda octets: octets[:-9], lambda _: b""])
def test_edited_snapshot_is_read_by_nobody_and_made_anew(listed, steward, config, edit):
    places = steward.places
    path = places.snapshots / "policy"
    with closing(SnapshotSource(places.snapshots, places.announce, "worker")) as source:
        path.write_bytes(edit(path.read_bytes()))
        assert not source.refresh()
        client = Client(ip_address("192.0.2.7"), None, "ks2", "ks2")
        assert decide(source.current(), client, NAMES[0], None).blocked
    steward.close()
    with closing(Steward(config)) as again:
        assert_blocked(again)


@pytest.mark.parametrize("table", ["lesson", "pause"])
def test_what_is_in_force_for_a_while_edited_in_the_database_opens_nothing(
    listed, steward, config, table
):
    listed.start_lesson(group="ks2", mode="also", names=("a.example",), minutes=60, actor="head")
    listed.start_pause(minutes=60, actor="head")
    steward.close()
    edits = {
        "lesson": ("update lesson set names = ?", json.dumps([*NAMES, "example"])),
        "pause": ('update pause set "groups" = ?', "[]"),
    }
    with closing(sqlite3.connect(steward.places.policy)) as connection:
        connection.execute(edits[table][0], [edits[table][1]])
        connection.commit()
    with closing(Steward(config)) as again:
        assert_blocked(again)
