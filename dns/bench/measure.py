"""Measuring: rounds over all servers in turn, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from bench.load import Asked, ask, trace
from bench.processes import cpu_ns, memory_mb
from bench.queries import Questions, expected_blocked
from bench.servers import Kind, Line, Server, WrongError

SOCKETS: Final = (1, 128)
MISS: Final = "miss"
MISS_SOCKETS: Final = 128
MISS_NAMES: Final = 20_000
"""New names of each client in a round."""
MISS_S: Final = 5
"""Longest time of asking them."""
WARM_UP_PASSES: Final = 2
"""How often everything is asked before it counts: whoever keeps answers for who asks again has them all then."""
WARM_UP_S: Final = 10
"""Longest time for that."""
TOLERANCE: Final = 0.005
"""By how much the share of blocked answers may differ: the time may end in the middle of a file."""
RECORD_OCTETS: Final = 10
"""What a record holds of each query at least."""
LATENCY_RATE: Final = 5_000
"""Queries a second while latency is measured: so few that no server has a queue."""
LATENCY_S: Final = 2.0
QUIET_NS: Final = 3_000_000
"""Processor time in a tenth of a second of who only waits."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is asked, and from how many sockets."""

    mix: str
    sockets: int

    def __str__(self) -> str:
        return f"{self.mix}/{self.sockets}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement."""

    worker_us: float
    """Processor time of a query in microseconds."""
    all_us: float
    """The same of all processes, the recorder too."""
    qps: float
    lost: int


@dataclass(slots=True)
class Results:
    """What was measured, by scenario and name of the server."""

    samples: dict[str, dict[str, list[Sample]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    latency_ms: dict[str, dict[str, tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """Median and 99th percentile."""
    memory: dict[str, tuple[float, float]] = field(default_factory=dict)
    """RSS and PSS of the workers, in megabytes."""
    answered: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    blocked: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def worker_us(self, scenario: str, name: str) -> float:
        """Return the median."""
        return median(s.worker_us for s in self.samples[scenario][name])

    def all_us(self, scenario: str, name: str) -> float:
        """Return the median."""
        return median(s.all_us for s in self.samples[scenario][name])


class Bench:
    """The rounds."""

    def __init__(self, line: Line, questions: Questions, seconds: float) -> None:
        self._line = line
        self._questions = questions
        self._seconds = seconds
        self.results = Results()

    def round(self, number: int, mixes: list[str]) -> None:
        """Measure each scenario of each server once."""
        for mix in mixes:
            for sockets in (MISS_SOCKETS,) if mix == MISS else SOCKETS:
                scenario = Scenario(mix, sockets)
                sys.stderr.write(f"round {number + 1}: {scenario}\n")
                files = (
                    self._questions.fresh(number, MISS_NAMES)
                    if mix == MISS
                    else self._questions.files(mix)
                )
                for server in list(self._line.servers):
                    if server.kind is (Kind.FLOOR if mix == MISS else Kind.RELAY):
                        continue
                    try:
                        self._measure(server, scenario, files)
                    except WrongError as e:
                        self._line.drop(server.name, f"{scenario}: {e}")

    def _measure(self, server: Server, scenario: Scenario, files: list[Path]) -> None:
        if scenario.mix != MISS:
            self._ask(server, scenario, files, seconds=WARM_UP_S, passes=WARM_UP_PASSES)
        settle(server)
        kept = _kept_octets(server)
        worker, recorder = cpu_ns(server.workers), cpu_ns(server.recorder)
        if scenario.mix == MISS:
            asked = self._ask(server, scenario, files, seconds=MISS_S, passes=1)
        else:
            asked = self._ask(server, scenario, files, seconds=self._seconds)
        settle(server)
        worker, recorder = cpu_ns(server.workers) - worker, cpu_ns(server.recorder) - recorder
        self.results.samples[str(scenario)][server.name].append(
            Sample(
                worker / asked.answered / 1000,
                (worker + recorder) / asked.answered / 1000,
                asked.qps,
                asked.lost,
            )
        )
        kept = _kept_octets(server) - kept
        if server.kept:
            os.truncate(server.kept, 0)
            if kept < RECORD_OCTETS * asked.answered:
                raise WrongError(f"{kept} octets recorded of {asked.answered} queries")
        if server.kind not in (Kind.FLOOR, Kind.RELAY):
            _check_shares(asked, scenario.mix)

    def _ask(
        self,
        server: Server,
        scenario: Scenario,
        files: list[Path],
        *,
        seconds: float,
        passes: int = 0,
    ) -> Asked:
        asked = ask(server.port, files, scenario.sockets, seconds=seconds, passes=passes)
        if not asked.answered:
            raise WrongError("no answers")
        self.results.answered[server.name] += asked.answered
        self.results.blocked[server.name] += asked.codes["NXDOMAIN"]
        return asked

    def latencies(self, mixes: list[str]) -> None:
        """Measure how soon answers come, at a rate that is no load."""
        for mix in mixes:
            if mix == MISS:
                continue
            for server in self._line.servers:
                if server.kind is Kind.RELAY:
                    continue
                files = self._questions.files(mix)
                self._ask(server, Scenario(mix, 1), files, seconds=WARM_UP_S, passes=WARM_UP_PASSES)
                traced = trace(server.port, files[0], rate=LATENCY_RATE, seconds=LATENCY_S)
                took = sorted(s for _, _, s in traced.answers)
                self.results.answered[server.name] += len(took)
                self.results.blocked[server.name] += sum(
                    c == "NXDOMAIN" for _, c, _ in traced.answers
                )
                self.results.latency_ms[mix][server.name] = (
                    took[len(took) // 2] * 1000,
                    took[len(took) * 99 // 100] * 1000,
                )

    def memory(self) -> None:
        """Look how much memory each server has by now."""
        for server in self._line.servers:
            self.results.memory[server.name] = memory_mb(server.workers)


def settle(server: Server) -> None:
    """Wait until the processes of ``server`` have done what they still had to do, 8 s at most."""
    pids = (*server.workers, *server.recorder)
    before, quiet = cpu_ns(pids), 0
    # Events are put out within two seconds, and written twice a second: quiet is who does nothing for longer than both.
    wanted = 27 if server.recorder else 1
    for _ in range(80):
        if quiet >= wanted:
            return
        time.sleep(0.1)
        now = cpu_ns(pids)
        quiet = quiet + 1 if now - before < QUIET_NS else 0
        before = now


def _kept_octets(server: Server) -> int:
    # Of what is on the disk: whoever does not append leaves a hole after what was cut off.
    return server.kept.stat().st_blocks * 512 if server.kept and server.kept.exists() else 0


def _check_shares(asked: Asked, mix: str) -> None:
    blocked = asked.codes["NXDOMAIN"] / asked.answered
    allowed = asked.codes["NOERROR"] / asked.answered
    wanted = expected_blocked(mix)
    if abs(blocked - wanted) > TOLERANCE or abs(allowed - (1 - wanted)) > TOLERANCE:
        raise WrongError(f"answers are {dict(asked.codes)}; {wanted:.0%} must be NXDOMAIN")
