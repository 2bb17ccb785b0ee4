"""One run of Atheris on one reader: ``python tests/fuzz/guided.py dns|firewall READER SECONDS``."""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gate_dns", "gate_appliance.lists", "gate_firewall"]):
    checks = import_module(f"checks_{sys.argv[1]}")


def main() -> None:
    """Run it; Atheris ends the process, with status 1 and the octets where a check failed."""
    _, name, seconds = sys.argv[1:]
    check, seeds, _ = checks.CHECKS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        words = [sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-verbosity=0"]
        atheris.Setup([*words, f"-artifact_prefix={tempfile.gettempdir()}/", corpus], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
