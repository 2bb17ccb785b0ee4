"""Ourselves, as on the appliance: compiled lists, a published snapshot, ``gate run dns``, and the recorder.

What the bench knows of the product's interfaces stands here. Recorder and publisher stand alone, without the steward around
them; clients are told apart by their networks, as there are no link-layer addresses on loopback.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from bench.lists import Names
from bench.load import CLIENTS
from bench.processes import module
from gate_appliance.activity import ActivityLog
from gate_appliance.library import name_set
from gate_appliance.lists.compile import Compiled, Source, compile_lists
from gate_appliance.lists.index import open_index
from gate_appliance.places import Places
from gate_appliance.publication import Publisher
from gate_appliance.recorder import Recorder
from gate_core.compile import Acts, Surroundings, compile_policy
from gate_core.policy import Policy, decide
from gate_core.snapshot import render_snapshot
from gate_core.written import parse, plain, shipped

LISTED: Final = "pornography"
"""Category of the list: closed for every group."""
FIRST_ONLY: Final = "games"
"""Category of the short list: closed for the group of the first client only."""
GROUPS: Final = ("ks2", "staff")
NETWORKS: Final = {f"{client}/32": group for client, group in zip(CLIENTS, GROUPS, strict=True)}
ZONE: Final = "Europe/London"


def _places(folder: Path) -> Places:
    return Places(folder / "state", folder / "run")


class School:
    """The appliance's own side: compiles lists and publishes policies."""

    def __init__(self, folder: Path, networks: Mapping[str, str] = NETWORKS) -> None:
        """Begin without a policy.

        Args:
            folder: For what is kept.
            networks: From where clients ask, and the group of each.
        """
        self._places = _places(folder)
        self._networks = networks
        self._places.make()
        self._publisher = Publisher(self._places.snapshots, self._places.announce)
        self._version = self._announced = 0

    def compile(self, names: Names) -> tuple[Compiled, float]:
        """Compile the lists; return them and the seconds it took."""
        sources = [Source(LISTED, names.listed), Source(FIRST_ONLY, names.first_only)]
        before = time.perf_counter()
        compiled = compile_lists(sources, self._places.snapshots)
        return compiled, time.perf_counter() - before

    def publish(self, compiled: Compiled) -> Policy:
        """Put a policy with these lists in force, one version higher."""
        policy, snapshot = self.prepare(compiled)
        self.announce(snapshot)
        return policy

    def announce(self, snapshot: bytes) -> None:
        """Put a prepared snapshot in force."""
        self._announced += 1
        self._publisher.publish(snapshot, self._announced)

    def prepare(self, compiled: Compiled) -> tuple[Policy, bytes]:
        """Return a policy with these lists, one version higher than the one prepared before, and its snapshot."""
        self._version += 1
        written = plain(shipped())
        for network, group in self._networks.items():
            written["networks"][network] = {"group": group}
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
        return policy, render_snapshot(policy, compiled.sha256)

    def close(self) -> None:
        """Free the publisher's socket."""
        self._publisher.close()


def decided(policy: Policy, name: str) -> set[bool]:
    """Return whether ``name`` is blocked, for each client."""
    at = datetime.fromtimestamp(time.time(), ZoneInfo(ZONE))
    clients = (policy.client(IPv4Address(client), None) for client in CLIENTS)
    return {decide(policy, client, name, at).blocked for client in clients}


def recorded(folder: Path) -> tuple[int, int]:
    """Return how many queries the log counts, and how many of them as blocked."""
    log = ActivityLog(_places(folder).activity, ZoneInfo(ZONE))
    totals = [log.totals(day) for day in log.days()]
    blocked = sum(t.blocked for t in totals)
    return blocked + sum(t.allowed for t in totals), blocked


def worker_command(folder: Path, port: int, upstream: int) -> list[str]:
    """Return the command of a worker in the folder of a ``School``."""
    config = folder / f"worker-{port}.toml"
    places = _places(folder)
    config.write_text(
        f"""
        [appliance]
        mode = "resolver"
        state_directory = "{places.state}"
        run_directory = "{places.run}"
        [dns]
        listen = ["127.0.0.1"]
        port = {port}
        upstreams = ["127.0.0.1:{upstream}"]
        block_answer = "nxdomain"
        block_ttl_s = 60
        rate_limit = 100_000
        rate_burst = 1_000_000
        """
    )
    words = ["gate_appliance", "run", f"dns-{port}", "--config", str(config)]
    return [sys.executable, "-m", *words]


def recorder_command(folder: Path) -> list[str]:
    """Return the command of the recorder in the folder of a ``School``."""
    return module("schoolgate", str(folder))


def main() -> None:
    """Be the recorder."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    places = _places(Path(sys.argv[1]))
    log = ActivityLog(places.activity, ZoneInfo(ZONE))
    with closing(Recorder(places.events, log)) as recorder:
        recorder.start()
        signal.pause()


if __name__ == "__main__":
    main()
