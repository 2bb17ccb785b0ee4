"""The ways to pass packets, all set up side by side, each between a client and a server of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from bench import schoolgate as dns_schoolgate
from bench.processes import running
from bench_firewall import rules, schoolgate, suricata
from bench_firewall.network import PUPIL, SERVER, Site
from gate_firewall.queues import LISTING, parse_queues

PLAIN, EMPTY, OURS = "plain", "empty", "schoolgate"
ACCEPT, FLOOR, SURICATA = "accept", "floor", "suricata"
WAYS: Final = {
    PLAIN: "bridge without br_netfilter",
    EMPTY: "bridge with an empty ruleset",
    OURS: "Schoolgate",
    ACCEPT: "accept loop in Python, our rules",
    FLOOR: "accept loop in C, our rules",
    SURICATA: "Suricata, NFQ with bypass",
}
"""What is measured, by the word for it on the command line."""

START_S: Final = 60
"""How long a way may take until the first connection comes through."""
TLS_PORT: Final = 443
_SERVING: Final = 32
"""Threads of a TLS server: one waits a while for each hello that is blocked."""
_CHECKED: Final = 5
"""Blocked names that are asked for in a check."""
_DROPPED: Final = 5
"""Rules of Suricata: a handful, where we have a million names."""


class WrongError(Exception):
    """A way does not do what it is measured for; the message says what."""


class Tried(NamedTuple):
    """What came of some TLS connections."""

    done: int
    failed: int
    p50_us: int
    p99_us: int


class Queued(NamedTuple):
    """Packets that waited in the queues of a network namespace."""

    packets: int
    lost: int


@dataclass(frozen=True, slots=True)
class Way:
    """A way that works."""

    name: str
    site: Site
    pid: int = 0
    """The process behind the queue; 0 where there is none."""

    def pids(self) -> tuple[int, ...]:
        """Return its process with all its children."""
        return _family(self.pid) if self.pid else ()

    def queued(self) -> Queued:
        """Return what its queues have seen so far."""
        if not self.pid:
            return Queued(0, 0)
        return count(Path(f"/proc/{self.pid}/{LISTING.relative_to('/proc')}").read_text())


def count(listing: str) -> Queued:
    """Return the sums over the queues in a ``listing`` of the kernel."""
    queues = parse_queues(listing)
    return Queued(
        sum(queue.queued for queue in queues),
        sum(queue.dropped_full + queue.dropped_unread for queue in queues),
    )


def _family(pid: int) -> tuple[int, ...]:
    children = [
        int(child)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for child in path.read_text().split()
    ]
    return (pid, *(each for child in children for each in _family(child)))


def _has_ended(pid: int) -> bool:
    # proc_pid_stat(5): the state follows the name, which may hold anything.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@dataclass(frozen=True, slots=True)
class Material:
    """What all ways are measured with."""

    folder: Path
    school: Path
    """Folder of the published policy."""
    allowed: Path
    """File of server names that the pupil may open, a line each."""
    blocked: Sequence[str]
    """Names that the pupil may not."""
    tls: Path
    """The program made of ``tls.c``."""
    floor: Path
    """The one made of ``floor.c``."""
    certificate: Path
    key: Path


def make_material(
    folder: Path, school: Path, allowed: Sequence[str], blocked: Sequence[str]
) -> Material:
    """Compile the programs and write the files into ``folder``."""
    source = Path(__file__).parent
    made = Material(
        folder,
        school,
        folder / "allowed",
        blocked,
        folder / "tls",
        folder / "floor",
        folder / "certificate.pem",
        folder / "key.pem",
    )
    made.allowed.write_text("".join(f"{name}\n" for name in allowed))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    files = ("-keyout", str(made.key), "-out", str(made.certificate))
    for command in (
        ("gcc", "-O2", "-o", made.floor, source / "floor.c", "-lnetfilter_queue"),
        ("gcc", "-O2", "-pthread", "-o", made.tls, source / "tls.c", "-lssl", "-lcrypto"),
        ("openssl", "req", "-x509", *curve, *files, "-subj", "/CN=server", "-days", "2"),
    ):
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)  # noqa: S603  # our own words
    return made


@dataclass(slots=True)
class Line:
    """Sets up the ways in turn; those that fail are told of and left out."""

    stack: ExitStack
    """Ends what was started."""
    material: Material
    ways: list[Way] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What was wrong with whom."""
    failed: Counter[str] = field(default_factory=Counter)
    """TLS connections that did not come about while they were measured, by way."""

    def start(self, name: str) -> None:
        """Set up the way called ``name``."""
        site = Site(name)
        try:
            site.build()
            self._serve(site)
            way = Way(name, site, self._lay(site))
            self._wait(way)
            self._check(way)
        except (OSError, WrongError) as e:
            self.drop(name, f"{e}{self._said(name)}")
        else:
            self.ways.append(way)

    def drop(self, name: str, reason: str) -> None:
        """Say what is wrong with the way ``name`` and leave it out."""
        self.faults.append(f"{'WRONG' if name == OURS else 'DROPPED'} {name}: {reason}")
        sys.stderr.write(f"{self.faults[-1]}\n")
        self.ways = [way for way in self.ways if way.name != name]

    def ask(
        self, way: Way, names: Path, *, seconds: float, threads: int, rate: float = 0.0
    ) -> Tried:
        """Open TLS connections as the pupil; ``rate`` a second, 0 for as many as there can be.

        Raises:
            OSError: The client failed.
        """
        words = (PUPIL, SERVER, str(TLS_PORT), str(names), str(seconds), str(threads), str(rate))
        told = way.site.run("client", str(self.material.tls), "ask", *words)
        return Tried(*map(int, told.split()))

    def _run(self, site: Site, command: Sequence[str], log: str = "") -> int:
        path = self.material.folder / f"{site.name}{log}.log"
        return self.stack.enter_context(running(command, path))

    def _serve(self, site: Site) -> None:
        files = (str(self.material.certificate), str(self.material.key))
        serve = (str(self.material.tls), "serve", SERVER, str(TLS_PORT), *files, str(_SERVING))
        self._run(site, site.inside("server", *serve), "-server")
        self._run(site, site.inside("server", "iperf3", "--server", "--bind", SERVER), "-server")

    def _lay(self, site: Site) -> int:
        """Make the box of ``site`` pass packets in its way; return the process behind the queue, 0 where there is none."""
        if site.name in (PLAIN, EMPTY):
            site.bridge(filtered=site.name == EMPTY)
            return 0
        return self._run(site, site.inside("box", *self._command(site)))

    def _command(self, site: Site) -> list[str]:
        material = self.material
        if site.name == OURS:
            self._run(site, dns_schoolgate.recorder_command(material.school), "-recorder")
            self._run(site, schoolgate.sinkhole_command(material.school, material.allowed), "-dns")
            return schoolgate.command(material.school)
        if site.name == SURICATA:
            if not suricata.ROOT.is_dir():
                raise OSError(f"mmdebstrap could not make {suricata.ROOT}")
            folder = material.folder / site.name
            folder.mkdir()
            return suricata.lay(site, folder, material.blocked[:_DROPPED])
        site.run("box", sys.executable, "-m", "bench_firewall.rules")
        if site.name == FLOOR:
            numbers = (rules.QUEUE, rules.KEPT, rules.ACCEPTED, rules.BARE)
            return [str(material.floor), *map(str, numbers)]
        return [sys.executable, "-m", "bench_firewall.accept"]

    def _wait(self, way: Way) -> None:
        begun = time.monotonic()
        while self.ask(way, self.material.allowed, seconds=0.05, threads=1).done == 0:
            took = time.monotonic() - begun
            if took > START_S or (way.pid and _has_ended(way.pid)):
                raise WrongError(f"no connection after {took:.0f} s")

    def _check(self, way: Way) -> None:
        """Look whether allowed names pass, and blocked ones don't where somebody is there to block them.

        Raises:
            WrongError: They do not, or they do.
        """
        if (tried := self.ask(way, self.material.allowed, seconds=0.5, threads=4)).failed:
            raise WrongError(f"{tried.failed} of {tried.done + tried.failed} allowed names fail")
        if way.name in (OURS, SURICATA):
            blocked = self.material.folder / "blocked"
            blocked.write_text("".join(f"{name}\n" for name in self.material.blocked[:_CHECKED]))
            tried = self.ask(way, blocked, seconds=0.5, threads=_CHECKED, rate=2 * _CHECKED)
            if done := tried.done:
                raise WrongError(f"{done} connections to blocked names come about")

    def _said(self, name: str) -> str:
        log = self.material.folder / f"{name}.log"
        return f"; its last words: {log.read_text()[-300:].strip()}" if log.exists() else ""
