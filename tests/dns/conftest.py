"""Fakes of the ports, a small school, an upstream that misbehaves on demand, and a real worker in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rrset
import pytest

from gate_core.acceptable_use import ROWS, SHIPPED_CELLS
from gate_core.categories import mask_of
from gate_core.clients import Device, Group
from gate_core.events import Batch, Counters, Event, InForce, Message
from gate_core.names import NameSet, suffixes
from gate_core.policy import Policy
from gate_core.upstreams import Upstream
from gate_dns.server import BlockAnswer, DnsPorts, DnsSettings, serve

NOON = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
LAPTOP = "00:00:5e:00:53:10"
NO_EDNS = -1
"""The version of EDNS in a message without."""
STAFF_PC = "00:00:5e:00:53:20"


class FakeIndex:
    def __init__(self, categories: dict[str, str], addresses: dict[str, str] | None = None) -> None:
        self._masks = {name: mask_of([category]) for name, category in categories.items()}
        self._addresses = {
            ip_address(address).packed: mask_of([category])
            for address, category in (addresses or {}).items()
        }
        self.lists_addresses = bool(addresses)

    def mask(self, name: str) -> int:
        mask = 0
        for suffix in suffixes(name):
            mask |= self._masks.get(suffix, 0)
        return mask

    def address_mask(self, address: bytes) -> int:
        assert self.lists_addresses
        return self._addresses.get(address, 0)


@dataclass
class FakeClock:
    at: datetime | None = NOON

    def now(self) -> datetime | None:
        return self.at


@dataclass
class FakeNeighbours:
    macs: dict[str, str] = field(default_factory=dict)
    reachable: set[str] = field(default_factory=set)
    asked: Counter = field(default_factory=Counter)
    solicited: Counter = field(default_factory=Counter)

    def mac(self, address) -> str | None:
        self.asked[str(address)] += 1
        return self.macs.get(str(address))

    def solicit(self, address) -> bool:
        self.solicited[str(address)] += 1
        return str(address) in self.reachable


class FakeEvents:
    def __init__(self) -> None:
        self.held: list[Message | Event] = []

    def put(self, message: Message | Event) -> None:
        self.held.append(message)

    def flush(self) -> None:
        pass

    @property
    def events(self) -> list[Event]:
        return [e for batch in self.held if isinstance(batch, Batch) for e in batch.events()]

    @property
    def in_force(self) -> list[InForce]:
        return [e for e in self.held if isinstance(e, InForce)]

    @property
    def counters(self) -> list[Counters]:
        return [e for e in self.held if isinstance(e, Counters)]


class FakePins:
    def __init__(self) -> None:
        self.held: list[tuple[str, tuple[bytes, ...], float]] = []

    def put(self, target: str, addresses, lasts_s: float) -> None:
        self.held.append((target, tuple(addresses), lasts_s))

    def renew(self) -> None:
        pass


class FakePolicies:
    """A source whose announcements are octets in a socket pair, and which can end the worker that reads it."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._announced = policy
        self._stopped = False
        self._ours, self._theirs = socket.socketpair()

    def current(self) -> Policy:
        return self._policy

    def fileno(self) -> int:
        return self._theirs.fileno()

    def refresh(self) -> bool:
        self._theirs.recv(64)
        if self._stopped:
            raise SystemExit(0)
        changed = self._announced.version != self._policy.version
        self._policy = self._announced
        return changed

    def publish(self, **changes) -> None:
        self._announced = replace(self._announced, version=self._announced.version + 1, **changes)
        self._ours.send(b"x")

    def stop(self) -> None:
        self._stopped = True
        self._ours.send(b"x")

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


@pytest.fixture
def neighbours() -> FakeNeighbours:
    return FakeNeighbours()


@pytest.fixture
def events() -> FakeEvents:
    return FakeEvents()


@pytest.fixture
def pins() -> FakePins:
    return FakePins()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def policies(school):
    made = FakePolicies(school)
    yield made
    made.close()


CATEGORIES = {
    "games.example": "games",
    "tracker.example": "pornography",
    "poster.example": "pornography",
    "vile.example": "child-abuse",
    "sums.example": "games-educational",
    "video.example": "video",
}


