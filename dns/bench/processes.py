"""Processes: started, looked at, ended; and the network they are in."""

from __future__ import annotations

import ctypes
import re
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_CLONE_NEWNET: Final = 0x40000000


def enter_own_network(addresses: Iterable[str]) -> None:
    """Move this process into a network of its own, where nothing else is heard, and which has these ``addresses``."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "making a network namespace, for which root is needed")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607  # Debian's own
    for address in addresses:
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)  # noqa: S603, S607  # as above


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[int]:
    """Run ``command`` with its output in ``log``; yield its process ID, and kill it in the end.

    The kernel kills it too when this process dies in whatever way.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  # our own words
            ("setpriv", "--pdeathsig", "KILL", *command),  # noqa: S607  # Debian's own
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def cpu_ns(pids: Iterable[int]) -> int:
    """Return the processor time of the processes so far, of all their threads, in user and kernel, in nanoseconds."""
    return sum(
        int(path.read_text().split()[0])
        for pid in pids
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
    )


def memory_mb(pids: Iterable[int]) -> tuple[float, float]:
    """Return resident memory, and the same with shared pages shared out (RSS, PSS), in megabytes."""
    rss = pss = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        rss += int(re.findall(r"^Rss:\s+(\d+)", text, re.MULTILINE)[0])
        pss += int(re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)[0])
    return rss / 1024, pss / 1024


def free_port() -> int:
    """Return a port that is free on loopback for UDP and TCP."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as streams,
        ):
            datagrams.bind(("127.0.0.1", 0))
            port = int(datagrams.getsockname()[1])
            try:
                streams.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def module(name: str, *words: str) -> list[str]:
    """Return the command that runs a module of this package."""
    return [sys.executable, "-m", f"bench.{name}", *words]
