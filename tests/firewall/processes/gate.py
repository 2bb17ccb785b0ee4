"""The firewall alone: snapshots come in by standard input, events go out by standard output, a JSON array a line."""

import json
import os
import signal
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from gate_appliance.private_socket import open_private
from gate_core.config import BridgeConfig, FirewallConfig
from gate_core.events import Counters, EndedFlows, Findings, InForce, ReadableFlows, Tagged, Traffic
from gate_core.snapshot import parse_snapshot
from gate_firewall import vlans
from gate_firewall.given import GivenSocket
from gate_firewall.pins import PinSocket
from gate_firewall.service import FirewallPorts, FirewallSettings, run


class FakePolicySource:
    def __init__(self):
        self._policy = self._read()

    def _read(self):
        length = int.from_bytes(os.read(0, 4))
        octets = b""
        while len(octets) < length:
            octets += os.read(0, length - len(octets))
        return parse_snapshot(octets).policy

    def current(self):
        return self._policy

    def fileno(self):
        return 0

    def refresh(self):
        self._policy = self._read()
        return True


class FakeClock:
    def now(self):
        return datetime.fromtimestamp(datetime.now(UTC).timestamp(), UTC)  # noqa: TID251  # this is the clock


class NoNeighbours:
    def mac(self, address):
        return None

    def solicit(self, address):
        return False


class PrintedEvents:
    def put(self, event):
        if isinstance(event, InForce):
            line = ["in force", event.version]
        elif isinstance(event, EndedFlows):
            for row in zip(event.addresses, event.remotes, event.down, event.up, strict=True):
                sys.stdout.write(json.dumps(["ended", *row]) + "\n")
            return
        elif isinstance(event, (Counters, Findings, ReadableFlows, Traffic)):
            return
        elif isinstance(event, Tagged):
            line = ["tagged", dict(zip(event.macs, event.vlans, strict=True))]
        else:
            line = [event.action, event.kind, event.name, event.rule_id, event.group, event.mac]
        sys.stdout.write(json.dumps(line) + "\n")

    def flush(self):
        sys.stdout.flush()


vlans.READ_EVERY_S = 0.5
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
settings = FirewallSettings(
    BridgeConfig(
        addresses=("10.77.0.2/24", "fd77::2/64"),
        gateways=("10.77.0.1", "fd77::1"),
    ),
    # One device is to fill a queue.
    FirewallConfig(workers=1, packet_rate=0, device_flows=0),
)
with (
    TemporaryDirectory() as directory,
    closing(open_private(Path(directory) / "pins.sock")) as pins,
    closing(open_private(Path(directory) / "given.sock")) as given,
    closing(open_private(Path(directory) / "epochs.sock")) as agreement,
):
    run(
        settings,
        FirewallPorts(
            FakeClock(),
            FakePolicySource(),
            NoNeighbours(),
            PrintedEvents(),
            PinSocket(pins),
            GivenSocket(given),
            agreement,
        ),
    )
