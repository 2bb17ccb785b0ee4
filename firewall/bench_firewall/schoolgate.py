"""The firewall as on the appliance: compiled lists, a published snapshot, ``gate run firewall``, and the recorder.

What the bench knows of the product's interfaces stands here, in ``sinkhole``, ``rules`` and ``judge``.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from bench.schoolgate import ZONE
from bench_firewall.network import BOX, BRIDGE, PUPIL, ROUTER, ROUTER_PORT, STAFF, SWITCH_PORT
from bench_firewall.rules import PACKET_RATE
from gate_core.policy import Policy, decide

NETWORKS: Final = {f"{PUPIL}/32": "ks2", f"{STAFF}/32": "staff"}
"""Client's addresses and their groups: one machine is a pupil's for TLS and of staff for the rest."""


def command(folder: Path) -> list[str]:
    """Return the command of the firewall in the folder of a ``bench.schoolgate.School``."""
    config = folder / "firewall.toml"
    config.write_text(
        f"""
        [appliance]
        mode = "inline"
        state_directory = "{folder / "state"}"
        run_directory = "{folder / "run"}"
        [bridge]
        name = "{BRIDGE}"
        switch_port = "{SWITCH_PORT}"
        router_port = "{ROUTER_PORT}"
        addresses = ["{BOX}"]
        gateways = ["{ROUTER}"]
        [firewall]
        # All flows are between two addresses, which the kernel gives to one process of however many.
        workers = 1
        packet_rate = {PACKET_RATE}
        """
    )
    return [sys.executable, "-m", "gate_appliance", "run", "firewall", "--config", str(config)]


def sinkhole_command(folder: Path, names: Path) -> list[str]:
    """Return the command of what tells the firewall of answers to ``names``, a line each."""
    return [sys.executable, "-m", "bench_firewall.sinkhole", str(folder), str(names)]


def allows(policy: Policy, name: str) -> bool:
    """Tell whether the pupil may open ``name``."""
    at = datetime.fromtimestamp(time.time(), ZoneInfo(ZONE))
    return not decide(policy, policy.client(IPv4Address(PUPIL), None), name, at).blocked
