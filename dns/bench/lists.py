"""The names that all servers block: real lists, read as the appliance reads them."""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from gate_appliance.lists.formats import ListError, parse_list
from gate_core.names import suffixes

REPOSITORY: Final = Path(__file__).parents[2]
PATTERNS: Final = (
    "ut1/*/domains",
    "blocklistproject/*.txt",
    "hagezi/*.txt",
    "sinfonietta/*-hosts",
)
LEAST: Final = 1_000_000
HELD_OUT: Final = 24_000
"""Names taken out of the lists again: what is asked as an allowed name is then as real as what is blocked."""
BELOW_ONE: Final = 5
"""Unlisted names below one name of two labels: hundreds of them, asked within a second, are what a tunnel looks like."""
SEED: Final = 20_261


@dataclass(frozen=True, slots=True)
class Names:
    """Canonical names, all different."""

    listed: tuple[str, ...]
    """Blocked for everybody, with all below them."""
    unlisted: tuple[str, ...]
    """Neither listed nor below a listed name, in no order."""
    first_only: tuple[str, ...]
    """Blocked for the first client, allowed for all others: what makes policy per client."""


def data_folder() -> Path:
    """Return the folder of lists and captures: the one that ``SCHOOLGATE_DATA`` names, else ``../shared/data``."""
    return Path(os.environ.get("SCHOOLGATE_DATA") or REPOSITORY.parent / "shared" / "data")


def read_names() -> Names:
    """Return the names of all lists in ``data_folder``."""
    data = data_folder()
    paths = sorted(chain.from_iterable((data / "lists").glob(p) for p in PATTERNS))
    if not paths:
        sys.exit(
            f"No lists in {data / 'lists'}: SCHOOLGATE_DATA names the folder that holds lists/ut1, lists/hagezi and others"
        )
    names = set[str]()
    for path in paths:
        with path.open("rb") as lines:
            try:
                names.update(parse_list(lines).names)
            except ListError as e:
                # A few categories hold addresses or nothing at all.
                sys.stderr.write(f"{path.relative_to(data)} left out: {e}\n")
    some = random.Random(SEED)  # noqa: S311  # the same names each time
    held_out = some.sample(sorted(names), HELD_OUT)
    names.difference_update(held_out)
    if len(names) < LEAST:
        sys.exit(f"{len(names):,} different names in {data / 'lists'}; {LEAST:,} are needed")
    below = Counter[str]()
    unlisted = []
    for name in held_out:
        parent = ".".join(name.split(".")[-2:])
        below[parent] += 1
        if below[parent] <= BELOW_ONE and names.isdisjoint(suffixes(name)):
            unlisted.append(name)
    return Names(
        tuple(sorted(names)), tuple(unlisted), tuple(f"{n}.first.example" for n in range(100))
    )
