"""A small school's network, with the internet behind it, in namespaces that vanish with their owner.

::

    laptop, tablet ─┐                    ┌───────────────┐
    staff ──────────┼── switch ── lan0 ──┤ box           ├── wan0 ── router ── "the internet"
    guest ──────────┘                    └───────────────┘

The machine's own network is never touched: the laboratory has a base network namespace and a private /run, and all its
processes live in a PID namespace whose first process ends with the owner (see ``keeper``).
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

from plan import BOX, CLIENTS, INTERNET, ROUTER, Host

HERE = Path(__file__).parent
INSIDE = Path("/run/lab")
"""The laboratory's directory, as its own processes see it."""
CA_FILE = INSIDE / "ca.pem"
SERVED = INSIDE / "served.jsonl"
ZONES = INSIDE / "zoneinfo"
"""Time zones of a test's own, beside those of the machine."""

Mode = Literal["inline", "resolver"]


class LaboratoryError(RuntimeError):
    """The laboratory can't be made here, or something in it did not come up."""


@dataclass(frozen=True, slots=True)
class Served:
    """One thing that a server of the internet saw."""

    at: float
    kind: str
    """``accepted`` (TCP), ``hello`` (server name arrived), ``tls`` (handshake complete), ``request`` (HTTP), ``cut`` (a download
    that the client's side has ended), ``dns``, ``dot``, ``doh`` or ``udp``."""
    client: str
    address: str
    """Address of the server."""
    port: int
    name: str
    path: str


