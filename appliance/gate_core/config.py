"""The configuration file: one table a part of the appliance, every fault reported with what is allowed.

It says where the appliance stands in the network. What the school wants filtered is policy, in the store.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network
from typing import Any, Final, Literal, cast

from gate_core.categories import BY_ID, ILLEGAL_MASK
from gate_core.names import parse_name
from gate_core.tables import key, raises, read, text, whole
from gate_core.upstreams import Upstream, parse_upstream


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


def _network(value: str) -> str | None:
    try:
        ip_network(value)
    except ValueError:
        return (
            "is not an IPv4 or IPv6 network, such as 192.0.2.0/24, with no bits beyond its prefix"
        )
    return None


def _own_address(value: str) -> str | None:
    try:
        ip_interface(value)
    except ValueError:
        return "is not an IPv4 or IPv6 address with its prefix length, such as 192.0.2.2/24"
    return None if "/" in value else "lacks its prefix length, such as 192.0.2.2/24"


def _upstream(value: str) -> str | None:
    try:
        parse_upstream(value)
    except ValueError as e:
        return str(e)
    return None


_zone: Final = raises(parse_name)


def _optional_zone(value: str) -> str | None:
    return _zone(value) if value else None


def _served_category(value: str) -> str | None:
    if wrong := _category(value):
        return wrong
    if BY_ID[value].mask & ILLEGAL_MASK:
        return "is illegal content, whose names must not be published"
    return None


def _filtered(value: str) -> str | None:
    if value in {"nxdomain", "nodata", "refused"}:
        return None
    try:
        IPv4Address(value)
    except ValueError:
        return "is none of nxdomain, nodata, refused, and no IPv4 address"
    return None


def _category(value: str) -> str | None:
    return None if value in BY_ID else f"is no category; allowed are {', '.join(sorted(BY_ID))}"


BlockAnswer = Literal["block-page", "nxdomain", "nodata", "null-address"]

_TEXT: Final = text(200)
_PORT: Final = whole(1, 65535, "port")
_MBIT: Final = whole(0, 100_000, "number of megabits a second")


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
class ZoneConfig:
    """Names of the school itself."""

    servers: tuple[str, ...] = key((), _upstream)
    """Who answers for them, best first, as in ``dns.upstreams``; empty: the upstreams."""


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """The sinkhole."""

    listen: tuple[str, ...] = key(("0.0.0.0", "::"), _address)  # noqa: S104  # every port-53 query is redirected to it
    """Addresses to listen on."""
    port: int = key(53, _PORT)
    """UDP and TCP port."""
    workers: int = key(1, whole(1, 16, "number of processes"))
    """Processes that share the port."""
    upstreams: tuple[str, ...] = key((), _upstream)
    """Resolvers to forward to, best first: ``192.0.2.1``, ``192.0.2.1:5353``, ``[2001:db8::1]:5353``, or over TLS, with
    the name in its certificate, ``tls://192.0.2.1#dns.example.net``. Empty: those that the network hands out, which
    keep what the school's ISP filters."""
    tls_authorities: str = key("", text(200, 0))
    """File of the certificates by which resolvers over TLS are known, in PEM form; empty: the system's."""
    zones: Mapping[str, ZoneConfig] = key({}, _zone)
    """The school's own names, a table each, such as ``[dns.zones."ad.school.example"]`` with ``servers =
    ["192.0.2.10"]``; for reverse look-ups ``[dns.zones."2.0.192.in-addr.arpa"]``. Their answers may hold private
    addresses. Names of private addresses and of no network (RFC 6303, RFC 6761) go nowhere unless they are here."""
    dnssec: Literal["pass", "validate"] = key("pass")
    """``pass``: signatures go through to clients that ask for them. ``validate``: an Unbound of our own between us and
    the upstreams checks them, which then must be all over TLS or none; the school's own zones are not checked. What an
    ISP puts in place of a signed name's answer then fails, too. It needs Debian's packages unbound and dns-root-data."""
    validator_port: int = key(5335, _PORT)
    """Port on 127.0.0.1 of that Unbound."""
    block_answer: BlockAnswer = key("block-page")
    """What a blocked name gets: the block page's address, NXDOMAIN, no data, or 0.0.0.0 and ::. Canaries always get
    NXDOMAIN."""
    block_answers: Mapping[str, BlockAnswer] = key({}, _category)
    """The same for the names of a category, such as ``advertising = "null-address"``, where nobody looks at the page."""
    block_page_addresses: tuple[str, ...] = key((), _address)
    """Address of the block page, one a family; empty: those of the bridge."""
    block_ttl_s: int = key(1, whole(0, 86400, "number of seconds"))
    """TTL of blocked answers: how long a changed policy may stay unseen by a client's cache."""
    rate_limit: int = key(300, whole(0, 100_000, "number of queries a second"))
    """Queries a second that one device may ask for long; those beyond it stay unanswered. 0: no limit."""
    rate_burst: int = key(1500, whole(1, 1_000_000, "number of queries"))
    """Queries that one device may ask at once after a rest."""
    unlimited: tuple[str, ...] = key((), _address)
    """Who asks for others, and so has no limit, such as a resolver of the school; the router and the servers of
    ``zones`` are."""
    dnstap: str = key("", text(100, 0))
    """Path of the unix socket at which somebody reads each query and response as dnstap; empty: nobody does."""