@pytest.fixture
def school() -> Policy:
    """A school with pupils (group of unknown devices) and staff; it is not a time at which games are acceptable."""
    groups = {
        id_: Group(id_, id_, number, SHIPPED_CELLS[id_])
        for number, id_ in enumerate(("ks2", "staff"), start=1)
    }
    return Policy(
        version=7,
        groups=groups,
        rows=ROWS,
        unknown_group="ks2",
        index=FakeIndex(CATEGORIES),
        devices={
            LAPTOP: Device(LAPTOP, "laptop", "ks2"),
            STAFF_PC: Device(STAFF_PC, "staff-pc", "staff"),
        },
        canaries=NameSet.of(["use-application-dns.net"]),
    )


@pytest.fixture
def knowing(school) -> Policy:
    """The school, whose lists know addresses, too."""
    addresses = {
        "192.0.2.66": "pornography",
        "2001:db8::66": "pornography",
        "192.0.2.67": "child-abuse",
        "192.0.2.68": "games-educational",
    }
    return replace(school, index=FakeIndex(CATEGORIES, addresses))


@pytest.fixture
def settings() -> DnsSettings:
    return DnsSettings(
        listen=(IPv4Address("127.0.0.1"), IPv6Address("::1")),
        port=53,
        upstreams=(Upstream(IPv4Address("192.0.2.1")),),
        block_answer=BlockAnswer.BLOCK_PAGE,
        block_ttl_s=1,
        block_page_ipv4=IPv4Address("192.0.2.2"),
        block_page_ipv6=IPv6Address("2001:db8::2"),
    )


def drain(connection: socket.socket) -> None:
    """Take what comes and say nothing, until the other side closes."""
    with connection:
        while connection.recv(4096):
            pass


