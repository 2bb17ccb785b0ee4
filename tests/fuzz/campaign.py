"""A million mutated messages, then Hypothesis, then Atheris: ``make fuzz-dns``."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import checks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutate import mutated

SEED = 8906
SHARES = {"query": 0.45, "answer": 0.45, "lists": 0.1}
EXAMPLES = 5000
"""That Hypothesis makes up for each reader."""


def mutate_all(name: str, count: int) -> None:
    """Give ``count`` mutated messages to the reader ``name``."""
    check, seeds = checks.CHECKS[name]
    chance = random.Random(SEED)  # noqa: S311  # no secret, and the same each time
    others = [seed for _, its in checks.CHECKS.values() for seed in its]
    for _ in range(count):
        octets = mutated(chance.choice(seeds), others, chance)
        try:
            check(octets)
        except BaseException:
            print(f"{name}: {checks.shown(octets)}", file=sys.stderr)
            raise


def make_up(name: str) -> None:
    """Give what Hypothesis makes up to the reader ``name``."""
    check, seeds = checks.CHECKS[name]
    head = st.sampled_from(seeds).flatmap(
        lambda seed: st.integers(0, len(seed)).map(lambda end: seed[:end])
    )

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(head, st.binary(max_size=300))
    def run(begin: bytes, end: bytes) -> None:
        check(begin + end)

    run()


def watch(name: str, seconds: int) -> None:
    """Let Atheris look for octets that reach other lines of the reader ``name``."""
    guided = Path(__file__).with_name("guided.py")
    done = subprocess.run(
        [sys.executable, guided, name, str(seconds)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{name}: {done.stdout}{done.stderr}")
    print(f"{name}: Atheris for {seconds} s")


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=60, help="of Atheris, for each reader")
    words = parser.parse_args()
    for name, share in SHARES.items():
        begun = time.monotonic()
        count = round(words.messages * share)
        mutate_all(name, count)
        print(f"{name}: {count} mutated messages in {time.monotonic() - begun:.0f} s")
        make_up(name)
        print(f"{name}: {EXAMPLES} made up by Hypothesis")
        if find_spec("atheris"):
            watch(name, words.seconds)
        else:
            print(f"{name}: Atheris is not installed here: left out")
    for what, ratio in sorted(checks.worst.items()):
        print(f"longest answer over UDP: {what}: {ratio:.1f} of its query")
    print("fuzz-dns: no fault")


if __name__ == "__main__":
    main()
