import errno
import shutil
import sqlite3
import time
from contextlib import closing
from functools import partial
from itertools import count

import pytest

from gate_appliance.outbox import Outbox
from gate_appliance.packets import Packets
from gate_appliance.steward import Steward
from gate_core.desk import QueueView
from gate_core.edits import Edit
from gate_core.events import Counters, InForce, Source

NEW = "02:00:00:00:00:20"

# What it finds at its start


def test_steward_whose_store_was_lost_goes_on_above_the_published_version(school, steward, config):
    for n in range(3):
        school.start_pause(minutes=n + 1, actor="head")
    version = steward.policy.version
    steward.close()
    for path in steward.places.state.glob("policy.db*"):
        path.unlink()
    with closing(Steward(config)) as again:
        assert again.policy.version > version
        assert again.policy_fault.startswith(
            f"Policy {version} was in force, and the store knows of policy 1 only: an older store"
        )


def test_older_store_that_somebody_edited_is_told_as_both(school, steward, config, tmp_path):
    steward.close()
    shutil.copy(steward.places.policy, tmp_path)
    with closing(Steward(config)) as later:
        version = later.policy.version
    with closing(sqlite3.connect(tmp_path / "policy.db")) as db:
        (stored,) = db.execute("select value from meta where key = 'version'").fetchone()
        db.execute("delete from edition where version = (select max(version) from edition)")
        db.execute("update account set role = 'head' where username = 'teacher'")
        db.commit()
    shutil.copy(tmp_path / "policy.db", steward.places.policy)
    with closing(Steward(config)) as again:
        older, gone, state = again.policy_fault.split(". ")
    assert older.startswith(f"Policy {version} was in force, and the store knows of policy {stored} only: ")  # fmt: skip
    assert gone.startswith("The policy that entry ")
    assert state.startswith("Accounts, holds or proposals are not those that entry ")


def test_store_that_is_damaged_is_set_aside_and_told(school, steward, config):
    steward.close()
    steward.places.policy.write_bytes(b"no database at all" * 100)
    again = Steward(config)
    (policy,) = (c for c in again.status(0, 0).components if c.name == "policy")
    assert policy.state == "degraded"
    assert "set aside; restore a backup" in policy.detail
    assert again.written.groups["ks2"].cells["gambling"] == "unacceptable"
    again.close()


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("drop table loan", id="table gone"),
        pytest.param("alter table lesson drop column mode", id="column gone"),
        pytest.param("delete from meta", id="row gone"),
        pytest.param("update meta set value = 'x'", id="no version"),
        pytest.param("update pause set until = 'x'", id="no time"),
        pytest.param("update pause set until = '2099-01-01T00:00'", id="time of no zone"),
        pytest.param("update pause set groups = '4'", id="no groups"),
        pytest.param("update pause set groups = '" + "[" * 100_000 + "'", id="endless groups"),
        pytest.param("update pause set by = x'ff'", id="octets for a text"),
        pytest.param("update pause set why = null", id="nothing for a text"),
        pytest.param("update lesson set services = 'x'", id="text for a number"),
        pytest.param("update lesson set mode = 'x'", id="no mode"),
        pytest.param("update account set role = 'x' where role = 'it'", id="no role"),
        pytest.param("update account set until = 'x' where role = 'it'", id="no day"),
        pytest.param("update proposal set edits = 'x'", id="no edits"),
        pytest.param("update proposal set sentences = '4'", id="no sentences"),
        pytest.param("update proposal set lapses = ''", id="never lapses"),
    ],
)
def test_store_with_what_no_program_writes_is_set_aside_and_told(
    school, steward, config, samples, statement
):
    school.start_pause(minutes=5, actor="head")
    sample = samples(school, "coordinator", 1)
    school.start_lesson(**sample.start_lesson(), actor="head")
    sample.proposed("teacher")
    steward.close()
    with closing(sqlite3.connect(steward.places.policy)) as db:
        assert db.execute(statement).rowcount
        db.commit()
    with closing(Steward(config)) as again:
        assert "set aside; restore a backup" in again.policy_fault
        assert again.store.acts().pauses == ()
    aside = steward.places.policy.with_name("policy.db.damaged")
    with closing(sqlite3.connect(aside)) as db:
        assert db.execute("select count(*) from edition").fetchone()[0] > 1


