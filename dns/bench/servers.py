"""All servers side by side, each at a port of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from bench import schoolgate
from bench.lists import Names
from bench.load import CLIENTS
from bench.peers import PEERS, Peer, Site
from bench.processes import free_port, module, running
from bench.queries import Questions

OURS: Final = "schoolgate"
FLOOR: Final = "floor"
RELAY: Final = "relay"
UPSTREAM_ADDRESS: Final = "192.0.2.1"
"""What ``floor.c`` answers."""
START_S: Final = 180
"""How long a server may take to read the list."""
CHECKED: Final = 30
"""Names of each kind that every server is asked before it is measured."""


class Kind(Enum):
    """What a server is compared with."""

    OURS = "ours"
    FLOOR = "floor"
    RELAY = "relay"
    BARE = "bare"
    SAME_WORK = "same work"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    name: str
    kind: Kind
    port: int
    workers: tuple[int, ...]
    """Its processes."""
    recorder: tuple[int, ...] = ()
    """Processes besides, which keep its record."""
    kept: Path | None = None
    """File of the record that grows; None where there is none, or it is no single file."""
    by_client: bool = False
    """Whether it has a list for the first client only."""
    started_s: float = 0.0
    """From its start to its first answer, the list read."""


class WrongError(Exception):
    """A server does not do what it is measured for; the message says what."""


def build_floor(folder: Path) -> Path:
    """Compile ``floor.c`` and return the program."""
    program = folder / "floor"
    source = Path(__file__).with_name("floor.c")
    subprocess.run(["gcc", "-O2", "-o", str(program), str(source)], check=True)  # noqa: S603, S607
    return program


class Line:
    """Starts servers in turn; those that fail are told of and left out."""

    def __init__(self, stack: ExitStack, folder: Path, names: Names, only: Sequence[str]) -> None:
        """Start the upstream of all.

        Args:
            stack: Ends what was started.
            folder: For the files of all.
            names: What they block.
            only: Names of servers, to leave out all others; empty for all.
        """
        self._stack = stack
        self._folder = folder
        self._names = names
        self._only = only
        self._floor = build_floor(folder)
        self.upstream = free_port()
        stack.enter_context(
            running([str(self._floor), str(self.upstream)], folder / "upstream.log")
        )
        self.servers: list[Server] = []
        self.faults: list[str] = []
        """What was wrong with whom."""

    def wants(self, name: str) -> bool:
        """Tell whether the server ``name`` takes part."""
        return not self._only or name in self._only

    def drop(self, name: str, reason: str) -> None:
        """Say what is wrong with the server ``name`` and leave it out; we ourselves stay, so that we are seen."""
        self.faults.append(f"{'WRONG' if name == OURS else 'DROPPED'} {name}: {reason}")
        sys.stderr.write(f"{self.faults[-1]}\n")
        self.servers = [s for s in self.servers if s.name == OURS or s.name != name]

    def start_floor(self) -> None:
        """Start the program that only echoes."""
        port = free_port()
        pid = self._stack.enter_context(
            running([str(self._floor), str(port)], self._folder / "floor.log")
        )
        self.servers.append(Server(FLOOR, Kind.FLOOR, port, (pid,)))

    def start_relay(self) -> None:
        """Start the program in Python that only forwards."""
        port = free_port()
        command = module("relay", str(port), str(self.upstream))
        name, log = self._names.listed[0], self._folder / "relay.log"
        pid, _ = self._stack.enter_context(answering(command, port, name, log))
        self.servers.append(Server(RELAY, Kind.RELAY, port, (pid,)))

    def start_ours(self, folder: Path) -> Server:
        """Start recorder and worker in the folder of a ``schoolgate.School`` that has published a policy."""
        log = self._folder / "schoolgate.log"
        recorder = self._stack.enter_context(running(schoolgate.recorder_command(folder), log))
        port = free_port()
        command = schoolgate.worker_command(folder, port, self.upstream)
        pid, took = self._stack.enter_context(answering(command, port, self._names.listed[0], log))
        server = Server(OURS, Kind.OURS, port, (pid,), (recorder,), by_client=True, started_s=took)
        self.servers.append(server)
        return server

    def start_peers(self) -> None:
        """Start each peer bare, and with each of its records."""
        for peer in PEERS:
            for record in ("", *peer.records):
                name = f"{peer.name}+{record.replace(' ', '-')}" if record else peer.name
                if not (self.wants(peer.name) or self.wants(name)):
                    continue
                try:
                    self._start_peer(peer, name, record)
                except WrongError as e:
                    self.drop(name, str(e))

    def _start_peer(self, peer: Peer, name: str, record: str) -> None:
        if not shutil.which(peer.program):
            raise WrongError(f"{peer.program} is not installed")
        folder = self._folder / name
        folder.mkdir()
        site = Site(folder, free_port(), self.upstream, self._names, record, free_port())
        if record and peer.reader:
            self._stack.enter_context(running(peer.reader(site), folder / "reader.log"))
        command = peer.command(site)
        pid, took = self._stack.enter_context(
            answering(command, site.port, self._names.listed[0], folder / "log")
        )
        kind = Kind.SAME_WORK if record else Kind.BARE
        kept = site.kept if record else None
        by_client = bool(record) and peer.by_client
        self.servers.append(
            Server(name, kind, site.port, (pid,), (), kept, by_client=by_client, started_s=took)
        )

    def check(self, questions: Questions, names: Names) -> None:
        """Leave out whoever answers otherwise than asked for."""
        for server in list(self.servers):
            if server.kind in (Kind.FLOOR, Kind.RELAY):
                continue
            try:
                check(server, questions, names)
            except WrongError as e:
                self.drop(server.name, str(e))


@contextmanager
def answering(
    command: Sequence[str], port: int, name: str, log: Path
) -> Iterator[tuple[int, float]]:
    """Run a server; yield its process ID and the seconds until it first answered a query for ``name``.

    Raises:
        WrongError: It ended, or did not answer in time.
    """
    query = dns.message.make_query(name, dns.rdatatype.A, use_edns=False)
    before = time.perf_counter()
    with running(command, log) as pid:
        while not _answers(query, port):
            took = time.perf_counter() - before
            if took > START_S or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] == "Z":
                raise WrongError(f"no answer after {took:.0f} s: {log.read_text()[-500:].strip()}")
        yield pid, time.perf_counter() - before


def _answers(query: dns.message.Message, port: int) -> bool:
    try:
        dns.query.udp(query, "127.0.0.1", timeout=0.05, port=port, source=CLIENTS[0])
    except (dns.exception.Timeout, OSError):
        time.sleep(0.005)
        return False
    return True


def check(server: Server, questions: Questions, names: Names) -> None:
    """Ask ``server`` some names of each kind from each client.

    Raises:
        WrongError: An answer is not as it must be.
    """

    def each(some: Sequence[str], client: str, wanted: str, what: str) -> None:
        for name in some:
            if (got := _outcome(server.port, client, name)) != wanted:
                raise WrongError(f"{name} ({what}), asked from {client}, gives {got}")

    blocked, allowed = questions.blocked[:CHECKED], questions.allowed[:CHECKED]
    for client in CLIENTS:
        each(blocked, client, "NXDOMAIN", "listed")
        each([f"below.{n}" for n in blocked], client, "NXDOMAIN", "below a listed name")
        each(allowed, client, UPSTREAM_ADDRESS, "allowed")
        if server.by_client:
            only = "NXDOMAIN" if client == CLIENTS[0] else UPSTREAM_ADDRESS
            each(names.first_only[:CHECKED], client, only, "for the first client")


def _outcome(port: int, client: str, name: str) -> str:
    """Return the address that ``name`` gets, else the RCODE."""
    query = dns.message.make_query(name, dns.rdatatype.A, use_edns=False)
    try:
        response = dns.query.udp(query, "127.0.0.1", timeout=3, port=port, source=client)
    except dns.exception.Timeout:
        return "no answer"
    addresses = [str(item) for rrset in response.answer for item in rrset]
    return addresses[-1] if addresses else dns.rcode.to_text(response.rcode())
