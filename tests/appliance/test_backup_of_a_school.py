"""A whole school's appliance, put back on an empty machine: a recorded day is decided there as it was."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from zoneinfo import ZoneInfo

from gate_appliance.backup import make_backup, restore_backup
from gate_appliance.desk import StewardDesk
from gate_appliance.steward import Steward
from gate_core.config import ApplianceConfig, Config, DnsConfig
from gate_core.desk import ActivityFilter
from gate_core.edits import Edit
from gate_core.events import Event, Source
from gate_core.policy import decide
from gate_core.sources import ListSource, Outcome

PASSPHRASE = "correct horse battery"  # noqa: S105  # of a backup that is gone after the test
NAMES = (
    "www.bbc.co.uk",
    "www.bet365.com",
    "www.tiktok.com",
    "www.youtube.com",
    "site.school.example",
    "allowed.example",
    "game.example",
    "use-application-dns.net",
)


def config_in(path: Path) -> Config:
    return Config(
        appliance=ApplianceConfig(
            state_directory=str(path / "state"), run_directory=str(path / "run")
        ),
        dns=DnsConfig(upstreams=("192.0.2.1",)),
    )


def a_day(steward, devices):
    """Yield every device's look-ups of a day, an hour apart, as the steward's policy decides them."""
    midnight = steward.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    for hour in range(24):
        at = midnight + timedelta(hours=hour, minutes=10)
        policy = steward.policy_at(at)
        for number, mac in enumerate(devices):
            client = policy.client(ip_address(f"10.0.0.{number + 10}"), mac)
            for name in NAMES:
                d = decide(policy, client, name, at)
                yield Event(
                    at_ms=int(at.timestamp() * 1000),
                    source=Source.DNS,
                    address=str(client.address),
                    mac=mac,
                    device=client.name,
                    group=client.group,
                    name=name,
                    kind="A",
                    action=d.action.value,
                    reason=d.reason.value,
                    rule_id=d.rule_id,
                    categories=d.categories,
                    version=policy.version,
                )


def test_restored_appliance_decides_a_recorded_day_alike(school, steward, config, short_path):
    source = short_path / "games"
    source.write_text("game.example\n")
    school.add_list(name="ours", category="games", path=str(source), actor="coordinator")
    zone = ListSource(
        *(
            "trust",
            "Trust",
            "rpz://192.0.2.53/rpz.example",
            "members",
            "games",
            "official",
            "rpz",
            1,
        ),
        *("school-key", "hmac-sha256"),
    )
    secret = "c2Nob29sZ2F0ZSBzY2hvb2xnYXRl"  # noqa: S105  # for this test
    school.add_source(source=zone, secret=secret, actor="coordinator")
    steward.sources.note("trust", Outcome("ok", validators={"serial": "7"}))
    now = steward.clock.now()
    exception = {
        "action": "block",
        "scope": "group",
        "subject": "ks2",
        "names": ["site.school.example"],
        "since": (now - timedelta(days=1)).isoformat(),
        "until": (now + timedelta(days=2)).isoformat(),
        "why": "a test",
    }
    edits = (
        Edit.of(("exceptions", "one"), None, exception),
        Edit.of(("groups", "staff", "cells", "video"), "acceptable", "unacceptable"),
    )
    assert school.propose(edits=edits, reason="a test", actor="coordinator").state == "in force"
    devices = [*steward.written.devices, "02:00:00:00:00:99"]
    day = list(a_day(steward, devices))
    assert {e.action for e in day} == {"allow", "block"}
    assert len({e.rule_id.split(":")[0] for e in day}) >= 4
    steward.activity.append(day)
    target = short_path / "school.backup"
    toml = short_path / "schoolgate.toml"
    toml.write_text('[appliance]\nmode = "inline"\n')
    make_backup(steward.places, toml, target, PASSPHRASE, now)

    new = config_in(short_path / "new")
    places = type(steward.places).of(new.appliance)
    restore_backup(
        target,
        PASSPHRASE,
        places,
        ZoneInfo("Europe/London"),
        actor="command line (it)",
        reason="the card died",
        at=now,
    )
    restored = Steward(new)
    desk = StewardDesk(restored)
    try:
        assert restored.sources.all() == (zone,)
        assert restored.sources.key(zone)["secret"] == secret
        assert places.source_keys.stat().st_mode & 0o077 == 0
        # What the primary said of a newer zone is no reason not to ask again.
        assert restored.sources.outcome("trust") == Outcome()
        assert restored.policy_fault == ""
        assert not desk.verify_record(actor="head").fault
        recorded = [
            r.event
            for r in restored.activity.search(ActivityFilter(limit=500)).records
            if r.event.name
        ]
        assert len(recorded) == min(len(day), 500)
        for event in day:
            again = desk.explain(
                client=event.mac if event.mac in restored.written.devices else event.address,
                name=event.name,
                at=datetime.fromtimestamp(event.at_ms / 1000, restored.clock.zone).isoformat(),
            )
            assert (again.action, again.rule_id) == (event.action, event.rule_id), event
    finally:
        desk.close()
        restored.close()