def test_store_with_a_text_that_is_none_is_kept_and_told(school, steward, config):
    steward.close()
    with closing(sqlite3.connect(steward.places.policy)) as db:
        db.execute("update account set full_name = cast(x'ff' as text) where role = 'it'")
        db.commit()
    with closing(Steward(config)) as again:
        assert "somebody has changed them" in again.policy_fault
        assert again.written.school == "St Example"


def test_store_that_is_locked_is_not_set_aside(school, steward, config, monkeypatch):
    steward.close()
    monkeypatch.setattr("gate_appliance.store.sqlite3.connect", partial(sqlite3.connect, timeout=0))
    with closing(sqlite3.connect(steward.places.policy)) as other:
        other.execute("pragma locking_mode = exclusive")
        other.execute("begin exclusive")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            Steward(config)
    with closing(Steward(config)) as again:
        assert (again.written.school, again.policy_fault) == ("St Example", "")


# Resolvers


def test_status_tells_that_no_resolver_answers_and_takes_it_back(steward, until, monkeypatch):
    monkeypatch.setattr("gate_appliance.resolvers.SILENT_FOR_S", 0.0)

    def part():
        return next(c for c in steward.status(0, 0).components if c.name == "dns")

    def tell(answers, failures):
        counts = {"upstream_answers": {"192.0.2.1": answers}, "upstream_failures": {"192.0.2.1": failures}}  # fmt: skip
        outbox.put(InForce(Source.DNS, 0, steward.policy.version))
        outbox.put(Counters(Source.DNS, 0, counts))
        outbox.flush()

    with closing(Outbox(steward.places.events)) as outbox:
        until(lambda: (tell(5, 0), part().state == "ok")[1])
        # Again and again, as what came before the first look is not counted.
        failures = count(4, 4)
        until(lambda: (tell(5, next(failures)), part().state == "down")[1])
        assert "the resolver 192.0.2.1 has not answered since" in part().detail
        answers = count(6)
        until(lambda: (tell(next(answers), next(failures)), part().state == "ok")[1])


def test_status_has_a_new_revision_for_what_changes_and_not_for_counts(
    school, steward, monkeypatch
):
    steward.look()
    first = steward.status(-1, 0)
    monkeypatch.setattr(Packets, "queues", lambda _: (QueueView(0, "closed", 5, 1),))
    steward.look()
    counted = steward.status(-1, 0)
    assert counted.queues != first.queues
    assert counted.revision == first.revision
    school.start_pause(minutes=5, actor="head")
    steward.look()
    assert steward.status(-1, 0).revision > first.revision


# VLANs


@pytest.fixture
def vlan(school):
    """VLAN 20, whose devices are those of staff."""
    place = Edit.of(("vlans", "20"), None, {"group": "staff", "room": ""})
    id_ = school.propose(edits=(place,), reason="a switch", actor="it").id
    school.answer(id=id_, approve=True, actor="head")


def test_device_that_speaks_in_a_vlan_is_of_its_group(vlan, steward):
    steward._tagged(NEW, 20)
    steward._follow_vlans()
    assert steward.policy.members[NEW].group == "staff"
    steward._tagged(NEW, 0)
    steward._follow_vlans()
    assert NEW not in steward.policy.members


def test_vlans_are_looked_at_only_where_a_device_moved(vlan, steward, monkeypatch):
    compiled = []
    monkeypatch.setattr(steward, "policy_at", lambda _: compiled.append(1) or steward.policy)
    steward._follow_vlans()
    assert compiled == []
    steward._tagged(NEW, 20)
    steward._tagged(NEW, 20)
    for _ in range(3):
        steward._follow_vlans()
    assert compiled == [1]


def test_vlans_are_looked_at_again_where_the_store_failed(vlan, steward, monkeypatch):
    steward._tagged(NEW, 20)
    with monkeypatch.context() as patched:
        patched.setattr(steward.store, "raise_version", fail)
        with pytest.raises(OSError, match="No space"):
            steward._follow_vlans()
    assert NEW not in steward.policy.members
    steward._follow_vlans()
    assert steward.policy.members[NEW].group == "staff"


@pytest.fixture
def until():
    def until(condition, within_s=10.0):
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, "it did not come about"
            time.sleep(0.02)

    return until


def fail():
    raise OSError(errno.ENOSPC, "No space left on device")
