"""Measure the sinkhole beside Debian's servers, all on loopback with the same list and the same queries.

As root in a network of its own. The last line says how we stand: the processor time of a query as a multiple of the best bare
server's (workers counted), of the best that does the same work (all our processes counted), and of a C program that only
echoes; each in the scenario where it is worst.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final

from bench import ours, schoolgate
from bench.lists import read_names
from bench.load import CLIENTS
from bench.measure import MISS, Bench
from bench.processes import enter_own_network
from bench.queries import write_questions
from bench.report import last_line, miss_ratio, tables
from bench.servers import FLOOR, OURS, RELAY, Line

MIXES: Final = ("blocked", "cached", "mix", MISS)
ROUNDS: Final = 3


def main() -> None:
    """Measure and print."""
    options = _options()
    enter_own_network(CLIENTS)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        _run(options, stack, Path(stack.enter_context(tempfile.TemporaryDirectory())))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="one round instead of three")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a measurement")
    parser.add_argument(
        "--only", type=_words, default=[], help="servers, such as schoolgate,dnsdist,unbound+dnstap"
    )
    parser.add_argument(
        "--scenario", type=_words, default=list(MIXES), help=f"of {','.join(MIXES)}"
    )
    options = parser.parse_args()
    if unknown := set(options.scenario) - set(MIXES):
        parser.error(f"--scenario: {', '.join(sorted(unknown))} is none of {', '.join(MIXES)}")
    return options


def _words(text: str) -> list[str]:
    return text.split(",")


def _run(options: argparse.Namespace, stack: ExitStack, folder: Path) -> None:
    before = time.perf_counter()
    names = read_names()
    _say(f"{len(names.listed):,} names read in {time.perf_counter() - before:.1f} s")
    home = folder / "school"
    school = stack.enter_context(closing(schoolgate.School(home)))
    lists, took = school.compile(names)
    _say(f"compiled in {took:.1f} s, {lists.size_octets / 1e6:.1f} MB")
    policy = school.publish(lists)
    questions = write_questions(names, folder, partial(schoolgate.decided, policy))
    line = Line(stack, folder, names, options.only)
    server = None
    if line.wants(OURS):
        _say(f"start to first answer {ours.start_s(home, line.upstream, names.listed[0]):.2f} s")
        server = line.start_ours(home)
    if line.wants(FLOOR):
        line.start_floor()
    if line.wants(RELAY) and MISS in options.scenario:
        line.start_relay()
    line.start_peers()
    line.check(questions, names)
    bench = Bench(line, questions, options.seconds)
    for number in range(1 if options.quick else ROUNDS):
        bench.round(number, options.scenario)
    bench.latencies(options.scenario)
    bench.memory()
    _say(f"\n{tables(bench.results, line.servers)}\n")
    if server:
        _tell_record(bench, home)
        other, _ = school.compile(ours.other(names))
        _say(_told(ours.swap(server, school, (other, lists), questions)))
    _say(miss_ratio(bench.results, line.servers))
    for fault in line.faults:
        _say(fault)
    _say(last_line(bench.results, line.servers))
    if any(fault.startswith("WRONG") for fault in line.faults):
        sys.exit(1)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # its output


def _tell_record(bench: Bench, home: Path) -> None:
    counted, blocked = schoolgate.recorded(home)
    asked, asked_blocked = bench.results.answered[OURS], bench.results.blocked[OURS]
    _say(
        f"record: {counted:,} queries for {asked:,} answers, {blocked:,} blocked for {asked_blocked:,}"
    )


def _told(swaps: ours.Swaps) -> str:
    return (
        f"swap: {swaps.count} policies with other lists at {ours.SWAP_RATE} queries a second: worst answer"
        f" {swaps.worst_ms:.1f} ms ({swaps.late} above 5 ms), without {swaps.quiet_ms:.1f} ms"
        f" ({swaps.late_quiet} above 5 ms); of {swaps.asked} answers {swaps.wrong} wrong, {swaps.lost} lost"
    )


if __name__ == "__main__":
    main()
