"""A device is known by its link-layer address, whatever addresses it makes up besides."""

from __future__ import annotations

from appliance import Appliance
from clients import dig
from laboratory import Laboratory
from plan import BOX, LAPTOP
from sites import BLOCKED

from gate_core.desk import ActivityFilter, ActivityRecord

PRIVACY = ("fd77::a1b2:c3d4:e5f6:1", "fd77::9f8e:7d6c:5b4a:2")
"""As a device makes new ones each day (RFC 8981)."""


def test_privacy_addresses_are_the_device(school: Appliance, lab: Laboratory) -> None:
    for address in PRIVACY:
        lab.run(
            LAPTOP.name,
            ["ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad"],
            check=True,
        )
    try:
        for address in PRIVACY:
            answer = dig(lab, LAPTOP.name, f"www.{BLOCKED}", "A", f"@{BOX.v6}", "-b", address)
            assert answer.data == (BOX.v4,)
            lab.wait_for(lambda a=address: _records(school, a), f"a record of {address}", 10)
            assert {(r.mac, r.group) for r in _records(school, address)} == {(LAPTOP.mac, "ks2")}
    finally:
        for address in PRIVACY:
            lab.run(LAPTOP.name, ["ip", "address", "del", f"{address}/64", "dev", "eth0"])


def _records(school: Appliance, address: str) -> list[ActivityRecord]:
    wanted = ActivityFilter(text=f"www.{BLOCKED}", source="dns", limit=500)
    found = school.desk.activity(filter=wanted, actor="command line (test)")
    return [r for r in found.records if r.address == address]
