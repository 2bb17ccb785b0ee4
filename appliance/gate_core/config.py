"""The configuration file: one table a part of the appliance, every fault reported with what is allowed.

It says where the appliance stands in the network. What the school wants filtered is policy, in the store.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from ipaddress import ip_address, ip_interface
from typing import Any, Final, Literal, cast

from gate_core.tables import key, read, text, whole


class ConfigError(ValueError):
    """Faults of a configuration, all of them."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults
        """A line each: key, value, what is allowed."""


def _interface(value: str) -> str | None:
    # IFNAMSIZ less the final octet; the characters that dev_valid_name() in Linux refuses, and quotes.
    good = 1 <= len(value) <= 15 and not any(c in value for c in "/: \t\n\"'")
    return None if good else "is not the name of a network interface (1 to 15 characters)"


def _address(value: str) -> str | None:
    try:
        ip_address(value)
    except ValueError:
        return "is not an IPv4 or IPv6 address"
    return None


def _own_address(value: str) -> str | None:
    try:
        ip_interface(value)
    except ValueError:
        return "is not an IPv4 or IPv6 address with its prefix length, such as 192.0.2.2/24"
    return None if "/" in value else "lacks its prefix length, such as 192.0.2.2/24"


_TEXT: Final = text(200)
_PORT: Final = whole(1, 65535, "port")


@dataclass(frozen=True, slots=True)
class ApplianceConfig:
    """The appliance as a whole."""

    mode: Literal["inline", "resolver"] = key("inline")
    """``inline``: a bridge with two ports that sees everything. ``resolver``: one port, DNS only."""
    state_directory: str = key("/var/lib/schoolgate", _TEXT)
    """What must outlive a power cut: policy, activity, keys."""
    run_directory: str = key("/run/schoolgate", _TEXT)
    """Sockets and what may be lost; at most 60 characters, for the sockets' sake."""
    timezone: str = key("Europe/London", _TEXT)
    """The school's zone, as in the IANA database."""


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """The two network ports, in inline mode."""

    name: str = key("br0", _interface)
    """The bridge that the appliance makes."""
    router_port: str = key("wan0", _interface)
    """The port towards the school's router."""
    switch_port: str = key("lan0", _interface)
    """The port towards the school's switch."""
    addresses: tuple[str, ...] = key((), _own_address)
    """The appliance's own addresses, each with its prefix length, such as 192.0.2.2/24. Empty: left as they are."""
    gateways: tuple[str, ...] = key((), _address)
    """The router's addresses, one a family. Empty: left as they are."""


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """The sinkhole."""

    listen: tuple[str, ...] = key(("0.0.0.0", "::"), _address)  # noqa: S104  # every port-53 query is redirected to it
    """Addresses to listen on."""
    port: int = key(53, _PORT)
    """UDP and TCP port."""
    workers: int = key(1, whole(1, 16, "number of processes"))
    """Processes that share the port."""
    upstreams: tuple[str, ...] = key((), _address)
    """Resolvers to forward to, best first. Needed: the school's own resolver keeps what its ISP filters."""
    upstream_port: int = key(53, _PORT)
    """Port of the upstreams."""
    block_answer: Literal["block-page", "nxdomain", "nodata", "null-address"] = key("block-page")
    """What a blocked A or AAAA query gets; canaries always get NXDOMAIN."""
    block_page_addresses: tuple[str, ...] = key((), _address)
    """Address of the block page, one a family; empty: those of the bridge."""
    block_ttl_s: int = key(1, whole(0, 86400, "number of seconds"))
    """TTL of blocked answers: how long a changed policy may stay unseen by a client's cache."""


@dataclass(frozen=True, slots=True)
class FirewallConfig:
    """The packet classifier, in inline mode."""

    workers: int = key(1, whole(1, 16, "number of processes"))
    """Processes, each with a queue of its own."""
    queue: int = key(10, whole(0, 65000, "queue number"))
    """First queue number."""
    handoff: Literal["auto", "nft", "iptables"] = key("auto")
    """How packets reach the queue; ``iptables`` where the kernel lacks nftables' ``queue``."""


@dataclass(frozen=True, slots=True)
class WebConfig:
    """The pages."""

    listen: tuple[str, ...] = key(("0.0.0.0", "::"), _address)  # noqa: S104  # staff reach it from any device
    """Addresses to listen on."""
    port: int = key(8443, _PORT)
    """HTTPS port of the coordinator's pages."""
    block_page_port: int = key(80, _PORT)
    """HTTP port of the block page."""


@dataclass(frozen=True, slots=True)
class PanelConfig:
    """LEDs and buttons."""

    pins: Literal["virtual", "gpio"] = key("virtual")
    """``virtual``: simulated, shown on the dashboard. ``gpio``: the pins of a Raspberry Pi."""
    pause_minutes: int = key(30, whole(1, 480, "number of minutes"))
    """How long a press of the pause button lasts."""


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file."""

    appliance: ApplianceConfig = field(default_factory=ApplianceConfig)
    bridge: BridgeConfig = field(default_factory=BridgeConfig)
    dns: DnsConfig = field(default_factory=DnsConfig)
    firewall: FirewallConfig = field(default_factory=FirewallConfig)
    web: WebConfig = field(default_factory=WebConfig)
    panel: PanelConfig = field(default_factory=PanelConfig)


def parse(text: str, zone_fault: Callable[[str], str | None] = lambda _: None) -> Config:
    """Return the configuration in a TOML ``text``.

    Args:
        text: The whole file.
        zone_fault: Tells what is wrong with the name of a time zone; which there are, the machine knows.

    Raises:
        ConfigError: With every fault: unknown keys, wrong types, values out of bounds.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise ConfigError((f"not TOML: {e}",)) from e
    faults: list[str] = []
    tables = {f.name: cast("type", f.default_factory) for f in fields(Config)}
    values = {}
    for name, table in tree.items():
        if name not in tables:
            faults.append(f"{name}: unknown key; allowed are {', '.join(tables)}")
        elif not isinstance(table, dict):
            faults.append(f"{name}: {table!r} is not a table")
        else:
            values[name] = read(tables[name], table, name, faults)
    config = Config(**values)
    if wrong := zone_fault(config.appliance.timezone):
        faults.append(f"appliance.timezone: {config.appliance.timezone!r} {wrong}")
    if not faults:
        faults += _together(config)
        if not faults:
            return config
    raise ConfigError(tuple(faults))


def _together(config: Config) -> list[str]:
    """Return faults that no single key shows."""
    faults = []
    if not config.dns.upstreams:
        faults.append(
            "dns.upstreams: [] names no resolver; give the address of the school's router or resolver"
        )
    if config.bridge.router_port == config.bridge.switch_port:
        faults.append(
            "bridge.switch_port: is the same as bridge.router_port; the bridge needs two ports"
        )
    if len(config.appliance.run_directory) > 60:
        faults.append("appliance.run_directory: longer than 60 characters")
    return faults


def reference() -> str:
    """Return every key with default and meaning, as a commented TOML text."""
    lines = []
    for table in fields(Config):
        kind = cast("type", table.default_factory)
        lines += [f"# {kind.__doc__}", f"[{table.name}]"]
        for f in fields(kind):
            default = f.default if f.default is not MISSING else cast("Any", f.default_factory)()
            lines.append(f"# {f.name} = {_toml(default)}")
        lines.append("")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
