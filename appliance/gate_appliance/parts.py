"""The parts of the appliance, wired: what ``gate run PART`` does."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING, Final

from gate_appliance.clock import SystemClock
from gate_appliance.given import GivenPost
from gate_appliance.neighbours import KernelNeighbours
from gate_appliance.outbox import Outbox
from gate_appliance.pins import PinPost
from gate_appliance.places import Places
from gate_appliance.publication import SnapshotSource
from gate_core.clients import Address
from gate_core.config import Config
from gate_core.upstreams import parse_upstream

if TYPE_CHECKING:
    from gate_appliance.steward import Steward
    from gate_core.desk import Desk

_log = logging.getLogger(__name__)

_WAIT_FOR_SNAPSHOT_S: Final = 0.05

_BEYOND_THE_LIMIT: Final = 4
"""How many times the sinkhole's limit the kernel lets through: the sinkhole counts, and tells who asks too much."""


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
        case "unbound":
            _unbound(config, places)
        case "zone":
            _zone(config, places)
        case "firewall":
            _firewall(config, places, name, int(number or "1"))
        case "webui":
            _webui(config, places)
        case "panel":
            _panel(config, places)
        case _:
            raise ValueError(f"{name!r} is no part")


def _steward(config: Config, places: Places) -> None:
    from gate_appliance.control import ControlServer
    from gate_appliance.desk import StewardDesk
    from gate_appliance.steward import Steward
    from gate_core.desk import Desk

    steward = Steward(config)
    desk = StewardDesk(steward)
    server = ControlServer(places.desk, Desk, desk)
    try:
        steward.start()
        server.start()
        with _metrics(config, steward):
            signal.pause()
    finally:
        server.close()
        desk.close()
        steward.close()


@contextmanager
def _metrics(config: Config, steward: Steward) -> Iterator[None]:
    if not config.metrics.port:
        yield
        return
    from gate_appliance.metrics import MetricsServer

    status = partial(steward.status, since=-1, wait_s=0.0)
    with closing(MetricsServer(config.metrics, steward.recorder, status)):
        yield


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


@contextmanager
def _data_plane(
    config: Config, places: Places, name: str
) -> Iterator[tuple[SnapshotSource, KernelNeighbours, SystemClock, Outbox]]:
    with (
        _snapshots(places, name) as policies,
        closing(KernelNeighbours()) as neighbours,
        closing(Outbox(places.events)) as outbox,
    ):
        clock = SystemClock(config.appliance.timezone, places.state)
        yield policies, neighbours, clock, outbox


def _dns(config: Config, places: Places, name: str, worker: int) -> None:
    from gate_dns.server import collect_when_idle, serve
    from gate_dns.settings import DnsPorts, DnsSettings

    with (
        _data_plane(config, places, name) as (policies, neighbours, clock, events),
        closing(PinPost([places.pins(n) for n in _firewalls(config)])) as pins,
        ExitStack() as stack,
    ):
        given = tuple(
            stack.enter_context(closing(GivenPost(places.given_of(worker, n), places.given(n))))
            for n in _firewalls(config)
        )
        ports = DnsPorts(policies, neighbours, clock, events, pins, given)
        settings = DnsSettings.of(config.dns, own_addresses(config), unlimited(config))
        collect_when_idle()
        serve(settings, ports, worker)


def _unbound(config: Config, places: Places) -> None:
    from gate_appliance.validator import Validator

    Validator(config.dns, places, SystemClock(config.appliance.timezone, places.state)).run()


def _zone(config: Config, places: Places) -> None:
    from gate_appliance.served_zone import KeyFileError, serve

    try:
        serve(config.served_zone, places)
    except KeyFileError as e:
        raise SystemExit(f"the zone can't be served: {e}") from e


def _firewalls(config: Config) -> range:
    """Return the processes of the firewall, the first one leading; none where the appliance carries no traffic."""
    return range(1, config.firewall.workers + 1 if config.appliance.mode == "inline" else 1)


def _firewall(config: Config, places: Places, name: str, worker: int) -> None:
    from gate_appliance.private_socket import open_private
    from gate_firewall.given import GivenSocket
    from gate_firewall.pins import PinSocket
    from gate_firewall.service import FirewallPorts, FirewallSettings, follow, run

    if worker > config.firewall.workers:
        raise SystemExit(f"{name} can't run: firewall.workers is {config.firewall.workers}")
    leader, *others = map(places.epochs, range(1, config.firewall.workers + 1))
    with (
        _data_plane(config, places, name) as (policies, neighbours, clock, events),
        closing(open_private(places.pins(worker))) as pins,
        closing(open_private(places.given(worker))) as given,
        closing(open_private(places.epochs(worker))) as agreement,
    ):
        settings = FirewallSettings(
            config.bridge,
            config.firewall,
            config.dns.port,
            (config.web.block_page_port, config.web.port),
            config.dns.rate_limit * _BEYOND_THE_LIMIT,
            tuple(map(str, unlimited(config))),
        )
        learnt = PinSocket(pins), GivenSocket(given)
        ports = FirewallPorts(clock, policies, neighbours, events, *learnt, agreement, others)
        if worker == 1:
            run(settings, ports)
        else:
            follow(settings, ports, worker, leader)


def _webui(config: Config, places: Places) -> None:
    from gate_appliance.control import control_client
    from gate_core.desk import PanelButtons
    from gate_webui.server import Services, WebSettings, serve

    services = Services(
        # A person waits: sooner told that the steward does not answer than left before an empty page.
        desk=_desk(places, timeout_s=5.0),
        panel=control_client(PanelButtons, places.panel),  # type: ignore[type-abstract]  # a protocol is wanted
        clock=SystemClock(config.appliance.timezone, places.state),
        # A pupil waits for the block page: it does without the reason when the steward is slow.
        block_desk=_desk(places, timeout_s=2.0),
    )
    places.web.mkdir(mode=0o700, exist_ok=True)
    serve(WebSettings.of(config.web, places.web, own_addresses(config)), services)


def _panel(config: Config, places: Places) -> None:
    from gate_appliance.control import ANSWER_TIMEOUT_S, ControlServer
    from gate_core.desk import PanelButtons
    from gate_hardware.service import PanelPorts, PanelService, PanelSettings

    panel = PanelService(
        PanelSettings.of(config.panel),
        PanelPorts(_desk(places, ANSWER_TIMEOUT_S)),
    )
    server = ControlServer(places.panel, PanelButtons, panel.buttons)
    try:
        server.start()
        panel.run()
    finally:
        server.close()


def _desk(places: Places, timeout_s: float) -> Desk:
    from gate_appliance.control import control_client
    from gate_core.desk import Desk

    return control_client(Desk, places.desk, timeout_s)  # type: ignore[type-abstract]  # a protocol is wanted


def unlimited(config: Config) -> tuple[Address, ...]:
    """Return who asks for others: the router, the servers of the school's zones, and whom the configuration names."""
    servers = (
        parse_upstream(s).address for zone in config.dns.zones.values() for s in zone.servers
    )
    named = (*config.dns.unlimited, *config.bridge.gateways)
    return tuple(dict.fromkeys((*map(ip_address, named), *servers, *own_addresses(config))))


def own_addresses(config: Config) -> tuple[Address, ...]:
    """Return the addresses at which clients reach this appliance: where the pages are."""
    texts = config.dns.block_page_addresses or tuple(
        str(ip_interface(a).ip) for a in config.bridge.addresses
    )
    return tuple(map(ip_address, texts))
