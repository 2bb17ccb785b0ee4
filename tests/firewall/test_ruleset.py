from pathlib import Path

import pytest

from gate_firewall.ruleset import (
    Epoch,
    Handoff,
    RulesetConfig,
    build,
    build_epoch,
    build_iptables,
    build_iptables_removal,
    build_removal,
)

GOLDEN = Path(__file__).parent / "golden"

PLAIN = Epoch(1, "policy 1 until changed")
WITH_STAFF = Epoch(
    0x2A,
    "policy 42 until 2026-03-02T15:30:00+00:00",
    frozenset({"00:00:5e:00:53:21", "00:00:5e:00:53:20"}),
    frozenset({"00:00:5e:00:53:31", "00:00:5e:00:53:30"}),
)
NFT = RulesetConfig(Handoff.NFT)
IPTABLES = RulesetConfig(Handoff.IPTABLES)
FOUR = RulesetConfig(
    Handoff.NFT, bridge="bridge", router_port="eth0", switch_port="eth1", queue=40, workers=4, dns_port=5353, tcp_ports=(8443,),
    gateways=("10.77.0.1", "fd77::1"), query_rate=500, unlimited=("10.77.0.10", "fd77::10"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nft.nft", build(NFT, PLAIN)),
        ("nft-four-workers.nft", build(FOUR, WITH_STAFF)),
        ("iptables.nft", build(IPTABLES, WITH_STAFF)),
        ("iptables.restore", build_iptables(IPTABLES)),
        ("iptables-four-workers.restore", build_iptables(FOUR)),
        ("iptables-removal.restore", build_iptables_removal()),
        ("epoch.nft", build_epoch(PLAIN)),
        ("epoch-with-devices.nft", build_epoch(WITH_STAFF)),
        ("removal.nft", build_removal()),
    ],
)
def test_build_is_golden(name, text):
    """To accept a change: write the text to the file and read the difference."""
    assert text == (GOLDEN / name).read_text()
