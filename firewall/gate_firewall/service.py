"""Runs the firewall: rules, bridge, queues, in the order in which nothing passes unfiltered."""

from __future__ import annotations

import select
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Never, Self

from gate_core.clients import Address, OnFault
from gate_core.config import BridgeConfig, FirewallConfig
from gate_core.events import InForce, Source
from gate_core.policy import Policy
from gate_core.ports import Clock, EventSink, NeighbourTable, PolicySource
from gate_firewall import apply, bridge
from gate_firewall.classify import Classifier, Moment, Sighting
from gate_firewall.marks import next_epoch, parse_request
from gate_firewall.packet import parse_packet
from gate_firewall.pins import PinSocket
from gate_firewall.queue import Faults, Queue, Settler
from gate_firewall.ruleset import Epoch, RulesetConfig
from gate_firewall.vlans import Watch

_HEARTBEAT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class FirewallSettings:
    """Where the firewall stands."""

    bridge: BridgeConfig
    firewall: FirewallConfig
    dns_port: int = 53
    """Where the sinkhole listens."""
    tcp_ports: tuple[int, ...] = (80, 8443)
    """The appliance's pages."""
    query_rate: int = 0
    """DNS queries a second of one device that reach the sinkhole at most; 0 for all."""
    unlimited: tuple[str, ...] = ()
    """Addresses of those whose queries all do."""


@dataclass(frozen=True, slots=True)
class FirewallPorts:
    """What the firewall is handed."""

    clock: Clock
    policies: PolicySource
    neighbours: NeighbourTable
    events: EventSink
    pins: PinSocket


def run(settings: FirewallSettings, ports: FirewallPorts) -> None:
    """Filter until the process is told to end; bridge and rules stay behind, closed or open as each group has it.

    Raises:
        OSError: Bridge, rules or queues could not be set up, or the kernel refused a new epoch.
    """
    config = _ruleset_config(settings)
    policy, at = ports.policies.current(), ports.clock.now()
    epoch = _first_epoch(policy, at)
    bridge.raise_bridge(settings.bridge)
    apply.load(config, epoch)
    apply.enforce_sysctls(settings.bridge.name)
    with Enforcer(config, ports, policy, epoch) as enforcer:
        bridge.join_ports(settings.bridge)
        enforcer.serve()


def tear_down(settings: FirewallSettings) -> None:
    """Undo what ``run`` leaves behind, ports first.

    Raises:
        OSError: The kernel refused.
    """
    bridge.tear_down(settings.bridge)
    apply.unload(apply.choose_handoff(settings.firewall.handoff))


