from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from gate_appliance import devices as devices_module
from gate_appliance.devices import Sightings
from gate_appliance.neighbours import Neighbour

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
MAC = "00:00:5e:00:53:10"


def neighbour(address="192.0.2.10", mac=MAC):
    return Neighbour(ip_address(address), mac)


@pytest.fixture
def sightings(tmp_path):
    return Sightings(tmp_path / "sightings.json")


def test_take_keeps_first_and_last_time_and_newest_address_first(sightings):
    sightings.take([neighbour()], NOW)
    sightings.take([neighbour("192.0.2.99"), neighbour("2001:db8::10")], NOW + timedelta(hours=1))
    seen = sightings.all()[MAC]
    assert seen.addresses == ("2001:db8::10", "192.0.2.99", "192.0.2.10")
    assert (seen.first_seen, seen.last_seen) == (
        "2026-11-22T10:00:00+00:00",
        "2026-11-22T11:00:00+00:00",
    )


def test_take_with_unknown_time_leaves_the_times_alone(sightings):
    sightings.take([neighbour()], NOW)
    sightings.take([neighbour()], None)
    assert sightings.all()[MAC].last_seen == "2026-11-22T10:00:00+00:00"


def test_take_forgets_the_longest_unseen(sightings, monkeypatch):
    monkeypatch.setattr(devices_module, "MAX_SIGHTINGS", 2)
    for n in range(3):
        sightings.take([neighbour(mac=f"00:00:5e:00:53:0{n}")], NOW + timedelta(minutes=n))
    assert sorted(sightings.all()) == ["00:00:5e:00:53:01", "00:00:5e:00:53:02"]


def test_take_forgets_several_at_once(sightings, monkeypatch):
    monkeypatch.setattr(devices_module, "MAX_SIGHTINGS", 20)
    macs = [f"00:00:5e:00:53:{n:02x}" for n in range(23)]
    for n, mac in enumerate(macs[:22]):
        sightings.take([neighbour(mac=mac)], NOW + timedelta(minutes=n))
    assert sorted(sightings.all()) == macs[:22]
    sightings.take([neighbour(mac=macs[22])], NOW + timedelta(hours=1))
    assert sorted(sightings.all()) == macs[3:]


def test_tagged_tells_whether_the_vlan_changed(sightings):
    sightings.take([neighbour()], NOW)
    assert not sightings.tagged(MAC, 0)
    assert sightings.tagged(MAC, 20)
    assert not sightings.tagged(MAC, 20)
    assert sightings.tagged(MAC, 30)
    sightings.take([neighbour("192.0.2.99")], NOW)
    seen = sightings.all()[MAC]
    assert (seen.vlan, seen.addresses) == (30, ("192.0.2.99", "192.0.2.10"))


def test_tagged_notes_a_device_that_the_neighbour_table_never_showed(sightings):
    assert sightings.tagged(MAC, 20)
    assert sightings.all()[MAC].vlan == 20
    assert not sightings.tagged("00:00:5e:00:53:99", 0)
    assert list(sightings.all()) == [MAC]


def test_tagged_lets_nobody_push_out_devices_that_were_seen(sightings, monkeypatch):
    monkeypatch.setattr(devices_module, "MAX_SIGHTINGS", 1)
    sightings.take([neighbour()], NOW)
    assert not sightings.tagged("00:00:5e:00:53:99", 20)
    assert list(sightings.all()) == [MAC]


def test_load_reads_a_file_without_vlans(tmp_path):
    path = tmp_path / "sightings.json"
    path.write_text(f'[["{MAC}", ["192.0.2.10"], "then", "now"]]')
    assert Sightings(path).all()[MAC].vlan == 0


def test_save_outlives_a_restart(sightings, tmp_path):
    sightings.take([neighbour()], NOW)
    sightings.tagged(MAC, 20)
    sightings.save()
    assert Sightings(tmp_path / "sightings.json").all() == sightings.all()
