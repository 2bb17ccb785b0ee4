"""Measure the sinkhole's processor time per query with dnsperf, beside what else can be had here.

Run as ``python dns/bench_dns.py [--seconds N]``. Every server gets the same queries in turn on loopback, one worker each. The floor is
a Python program that echoes one datagram a call and knows nothing; dnsmasq and unbound take part where they are installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv4Address
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn

from gate_core.acceptable_use import ROWS, SHIPPED_CELLS
from gate_core.categories import mask_of
from gate_core.clients import Address, Group
from gate_core.events import Message
from gate_core.names import suffixes
from gate_core.policy import Policy
from gate_dns.server import BlockAnswer, DnsPorts, DnsSettings, serve

NAMES = 2000
"""Distinct names of each mix, all of which are kept after the first seconds."""
WARM_UP_S = 2


class _Index:
    def mask(self, name: str) -> int:
        return mask_of(["gambling"]) if "blocked.example" in suffixes(name) else 0


class _Ports:
    """Every port, as small as can be; one policy for ever."""

    def __init__(self) -> None:
        group = Group("ks2", "Key stage 2", 1, SHIPPED_CELLS["ks2"])
        self._policy = Policy(1, {"ks2": group}, ROWS, "ks2", _Index())
        self._silence, self._kept = socket.socketpair()

    def current(self) -> Policy:
        return self._policy

    def fileno(self) -> int:
        return self._silence.fileno()

    def refresh(self) -> bool:
        return False

    def mac(self, address: Address) -> str | None:
        return "00:00:5e:00:53:10"

    def now(self) -> datetime | None:
        return datetime.fromtimestamp(time.time(), UTC)

    def put(self, event: Message) -> None:
        pass

    def flush(self) -> None:
        pass


@dataclass(frozen=True)
class Server:
    """Something to measure."""

    name: str
    run: Callable[[int, int, Path], None]
    """Serves at a port, forwarding to another, with a folder for its files; in a process of its own; does not return."""


def _schoolgate(port: int, upstream: int, _folder: Path) -> None:
    ports = _Ports()
    loopback = IPv4Address("127.0.0.1")
    settings = DnsSettings(
        (loopback,),
        port,
        (loopback,),
        upstream,
        BlockAnswer.BLOCK_PAGE,
        60,
        IPv4Address("192.0.2.2"),
    )
    serve(settings, DnsPorts(ports, ports, ports, ports))


def _echo(port: int, _upstream: int, _folder: Path) -> None:
    """Answer everything with one address: the floor of Python's sockets, one call each way for a query."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", port))
        head = b"\x81\x80\0\1\0\1\0\0\0\0"
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\x04\xc0\0\x02\x02"
        while True:
            message, peer = bound.recvfrom(4096)
            bound.sendto(message[:2] + head + message[12:] + record, peer)


def _dnsmasq(port: int, upstream: int, folder: Path) -> None:
    options = f"-k -C /dev/null -R -h -u root -c 10000 --pid-file={folder}/dnsmasq.pid -a 127.0.0.1 -z -p {port}"
    blocked = ["--address=/blocked.example/192.0.2.2", f"--server=127.0.0.1#{upstream}"]
    _become("dnsmasq", *options.split(), *blocked)


def _unbound(port: int, upstream: int, folder: Path) -> None:
    (folder / "unbound.conf").write_text(
        f"""
server:
  interface: 127.0.0.1@{port}
  do-daemonize: no
  do-not-query-localhost: no
  use-syslog: no
  username: ""
  chroot: ""
  pidfile: "{folder}/unbound.pid"
  module-config: "iterator"
  local-zone: "blocked.example." redirect
  local-data: "blocked.example. 60 IN A 192.0.2.2"
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{upstream}
"""
    )
    _become("unbound", "-c", f"{folder}/unbound.conf")


def _become(program: str, *arguments: str) -> NoReturn:
    path = shutil.which(program) or sys.exit(f"{program} is gone")
    os.execv(path, [path, *arguments])  # noqa: S606  # no shell wanted


SERVERS = (
    Server("schoolgate", _schoolgate),
    Server("python echo", _echo),
    Server("dnsmasq", _dnsmasq),
    Server("unbound", _unbound),
)


@contextmanager
def _running(run: Callable[[], None]) -> Iterator[int]:
    """Run a server in a process of its own; yield its process ID."""
    process = get_context("spawn").Process(target=run)
    process.start()
    assert process.pid is not None  # noqa: S101  # started
    try:
        yield process.pid
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.join()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _await_answer(port: int) -> None:
    query = b"\0\1\1\0\0\1\0\0\0\0\0\0\7blocked\7example\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.2)
        asking.connect(("127.0.0.1", port))
        for _ in range(50):
            try:
                asking.send(query)
                asking.recv(4096)
            except (ConnectionRefusedError, TimeoutError):
                time.sleep(0.1)
            else:
                return
    raise TimeoutError(f"nobody answers at port {port}")


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _dnsperf(port: int, queries: Path, seconds: int) -> int:
    """Ask for ``seconds`` and return how many queries were answered."""
    command = [
        "dnsperf",
        "-s",
        "127.0.0.1",
        "-p",
        str(port),
        "-d",
        str(queries),
        "-l",
        str(seconds),
        "-q",
        "200",
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  # our own words
    line = next(x for x in done.stdout.splitlines() if "Queries completed" in x)
    return int(line.split()[2])


def main() -> None:
    """Measure, and print processor time per query in microseconds and as a multiple of the floor's."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="length of each measurement")
    seconds = parser.parse_args().seconds
    if not shutil.which("dnsperf"):
        sys.exit("dnsperf is missing; Debian has it in the package dnsperf")
    servers = [
        s for s in SERVERS if s.name in ("schoolgate", "python echo") or shutil.which(s.name)
    ]
    blocked = [f"n{n}.blocked.example A" for n in range(NAMES)]
    cached = [f"n{n}.allowed.example A" for n in range(NAMES)]
    mixes = {
        "blocked": blocked,
        "cached": cached,
        "mix": [q for pair in zip(blocked, cached, strict=True) for q in pair],
    }
    results: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        upstream = _free_port()
        with _running(partial(_echo, upstream, 0, folder)):
            for server in servers:
                port = _free_port()
                with _running(partial(server.run, port, upstream, folder)) as pid:
                    _await_answer(port)
                    for mix, lines in mixes.items():
                        queries = folder / mix
                        queries.write_text("\n".join(lines))
                        _dnsperf(port, queries, WARM_UP_S)
                        before = _cpu_s(pid)
                        answered = _dnsperf(port, queries, seconds)
                        spent = (_cpu_s(pid) - before) / max(answered, 1)
                        results.setdefault(server.name, []).append(spent * 1e6)
    floor = results["python echo"]
    print(f"{'microseconds of processor per query':38}" + "".join(f"{mix:>16}" for mix in mixes))  # noqa: T201  # its output
    for name, figures in results.items():
        cells = (f"{f:.1f} ({f / low:.2f})" for f, low in zip(figures, floor, strict=True))
        print(f"{name:38}" + "".join(f"{cell:>16}" for cell in cells))  # noqa: T201


if __name__ == "__main__":
    main()
