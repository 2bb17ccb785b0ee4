"""Measuring: rounds over all ways in turn, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from statistics import median
from typing import Final

from bench.processes import cpu_ns
from bench_firewall import quic
from bench_firewall.network import SERVER, STAFF
from bench_firewall.ways import Line, Tried, Way, WrongError

_ASKING: Final = 8
"""Threads that open connections as fast as they can."""
_HELLO_RATE: Final = 200
"""Connections a second while a hello is measured: so few that none waits for another."""
_QUIC_FLOWS: Final = 40
_SMALL_OCTETS: Final = 64
"""Payload of a small datagram."""
_TOLERANCE: Final = 0.01
"""Share of connections that may fail, on a machine that does other things too; they are told of."""
_FEW: Final = 5_000
"""Packets of one long flow that may be queued before it counts as one that never passes the queue by."""


class Figure(Enum):
    """What is measured; what the number is."""

    BULK = "bulk TCP, Gbit/s"
    PACKETS = "datagrams of 64 octets, thousands a second"
    CONNECTIONS = "new TLS connections a second"
    CPU_BUSY = "CPU microseconds a queued packet, as many connections as there can be"
    CPU = "the same, 200 connections a second"
    QUEUED_TLS = "packets queued of a TLS flow"
    QUEUED_QUIC = "packets queued of a QUIC flow"
    P50 = "connect and hello, median in ms"
    P99 = "connect and hello, 99th percentile in ms"


Samples = dict[Figure, dict[str, list[float]]]
"""What was measured, by figure and way, in the order of the rounds."""
Measure = Callable[[Line, Way, float], dict[Figure, float]]
"""Measures a way for so many seconds."""


class Results:
    """What was measured."""

    def __init__(self) -> None:
        self._samples: Samples = defaultdict(lambda: defaultdict(list))

    def add(self, way: str, figures: dict[Figure, float]) -> None:
        """Keep what one measurement of ``way`` gave."""
        for figure, value in figures.items():
            self._samples[figure][way].append(value)

    def get(self, figure: Figure, way: str) -> float | None:
        """Return the median; None where nothing was measured."""
        samples = self._samples[figure][way]
        return median(samples) if samples else None

    def ratio(self, figure: Figure, way: str, other: str) -> float | None:
        """Return how ``way`` stands to ``other``; None where one of them was not measured."""
        ours, theirs = self.get(figure, way), self.get(figure, other)
        return ours / theirs if ours is not None and theirs else None


def measure_all(
    line: Line, measures: Sequence[tuple[str, Measure]], seconds: float, rounds: int
) -> Results:
    """Measure every way so often; one that fails is left out from there on."""
    results = Results()
    for number in range(1, rounds + 1):
        for word, measure in measures:
            sys.stderr.write(f"round {number} of {rounds}: {word}\n")
            # Another one is first in each round: what a measurement leaves behind meets all of them alike.
            first = number % max(1, len(line.ways))
            for way in line.ways[first:] + line.ways[:first]:
                try:
                    results.add(way.name, _measure(line, way, measure, seconds))
                except (OSError, WrongError) as e:
                    line.drop(way.name, f"{word}: {e}")
    return results


def _measure(line: Line, way: Way, measure: Measure, seconds: float) -> dict[Figure, float]:
    lost = way.queued().lost
    figures = measure(line, way, seconds)
    if lost := way.queued().lost - lost:
        raise WrongError(f"{lost} packets found no room in a queue")
    return figures


def bulk(_: Line, way: Way, seconds: float) -> dict[Figure, float]:
    """Measure a download."""
    # One that measures no times: how busy the machine is does not make it send less.
    end = _iperf(way, seconds, "--reverse", "--congestion", "cubic")
    return {Figure.BULK: end["sum_received"]["bits_per_second"] / 1e9}


def packets(_: Line, way: Way, seconds: float) -> dict[Figure, float]:
    """Measure small datagrams, sent as fast as can be; what arrives counts."""
    words = ("--udp", "--bitrate", "0", "--length", str(_SMALL_OCTETS))
    total = _iperf(way, seconds, *words)["sum"]
    return {Figure.PACKETS: (total["packets"] - total["lost_packets"]) / total["seconds"] / 1e3}


def connections(line: Line, way: Way, seconds: float) -> dict[Figure, float]:
    """Measure how many TLS connections come about, one after the other in each of some threads."""
    spent, queued = cpu_ns(way.pids()), way.queued().packets
    tried = _ask(line, way, seconds=seconds, threads=_ASKING)
    spent, queued = cpu_ns(way.pids()) - spent, way.queued().packets - queued
    figures = {Figure.CONNECTIONS: tried.done / seconds}
    return figures | ({Figure.CPU_BUSY: spent / queued / 1e3} if queued else {})


def hello(line: Line, way: Way, seconds: float) -> dict[Figure, float]:
    """Measure what a new TLS connection waits, and what is done for it."""
    spent, queued = cpu_ns(way.pids()), way.queued().packets
    tried = _ask(line, way, seconds=seconds, threads=1, rate=_HELLO_RATE)
    spent, queued = cpu_ns(way.pids()) - spent, way.queued().packets - queued
    figures = {Figure.P50: tried.p50_us / 1e3, Figure.P99: tried.p99_us / 1e3}
    if queued:
        figures |= {Figure.CPU: spent / queued / 1e3, Figure.QUEUED_TLS: queued / tried.done}
    return figures


def _ask(line: Line, way: Way, *, seconds: float, threads: int, rate: float = 0.0) -> Tried:
    tried = line.ask(way, line.material.allowed, seconds=seconds, threads=threads, rate=rate)
    line.failed[way.name] += tried.failed
    if tried.failed > tried.done * _TOLERANCE:
        raise WrongError(f"{tried.failed} of {tried.done + tried.failed} connections failed")
    return tried


def quic_of(connection: list[quic.Datagram]) -> Measure:
    """Return the measure of how much of ``connection`` is queued."""
    return partial(_quic, connection)


def _quic(connection: list[quic.Datagram], _: Line, way: Way, __: float) -> dict[Figure, float]:
    queued = way.queued().packets
    quic.play(way.site, connection, _QUIC_FLOWS)
    queued = way.queued().packets - queued
    return {Figure.QUEUED_QUIC: queued / _QUIC_FLOWS} if queued else {}


def _iperf(way: Way, seconds: float, *words: str) -> dict[str, dict[str, float]]:
    queued = way.queued().packets
    ends = ("--client", SERVER, "--bind", STAFF, "--time", f"{seconds:.0f}", "--json")
    told = json.loads(way.site.run("client", "iperf3", *ends, *words))
    if fault := told.get("error"):
        raise WrongError(f"iperf3: {fault}")
    if (queued := way.queued().packets - queued) > _FEW:
        raise WrongError(f"{queued} packets of one long flow were queued")
    end: dict[str, dict[str, float]] = told["end"]
    return end
