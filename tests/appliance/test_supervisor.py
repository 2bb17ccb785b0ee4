import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gate_appliance.places import Places
from gate_appliance.supervisor import first_run_line, part_names
from gate_core.config import ApplianceConfig, BridgeConfig, Config, DnsConfig, FirewallConfig


def until(condition, within_s=20.0):
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
    return value


@pytest.fixture
def up(short_path, unused_ports):
    """``gate up`` in resolver mode on loopback, with the path of its run directory."""
    dns, web, block = unused_ports
    path = short_path / "schoolgate.toml"
    path.write_text(
        f'[appliance]\nmode = "resolver"\nstate_directory = "{short_path}/state"\n'
        f'run_directory = "{short_path}/run"\n'
        f'[dns]\nlisten = ["127.0.0.1"]\nport = {dns}\nupstreams = ["127.0.0.1"]\n'
        f'[web]\nlisten = ["127.0.0.1"]\nport = {web}\nblock_page_port = {block}\n'
    )
    argv = [sys.executable, "-m", "gate_appliance", "up", "--config", str(path)]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    yield process, path, short_path / "run" / "pids"
    process.terminate()
    process.wait(timeout=20)
    process.stderr.close()


@pytest.fixture
def unused_ports():
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def pid_of(pids: Path, part: str) -> int:
    try:
        return int((pids / part).read_text())
    except (FileNotFoundError, ValueError):
        return 0


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_part_names_start_the_firewall_first_and_a_process_for_each_worker():
    inline = Config(dns=DnsConfig(workers=3), firewall=FirewallConfig(workers=2))
    firewall, dns = ["firewall", "firewall-2"], ["dns", "dns-2", "dns-3"]
    assert part_names(inline) == [*firewall, "steward", *dns, "webui", "panel"]
    resolver = Config(appliance=ApplianceConfig(mode="resolver"))
    assert "firewall" not in part_names(resolver)
    validating = part_names(Config(dns=DnsConfig(dnssec="validate")))
    assert validating.index("unbound") < validating.index("dns")


def test_up_restarts_what_dies_and_ends_with_everything(up):
    process, path, pids = up
    first = until(lambda: pid_of(pids, "steward"))
    os.kill(first, signal.SIGKILL)
    second = until(lambda: (p := pid_of(pids, "steward")) != first and p)
    others = [pid_of(pids, part) for part in ("dns", "webui", "panel")]
    again = subprocess.run(
        [sys.executable, "-m", "gate_appliance", "up", "--config", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1
    assert "is up already" in again.stderr
    process.terminate()
    process.wait(timeout=20)
    assert not any(alive(pid) for pid in (second, *others))
    assert list(pids.iterdir()) == []


def test_first_run_line_names_an_address_that_a_browser_can_open(short_path):
    config = Config(
        bridge=BridgeConfig(addresses=("2001:db8::2/64", "192.0.2.2/24")),
        appliance=ApplianceConfig(state_directory=str(short_path)),
    )
    places = Places.of(config.appliance)
    places.first_run_code.write_text("AAAA-BBBB-CCCC\n")
    line = first_run_line(config, places)
    assert line == "First run: https://192.0.2.2:8443/first-run?code=AAAA-BBBB-CCCC\n"
    assert "//schoolgate.local:8443/" in first_run_line(
        replace(config, bridge=BridgeConfig()), places
    )


def test_up_killed_takes_its_parts_along(up):
    process, _, pids = up
    parts = [until(lambda part=part: pid_of(pids, part)) for part in ("steward", "dns")]
    process.kill()
    process.wait(timeout=20)
    until(lambda: not any(alive(pid) for pid in parts))
