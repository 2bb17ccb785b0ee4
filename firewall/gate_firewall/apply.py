"""Puts the rules into the kernel, in one transaction each, and reads back which epoch it is in."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Final, Literal, NamedTuple, assert_never

from gate_firewall.ruleset import (
    TABLE,
    TAGGED,
    UNJUDGED,
    UNTAGGED,
    Epoch,
    Handoff,
    RulesetConfig,
    build,
    build_epoch,
    build_iptables,
    build_iptables_removal,
    build_removal,
)
from gate_firewall.vlans import parse_vlans

_NFT: Final = ("nft", "-f", "-")
_RESTORE: Final = (("iptables-nft-restore",), ("ip6tables-nft-restore",))

_SYSCTLS: Final = {
    # Bridged frames go through the inet tables, tagged ones as well (pitfall: the kernel's default lets those pass).
    "bridge/bridge-nf-call-iptables": 1,
    "bridge/bridge-nf-call-ip6tables": 1,
    "bridge/bridge-nf-filter-vlan-tagged": 1,
    # PPPoE is dropped in the bridge table; unwrapping it here would promise a filter that conntrack can't keep.
    "bridge/bridge-nf-filter-pppoe-tagged": 0,
    "bridge/bridge-nf-pass-vlan-input-dev": 0,
    # What the server's TCP would throw away must not reach the classifier: wrong checksums, numbers out of the window.
    "netfilter/nf_conntrack_checksum": 1,
    "netfilter/nf_conntrack_tcp_be_liberal": 0,
    # Connections from before our start are tracked, so that they can be reset and come back judged.
    "netfilter/nf_conntrack_tcp_loose": 1,
    # The kernel's five days would keep what devices leave behind that are switched off. No less: RFC 5382, REQ-5.
    "netfilter/nf_conntrack_tcp_timeout_established": 7440,
    # Each flow's octets are told at its end.
    "netfilter/nf_conntrack_acct": 1,
    # Also of flows that began while nobody listened.
    "netfilter/nf_conntrack_events": 1,
    # Nobody bends the box's own ways; "all" and the bridge both count for IPv4.
    "ipv4/conf/all/accept_redirects": 0,
}
_BRIDGE_SYSCTLS: Final = ("accept_redirects", "accept_source_route")
_NET: Final = Path("/proc/sys/net")


class KernelEpoch(NamedTuple):
    """The epoch in the kernel, from this process or from one before it."""

    number: int
    label: str


class Sysctl(NamedTuple):
    """A setting of the kernel's network."""

    name: str
    """Path below /proc/sys/net."""
    value: str
    needed: str


def load(config: RulesetConfig, epoch: Epoch) -> None:
    """Replace all rules at once.

    Raises:
        OSError: The kernel or the tools refused; the old rules are still in force.
    """
    _pipe(_NFT, build(config, epoch, read_unjudged()))
    match config.handoff:
        case Handoff.NFT:
            pass
        case Handoff.IPTABLES:
            for command in _RESTORE:
                _pipe(command, build_iptables(config))
        case _:
            assert_never(config.handoff)


def load_epoch(epoch: Epoch) -> None:
    """Change to ``epoch`` at once.

    Raises:
        OSError: See ``load``.
    """
    _pipe(_NFT, build_epoch(epoch))


def unload(handoff: Handoff) -> None:
    """Remove all rules: what is bridged then passes unfiltered, so that the ports have to be out of the bridge.

    Raises:
        OSError: See ``load``.
    """
    _pipe(_NFT, build_removal())
    if handoff is Handoff.IPTABLES:
        for command in _RESTORE:
            _pipe(command, build_iptables_removal())


def read_epoch() -> KernelEpoch | None:
    """Return the epoch the kernel is in; None where there are no rules of ours."""
    listing = _run(("nft", "-j", "list", "chain", "inet", TABLE, "epoch"), "")
    if listing.returncode:
        return None
    for item in json.loads(listing.stdout)["nftables"]:
        number, _, label = item.get("rule", {}).get("comment", "").partition(" ")
        if number.isdigit():
            return KernelEpoch(int(number), label)
    return None