class FakeUpstream:
    """An authoritative server of its own zone; what it does with a name stands in ``zone`` and ``manners``."""

    def __init__(self, address: str, port: int) -> None:
        self.address = address
        self.port = port
        self.zone: dict[str, list[str]] = {}
        """Name to lines of records: ``300 IN A 192.0.2.10``; more may follow for the target of a CNAME record."""
        self.manners: dict[str, str] = {}
        """Name to silent, forged-id, forged-name, forged-source, forged-often, lower-case, twice, servfail,
        bogus, filtered, refused, truncated, cut, silent-tcp (truncated, and nothing over TCP), garbage, looping; no-edns where EDNS is not understood, no-edns-short
        where the question is left out, too, when it says so, no-edns-servfail where what is asked without gets
        SERVFAIL; formerr where nothing is understood."""
        self.asked: Counter = Counter()
        self.queries: list[tuple[int, dns.message.Message]] = []
        """Source port and message of each query over UDP."""
        self._done = False
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._udp = socket.socket(family, socket.SOCK_DGRAM)
        self._tcp = socket.socket(family, socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._udp.bind((address, port))
        self._tcp.bind((address, port))
        self._tcp.listen(16)
        self._threads = [
            threading.Thread(target=t, daemon=True) for t in (self._serve_udp, self._serve_tcp)
        ]
        for thread in self._threads:
            thread.start()

    def _serve_udp(self) -> None:
        while True:
            octets, peer = self._udp.recvfrom(4096)
            if self._done:
                return
            query = dns.message.from_wire(octets)
            self.asked["udp"] += 1
            self.queries.append((peer[1], query))
            for answer in self._answers(query, peer):
                self._udp.sendto(answer, peer)

    def _serve_tcp(self) -> None:
        while True:
            connection, _ = self._tcp.accept()
            with connection:
                if self._done:
                    return
                self.asked["tcp"] += 1
                try:
                    query, _ = dns.query.receive_tcp(connection, time.time() + 2)
                except EOFError:
                    continue  # Whoever opened it has given up.
                if self.manners.get(self._name(query)) == "silent-tcp":
                    threading.Thread(target=drain, args=(connection.dup(),), daemon=True).start()
                    continue
                answer = self._right(query).to_wire(max_size=0xFFFF)
                if self.manners.get(self._name(query)) == "cut":
                    connection.sendall(len(answer).to_bytes(2, "big") + answer[:-1])
                else:
                    dns.query.send_tcp(connection, answer, time.time() + 2)

    def _name(self, query: dns.message.Message) -> str:
        return query.question[0].name.to_text(omit_final_dot=True).lower()

    def _right(self, query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query, recursion_available=True)
        manner = self.manners.get(self._name(query))
        if manner == "formerr" or ((manner or "").startswith("no-edns") and query.edns != NO_EDNS):
            answer.use_edns(edns=False)
            answer.set_rcode(dns.rcode.FORMERR)
            if manner == "no-edns-short":
                answer.question = []
            return answer
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        owner = query.question[0].name
        lines = self.zone.get(self._name(query), [])
        for line in lines:
            ttl, _, rdtype, rdata = line.split(" ", 3)
            if rdtype in (kind, "CNAME"):
                answer.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", rdtype, rdata))
                if rdtype == "CNAME":
                    owner = dns.name.from_text(rdata)
        if not lines:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        if not answer.answer:
            soa = "ns.example. hostmaster.example. 1 3600 600 86400 30"
            answer.authority.append(dns.rrset.from_text("example.", 60, "IN", "SOA", soa))
        return answer

    def _answers(self, query: dns.message.Message, peer: tuple) -> list[bytes]:
        """Return the datagrams that ``query`` gets, in their order."""
        answer = self._right(query)
        manner = self.manners.get(self._name(query))
        right = answer.to_wire(max_size=0xFFFF)
        datagrams = [right]
        match manner:
            case None | "no-edns" | "no-edns-short" | "formerr":
                pass
            case "silent":
                datagrams = []
            case "forged-id":
                forged = self._forged(answer)
                datagrams = [bytes((forged[0] ^ 1,)) + forged[1:], right]
            case "forged-often":
                # Nobody answers but the forger.
                forged = self._forged(answer)
                wrong = (number ^ query.id for number in range(1, 40))
                datagrams = [number.to_bytes(2, "big") + forged[2:] for number in wrong]
            case "forged-name":
                other = dns.message.make_query("other.example", "A", id=query.id)
                datagrams = [dns.message.make_response(other).to_wire(), right]
            case "forged-source":
                with socket.socket(self._udp.family, socket.SOCK_DGRAM) as elsewhere:
                    elsewhere.sendto(self._forged(answer), peer)
            case "garbage":
                datagrams = [b"", b"\0", right[:2] + b"\x80" + b"\xff" * 40, right]
            case "twice":
                datagrams = [right, right]
            case "lower-case":
                end = 12 + len(query.question[0].name.to_wire())
                datagrams = [right[:12] + right[12:end].lower() + right[end:]]
            case _:
                datagrams = [self._bent(answer, manner)]
        return datagrams

    def _forged(self, answer: dns.message.Message) -> bytes:
        forged = dns.message.from_wire(answer.to_wire())
        owner = forged.question[0].name
        forged.answer = [dns.rrset.from_text(owner, 60, "IN", "A", "203.0.113.66")]
        return forged.to_wire()

    def _bent(self, answer: dns.message.Message, manner: str) -> bytes:
        owner = answer.question[0].name
        match manner:
            case "no-edns-servfail" if answer.rcode() != dns.rcode.FORMERR:
                answer.answer = []
                answer.set_rcode(dns.rcode.SERVFAIL)
            case "servfail" | "refused":
                answer.answer = answer.authority = []
                answer.set_rcode(dns.rcode.from_text(manner))
            case "bogus" | "filtered":
                answer.answer = answer.authority = []
                rcode, code = ("SERVFAIL", 6) if manner == "bogus" else ("REFUSED", 17)
                answer.set_rcode(dns.rcode.from_text(rcode))
                answer.use_edns(options=[dns.edns.EDEOption(code)])
            case "looping":
                ends = (owner, dns.name.from_text("loop.example"))
                answer.answer = [
                    dns.rrset.from_text(one, 60, "IN", "CNAME", other.to_text())
                    for one, other in (ends, ends[::-1])
                ]
            case "truncated" | "cut" | "silent-tcp":
                answer.flags |= dns.flags.TC
                answer.answer = []
        return answer.to_wire(max_size=0xFFFF)

    def close(self) -> None:
        if self._done:
            return
        self._done = True
        family = self._udp.family
        with socket.socket(family, socket.SOCK_DGRAM) as knock:
            knock.sendto(b"", (self.address, self.port))
        with socket.create_connection((self.address, self.port)):
            pass
        for thread in self._threads:
            thread.join(5)
        self._udp.close()
        self._tcp.close()


@dataclass
class Served:
    """A worker that is running."""

    settings: DnsSettings
    policies: FakePolicies
    neighbours: FakeNeighbours
    clock: FakeClock
    events: FakeEvents
    pins: FakePins
    stop: Callable[[], None]
    """Ends it; may be called again."""

    @property
    def port(self) -> int:
        return self.settings.port

    def udp(
        self, name, kind="A", *, to="127.0.0.1", timeout=8.0, query=None, **options
    ) -> dns.message.Message:
        query = query or dns.message.make_query(name, kind, **options)
        return dns.query.udp(query, to, port=self.port, timeout=timeout)

    def tcp(self, name, kind="A", *, to="127.0.0.1", timeout=8.0, **options) -> dns.message.Message:
        return dns.query.tcp(
            dns.message.make_query(name, kind, **options), to, port=self.port, timeout=timeout
        )


def wait_for(condition, timeout=8.0):
    """Return the first true value of ``condition``; fail when there is none in time."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if value := condition():
            return value
        threading.Event().wait(0.01)
    raise AssertionError("nothing happened in time")


@pytest.fixture
def until():
    return wait_for


@pytest.fixture
def start_upstream(free_port):
    """Start upstreams, at one port for all."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []

        def start(address: str = "127.0.0.1") -> FakeUpstream:
            if not ports:
                ports.append(free_port("127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"))
            upstream = FakeUpstream(address, ports[0])
            stack.callback(upstream.close)
            upstream.zone["allowed.example"] = ["300 IN A 192.0.2.10", "300 IN AAAA 2001:db8::10"]
            return upstream

        yield start


@pytest.fixture
def upstream(start_upstream) -> FakeUpstream:
    return start_upstream()


@pytest.fixture
def start_worker(school, settings, free_port):
    """Start workers, each with its own fakes."""
    with contextlib.ExitStack() as stack:

        def start(upstreams=(), *, policy=school, given=None, **changes) -> Served:
            listen = changes.pop("listen", ("127.0.0.1", "::1"))
            used = replace(
                settings,
                listen=tuple(ip_address(a) for a in listen),
                port=changes.pop("port", None) or free_port(*listen),
                upstreams=tuple(Upstream(ip_address(u.address), u.port) for u in upstreams)
                or (Upstream(IPv4Address("127.0.0.9"), 9),),
                **changes,
            )
            policies = FakePolicies(policy)
            faults: list[BaseException] = []

            def stop() -> None:
                if thread.is_alive():
                    policies.stop()
                    thread.join(5)
                assert not thread.is_alive()
                assert not faults

            served = Served(
                used, policies, FakeNeighbours(), FakeClock(), FakeEvents(), FakePins(), stop
            )
            ports = DnsPorts(
                policies,
                served.neighbours,
                served.clock,
                served.events,
                served.pins,
                (given,) if given else (),
            )

            def run() -> None:
                try:
                    serve(used, ports, worker=3)
                except SystemExit:
                    pass
                except BaseException as e:  # noqa: BLE001  # shown by the test
                    faults.append(e)

            thread = threading.Thread(target=run, daemon=True)
            stack.callback(policies.close)
            thread.start()
            wait_for(lambda: served.events.in_force or faults)
            if faults:
                raise faults[0]
            stack.callback(stop)
            return served

        yield start


@pytest.fixture
def worker(start_worker, upstream) -> Served:
    return start_worker([upstream])
