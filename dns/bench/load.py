"""Asking: dnsperf from the clients' addresses."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CLIENTS: Final = ("10.77.0.2", "10.77.0.3")
"""Private addresses, as loopback is nobody's limit; ``processes.enter_own_network`` has them."""
NETWORK: Final = "10.77.0.0/24"
"""Addresses that ask, of two groups; with one socket in all only the first does."""
OUTSTANDING: Final = 128
"""Queries under way at a time, over all clients: what fits into the receive buffer of a socket as it is by default."""
_LEAVE_S: Final = 30
"""How long a dnsperf may take beyond its time."""

_ANSWER = re.compile(r"^> (\S+) (\S+) \S+ ([\d.]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of some queries."""

    answered: int
    lost: int
    qps: float
    codes: Counter[str]
    """RCODE to number of answers."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Answers one by one."""

    answers: tuple[tuple[str, str, float], ...]
    """Name, RCODE, and seconds from query to answer."""
    lost: int


def ask(
    port: int, files: Sequence[Path], sockets: int, *, seconds: float, passes: int = 0
) -> Asked:
    """Ask as fast as answers come.

    Args:
        port: Of the server.
        files: What each client asks, in turn.
        sockets: How many in all; of the first client alone where it is one.
        seconds: How long at most.
        passes: How often to go through the files; 0 until the time is over.
    """
    clients = CLIENTS[: min(sockets, len(CLIENTS))]
    options = ("-l", str(seconds), *(("-n", str(passes)) if passes else ()))
    share = str(sockets // len(clients))
    outputs = _dnsperf(
        [
            (
                *_target(client, port, queries),
                "-c",
                share,
                "-q",
                str(OUTSTANDING // len(clients)),
                *options,
            )
            for client, queries in zip(clients, files, strict=False)
        ],
        seconds,
    )
    codes = Counter[str]()
    for output in outputs:
        for code, count in re.findall(r"([A-Z]+) (\d+) \(", _line(output, "Response codes")):
            codes[code] += int(count)
    return Asked(
        sum(int(_line(o, "Queries completed").split()[0]) for o in outputs),
        sum(int(_line(o, "Queries lost").split()[0]) for o in outputs),
        sum(float(_line(o, "Queries per second")) for o in outputs),
        codes,
    )


def trace(port: int, queries: Path, *, rate: int, seconds: float) -> Trace:
    """Ask ``rate`` queries a second from the first client, and tell of each answer."""
    command = (*_target(CLIENTS[0], port, queries), "-v", "-Q", str(rate), "-l", str(seconds))
    (output,) = _dnsperf([command], seconds)
    answers = tuple((name, code, float(took)) for code, name, took in _ANSWER.findall(output))
    return Trace(answers, int(_line(output, "Queries lost").split()[0]))


def _target(client: str, port: int, queries: Path) -> tuple[str, ...]:
    # By default dnsperf's own buffers are too short for what is under way, and it loses answers.
    return ("-s", "127.0.0.1", "-p", str(port), "-a", client, "-d", str(queries), "-b", "1024")


def _dnsperf(commands: Sequence[tuple[str, ...]], seconds: float) -> list[str]:
    """Run them beside one another and return what they print."""
    running = [
        subprocess.Popen(  # noqa: S603  # our own words
            ("dnsperf", "-O", "suppress=timeouts,congestion", *command),  # noqa: S607  # Debian's own
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    try:
        return [each.communicate(timeout=seconds + _LEAVE_S)[0] for each in running]
    finally:
        for each in running:
            each.kill()
            each.wait()


def _line(output: str, key: str) -> str:
    found = re.search(rf"^\s*{key}:\s+(.*)$", output, re.MULTILINE)
    if found is None:
        raise ValueError(f"dnsperf said nothing of {key!r}: {output[-500:]}")
    return found[1]
