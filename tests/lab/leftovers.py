"""What a laboratory might leave behind on the machine, for tests that it leaves nothing."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path


def processes() -> set[int]:
    return {int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()}


def footprint() -> set[str]:
    """Return what a laboratory might leave on the machine: links, rules, mounts, namespaces, files."""
    listings = (
        "ip -o link",
        "iptables-save; ip6tables-save; nft list ruleset",
        "ls /run/netns",
        "ls -d /tmp/*lab*",
    )
    found = set(Path("/proc/self/mounts").read_text().splitlines())
    for listing in listings:
        done = subprocess.run(["sh", "-c", listing], capture_output=True, text=True, check=False)
        found |= {
            f"{listing}: {line}" for line in done.stdout.splitlines() if not line.startswith("#")
        }
    return found


def wait_for_footprint(before: set[str]) -> None:
    """Wait until nothing is left that was not there before; other programs may come and go meanwhile."""
    until = time.monotonic() + 15
    while (left := footprint() - before) and time.monotonic() < until:
        time.sleep(0.5)
    assert not left


def wait_for_end(pids: set[int]) -> None:
    until = time.monotonic() + 15
    while pids & processes() and time.monotonic() < until:
        time.sleep(0.05)
    left = {p: Path(f"/proc/{p}/cmdline").read_bytes() for p in pids & processes()}
    assert not left


def members(keeper: int) -> set[int]:
    """Return the processes in a laboratory's PID namespace, and those that guard it."""
    space = Path(f"/proc/{keeper}/ns/pid").readlink()
    found = {keeper}
    name = Path(f"/proc/{keeper}/cmdline").read_bytes()
    for pid in processes():
        try:
            inside = Path(f"/proc/{pid}/ns/pid").readlink() == space
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if inside or f"enter.py\0{keeper}\0".encode() in words or name in words:
            found.add(pid)
    return found
