"""A school with a pupil, a member of staff and the internet around the real firewall, in network namespaces."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gate_core.acceptable_use import ROWS, SHIPPED_CELLS
from gate_core.clients import Device, Group, OnFault
from gate_core.names import NameSet
from gate_core.policy import Action, DatedException, Pause, Policy, Scope
from gate_core.snapshot import NO_LISTS, render_snapshot
from gate_core.timetable import Span
from gate_firewall.classify import Classifier, Moment, Sighting
from gate_firewall.marks import Request
from gate_firewall.packet import SYN, TCP

PROCESSES = Path(__file__).parent / "processes"
NOW = datetime.now(UTC)  # noqa: TID251  # the firewall under test has the real clock
TODAY = Span(NOW - timedelta(days=1), NOW + timedelta(days=1))

PUPIL_MAC = "00:00:5e:00:53:10"
STAFF_MAC = "00:00:5e:00:53:20"
ROUTER_MAC = "00:00:5e:00:53:01"
WEB = "203.0.113.5"
WEB6 = "2001:db8:113::5"
BLOCKED = "games.example"
ALLOWED = "maths.example"
NO_DECISION = ("in force", "tagged", "ended")


def build_policy(version=1, *, paused=(), blocked=(BLOCKED,), **changes):
    groups = {
        "ks2": Group("ks2", "Pupils", 2, SHIPPED_CELLS["ks2"]),
        "staff": Group(
            "staff", "Staff", 3, SHIPPED_CELLS["staff"], quic=True, on_fault=OnFault.OPEN
        ),
    }
    return Policy(
        version=version,
        groups=groups,
        rows=ROWS,
        unknown_group="ks2",
        index=NO_LISTS,
        devices={
            PUPIL_MAC: Device(PUPIL_MAC, "laptop", "ks2"),
            STAFF_MAC: Device(STAFF_MAC, "office", "staff"),
        },
        exceptions=tuple(
            DatedException(
                f"x{i}", Scope.SCHOOL, "", NameSet.of((name,)), Action.BLOCK, TODAY, "test"
            )
            for i, name in enumerate(blocked)
        ),
        pauses=tuple(Pause(f"p-{g}", frozenset((g,)), TODAY, "button") for g in paused),
        **changes,
    )


@pytest.fixture
def policy():
    return build_policy


@pytest.fixture(params=[PUPIL_MAC, STAFF_MAC], ids=["pupil", "staff"])
def verdicts(request):
    """What a classifier records of one flow, of a pupil's and of staff: action, reason, kind and name of each event."""

    def verdicts(packets, *blocked):
        """Judge ``packets``, each with whether it is of the responder, where the names ``blocked`` are."""
        policy = build_policy(blocked=blocked)
        groups = {id_: replace(group, quic=True) for id_, group in policy.groups.items()}
        classifier = Classifier({}.get, replace(policy, groups=groups), epoch=1)
        found = []
        answered = False
        for packet, reply in packets:
            mac = ROUTER_MAC if reply else request.param
            answered = answered or reply
            # As conntrack has it: the captures of TCP have one side, whose SYN alone comes before an answer.
            new = not answered and (packet.protocol != TCP or bool(packet.flags & SYN))
            side = Request(from_router=reply, reply=reply, decided=False, new=new)
            seen = Sighting(packet, side, 0, mac, Moment(NOW, 5.0))
            if event := classifier.judge(seen).event:
                found.append((event.action, event.reason, event.kind, event.name))
        return found

    return verdicts


class Namespace:
    def __init__(self, name):
        self.name = name

    def start(self, *command, **options):
        return subprocess.Popen(("ip", "netns", "exec", self.name, *command), **options)

    def run(self, *command, check=True, timeout=20, **options):
        return subprocess.run(
            ("ip", "netns", "exec", self.name, *command),
            capture_output=True,
            text=True,
            check=check,
            timeout=timeout,
            **options,
        )

    def ip(self, text):
        self.run("ip", *text.split())

    def python(self, name, *arguments, **options):
        return self.start(sys.executable, str(PROCESSES / f"{name}.py"), *arguments, **options)

    def curl(self, url, *options):
        """Return curl's exit code and what it got; 0 is a whole answer."""
        command = ("curl", "-sk", "--noproxy", "*", "--max-time", "3", *options, url)
        done = self.run(*command, check=False)
        return done.returncode, done.stdout

    def browse(self, name, *options, scheme="https", address=WEB):
        host = f"[{address}]" if ":" in address else address
        port = 443 if scheme == "https" else 80
        return self.curl(f"{scheme}://{name}/", "--resolve", f"{name}:{port}:{host}", *options)