class Laboratory:
    """The namespaces and what runs in them; a context manager.

    Args:
        name: Tells laboratories apart in the list of processes; need not be unique.
        mode: ``inline``: the box stands between switch and router. ``resolver``: it hangs on the switch by lan0 alone.
    """

    def __init__(self, name: str = "lab", *, mode: Mode = "inline") -> None:
        self.name = f"{name}-{os.getpid()}"
        self.mode = mode
        self._guard: subprocess.Popen[str] | None = None
        self.keeper = 0
        """The process that all others of the laboratory end with, as seen from outside."""
        self._started: list[subprocess.Popen[Any]] = []

    @classmethod
    def join(cls, keeper: int) -> Self:
        """Return the running laboratory of the process ``keeper``, to run commands in."""
        joined = cls()
        joined.keeper = keeper
        return joined

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> None:
        """Make the namespaces, join them with cables, and start the internet.

        Raises:
            LaboratoryError: This machine does not let us.
        """
        try:
            self._make()
        except BaseException:
            self.down()
            raise

    def _make(self) -> None:
        self._guard = subprocess.Popen(
            [sys.executable, "-I", str(HERE / "keeper.py"), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the owner, who then takes the laboratory down
        )
        stdout = _stream(self._guard.stdout)
        keeper, ready = stdout.readline().strip(), stdout.readline().strip()
        if ready != "ready":
            self._guard.wait()
            why = _stream(self._guard.stderr).read().strip().splitlines()
            raise LaboratoryError(f"no namespaces here: {why[-1] if why else 'no reason given'}")
        self.keeper = int(keeper)
        self._in_base(["sh", "-eu"], _cabling(self.mode))
        argv = [sys.executable, str(HERE / "internet.py"), str(INSIDE)]
        self.popen(ROUTER.name, argv, log="internet")
        self.wait_for(self.path(INSIDE / "internet.ready").exists, "the internet", 20)

    def down(self) -> None:
        """End every process of the laboratory; namespaces, rules, mounts and files go with the last."""
        if self._guard is None:
            return
        _stream(self._guard.stdin).close()
        self._guard.wait(30)
        for stream in (self._guard.stdout, self._guard.stderr):
            _stream(stream).close()
        for process in self._started:
            process.wait(30)
            for end in (process.stdout, process.stderr):
                if end:
                    end.close()
        self._guard = None
        self._started.clear()

    def path(self, inside: Path) -> Path:
        """Return where a file of the laboratory's /run is found from outside."""
        return Path(f"/proc/{self.keeper}/root", inside.relative_to("/"))

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002  # as in subprocess.run
        timeout_s: float = 30,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on ``host`` to its end, and return what it printed."""
        return subprocess.run(
            self._argv(host, argv),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=check,
            env=_environment(),
            start_new_session=True,
        )

    def popen(
        self,
        host: str,
        argv: Sequence[str],
        *,
        log: str = "",
        pass_fds: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command on ``host``.

        Args:
            host: Where.
            argv: The command; it ends with the laboratory at the latest.
            log: Name of a log that takes what it prints (see ``log``); "" for pipes.
            pass_fds: Open files that the command keeps.
            env: Further environment variables.
        """
        if log:
            with self.path(INSIDE / "log" / log).open("a") as file:
                streams: dict[str, Any] = {"stdout": file, "stderr": subprocess.STDOUT}
                return self._start(host, argv, streams, pass_fds, env)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return self._start(host, argv, pipes, pass_fds, env)

    def _start(
        self,
        host: str,
        argv: Sequence[str],
        streams: Mapping[str, Any],
        pass_fds: Sequence[int],
        env: Mapping[str, str] | None,
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self._argv(host, argv),
            stdin=subprocess.DEVNULL,
            text=True,
            pass_fds=pass_fds,
            env={**_environment(), **(env or {})},
            start_new_session=True,
            **streams,
        )
        self._started.append(process)
        return process

    def interact(self, host: str, argv: Sequence[str]) -> int:
        """Run a command on ``host`` at our own terminal; return its exit status."""
        return subprocess.run(self._argv(host, argv), check=False, env=_environment()).returncode

    def log(self, name: str) -> str:
        """Return what the processes with that log have printed so far."""
        return self.path(INSIDE / "log" / name).read_text(errors="replace")

    def mark(self) -> int:
        """Return a place in the servers' log: the end of what was served until now."""
        return self.path(SERVED).stat().st_size

    def served(self, since: int = 0) -> Iterator[Served]:
        """Yield what the internet's servers saw after the mark ``since``."""
        with self.path(SERVED).open() as lines:
            lines.seek(since)
            for line in lines:
                yield Served(**json.loads(line))

    def wait_for(self, holds: Callable[[], object], what: str, deadline_s: float) -> None:
        """Wait until ``holds()`` is true.

        Raises:
            LaboratoryError: It is not within ``deadline_s``.
        """
        until = time.monotonic() + deadline_s
        while not holds():
            if time.monotonic() > until:
                raise LaboratoryError(f"waiting {deadline_s:g} s for {what}\n{self._logs()}")
            time.sleep(0.1)

    def _logs(self) -> str:
        logs = sorted(self.path(INSIDE / "log").iterdir())
        return "\n".join(f"--- {f.name} ---\n{f.read_text(errors='replace')[-2000:]}" for f in logs)

    def _in_base(self, argv: Sequence[str], text: str) -> None:
        done = self.run("-", argv, input=text)
        if done.returncode:
            raise LaboratoryError(f"laying cables: {done.stderr.strip()}")

    def _argv(self, host: str, argv: Sequence[str]) -> list[str]:
        enter = [sys.executable, "-I", "-S", str(HERE / "enter.py")]
        return [*enter, str(self.keeper), host, *argv]


def running(name: str) -> int | None:
    """Return the keeper of a running laboratory of that name and of this user; None where there is none."""
    for directory in Path("/proc").iterdir():
        try:
            if directory.stat().st_uid != os.getuid():
                continue
            words = (directory / "cmdline").read_bytes().split(b"\0")
            status = (directory / "status").read_text()
        except (NotADirectoryError, FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # no process, or one that has just ended
        named = (
            len(words) > 3
            and words[2].endswith(b"/keeper.py")
            and words[3].startswith(f"{name}-".encode())
        )
        # The keeper is process 1 of its own namespace, the process that guards it is not.
        if named and any(
            x.startswith("NSpid:") and x.split()[-1] == "1" for x in status.splitlines()
        ):
            return int(directory.name)
    return None


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _environment() -> dict[str, str]:
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(INSIDE / "home"),
        "TMPDIR": str(INSIDE / "tmp"),
        "TERM": os.environ.get("TERM", "dumb"),
        "CURL_CA_BUNDLE": str(CA_FILE),
        "SSL_CERT_FILE": str(CA_FILE),
        "PYTHONUNBUFFERED": "1",
        # Where the compiled modules are (tools/compiled.py), if they are to run.
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "PYTHONTZPATH": f"{ZONES}:/usr/share/zoneinfo",
    }


def _cabling(mode: Mode) -> str:
    """Return the shell commands that make the hosts and join them."""
    resolver = ROUTER if mode == "inline" else BOX
    lines = [f"echo nameserver {resolver.v4} > {INSIDE}/resolv.conf"]
    for name in ("switch", ROUTER.name, BOX.name, *(c.name for c in CLIENTS)):
        lines += [f"ip netns add {name}", f"ip -n {name} link set lo up"]
    # Without multicast snooping: neighbour discovery must not wait for the bridge to learn who listens.
    lines += [
        "ip -n switch link add sw0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        "ip -n switch link set sw0 up",
    ]
    for client in CLIENTS:
        lines += _cable(client.name, "eth0", "switch", client.name, mac=client.mac)
        lines += _into_switch(client.name)
        lines += _addresses(client, "eth0")
        lines += [
            f"ip -n {client.name} route add default via {ROUTER.v4}",
            f"ip -n {client.name} route add default via {ROUTER.v6}",
        ]
    lines += _cable(BOX.name, "lan0", "switch", "uplink", mac="00:00:5e:00:53:02")
    lines += _into_switch("uplink")
    if mode == "inline":
        lines += _cable(ROUTER.name, "eth0", BOX.name, "wan0", mac=ROUTER.mac)
    else:
        lines += _cable(ROUTER.name, "eth0", "switch", "router", mac=ROUTER.mac)
        lines += _into_switch("router")
        lines += [*_addresses(BOX, "lan0"), f"ip -n box route add default via {ROUTER.v4}"]
    lines += _addresses(ROUTER, "eth0")
    # Every address of "the internet" is the router's own.
    lines += [f"ip -n router route add local {network} dev lo" for network in INTERNET]
    return "\n".join(lines)


def _cable(host: str, port: str, other: str, other_port: str, *, mac: str) -> list[str]:
    ends = f"{port} netns {host} address {mac} type veth peer name {other_port} netns {other}"
    return [f"ip link add {ends}"]


def _into_switch(port: str) -> list[str]:
    return [f"ip -n switch link set {shlex.quote(port)} master sw0 up"]


def _addresses(host: Host, port: str) -> list[str]:
    return [
        f"ip -n {host.name} address add {host.v4}/24 dev {port}",
        # No duplicate address detection: it would keep IPv6 back for the first second.
        f"ip -n {host.name} address add {host.v6}/64 dev {port} nodad",
        f"ip -n {host.name} link set {port} up",
    ]
