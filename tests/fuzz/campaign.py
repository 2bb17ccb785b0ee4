"""A million mutated messages, then Hypothesis, then Atheris: ``make fuzz-dns``, ``make fuzz-firewall``."""

from __future__ import annotations

import argparse
import base64
import random
import subprocess
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutate import mutated

SEED = 8906
EXAMPLES = 5000
"""That Hypothesis makes up for each reader."""


def mutate_all(checks: ModuleType, name: str, count: int) -> None:
    """Give ``count`` mutated messages to the reader ``name``."""
    check, seeds, _ = checks.CHECKS[name]
    chance = random.Random(SEED)  # noqa: S311  # no secret, and the same each time
    others = [seed for _, its, _ in checks.CHECKS.values() for seed in its]
    for _ in range(count):
        octets = mutated(chance.choice(seeds), others, chance)
        try:
            check(octets)
        except BaseException:
            print(f"{name}: {base64.b64encode(octets).decode()}", file=sys.stderr)
            raise


def make_up(checks: ModuleType, name: str) -> None:
    """Give what Hypothesis makes up to the reader ``name``."""
    check, seeds, _ = checks.CHECKS[name]
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


def watch(of: str, name: str, seconds: int) -> None:
    """Let Atheris look for octets that reach other lines of the reader ``name``."""
    guided = Path(__file__).with_name("guided.py")
    done = subprocess.run(
        [sys.executable, guided, of, name, str(seconds)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{name}: {done.stdout}{done.stderr}")
    print(f"{name}: Atheris for {seconds} s")


def main() -> None:
    """Run it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("of", choices=("dns", "firewall"))
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=60, help="of Atheris, for each reader")
    words = parser.parse_args()
    checks = import_module(f"checks_{words.of}")
    for name, (_, _, share) in checks.CHECKS.items():
        begun = time.monotonic()
        count = round(words.messages * share)
        mutate_all(checks, name, count)
        print(f"{name}: {count} mutated messages in {time.monotonic() - begun:.0f} s")
        make_up(checks, name)
        print(f"{name}: {EXAMPLES} made up by Hypothesis")
        if find_spec("atheris"):
            watch(words.of, name, words.seconds)
        else:
            print(f"{name}: Atheris is not installed here: left out")
    checks.say()
    print(f"fuzz-{words.of}: no fault")


if __name__ == "__main__":
    main()
