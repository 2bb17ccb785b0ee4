"""Makes the bridge; the only place that knows pyroute2.

The rule: ports join only when the rules are in force, and leave before they go. Every step may have been done before,
so that after a SIGKILL the same steps bring the appliance back without the bridge ever being down or open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_interface
from socket import AF_INET, AF_INET6
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.ethtool import Ethtool
from pyroute2.netlink.exceptions import NetlinkError

from gate_core.config import BridgeConfig

_IFA_F_NODAD: Final = 0x02

# Linux 6.11 to 6.12.74 and others drop merged datagrams of new flows on their way to a queue (CVE-2026-45859), and a
# QUIC hello is such a flow. Both are off unless somebody turned them on.
_MERGES_DATAGRAMS: Final = ("rx-udp-gro-forwarding", "rx-gro-list")


def raise_bridge(config: BridgeConfig) -> None:
    """Make the bridge with its addresses; ports that are missing from it stay out.

    Raises:
        OSError: A port does not exist, or the kernel refused.
    """
    with _routes() as ip:
        ports = [_index(ip, name) for name in (config.router_port, config.switch_port)]
        if not ip.link_lookup(ifname=config.name):
            # A port's own address, fixed: else it would change with the ports that join.
            address = ip.get_links(ports[0])[0].get("address")
            ip.link("add", ifname=config.name, kind="bridge", address=address)
        bridge = _index(ip, config.name)
        # Like a cable: no spanning tree and no delay. No snooping either: with no querier in the school, multicast
        # would stop after some minutes.
        ip.link(
            "set",
            index=bridge,
            kind="bridge",
            br_stp_state=0,
            br_forward_delay=0,
            br_mcast_snooping=0,
        )
        ip.link("set", index=bridge, state="up")
        for text in config.addresses:
            own = ip_interface(text)
            # Answers are due from the first frame on; an IPv6 address that is still being probed gives none.
            flags = {"flags": _IFA_F_NODAD} if own.version == 6 else {}
            ip.addr(
                "replace",
                index=bridge,
                address=str(own.ip),
                prefixlen=own.network.prefixlen,
                **flags,
            )
        for gateway in config.gateways:
            family = AF_INET if ip_address(gateway).version == 4 else AF_INET6
            ip.route("replace", dst="default", gateway=gateway, oif=bridge, family=family)


def join_ports(config: BridgeConfig) -> None:
    """Let both ports forward; the rules have to be in force.

    Raises:
        OSError: See ``raise_bridge``.
    """
    with _routes() as ip, Ethtool() as ethtool:
        bridge = _index(ip, config.name)
        for name in (config.router_port, config.switch_port):
            _forward_datagrams_as_they_come(ethtool, name)
            port = _index(ip, name)
            if ip.get_links(port)[0].get("master") != bridge:
                ip.link("set", index=port, master=bridge)
            ip.link("set", index=port, state="up")


def merging_ports(config: BridgeConfig) -> list[tuple[str, str]]:
    """Return each port that hands over several datagrams as one, and the feature that does it, as ``ethtool -k`` says.

    Raises:
        OSError: See ``raise_bridge``.
    """
    with _routes() as ip, Ethtool() as ethtool:
        ports = (config.router_port, config.switch_port)
        for port in ports:
            _index(ip, port)
        return [(port, name) for port in ports for name in _merging(ethtool.get_features(port))]


def is_promiscuous(config: BridgeConfig) -> bool:
    """Tell whether a program listens to all of the bridge.

    A new flow's packets that are copied for it are lost behind the queue: the kernel takes no flow up that is not
    confirmed and has a copy (measured on Linux 6.18).

    Raises:
        OSError: See ``raise_bridge``.
    """
    with _routes() as ip:
        link = ip.get_links(_index(ip, config.name))[0]
        # The flags of netlink leave out what a packet socket asked for.
        return bool(link.get_attr("IFLA_PROMISCUITY"))


def tear_down(config: BridgeConfig) -> None:
    """Take the bridge away, ports first; fine where there is none.

    Raises:
        OSError: The kernel refused.
    """
    with _routes() as ip:
        for bridge in ip.link_lookup(ifname=config.name):
            for port in ip.link_lookup(master=bridge):
                ip.link("set", index=port, master=0)
            ip.link("del", index=bridge)


@contextmanager
def _routes() -> Iterator[IPRoute]:
    try:
        with IPRoute() as ip:
            yield ip
    except NetlinkError as e:
        raise OSError(e.code, f"setting up the bridge: {e}") from e


def _index(ip: IPRoute, name: str) -> int:
    found: list[int] = ip.link_lookup(ifname=name)
    if not found:
        raise OSError(f"there is no network interface {name!r}")
    return found[0]


def _forward_datagrams_as_they_come(ethtool: Ethtool, port: str) -> None:
    features = ethtool.get_features(port)
    on = _merging(features)
    if on:
        for name in on:
            features.features[name].enable = False
        ethtool.set_features(port, features)


def _merging(features: Any) -> list[str]:
    return [n for n in _MERGES_DATAGRAMS if n in features.features and features.features[n].enable]
