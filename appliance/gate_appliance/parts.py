"""The parts of the appliance, wired: what ``gate run PART`` does."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from typing import Final

from gate_appliance.clock import SystemClock
from gate_appliance.control import ControlServer, control_client
from gate_appliance.neighbours import KernelNeighbours
from gate_appliance.outbox import Outbox
from gate_appliance.places import Places
from gate_appliance.publication import SnapshotSource
from gate_core.config import Config
from gate_core.desk import Desk, PanelButtons

_log = logging.getLogger(__name__)

_WAIT_FOR_SNAPSHOT_S: Final = 0.05


def run_part(name: str, config: Config) -> None:
    """Run the part called ``name`` until SIGTERM."""
    part, _, number = name.partition("-")
    places = Places.of(config.appliance)
    places.make()
    match part:
        case "steward":
            _steward(config, places)
        case "dns":
            _dns(config, places, name, int(number or "1"))
        case "firewall":
            _firewall(config, places)
        case "webui":
            _webui(config, places)
        case "panel":
            _panel(config, places)
        case _:
            raise ValueError(f"{name!r} is no part")


def _steward(config: Config, places: Places) -> None:
    from gate_appliance.desk import StewardDesk
    from gate_appliance.steward import Steward

    steward = Steward(config)
    server = ControlServer(places.desk, Desk, StewardDesk(steward))
    try:
        steward.start()
        server.start()
        signal.pause()
    finally:
        server.close()
        steward.close()


@contextmanager
def _snapshots(places: Places, name: str) -> Iterator[SnapshotSource]:
    source = _first_snapshot(places, name)
    try:
        yield source
    finally:
        source.close()


def _first_snapshot(places: Places, name: str) -> SnapshotSource:
    """Return the source once there is a snapshot: before the first one nothing is answered, so nothing is let through."""
    told = False
    while True:
        try:
            return SnapshotSource(places.snapshots, places.announce, name)
        except (OSError, ValueError) as e:
            if not told:
                _log.warning("action=start part=%s waiting_for=snapshot fault=%s", name, e)
                told = True
            time.sleep(_WAIT_FOR_SNAPSHOT_S)


def _dns(config: Config, places: Places, name: str, worker: int) -> None:
    from gate_dns.server import DnsPorts, DnsSettings, serve

    v4, v6 = own_addresses(config)
    settings = DnsSettings.of(config.dns, v4, v6)
    with _snapshots(places, name) as policies:
        outbox = Outbox(places.events)
        neighbours = KernelNeighbours()
        clock = SystemClock(config.appliance.timezone, places.state)
        try:
            serve(settings, DnsPorts(policies, neighbours, clock, outbox), worker)
        finally:
            outbox.close()
            neighbours.close()


def _firewall(config: Config, places: Places) -> None:
    from gate_firewall.service import FirewallPorts, FirewallSettings, prepare, run

    settings = FirewallSettings.of(config)
    # Before there is any snapshot: the ruleset holds everything closed, and only then do the ports join the bridge.
    prepare(settings)
    with _snapshots(places, "firewall") as policies:
        outbox = Outbox(places.events)
        clock = SystemClock(config.appliance.timezone, places.state)
        try:
            run(settings, FirewallPorts(policies, clock, outbox))
        finally:
            outbox.close()


def _webui(config: Config, places: Places) -> None:
    from gate_webui.server import Services, WebSettings, serve

    services = Services(
        desk=control_client(Desk, places.desk),  # type: ignore[type-abstract]  # a protocol is wanted
        panel=control_client(PanelButtons, places.panel),  # type: ignore[type-abstract]  # a protocol is wanted
        clock=SystemClock(config.appliance.timezone, places.state),
    )
    serve(WebSettings.of(config.web, places.web, own_addresses(config)), services)


def _panel(config: Config, places: Places) -> None:
    from gate_hardware.service import PanelPorts, PanelService, PanelSettings

    panel = PanelService(
        PanelSettings.of(config.panel),
        PanelPorts(control_client(Desk, places.desk)),  # type: ignore[type-abstract]  # a protocol is wanted
    )
    server = ControlServer(places.panel, PanelButtons, panel.buttons)
    try:
        server.start()
        panel.run()
    finally:
        server.close()


def own_addresses(config: Config) -> tuple[IPv4Address | None, IPv6Address | None]:
    """Return the addresses at which clients reach this appliance: where the block page is."""
    texts = config.dns.block_page_addresses or tuple(
        str(ip_interface(a).ip) for a in config.bridge.addresses
    )
    found: dict[int, IPv4Address | IPv6Address] = {}
    for address in map(ip_address, texts):
        found.setdefault(address.version, address)
    v4, v6 = found.get(4), found.get(6)
    return (
        v4 if isinstance(v4, IPv4Address) else None,
        v6 if isinstance(v6, IPv6Address) else None,
    )
