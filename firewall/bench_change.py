"""Measures what a change of policy costs the data plane, with a full policy: 8 groups, 300 devices, 500 exceptions.

Needs root; runs in a network namespace of its own and takes some seconds. Prints the median and the worst of each step.
"""

from __future__ import annotations

import os
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from gate_core.acceptable_use import ROWS, SHIPPED_CELLS, SHIPPED_TIMETABLE
from gate_core.clients import Device, Group
from gate_core.names import NameSet
from gate_core.policy import Action, DatedException, Pause, Policy, Scope
from gate_core.snapshot import NO_LISTS, parse_snapshot, render_snapshot
from gate_core.timetable import Span
from gate_firewall import apply
from gate_firewall.classify import Classifier, Moment, Sighting
from gate_firewall.flows import FlowKey, Judged
from gate_firewall.marks import DECIDED, Answer, field, parse_request
from gate_firewall.opening import Reading
from gate_firewall.packet import parse_packet
from gate_firewall.ruleset import TAGGED, UNTAGGED, Epoch, RulesetConfig

ROUNDS = 50
GROUPS = ("eyfs-ks1", "ks2", "staff", "guest", "g5", "g6", "g7", "g8")
DEVICES, EXCEPTIONS, FLOWS, NAMES = 300, 500, 5000, 1500
LABEL = "policy 1 until changed"
NETLINK_NETFILTER, NFNLGRP_NFTABLES = 12, 7  # linux/netlink.h, linux/netfilter/nfnetlink.h
ASKED = field(Answer.ASK) | DECIDED
NOW = datetime.fromtimestamp(time.time(), UTC)
TODAY = Span(NOW - timedelta(hours=1), NOW + timedelta(hours=20))


def mac(number: int) -> str:
    """Return the MAC address of a device."""
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


def build_policy(version: int, *, paused: bool) -> Policy:
    """Return a full policy."""
    subjects = {Scope.SCHOOL: "", Scope.GROUP: "ks2"}
    scopes = tuple(Scope)
    return Policy(
        version=version,
        groups={
            g: Group(g, g, n, SHIPPED_CELLS.get(g, SHIPPED_CELLS["ks2"]))
            for n, g in enumerate(GROUPS, start=1)
        },
        rows=ROWS,
        unknown_group="eyfs-ks1",
        index=NO_LISTS,
        devices={
            mac(n): Device(mac(n), f"device {n}", GROUPS[n % len(GROUPS)], person=f"person {n}")
            for n in range(DEVICES)
        },
        timetable=SHIPPED_TIMETABLE,
        pauses=(Pause("p", frozenset(GROUPS), TODAY, "button"),) if paused else (),
        essential=NameSet.of(("essential.example",)),
        exceptions=tuple(
            DatedException(
                id=f"x{n}",
                scope=scope,
                subject=subjects.get(scope, mac(n) if scope is Scope.DEVICE else f"person {n}"),
                names=NameSet.of((f"name{n}.example",)),
                action=Action.BLOCK if n % 3 else Action.ALLOW,
                span=Span(TODAY.since, TODAY.until + timedelta(minutes=n)),
                why="for a lesson",
            )
            for n, scope in ((n, scopes[n % len(scopes)]) for n in range(EXCEPTIONS))
        ),
    )


def report(step: str, spent_s: list[float]) -> None:
    """Print a line."""
    median, worst = (f(spent_s) * 1000 for f in (statistics.median, max))
    sys.stdout.write(f"{step:46} median {median:6.1f} ms, worst {worst:6.1f} ms\n")


def timed(work: Callable[[], object]) -> list[float]:
    """Return how many seconds each of ``ROUNDS`` calls took."""
    spent = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return spent


def packets() -> list[bytes]:
    """Return one packet of each flow, from as many devices as there are."""
    built = []
    for n in range(FLOWS):
        tcp = struct.pack("!HHIIBBHHH", 10_000 + n, 443, 1, 1, 5 << 4, 0x18, 65535, 0, 0)
        ends = (0x0A4D_0000 + n % DEVICES).to_bytes(4) + bytes((203, 0, 113, n % 250))
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp) + 100, 0, 0, 64, 6, 0)
        built.append(head + ends + tcp + bytes(100))
    return built


def ask_again() -> list[float]:
    """Return the seconds in which all flows, allowed before, are judged in a pause."""
    built = packets()
    classifier = Classifier(lambda _: None, build_policy(1, paused=False), 1)
    spent = []
    for turn in range(10):
        for n, octets in enumerate(built):
            p = parse_packet(octets)
            key = FlowKey(p.protocol, p.source, p.source_port, p.destination, p.destination_port)
            reading = Reading("tls", f"www{n % NAMES}.example.org")
            judged = Judged(mac(n % DEVICES), reading, Action.ALLOW, p.source)
            classifier._judged.put(key, judged, judged.mac, 0.0)  # as if all had been read
        classifier.take(build_policy(2 + turn, paused=True), 2 + turn)
        now = Moment(NOW, 0.0)
        start = time.perf_counter()
        for n, octets in enumerate(built):
            sender = mac(n % DEVICES)
            seen = Sighting(parse_packet(octets), parse_request(ASKED), ASKED, sender, now)
            classifier.judge(seen)
        spent.append(time.perf_counter() - start)
    return spent


def change_epoch() -> tuple[list[float], list[float]]:
    """Return the seconds until the kernel is in a new epoch, and until ``nft`` has ended."""
    effective, ended = [], []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as commits:
        commits.bind((0, 1 << (NFNLGRP_NFTABLES - 1)))
        for number in range(ROUNDS):
            epoch = Epoch(1 + number % 255, LABEL, frozenset(map(mac, range(40))))
            start = time.perf_counter()
            change = threading.Thread(target=apply.load_epoch, args=(epoch,))
            change.start()
            commits.recv(1 << 16)
            effective.append(time.perf_counter() - start)
            change.join()
            ended.append(time.perf_counter() - start)
            time.sleep(0.05)
            drain(commits)
    return effective, ended


def drain(commits: socket.socket) -> None:
    """Take what else the kernel says of a commit."""
    while True:
        try:
            commits.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return


def measure() -> None:
    """Print each step in the order of a change."""
    octets = render_snapshot(build_policy(1, paused=False), "")
    report(f"parse a snapshot of {len(octets)} octets", timed(lambda: parse_snapshot(octets)))
    apply.load(RulesetConfig(apply.choose_handoff("auto")), Epoch(1, LABEL))
    effective, ended = change_epoch()
    report("until the kernel is in the new epoch", effective)
    report("until nft has ended", ended)
    report(f"ask again about {FLOWS} flows", ask_again())
    devices = ", ".join(map(mac, range(DEVICES)))
    tagged = ", ".join(f"{mac(n)} . {20 + n % 4}" for n in range(DEVICES))
    subprocess.run(
        ("nft", "-f", "-"),  # noqa: S607  # as the firewall finds it
        input=f"add element bridge schoolgate {UNTAGGED} {{ {devices} }}\n"
        f"add element bridge schoolgate {TAGGED} {{ {tagged} }}\n",
        text=True,
        check=True,
    )
    report(f"read the VLANs of {DEVICES} devices, in a thread", timed(apply.read_vlans))


def main() -> None:
    """Set up the namespace and measure inside it."""
    if sys.argv[1:] == ["inside"]:
        measure()
    elif os.geteuid() != 0:
        sys.exit("bench: needs root, for a network namespace and nftables")
    else:
        inside = ("unshare", "--net", sys.executable, __file__, "inside")
        sys.exit(subprocess.run(inside, check=False).returncode)  # noqa: S603  # this file


main()
