"""``gate up``: starts every part as a process of its own and restarts what dies.

On the appliance systemd does this; ``gate up`` serves the laboratory, the demo and trying by hand. When it stops,
rules and bridge stay as they are: with nobody to judge new flows they are held closed.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Final

from gate_appliance.places import Places
from gate_core.config import Config

_log = logging.getLogger(__name__)

RESTART_AFTER_S: Final = 0.1
"""Pause before a part that died is started again; doubled, up to the longest, while it dies at once."""

LONGEST_RESTART_S: Final = 5.0
_STEADY_AFTER_S: Final = 5.0
_STOP_WITHIN_S: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


class AlreadyUpError(RuntimeError):
    """Another ``gate up`` uses the same run directory."""


@dataclass(slots=True)
class _Part:
    name: str
    argv: list[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    pause_s: float = field(default=RESTART_AFTER_S)


def part_names(config: Config) -> list[str]:
    """Return the parts that ``config`` calls for, in the order of their start."""
    # The firewall first: enforcing before the bridge forwards its first frame.
    first = []
    if config.appliance.mode == "inline":
        first = ["firewall", *(f"firewall-{n}" for n in range(2, config.firewall.workers + 1))]
    dns = ["dns", *(f"dns-{n}" for n in range(2, config.dns.workers + 1))]
    # Before those who forward to it.
    validator = ["unbound"] if config.dns.dnssec == "validate" else []
    zone = ["zone"] if config.served_zone.name else []
    return [*first, "steward", *validator, *dns, *zone, "webui", "panel"]


def up(config: Config, config_path: Path) -> None:
    """Run the appliance until SIGTERM or SIGINT.

    Raises:
        AlreadyUpError: It runs already.
    """
    places = Places.of(config.appliance)
    places.make()
    with (places.run / "up.lock").open("w") as lock:
        _lock(lock)
        parts = [
            _Part(
                name,
                [sys.executable, "-m", "gate_appliance", "run", name, "--config", str(config_path)],
            )
            for name in part_names(config)
        ]
        stopping: list[int] = []
        told = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: stopping.append(number))
        try:
            while not stopping:
                for part in parts:
                    _tend(part, places)
                if not told and places.first_run_code.exists():
                    told = True
                    sys.stdout.write(first_run_line(config, places))
                    sys.stdout.flush()
                time.sleep(0.05)
        finally:
            _stop(parts, places)


def first_run_line(config: Config, places: Places) -> str:
    """Return what tells the first coordinator where to begin: the box's console is where only its owner looks."""
    code = places.first_run_code.read_text().strip()
    own = (*config.web.listen, *config.dns.block_page_addresses)
    own += tuple(address.partition("/")[0] for address in config.bridge.addresses)
    known = [a for a in map(ip_address, own) if not a.is_unspecified]
    host = next((str(a) for a in known if a.version == 4), "schoolgate.local")
    return f"First run: https://{host}:{config.web.port}/first-run?code={code}\n"


def _lock(lock: IO[str]) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AlreadyUpError("the appliance is up already, with the same run directory") from None


def _tend(part: _Part, places: Places) -> None:
    now = time.monotonic()
    if part.process is not None:
        code = part.process.poll()
        if code is None:
            return
        if now - part.started_at >= _STEADY_AFTER_S:
            part.pause_s = RESTART_AFTER_S
        _log.warning("action=restart part=%s exit=%d after=%.1fs", part.name, code, part.pause_s)
        part.process = None
        part.start_at = now + part.pause_s
        part.pause_s = min(part.pause_s * 2, LONGEST_RESTART_S)
    if now < part.start_at:
        return
    part.process = subprocess.Popen(  # noqa: S603  # our own program, by its full path
        part.argv,
        stdin=subprocess.DEVNULL,
        # In a group of its own: Ctrl-C reaches the supervisor alone, which then stops them in order.
        process_group=0,
        preexec_fn=die_with_parent,  # noqa: PLW1509  # the supervisor has one thread
    )
    part.started_at = now
    places.pid(part.name).write_text(f"{part.process.pid}\n")


def die_with_parent() -> None:
    """Have this process told to end when its parent has ended; to be called in it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(parts: list[_Part], places: Places) -> None:
    living = [p for p in parts if p.process is not None and p.process.poll() is None]
    for part in reversed(living):
        if part.process:
            part.process.terminate()
    deadline = time.monotonic() + _STOP_WITHIN_S
    for part in living:
        if not part.process:
            continue
        try:
            part.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _log.warning("action=kill part=%s", part.name)
            part.process.kill()
            part.process.wait()
    for part in parts:
        places.pid(part.name).unlink(missing_ok=True)