@dataclass(frozen=True, slots=True)
class FirewallConfig:
    """The packet classifier, in inline mode."""

    workers: int = key(0, whole(0, 16, "number of processes"))
    """Processes that share the packets, each with a queue of each kind; packets between two addresses stay with one. 0: one for each
    core of the machine, and for each 256 MiB of its memory; 16 at most."""
    queue: int = key(10, whole(0, 65000, "queue number"))
    """First queue number."""
    packet_rate: int = key(2000, whole(0, 1_000_000, "number of packets a second"))
    """Packets a second of one device that the classifier is asked about, each way; the rest is dropped, so that no device
    keeps it from judging the others'. A connection takes about three. A router on the switch side counts as one. Devices
    that the policy does not name have four times this together, as their addresses may be made up. 0: all."""
    device_flows: int = key(2000, whole(0, 1_000_000, "number of connections"))
    """Connections that one device may have begun and not ended; more are refused, so that none takes all that the kernel can
    remember. Raise it for a device behind which there are others. Devices that the policy does not name have four times
    this together. 0: no limit."""
    handoff: Literal["auto", "nft", "iptables"] = key("auto")
    """How packets reach the queue; ``iptables`` where the kernel lacks nftables' ``queue``."""
    pages_from: tuple[str, ...] = key((), _network)
    """Networks whose devices reach the coordinator's pages, such as ``192.0.2.0/24``; others of the switch side reach
    DNS and the block page alone. A family without a network reaches none. Empty: the whole switch side does."""
    line_down_mbit: int = key(0, _MBIT)
    """Speed of the internet line, in megabits a second: the appliance then hands out 95 % of it, evenly among the devices
    that want it, if the kernel has CAKE. What the router sends from one VLAN to another counts too. 0: not known; then
    nobody is held to less than all, but flows share what a port can send."""
    line_up_mbit: int = key(0, _MBIT)
    """The same for what is sent."""
    device_down_mbit: int = key(0, _MBIT)
    """What one device may receive, in megabits a second, however idle the line is. 0: no limit. Where the line can't be
    shared evenly, a quarter of it keeps one device from hindering all others. A router on the switch side counts as one."""
    device_up_mbit: int = key(0, _MBIT)
    """The same for what it sends."""
    guest_down_mbit: int = key(0, _MBIT)
    """What one device of a guest may receive. 0: as other devices."""
    guest_up_mbit: int = key(0, _MBIT)
    """The same for what it sends."""


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
class IllegalFilterConfig:
    """Who filters illegal content (IWF, CTIRU): the school's internet provider or trust, tested every five minutes."""

    resolvers: tuple[str, ...] = key((), _upstream)
    """Those that filter it, written as in ``dns.upstreams``. Empty: nobody is known to, which the pages say."""
    names: tuple[str, ...] = key((), _zone)
    """Names to test that with, as whoever runs the resolvers gives them."""
    answers: tuple[str, ...] = key(("nxdomain",), _filtered)
    """What a filtered name gets: ``nxdomain``, ``nodata``, ``refused``, or IPv4 addresses of a page that says so."""


