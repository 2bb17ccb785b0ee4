"""Ourselves, as on the appliance: compiled lists, a published snapshot, a worker that records, and the recorder.

What the bench knows of the product's interfaces stands here. Only two ports are made up: on loopback there are no link-layer
addresses, so that the neighbour table is a fixed one; and recorder and publisher stand alone, without the steward around them.
"""

from __future__ import annotations

import signal
import sys
import time
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from bench.lists import Names
from bench.load import CLIENTS
from bench.processes import module
from gate_appliance.activity import ActivityLog
from gate_appliance.clock import SystemClock
from gate_appliance.library import name_set
from gate_appliance.lists.compile import Compiled, Source, compile_lists
from gate_appliance.lists.index import open_index
from gate_appliance.outbox import Outbox
from gate_appliance.pins import PinPost
from gate_appliance.publication import Publisher, SnapshotSource
from gate_appliance.recorder import Recorder
from gate_core.clients import Address
from gate_core.compile import Acts, Surroundings, compile_policy
from gate_core.config import parse as parse_config
from gate_core.policy import Policy, decide
from gate_core.snapshot import render_snapshot
from gate_core.written import parse, plain, shipped

LISTED: Final = "pornography"
"""Category of the list: closed for every group."""
FIRST_ONLY: Final = "games"
"""Category of the short list: closed for the group of the first client only."""
GROUPS: Final = ("ks2", "staff")
NO_LIMIT: Final = 10_000_000
"""Queries a second and at once, for each client."""
ZONE: Final = "Europe/London"
MACS: Final = {IPv4Address(c): f"02:00:00:00:00:{n:02x}" for n, c in enumerate(CLIENTS, start=1)}


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie in the folder of one run."""

    folder: Path

    @property
    def snapshots(self) -> Path:
        """Snapshots and compiled lists."""
        return self.folder / "snapshots"

    @property
    def announce(self) -> Path:
        """Sockets of those who listen for snapshots."""
        return self.folder / "announce"

    @property
    def events(self) -> Path:
        """The recorder's socket."""
        return self.folder / "events"


class School:
    """The appliance's own side: compiles lists and publishes policies."""

    def __init__(self, folder: Path) -> None:
        self._places = Places(folder)
        self._publisher = Publisher(self._places.snapshots, self._places.announce)
        self._version = 0

    def compile(self, names: Names) -> tuple[Compiled, float]:
        """Compile the lists; return them and the seconds it took."""
        sources = [Source(LISTED, names.listed), Source(FIRST_ONLY, names.first_only)]
        before = time.perf_counter()
        compiled = compile_lists(sources, self._places.snapshots)
        return compiled, time.perf_counter() - before

    def publish(self, compiled: Compiled) -> Policy:
        """Put a policy with these lists in force, one version higher."""
        self._version += 1
        written = plain(shipped())
        for number, (group, mac) in enumerate(zip(GROUPS, MACS.values(), strict=True)):
            written["devices"][mac] = {"name": f"Device {number}", "group": group}
        written["groups"][GROUPS[0]]["cells"][FIRST_ONLY] = "unacceptable"
        written["groups"][GROUPS[1]]["cells"][FIRST_ONLY] = "acceptable"
        policy = compile_policy(
            parse(written, ZoneInfo(ZONE)),
            Acts(),
            Surroundings(
                index=open_index(compiled.path, None),
                zone=ZoneInfo(ZONE),
                essential=name_set("essential"),
                canaries=name_set("canaries"),
                protected=name_set("protected"),
            ),
            version=self._version,
            at=datetime.fromtimestamp(time.time(), UTC),
        )
        self._publisher.publish(render_snapshot(policy, compiled.sha256), self._version)
        return policy

    def close(self) -> None:
        """Free the publisher's socket."""
        self._publisher.close()


def decided(policy: Policy, name: str) -> set[bool]:
    """Return whether ``name`` is blocked, for each client."""
    at = datetime.fromtimestamp(time.time(), ZoneInfo(ZONE))
    return {decide(policy, policy.client(a, mac), name, at).blocked for a, mac in MACS.items()}


def recorded(folder: Path) -> tuple[int, int]:
    """Return how many queries the log counts, and how many of them as blocked."""
    log = ActivityLog(Places(folder).folder / "activity", ZoneInfo(ZONE))
    totals = [log.totals(day) for day in log.days()]
    blocked = sum(t.blocked for t in totals)
    return blocked + sum(t.allowed for t in totals), blocked


def worker_command(folder: Path, port: int, upstream: int) -> list[str]:
    """Return the command of a worker in the folder of a ``School``."""
    return module("schoolgate", "worker", str(folder), str(port), str(upstream))


def recorder_command(folder: Path) -> list[str]:
    """Return the command of the recorder in the folder of a ``School``."""
    return module("schoolgate", "recorder", str(folder))


class _Neighbours:
    def mac(self, address: Address) -> str | None:
        return MACS.get(address) if isinstance(address, IPv4Address) else None


def _work(places: Places, port: int, upstream: int) -> None:
    from gate_dns.server import collect_when_idle, serve  # noqa: PLC0415  # the recorder does not carry it
    from gate_dns.settings import DnsPorts, DnsSettings  # noqa: PLC0415

    config = parse_config(
        f"""
        [dns]
        listen = ["127.0.0.1"]
        port = {port}
        upstreams = ["127.0.0.1:{upstream}"]
        block_answer = "nxdomain"
        block_ttl_s = 60
        """
    )
    # Limits are on, and nobody comes near them.
    settings = replace(DnsSettings.of(config.dns, ()), rate_limit=NO_LIMIT, rate_burst=NO_LIMIT)
    source = SnapshotSource(places.snapshots, places.announce, f"dns-{port}")
    with (
        closing(source),
        closing(Outbox(places.events)) as outbox,
        closing(PinPost(places.folder / "pins")) as pins,
    ):
        clock = SystemClock(ZONE, places.folder)
        collect_when_idle()
        serve(settings, DnsPorts(source, _Neighbours(), clock, outbox, pins))


def _record(places: Places) -> None:
    log = ActivityLog(places.folder / "activity", ZoneInfo(ZONE))
    with closing(Recorder(places.events, log)) as recorder:
        recorder.start()
        signal.pause()


def main() -> None:
    """Be a worker or the recorder."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    match sys.argv[1:]:
        case ["worker", folder, port, upstream]:
            _work(Places(Path(folder)), int(port), int(upstream))
        case ["recorder", folder]:
            _record(Places(Path(folder)))


if __name__ == "__main__":
    main()