class Enforcer:
    """Serves the queues, and brings each new policy into force."""

    def __init__(
        self, config: RulesetConfig, ports: FirewallPorts, policy: Policy, epoch: Epoch
    ) -> None:
        """Begin to take packets.

        Raises:
            OSError: A queue is taken, or the right to it is missing.
        """
        self._ports = ports
        self._epoch = epoch
        self._classifier = Classifier(self._mac_of, policy, epoch.number)
        self._now = Moment(None, 0.0)
        self._due_s = 0.0
        faults = Faults()
        kinds = ((OnFault.CLOSED, config.closed_queues), (OnFault.OPEN, config.open_queues))
        with ExitStack() as stack:
            self._queues = [
                stack.enter_context(
                    Queue(number, Settler(self._judge, on_fault, faults, time.monotonic))
                )
                for on_fault, numbers in kinds
                for number in numbers
            ]
            self._vlans = stack.enter_context(Watch(apply.read_vlans))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Give the queues back."""
        self._stack.close()

    def _mac_of(self, address: Address) -> str | None:
        found = self._ports.neighbours.mac(address)
        if found is None:
            # For its next flow.
            self._ports.neighbours.solicit(address)
        return found

    def serve(self) -> Never:
        """Settle packets, for ever."""
        policies, pins = self._ports.policies, self._ports.pins
        poll = select.poll()
        queues = (queue.fileno() for queue in self._queues)
        for descriptor in (policies.fileno(), pins.fileno(), *queues):
            poll.register(descriptor, select.POLLIN)
        while True:
            wait_s = max(0.0, self._due_s - time.monotonic())
            ready = {descriptor for descriptor, _ in poll.poll(wait_s * 1000)}
            # Policy before packets, so that none is judged by a policy that was replaced before it came.
            news = policies.fileno() in ready and policies.refresh()
            self._now = Moment(self._ports.clock.now(), time.monotonic())
            if news or self._now.monotonic_s >= self._due_s:
                self._renew()
            if pins.fileno() in ready:
                pins.serve(self._now.monotonic_s)
            for queue in self._queues:
                if queue.fileno() in ready:
                    queue.serve()
            self._ports.events.flush()

    def _renew(self) -> None:
        """Bring the policy into force if it or the school's time has changed, and say which one is."""
        policy, at = self._ports.policies.current(), self._now.at
        label = _label(policy, at)
        if label != self._epoch.label:
            self._epoch = _epoch(next_epoch(self._epoch.number), policy, at)
            # Before the kernel asks again about flows of the old epoch; the other order would judge some by the old policy.
            self._classifier.take(policy, self._epoch.number)
            apply.load_epoch(self._epoch)
        edge = policy.next_edge(at)
        wait_s = (edge - at).total_seconds() if edge and at else _HEARTBEAT_S
        self._due_s = self._now.monotonic_s + min(wait_s, _HEARTBEAT_S)
        self._ports.events.put(InForce(Source.FIREWALL, 0, policy.version))
        for news in self._vlans.take():
            self._ports.events.put(news)

    def _judge(self, octets: bytes, mark: int, sender: bytes | None) -> int | None:
        mac = sender.hex(":") if sender else None
        seen = Sighting(parse_packet(octets), parse_request(mark), mark, mac, self._now)
        verdict = self._classifier.judge(seen)
        if verdict.event:
            self._ports.events.put(verdict.event)
        return verdict.mark


def _ruleset_config(settings: FirewallSettings) -> RulesetConfig:
    return RulesetConfig(
        handoff=apply.choose_handoff(settings.firewall.handoff),
        bridge=settings.bridge.name,
        router_port=settings.bridge.router_port,
        switch_port=settings.bridge.switch_port,
        queue=settings.firewall.queue,
        workers=settings.firewall.workers,
        dns_port=settings.dns_port,
        tcp_ports=settings.tcp_ports,
        gateways=settings.bridge.gateways,
        query_rate=settings.query_rate,
        unlimited=settings.unlimited,
    )


def _first_epoch(policy: Policy, at: datetime | None) -> Epoch:
    label = _label(policy, at)
    before = apply.read_epoch()
    if before is None:
        number = next_epoch(0)
    elif before.label == label:
        # Nothing has changed since the process before this one: the flows it let pass go on.
        number = before.number
    else:
        number = next_epoch(before.number)
    return _epoch(number, policy, at)


def _epoch(number: int, policy: Policy, at: datetime | None) -> Epoch:
    isolated = frozenset(device.mac for device in policy.devices.values() if device.isolated)
    return Epoch(number, _label(policy, at), _open_macs(policy, at), isolated)


def _label(policy: Policy, at: datetime | None) -> str:
    """Return what one epoch stands for: a policy until the next edge of its timetable."""
    edge = policy.next_edge(at)
    return f"policy {policy.version} until {edge.isoformat() if edge else 'changed'}"


def _open_macs(policy: Policy, at: datetime | None) -> frozenset[str]:
    """Return the devices that pass while nothing can be judged; never those which are cut off or paused."""
    pauses = [pause for pause in policy.pauses if at is None or pause.span.covers(at)]
    groups = {g.id for g in policy.groups.values() if g.on_fault is OnFault.OPEN}
    return frozenset(
        device.mac
        for device in policy.devices.values()
        if device.group in groups
        and not device.isolated
        and device.suspended is None
        and not any(device.group in p.groups or device.room in p.rooms for p in pauses)
    )
