"""Runs the firewall: rules, bridge, queues, in the order in which nothing passes unfiltered."""

from __future__ import annotations

import gc
import logging
import math
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Never, Self

from gate_core.clients import Address, OnFault
from gate_core.config import BridgeConfig, FirewallConfig
from gate_core.events import Counters, Event, Findings, InForce, Message, Source, who_is
from gate_core.policy import Policy
from gate_core.ports import Clock, EventSink, NeighbourTable, PolicySource
from gate_firewall import apply, bridge, kernel
from gate_firewall.classify import Classifier, Sighting
from gate_firewall.conntrack import End, EndSocket
from gate_firewall.epochs import Epochs, Follower, Leader
from gate_firewall.flows import FlowKey
from gate_firewall.given import GivenSocket
from gate_firewall.marks import parse_request
from gate_firewall.packet import parse_packet
from gate_firewall.pins import PinSocket
from gate_firewall.queue import LATER, Faults, Held, Queue, Settler
from gate_firewall.queues import MalformedQueuesError, QueueWatch, UnjudgedWatch
from gate_firewall.ruleset import Rates, RulesetConfig
from gate_firewall.ruling import Learnt, Moment
from gate_firewall.usage import Ended, Usage
from gate_firewall.vlans import Watch

Counts = Mapping[str, Mapping[str, int]]
"""As in ``gate_core.events.Counters``."""

_LOG: Final = logging.getLogger(__name__)
_HEARTBEAT_S: Final = 1.0
_FLUSH_S: Final = 0.05
"""How long events are gathered: to send them costs as much as to judge a packet."""
_COLLECT_EVERY_S: Final = 60.0
_CLOCK_READ_S: Final = 0.01
"""How long a reading of the wall clock serves: reading it in the school's zone costs as much as a decision."""
HOLD_S: Final = 0.25
"""How long a packet waits at most for what the sinkhole has to tell: much more than it needs under a flood."""


@dataclass(frozen=True, slots=True)
class FirewallSettings:
    """Where the firewall stands."""

    bridge: BridgeConfig
    firewall: FirewallConfig
    dns_port: int = 53
    """Where the sinkhole listens."""
    tcp_ports: tuple[int, ...] = (80, 8443)
    """The appliance's pages; the last one is the coordinator's."""
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
    given: GivenSocket
    agreement: socket.socket
    """Unix datagram socket that never waits, by which its processes agree on epochs."""
    followers: Sequence[Path] = ()
    """Those of the others, where there are several."""


def run(settings: FirewallSettings, ports: FirewallPorts) -> None:
    """Filter until the process is told to end; bridge and rules stay behind, closed or open as each group has it.

    Raises:
        OSError: Bridge, rules or queues could not be set up, or the kernel refused a new epoch.
    """
    config = _ruleset_config(settings)
    policy = ports.policies.current()
    epochs = Leader(policy, ports.clock.now(), ports.agreement, ports.followers)
    bridge.raise_bridge(settings.bridge)
    apply.load(config, epochs.epoch)
    apply.enforce_sysctls(settings.bridge.name)
    machine = kernel.Watch(
        lambda: kernel.check(settings.bridge, len(ports.policies.current().devices))
    )
    with Watch(apply.read_vlans) as vlans, UnjudgedWatch(apply.read_unjudged) as unjudged:

        def told() -> Iterator[Message]:
            yield Findings(Source.FIREWALL, machine.found)
            yield from vlans.take()

        with Enforcer(config, ports, policy, epochs, told, unjudged.counts) as enforcer:
            bridge.join_ports(settings.bridge)
            _share_line(settings)
            with machine:
                enforcer.serve()


def follow(settings: FirewallSettings, ports: FirewallPorts, worker: int, leader: Path) -> None:
    """Judge packets of another queue beside ``run``, until the process is told to end.

    Args:
        settings: As for ``run``.
        ports: As for ``run``; nobody follows.
        worker: Which process this is, from 2 on.
        leader: Where the first one hears those who follow.

    Raises:
        OSError: The queues could not be set up.
    """
    epochs = Follower(ports.agreement, leader)
    # No older than the one by which the leader has decided on the epoch.
    ports.policies.refresh()
    policy = ports.policies.current()
    config = _ruleset_config(settings)
    with Enforcer(config, ports, policy, epochs, tuple, dict, worker) as enforcer:
        enforcer.serve()


def _share_line(settings: FirewallSettings) -> None:
    """Have both ports send fairly, and say how."""
    its, ports = settings.firewall, settings.bridge
    down = apply.queue_fairly(ports.switch_port, its.line_down_mbit, "dsthost")
    up = apply.queue_fairly(ports.router_port, its.line_up_mbit, "srchost")
    _LOG.info("action=share down=%s up=%s", down or "none", up or "none")


