"""What is asked: the same files for all servers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from bench.lists import SEED, Names
from bench.load import CLIENTS

DISTINCT: Final = 10_000
"""Different names of a file."""
BLOCKED_OF: Final = 5
"""One of so many is blocked in the mix."""


@dataclass(frozen=True, slots=True)
class Questions:
    """Names to ask for, and where the files lie."""

    blocked: tuple[str, ...]
    allowed: tuple[str, ...]
    folder: Path

    def files(self, mix: str) -> list[Path]:
        """Return what each client asks of ``blocked``, ``cached`` or ``mix``: all the same."""
        return [self.folder / mix] * len(CLIENTS)

    def fresh(self, round_: int, count: int) -> list[Path]:
        """Write ``count`` allowed names for each client that nobody has asked for yet."""
        files = []
        for number in range(len(CLIENTS)):
            path = self.folder / f"miss-{number}"
            names = (f"{n}-{number}-{round_}" for n in range(count))
            _write(path, (f"{label}.{self.allowed[n % DISTINCT]}" for n, label in enumerate(names)))
            files.append(path)
        return files


def write_questions(names: Names, folder: Path, outcome: Callable[[str], set[bool]]) -> Questions:
    """Choose names and write the files.

    Args:
        names: All there are.
        folder: Where to write.
        outcome: Tells whether our policy blocks a name, for each client: the school's own rules (essential, protected, services)
            decide some listed names otherwise, which no other server knows.
    """
    some = random.Random(SEED)  # noqa: S311  # the same names each time
    blocked = _choose(some.sample(names.listed, 2 * DISTINCT), lambda n: outcome(n) == {True})
    allowed = _choose(names.unlisted, lambda n: outcome(n) == {False})
    mix = [(allowed if n % BLOCKED_OF else blocked)[n] for n in range(DISTINCT)]
    for name, lines in (("blocked", blocked), ("cached", allowed), ("mix", mix)):
        _write(folder / name, lines)
    return Questions(blocked, allowed, folder)


def _choose(names: Iterable[str], wanted: Callable[[str], bool]) -> tuple[str, ...]:
    chosen = tuple(islice(filter(wanted, names), DISTINCT))
    if len(chosen) < DISTINCT:
        raise ValueError(f"{len(chosen)} names of the wanted kind; {DISTINCT} are needed")
    return chosen


def _write(path: Path, names: Iterable[str]) -> None:
    path.write_text("".join(f"{name} A\n" for name in names))


def expected_blocked(mix: str) -> float:
    """Return the share of NXDOMAIN among the answers to a file."""
    return {"blocked": 1.0, "mix": 1 / BLOCKED_OF}.get(mix, 0.0)
