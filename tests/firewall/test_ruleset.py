import re
from dataclasses import replace
from pathlib import Path

import pytest

from gate_firewall.ruleset import (
    Epoch,
    Handoff,
    Rates,
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
    frozenset({4, 17}),
    frozenset({"00:00:5e:00:53:21", "00:00:5e:00:53:20", "00:00:5e:00:53:10"}),
)
NFT = RulesetConfig(Handoff.NFT)
IPTABLES = RulesetConfig(Handoff.IPTABLES)
FOUR = RulesetConfig(
    Handoff.NFT, bridge="bridge", router_port="eth0", switch_port="eth1", queue=40, workers=4, dns_port=5353, tcp_ports=(8443,),
    gateways=("10.77.0.1", "fd77::1"), query_rate=500, unlimited=("10.77.0.10", "fd77::10"),
    pages_port=8443, pages_from=("10.77.0.0/28", "fd77::/124"), down=Rates(50, 5), up=Rates(guest_mbit=1),
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


NAMES_4 = re.compile(r"(?<!-)\b(ip|icmp|arp|ipv4_addr|refused4|6[78])\b|\d+\.\d+\.\d+\.\d+")
NAMES_6 = re.compile(r"\b(ip6|icmpv6|ipv6-icmp|ipv6_addr|refused6|54[67])\b")
TWINS = (
    # From the whole length to that of what follows the header: 20 octets less, for IPv4 without options.
    (r"\bip length (<= )?(\d+)", lambda m: f"ip6 length {m[1] or ''}{int(m[2]) - 20}"),
    (r"\bip ttl\b", "ip6 hoplimit"),
    (r"\bicmp type\b", "icmpv6 type"),
    (r"\bip (s|d)addr\b", r"ip6 \1addr"),
    (r"\bipv4_addr\b", "ipv6_addr"),
    (r"\brefused4\b", "refused6"),
    (r"\{ 67, 68 \}", "{ 546, 547 }"),
    (r"udp sport 67 udp dport 68", "udp sport 547 udp dport 546"),
    (r"10\.0\.0\.0/8, 100\.64.*/12, 192\.168\.0\.0/16", "fc00::/7, fe80::/10"),
    (r"meta protocol arp @nh,112,32 0x0a4d0001", f"meta l4proto ipv6-icmp @th,0,8 136 @th,64,128 {0xFD77 << 112 | 1:#x}"),
    # The addresses in FOUR.
    (r"\b10\.77\.0\.0/28", "fd77::/124"),
    (r"\b10\.77\.0\.(\d+)", r"fd77::\1"),
)  # fmt: skip
WITHOUT_TWIN = {
    "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } ip6 length <= 136 accept": "IPv4 has ARP",
    "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } ip6 daddr { fe80::/10, fc00::/7, ff02::/16 } ip6 length <= 136 accept":
        "IPv4 has ARP",
    "meta mark & 0x00080000 != 0 meta l4proto ipv6-icmp ip6 daddr { fe80::/10, fc00::/7, ff02::/16 } ct state untracked accept":
        "IPv4 has ARP",
    "meta l4proto ipv6-icmp @th,0,8 134 counter drop": "routers of IPv4 advertise by DHCP",
    "icmpv6 type { mld-listener-query, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept":
        "ARP is no IP and passes no inet table; the box listens to no group of IPv4 but to all hosts",
}  # fmt: skip


def twin(rule):
    for pattern, change in TWINS:
        rule = re.sub(pattern, change, rule)
    return rule


def untwinned(text):
    """Return the rules that say for one family of IP what no rule of the same chain says for the other."""
    alone = []
    for block in re.split(r"^\t(?=chain|set)", text, flags=re.MULTILINE):
        rules = [line.strip() for line in block.split("\n") if line.strip() not in WITHOUT_TWIN]
        fours = [r for r in rules if NAMES_4.search(r) and not NAMES_6.search(r)]
        sixes = [r for r in rules if NAMES_6.search(r) and not NAMES_4.search(r)]
        images = [twin(rule) for rule in fours]
        if not block.startswith("set "):
            alone += [r for r, image in zip(fours, images, strict=True) if image not in sixes]
            alone += [rule for rule in sixes if rule not in images]
    return alone


@pytest.mark.parametrize("config", [FOUR, replace(FOUR, handoff=Handoff.IPTABLES)])
def test_each_rule_for_one_family_has_its_twin_for_the_other(config):
    text = build(config, WITH_STAFF)

    assert untwinned(text) == []
    for rule, why in WITHOUT_TWIN.items():
        assert f"\t{rule}\n" in text, why


@pytest.mark.parametrize("removed", [
    line for line in build(FOUR, WITH_STAFF).split("\n")
    if bool(NAMES_4.search(line)) is not bool(NAMES_6.search(line))
    and "set " not in line[:6] and line.strip() not in WITHOUT_TWIN
])  # fmt: skip
def test_a_rule_without_its_twin_is_noticed(removed):
    lines = build(FOUR, WITH_STAFF).split("\n")
    lines.remove(removed)

    assert untwinned("\n".join(lines))
