"""Measure the firewall beside other ways to pass packets, each between a client and a server in network namespaces.

As root in a network of its own. The last line says how we stand: the throughput of one download as a share of the plain
bridge's, the processor time of a queued packet as a multiple of a loop that accepts everything on the same binding, and new
TLS connections a second as a share of Suricata's.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from bench.lists import data_folder, read_names
from bench.schoolgate import School
from bench_firewall import measure, quic, report, schoolgate, suricata
from bench_firewall.network import enter_own_room
from bench_firewall.ways import SURICATA, WAYS, Line, make_material

JUDGE, CHANGE, QUIC = "judge", "change", "quic"
MEASURES: Final[dict[str, measure.Measure]] = {
    "bulk": measure.bulk,
    "packets": measure.packets,
    "hello": measure.hello,
    "connections": measure.connections,
}
ALONE: Final = {
    JUDGE: [sys.executable, "-m", "bench_firewall.judge"],
    CHANGE: [sys.executable, str(Path(__file__).parents[1] / "bench_change.py")],
}
"""Of ourselves alone, without a network around."""
ROUNDS: Final = 9
NAMES: Final = 2_000
"""Different server names."""


def main() -> None:
    """Measure and print."""
    options = _options()
    if SURICATA in options.only and not set(options.measure) <= set(ALONE):
        # Within our own room there is no network to make it from.
        suricata.make_root()
    enter_own_room()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    told = "".join(_alone(word) for word in ALONE if word in options.measure)
    if set(options.measure) <= set(ALONE):
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _run(options, stack, folder, report.parse_again_ms(told))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench_firewall", description=(__doc__ or "").splitlines()[0]
    )
    measures = (*ALONE, QUIC, *MEASURES)
    parser.add_argument("--quick", action="store_true", help=f"one round instead of {ROUNDS}")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a measurement")
    parser.add_argument(
        "--only", type=_words, default=list(WAYS), help=f"ways, of {','.join(WAYS)}"
    )
    parser.add_argument(
        "--measure", type=_words, default=list(measures), help=f"of {','.join(measures)}"
    )
    options = parser.parse_args()
    for option, words, allowed in (
        ("--only", options.only, WAYS),
        ("--measure", options.measure, measures),
    ):
        if unknown := set(words) - set(allowed):
            parser.error(f"{option}: {_list(sorted(unknown))} is none of {_list(allowed)}")
    if options.seconds < 1:
        parser.error(f"--seconds: {options.seconds:g} is less than 1")
    return options


def _words(text: str) -> list[str]:
    return text.split(",")


def _list(words: Iterable[str]) -> str:
    return ", ".join(words)


def _alone(word: str) -> str:
    done = subprocess.run(ALONE[word], stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603  # our own words
    _say(done.stdout)
    return done.stdout


def _run(
    options: argparse.Namespace, stack: ExitStack, folder: Path, again_ms: float | None
) -> None:
    before = time.perf_counter()
    names = read_names()
    home = folder / "school"
    school = stack.enter_context(closing(School(home, schoolgate.NETWORKS)))
    lists, _ = school.compile(names)
    policy = school.publish(lists)
    _say(f"{len(names.listed):,} names compiled in {time.perf_counter() - before:.0f} s")
    allowed = [name for name in names.unlisted if schoolgate.allows(policy, name)][:NAMES]
    line = Line(stack, make_material(folder, home, allowed, names.listed))
    for word in WAYS:
        if word in options.only:
            line.start(word)
    measures = [(word, m) for word, m in MEASURES.items() if word in options.measure]
    if QUIC in options.measure:
        measures.append((QUIC, measure.quic_of(quic.read_connection(data_folder()))))
    rounds = 1 if options.quick else ROUNDS
    results = measure.measure_all(line, measures, options.seconds, rounds)
    _say(f"medians of {rounds}\n{report.table(results, options.only)}\n")
    for way, failed in line.failed.items():
        if failed:
            _say(f"{WAYS[way]}: {failed} TLS connections failed")
    goals = report.goals(results, again_ms)
    for text in (
        *map(str, goals),
        *line.faults,
        report.last_line(results),
    ):
        _say(text)
    if any(fault.startswith("WRONG") for fault in line.faults) or any(g.missed for g in goals):
        sys.exit(1)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # its output


if __name__ == "__main__":
    main()
