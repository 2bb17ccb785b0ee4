import select
from dataclasses import replace

import pytest

from gate_appliance.lists.compile import Source, compile_lists
from gate_appliance.publication import Publisher, SnapshotSource
from gate_core.acceptable_use import ROWS, SHIPPED_CELLS, Cell
from gate_core.categories import mask_of
from gate_core.clients import Group
from gate_core.policy import Policy
from gate_core.snapshot import NO_LISTS, render_snapshot

POLICY = Policy(
    version=1,
    groups={
        id_: Group(id_, id_, number, cells)
        for number, (id_, cells) in enumerate(SHIPPED_CELLS.items(), start=1)
    },
    rows=ROWS,
    unknown_group="quarantine",
    index=NO_LISTS,
)


def publish(publisher, policy, lists=""):
    publisher.publish(render_snapshot(policy, lists), policy.version)


@pytest.fixture
def places(short_path):
    return short_path / "snapshot", short_path / "announce"


@pytest.fixture
def publisher(places):
    publisher = Publisher(*places)
    yield publisher
    publisher.close()


@pytest.fixture
def source(publisher, places):
    publish(publisher, POLICY)
    source = SnapshotSource(*places, "dns")
    yield source
    source.close()


def readable(source):
    return bool(select.select([source], [], [], 0)[0])


def test_source_before_the_first_snapshot_says_so(places):
    places[0].mkdir()
    with pytest.raises(FileNotFoundError):
        SnapshotSource(*places, "dns")
    assert list(places[1].iterdir()) == []


def test_publish_is_announced_and_taken_whole(publisher, source):
    assert not readable(source)
    publish(publisher, replace(POLICY, version=2))
    assert readable(source)
    assert source.current().version == 1
    assert source.refresh()
    assert source.current().version == 2
    assert not readable(source)


def test_refresh_without_a_new_version_is_no_change(source):
    assert not source.refresh()


@pytest.mark.parametrize("keep", [0, 10, 100])
def test_refresh_of_a_snapshot_cut_short_keeps_the_old_one(publisher, places, source, keep, caplog):
    publish(publisher, replace(POLICY, version=2))
    file = places[0] / "policy"
    file.write_bytes(file.read_bytes()[:keep])
    assert not source.refresh()
    assert source.current().version == 1
    assert "snapshot" in caplog.text


def test_source_starts_with_the_snapshot_before_a_damaged_one(publisher, places):
    publish(publisher, POLICY)
    publish(publisher, replace(POLICY, version=2))
    (places[0] / "policy").write_bytes(b"damaged")
    source = SnapshotSource(*places, "dns")
    assert source.current().version == 1
    source.close()


def test_snapshot_that_lowers_the_illegal_tier_is_never_made():
    cells = {**SHIPPED_CELLS["staff"], "child-abuse": Cell.ACCEPTABLE}
    staff = Group("staff", "", 3, cells)
    with pytest.raises(ValueError, match="illegal"):
        render_snapshot(replace(POLICY, groups={**POLICY.groups, "staff": staff}), "")


def test_source_opens_the_lists_that_the_snapshot_names(publisher, places, source):
    lists = compile_lists([Source("games", ["play.example"])], places[0])
    publish(publisher, replace(POLICY, version=2), lists.sha256)
    assert source.refresh()
    assert source.current().index.mask("www.play.example") == mask_of(["games"])


def test_source_with_lists_that_are_gone_keeps_the_old_snapshot(publisher, source):
    publish(publisher, replace(POLICY, version=2), "0" * 64)
    assert not source.refresh()
    assert source.current().version == 1


def test_publish_leaves_the_name_of_a_dead_listener_to_its_successor(publisher, places, source):
    dead = SnapshotSource(*places, "dead")
    dead._socket.close()  # as a killed process leaves it: closed, the name still there
    publish(publisher, replace(POLICY, version=2))
    assert readable(source)
    again = SnapshotSource(*places, "dead")
    publish(publisher, replace(POLICY, version=3))
    assert readable(again)
    again.close()


def test_announce_has_a_listener_look_again(publisher, places, source):
    file = places[0] / "policy"
    publish(publisher, replace(POLICY, version=2))
    whole = file.read_bytes()
    file.write_bytes(b"damaged")
    assert not source.refresh()
    file.write_bytes(whole)
    publisher.announce(2)
    assert readable(source)
    assert source.refresh()


def test_published_version_of_nothing_or_a_damaged_file_is_0(publisher, places):
    assert publisher.published_version() == 0
    publish(publisher, replace(POLICY, version=7))
    assert publisher.published_version() == 7
    (places[0] / "policy").write_bytes(b"damaged")
    assert publisher.published_version() == 0