def tear_down(settings: FirewallSettings) -> None:
    """Undo what ``run`` leaves behind, ports first.

    Raises:
        OSError: The kernel refused.
    """
    bridge.tear_down(settings.bridge)
    apply.unload(apply.choose_handoff(settings.firewall.handoff))


class _Hold(NamedTuple):
    """Packets that wait until the sinkhole has told what it gave."""

    number: int
    """Of the request to the sinkhole."""
    until_s: float
    """Monotonic; then they wait no longer."""
    held: list[tuple[Settler, list[Held]]]


class Enforcer:
    """Serves the two queues of one process, and sees to it that each new policy comes into force."""

    def __init__(
        self,
        config: RulesetConfig,
        ports: FirewallPorts,
        policy: Policy,
        epochs: Epochs,
        told: Callable[[], Iterable[Message]],
        counted: Callable[[], Counts],
        worker: int = 1,
    ) -> None:
        """Begin to take packets.

        Args:
            config: Of the rules.
            ports: What it works with.
            policy: In force.
            epochs: Says when another one is.
            told: Returns what else there is to tell; called about once a second.
            counted: Returns what else has been counted; likewise.
            worker: Which of the processes that share the queues, from 1 on.

        Raises:
            OSError: A queue is taken, or the right to it is missing.
        """
        self._ports = ports
        self._epochs = epochs
        self._told = told
        self._counted = counted
        self._worker = worker
        self._version = policy.version
        self._named_only = _named_only(policy)
        learnt = Learnt(ports.given.table, ports.pins.pins, ports.given.is_learning)
        self._classifier = Classifier(self._mac_of, policy, epochs.number, learnt)
        self._usage = Usage(self._known)
        self._now = Moment(None, -math.inf)
        self._read_s = -math.inf
        self._flush_s = 0.0
        self._due_s = 0.0
        self._queued = 0
        self._collect_s = 0.0
        self._holds: deque[_Hold] = deque()
        self._listing_told = False
        faults = Faults()
        self._settlers = [
            Settler(self._judge, on_fault, faults, time.monotonic)
            for on_fault in (OnFault.CLOSED, OnFault.OPEN)
        ]
        numbers = [q[worker - 1] for q in (config.closed_queues, config.open_queues)]
        self._queue_watch = QueueWatch(numbers)
        with ExitStack() as stack:
            self._queues = [
                stack.enter_context(Queue(number, settler))
                for number, settler in zip(numbers, self._settlers, strict=True)
            ]
            self._ends = stack.enter_context(closing(EndSocket(self._usage.note)))
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
        # With full tables the collector of circles would hold up packets for a tenth of a second.
        gc.freeze()
        gc.disable()
        ports = self._ports
        # In this order: first what is to be known before packets are judged, so that none is by what was replaced.
        serve: dict[int, Callable[[], None]] = {
            ports.policies.fileno(): self._hear_policy,
            self._epochs.fileno(): self._hear_epoch,
            ports.pins.fileno(): self._hear_pins,
            ports.given.fileno(): self._hear_given,
            **{queue.fileno(): queue.serve for queue in self._queues},
            self._ends.fileno(): self._ends.serve,
        }
        poll = select.poll()
        for descriptor in serve:
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = poll.poll(self._wait_s() * 1000)
            self._read_clock()
            now_s = self._now.monotonic_s
            if now_s >= self._due_s:
                self._renew()
            if self._holds:
                self._settle_held()
            for descriptor, _ in ready:
                serve[descriptor]()
            self._hold()
            if now_s >= self._flush_s:
                ports.events.flush()
                self._flush_s = math.inf

    def _wait_s(self) -> float:
        until_s = min(self._due_s, self._flush_s)
        if self._holds:
            until_s = min(until_s, self._holds[0].until_s)
        return max(0.0, until_s - time.monotonic())

    def _hear_policy(self) -> None:
        if self._ports.policies.refresh():
            self._renew()

    def _hear_epoch(self) -> None:
        before = self._version
        self._epochs.hear(self._newest, self._take)
        if self._version != before:
            # Whoever waits for it to be everywhere waits for the last one that says so.
            self._put(InForce(Source.FIREWALL, self._worker, self._version))

    def _newest(self) -> Policy:
        self._ports.policies.refresh()
        return self._ports.policies.current()

    def _hear_pins(self) -> None:
        self._ports.pins.serve(self._now.monotonic_s)

    def _hear_given(self) -> None:
        self._ports.given.serve(self._now.monotonic_s)
        self._settle_held()

    def _read_clock(self) -> None:
        now_s, at = time.monotonic(), self._now.at
        if now_s - self._read_s >= _CLOCK_READ_S:
            at, self._read_s = self._ports.clock.now(), now_s
        self._now = Moment(at, now_s)

    def _put(self, message: Message | Event) -> None:
        """Send ``message`` within a moment, with all others."""
        self._ports.events.put(message)
        self._flush_s = min(self._flush_s, self._now.monotonic_s + _FLUSH_S)

    def _hold(self) -> None:
        """Ask the sinkhole for the packets that wait since now."""
        held = []
        for settler in self._settlers:
            if settler.held:
                held.append((settler, settler.held))
                settler.held = []
        if held:
            until_s = self._now.monotonic_s + HOLD_S
            self._holds.append(_Hold(self._ports.given.ask(), until_s, held))

    def _settle_held(self) -> None:
        """Settle the packets for which all has been heard, or that have waited for long."""
        holds, now_s = self._holds, self._now.monotonic_s
        while holds and (
            now_s >= holds[0].until_s or self._ports.given.answered(holds[0].number, now_s)
        ):
            for settler, packets in holds.popleft().held:
                settler.settle_held(packets)

    def _renew(self) -> None:
        """See to it that the policy is in force, and say which one is."""
        policy, at = self._ports.policies.current(), self._now.at
        self._epochs.renew(policy, at, self._take)
        edge = policy.next_edge(at)
        wait_s = (edge - at).total_seconds() if edge and at else _HEARTBEAT_S
        self._due_s = self._now.monotonic_s + min(wait_s, _HEARTBEAT_S)
        self._put(InForce(Source.FIREWALL, self._worker, self._version))
        for news in self._told():
            self._put(news)
        self._count()

    def _take(self, policy: Policy, number: int) -> None:
        """Judge by ``policy`` in the epoch ``number`` from here on."""
        named_only = _named_only(policy)
        if not named_only <= self._named_only:
            self._ports.given.begin(self._now.monotonic_s)
        self._named_only = named_only
        self._classifier.take(policy, number)
        self._version = policy.version

    def _count(self) -> None:
        """Say what was counted, and what flows have carried."""
        at, now_s = self._now.at, self._now.monotonic_s
        readable = self._classifier.readable
        if at:
            at_ms = int(at.timestamp() * 1000)
            for traffic in self._usage.take(at_ms, now_s):
                self._put(traffic)
            for ended in self._usage.take_ended():
                self._put(ended)
            for flows in readable.take(at_ms, now_s):
                self._put(flows)
        counts = (
            self._queue_counts(),
            self._ends.counts(),
            self._usage.counts(),
            readable.counts(),
            self._counted(),
        )
        merged = {what: kinds for each in counts for what, kinds in each.items()}
        self._collect(sum(merged.get("queue_packets", {}).values()))
        self._put(Counters(Source.FIREWALL, self._worker, merged))

    def _collect(self, queued: int) -> None:
        """Collect circles now and then, while nothing is queued; ``queued`` packets there have been."""
        idle, self._queued = queued == self._queued, queued
        if idle and self._now.monotonic_s >= self._collect_s:
            self._collect_s = self._now.monotonic_s + _COLLECT_EVERY_S
            gc.collect()
            # What lives on is not looked at again.
            gc.freeze()

    def _queue_counts(self) -> Mapping[str, Mapping[str, int]]:
        try:
            return self._queue_watch.counts(self._now.monotonic_s)
        except (OSError, MalformedQueuesError) as e:
            # A kernel that lists its queues otherwise is no reason to filter nothing.
            if not self._listing_told:
                _LOG.warning("action=count-queues fault=%s", e)
            self._listing_told = True
            return {}

    def _known(self, end: End) -> Ended | None:
        # Its first five fields are those of the key.
        found = self._classifier.owner(FlowKey(*end[:5]))
        return Ended(who_is(found.client), *found[1:]) if found else None

    def _judge(self, octets: bytes, mark: int, sender: bytes | None, last: bool) -> int | None:
        mac = sender[:6].hex(":") if sender else None
        verdict = self._classifier.judge(
            # Without the function that a named tuple is made by: one for each queued packet.
            tuple.__new__(
                Sighting, (parse_packet(octets), parse_request(mark), mark, mac, self._now, last)
            )
        )
        if verdict.waits:
            return LATER
        if verdict.event:
            self._put(verdict.event)
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
        pages_port=settings.tcp_ports[-1],
        pages_from=settings.firewall.pages_from,
        down=Rates(settings.firewall.device_down_mbit, settings.firewall.guest_down_mbit),
        up=Rates(settings.firewall.device_up_mbit, settings.firewall.guest_up_mbit),
        gateways=settings.bridge.gateways,
        query_rate=settings.query_rate,
        packet_rate=settings.firewall.packet_rate,
        device_flows=settings.firewall.device_flows,
        unlimited=settings.unlimited,
    )


def _named_only(policy: Policy) -> frozenset[str]:
    """Return the groups whose devices reach only what they were given."""
    return frozenset(group.id for group in policy.groups.values() if group.named_only)