@dataclass(frozen=True, slots=True)
class ActivityConfig:
    """How long decisions are kept, by the day. Each deletion is in the record; nothing is deleted while the time is not known."""

    days: int = key(28, whole(1, 366, "number of days"))
    """Days for which everything is kept: what was allowed to whom, and what devices carried."""
    blocked_days: int = key(90, whole(1, 366, "number of days"))
    """Days for which what was blocked is kept; at least as many."""


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Counters for Prometheus, at ``/metrics``. They name no device and no site."""

    port: int = key(0, whole(0, 65535, "port"))
    """HTTP port; 0: off."""
    listen: str = key("127.0.0.1", _address)
    """Address to listen on. Whoever reaches it reads the counters: there is no password."""


@dataclass(frozen=True, slots=True)
class ServedZoneConfig:
    """The school's own lists as a response policy zone (RPZ), for other resolvers of the school or its trust."""

    name: str = key("", _optional_zone)
    """What the zone is called, such as rpz.school.example. Empty: none is served."""
    listen: tuple[str, ...] = key(("127.0.0.1",), _address)
    """Addresses to listen on."""
    port: int = key(5300, _PORT)
    """UDP and TCP port."""
    categories: tuple[str, ...] = key(("school-blocked",), _served_category)
    """Categories whose lists of the school are served; never those of illegal content."""
    secondaries: tuple[str, ...] = key((), _address)
    """Who may transfer the zone; nobody else gets an answer."""
    key_name: str = key("schoolgate", _zone)
    """Name of the TSIG key, which each request has to be signed with."""
    key_algorithm: Literal["hmac-sha256", "hmac-sha384", "hmac-sha512"] = key("hmac-sha256")
    """Its algorithm."""
    key_file: str = key("/etc/schoolgate/zone-key", _TEXT)
    """File of the key in base64, which only its owner may read."""


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file."""

    appliance: ApplianceConfig = field(default_factory=ApplianceConfig)
    bridge: BridgeConfig = field(default_factory=BridgeConfig)
    dns: DnsConfig = field(default_factory=DnsConfig)
    firewall: FirewallConfig = field(default_factory=FirewallConfig)
    web: WebConfig = field(default_factory=WebConfig)
    panel: PanelConfig = field(default_factory=PanelConfig)
    activity: ActivityConfig = field(default_factory=ActivityConfig)
    illegal_filter: IllegalFilterConfig = field(default_factory=IllegalFilterConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    served_zone: ServedZoneConfig = field(default_factory=ServedZoneConfig)


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
    faults += [
        f"dns.upstreams: {text!r} is where the sinkhole itself listens; forward to another address or port"
        for text in config.dns.upstreams
        if _is_ourselves(parse_upstream(text), config)
    ]
    encrypted = {bool(parse_upstream(text).tls_name) for text in config.dns.upstreams}
    if config.dns.dnssec == "validate" and len(encrypted) > 1:
        faults.append(
            "dns.upstreams: some over TLS and some not; with dns.dnssec = 'validate' it is all or none"
        )
    if bool(config.illegal_filter.resolvers) != bool(config.illegal_filter.names):
        faults.append(
            "illegal_filter: resolvers and names belong together: who filters, and what to test that with"
        )
    if not config.illegal_filter.answers:
        faults.append(
            "illegal_filter.answers: [] is no answer; allowed are nxdomain, nodata, refused and IPv4 addresses"
        )
    if config.bridge.router_port == config.bridge.switch_port:
        faults.append(
            "bridge.switch_port: is the same as bridge.router_port; the bridge needs two ports"
        )
    if config.activity.blocked_days < config.activity.days:
        faults.append(
            f"activity.blocked_days: {config.activity.blocked_days} is less than activity.days,"
            f" {config.activity.days}; what was blocked is kept at least as long as the rest"
        )
    if len(config.appliance.run_directory) > 60:
        faults.append("appliance.run_directory: longer than 60 characters")
    return faults


def _is_ourselves(upstream: Upstream, config: Config) -> bool:
    listening = {ip_address(a) for a in config.dns.listen}
    own = {ip_interface(a).ip for a in config.bridge.addresses}
    everywhere = any(a.is_unspecified for a in listening)
    ours = everywhere and (upstream.address.is_loopback or upstream.address in own)
    return upstream.port == config.dns.port and (ours or upstream.address in listening)


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
    if isinstance(value, dict):
        return "{}"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