class Gate:
    """The firewall's process, and what it says."""

    def __init__(self, box, policy):
        self._process = box.python("gate", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._lines = queue.SimpleQueue()
        self.events = []
        self.vlans = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.enforce(policy)

    def _read(self):
        for text in self._process.stdout:
            line = json.loads(text)
            if line[0] == "tagged":
                self.vlans += line[1].items()
            self._lines.put(line)

    def enforce(self, policy):
        """Announce a policy and wait until it is in force."""
        self._version = policy.version
        octets = render_snapshot(policy, "")
        self._process.stdin.write(len(octets).to_bytes(4) + octets)
        self._process.stdin.flush()
        self.wait_for(["in force", policy.version])

    def wait_for(self, line):
        """Return when ``line`` has come; what came before it is in ``events``."""
        end = time.monotonic() + 20
        while (got := self._lines.get(timeout=max(0.1, end - time.monotonic()))) != line:
            if got[0] not in NO_DECISION:
                self.events.append(got)

    def wait_for_event(self, **expected):
        """Return the next event that has the ``expected`` values."""
        fields = ("action", "kind", "name", "rule_id", "group", "mac")
        end = time.monotonic() + 10
        while True:
            for event in self.events:
                named = dict(zip(fields, event, strict=True))
                if expected.items() <= named.items():
                    return named
            self.events.append(self._next_event(end))

    def _next_event(self, end):
        while (got := self._lines.get(timeout=max(0.1, end - time.monotonic())))[0] in NO_DECISION:
            pass
        return got

    def is_usual(self):
        return self._process.poll() is None and self._version == 1

    def signal(self, number):
        self._process.send_signal(number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self, *, kill=False):
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        self._process.wait(10)
        self._reader.join(10)
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()


class School:
    def __init__(self, prefix):
        self._gate = None
        self.box, self.switch, self.pupil, self.staff, self.internet = self.all = [
            Namespace(f"{prefix}-{name}")
            for name in ("box", "switch", "pupil", "staff", "internet")
        ]

    def build(self):
        for namespace in self.all:
            subprocess.run(("ip", "netns", "add", namespace.name), check=True)
            namespace.ip("link set lo up")
        self.switch.ip("link add name ports type bridge mcast_snooping 0 forward_delay 0")
        self.switch.ip("link set ports up")
        self._cable(self.box, "lan0", self.switch, "uplink")
        self.switch.ip("link set uplink master ports")
        self._cable(self.box, "wan0", self.internet, "lan")
        for namespace, number, mac in (
            (self.pupil, "10", PUPIL_MAC),
            (self.staff, "20", STAFF_MAC),
        ):
            self._cable(namespace, "eth0", self.switch, f"port{number}")
            self.switch.ip(f"link set port{number} master ports")
            namespace.ip(f"link set eth0 address {mac}")
            self._address(namespace, "eth0", number)
            namespace.ip("route add default via 10.77.0.1")
            namespace.ip("-6 route add default via fd77::1")
        self._address(self.internet, "lan", "1")
        for address in (WEB, "198.51.100.53"):
            self.internet.ip(f"addr add {address}/32 dev lo")
        self.internet.ip(f"-6 addr add {WEB6}/128 dev lo nodad")

    def _cable(self, one, port, other, other_port):
        one.ip(f"link add {port} type veth peer name {other_port} netns {other.name}")
        one.ip(f"link set {port} up")
        other.ip(f"link set {other_port} up")

    def _address(self, namespace, port, number):
        namespace.ip(f"addr add 10.77.0.{number}/24 dev {port}")
        namespace.ip(f"-6 addr add fd77::{number}/64 dev {port} nodad")

    def gate(self, policy):
        """Start the firewall with ``policy``; one that runs already ends."""
        if self._gate:
            self._gate.end()
        self._gate = Gate(self.box, policy)
        return self._gate

    def usual_gate(self):
        """Return a firewall with the usual policy, the running one where it still has that."""
        if self._gate and self._gate.is_usual():
            return self._gate
        return self.gate(build_policy())

    def raze(self):
        if self._gate:
            self._gate.end()
        for namespace in self.all:
            subprocess.run(("ip", "netns", "del", namespace.name), check=False, capture_output=True)


@pytest.fixture(scope="session")
def root():
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces")


@pytest.fixture
def empty_host(root):
    host = Namespace(f"sgfw{os.getpid()}-empty")
    subprocess.run(("ip", "netns", "add", host.name), check=True)
    yield host
    subprocess.run(("ip", "netns", "del", host.name), check=True)


@pytest.fixture(scope="session")
def school(root):
    school = School(f"sgfw{os.getpid()}")
    try:
        school.build()
        servers = school.internet.python(
            "internet", WEB, WEB6, "198.51.100.53", stdout=subprocess.PIPE
        )
        with servers:
            assert servers.stdout.readline() == b"listening\n"
            yield school
            servers.kill()
    finally:
        school.raze()


@pytest.fixture
def gate(school):
    return school.usual_gate()