def read_vlans() -> dict[str, int]:
    """Return the VLAN in which each device of the switch side spoke last, by MAC address; 0 for none.

    Raises:
        OSError: There are no rules of ours.
    """
    # Set by set: for a list of all sets nft reads the elements of every table, 0.7 s where refused4 is full (nft 1.0.6).
    return parse_vlans(
        *(_pipe(("nft", "-j", "list", "set", "bridge", TABLE, s), "") for s in (TAGGED, UNTAGGED))
    )


def read_unjudged() -> int:
    """Return how many packets have passed unjudged, since there first were rules of ours; 0 where there are none."""
    listing = _run(("nft", "-j", "list", "counter", "inet", TABLE, UNJUDGED), "")
    if listing.returncode:
        return 0
    # Before it stands the version of nft.
    (*_, item) = json.loads(listing.stdout)["nftables"]
    return int(item["counter"]["packets"])


def choose_handoff(wanted: Literal["auto", "nft", "iptables"]) -> Handoff:
    """Return the hand-off to use; for ``auto`` the kernel is asked whether it has nftables' ``queue``."""
    if wanted != "auto":
        return Handoff(wanted)
    probe = f"table inet {TABLE}_probe {{\nchain probe {{\nqueue to 0\n}}\n}}\n"
    return Handoff.IPTABLES if _run(("nft", "-c", "-f", "-"), probe).returncode else Handoff.NFT


def enforce_sysctls(bridge: str) -> None:
    """Set what makes bridged frames visible to the rules, and keeps strangers from the routes of ``bridge``.

    Router advertisements are still heard, as without an IPv6 address of its own the box needs one; the rules drop those
    from the switch side.

    Raises:
        OSError: br_netfilter is missing, or a value could not be set.
    """
    if not (_NET / "bridge").is_dir():
        _pipe(("modprobe", "br_netfilter"), "")
    for setting in wrong_sysctls(bridge):
        (_NET / setting.name).write_text(setting.needed)


def wrong_sysctls(bridge: str) -> list[Sysctl]:
    """Return the settings that are not as the rules need them.

    Raises:
        OSError: br_netfilter is missing.
    """
    families = [family for family in ("ipv4", "ipv6") if (_NET / family / "conf").is_dir()]
    own = {f"{family}/conf/{bridge}/{name}": 0 for family in families for name in _BRIDGE_SYSCTLS}
    # What waits for an address that nobody has fills the sinkhole's buffer meanwhile; a few answers each are enough.
    own |= {f"{family}/neigh/{bridge}/unres_qlen_bytes": 4096 for family in families}
    found = (
        Sysctl(name, (_NET / name).read_text().strip(), str(needed))
        for name, needed in (_SYSCTLS | own).items()
    )
    # In a network namespace that is not the first one some can be read only: none is written that is right.
    return [setting for setting in found if setting.value != setting.needed]


def queue_fairly(port: str, line_mbit: int, host: Literal["dsthost", "srchost"]) -> str:
    """Have ``port`` send fairly: first among devices where the line is known, and then among flows.

    Args:
        port: A port of the bridge.
        line_mbit: Speed of the line on the way that begins with this port, in megabits a second: the queue that is shared
            has to form here, and not at the line's other end. 0: not known; then flows share what the port can send.
        host: Which end of what leaves by the port is the device's.

    Returns:
        What is in force, as ``tc`` says it; "" where the kernel has none of this, and the port was left as it is.
    """
    fair = ["fq_codel"]
    if line_mbit:
        # "besteffort": a device could write into its packets that they come first.
        fair.insert(0, f"cake bandwidth {line_mbit * 950}kbit besteffort dual-{host}")
    for discipline in fair:
        command = ("tc", "qdisc", "replace", "dev", port, "root", *discipline.split())
        if _run(command, "").returncode == 0:
            return discipline
    return ""


def _pipe(command: tuple[str, ...], text: str) -> str:
    done = _run(command, text)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()[:1000]}")
    return done.stdout


def _run(command: tuple[str, ...], text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)  # noqa: S603  # fixed commands
