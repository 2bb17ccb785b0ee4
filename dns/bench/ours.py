"""What is measured of ourselves alone: start, and a new policy with new lists under load."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

from bench import schoolgate
from bench.lists import Names
from bench.load import Trace, trace
from bench.processes import free_port
from bench.queries import Questions
from bench.servers import Server, answering
from gate_appliance.lists.compile import Compiled

STARTS: Final = 5
SWAP_RATE: Final = 2_000
"""Queries a second."""
SWAP_S: Final = 6.0
SWAP_EVERY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Swaps:
    """What answers were like while policies came."""

    count: int
    quiet_ms: float
    """Longest time to an answer before."""
    worst_ms: float
    """Longest time to an answer meanwhile."""
    late: int
    """Answers meanwhile that took longer than 5 ms."""
    late_quiet: int
    asked: int
    wrong: int
    lost: int


def start_s(folder: Path, upstream: int, name: str) -> float:
    """Return the median time from the start of a worker to its first answer."""
    took = []
    for _ in range(STARTS):
        with ExitStack() as stack:
            port = free_port()
            command = schoolgate.worker_command(folder, port, upstream)
            took.append(stack.enter_context(answering(command, port, name, folder / "log"))[1])
    return median(took)


def swap(
    server: Server,
    school: schoolgate.School,
    lists: tuple[Compiled, Compiled],
    questions: Questions,
) -> Swaps:
    """Publish policies with one and the other ``lists`` in turn while ``server`` is asked."""
    queries = questions.files("mix")[0]
    # Compiling a policy takes a processor that the worker may need.
    snapshots = [school.prepare(lists[n % 2])[1] for n in range(int(SWAP_S / SWAP_EVERY_S) + 1)]
    quiet = trace(server.port, queries, rate=SWAP_RATE, seconds=SWAP_S)
    done = threading.Event()
    count = 0

    def publish() -> None:
        nonlocal count
        while not done.wait(SWAP_EVERY_S) and count < len(snapshots):
            school.announce(snapshots[count])
            count += 1

    publishing = threading.Thread(target=publish)
    publishing.start()
    try:
        meanwhile = trace(server.port, queries, rate=SWAP_RATE, seconds=SWAP_S)
    finally:
        done.set()
        publishing.join()
    blocked = set(questions.blocked)
    wrong = sum((code == "NXDOMAIN") != (name in blocked) for name, code, _ in meanwhile.answers)
    return Swaps(
        count=count,
        quiet_ms=_worst_ms(quiet),
        worst_ms=_worst_ms(meanwhile),
        late=_late(meanwhile),
        late_quiet=_late(quiet),
        asked=len(meanwhile.answers) + meanwhile.lost,
        wrong=wrong,
        lost=meanwhile.lost,
    )


def other(names: Names) -> Names:
    """Return names that make other lists, and block nothing else that is asked."""
    return replace(names, listed=(*names.listed, "another.example"))


def _worst_ms(traced: Trace) -> float:
    return max(took for _, _, took in traced.answers) * 1000


def _late(traced: Trace) -> int:
    return sum(took > 0.005 for _, _, took in traced.answers)
