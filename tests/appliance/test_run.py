import re
import socket
import struct
import subprocess
import sys
import time

import pytest

from gate_appliance.__main__ import main

# What only people's commands, other parts or the old reader of neighbours need.
HEAVY = {
    "argon2",
    "asyncio",
    "cryptography",
    "flask",
    "gate_appliance.cli",
    "gate_appliance.control",
    "gate_appliance.steward",
    "gate_appliance.store",
    "gate_core.compile",
    "gate_core.desk",
    "gate_core.written",
    "gate_firewall",
    "gate_webui",
    "pyroute2",
    "scapy",
    "sqlite3",
    "sqlite_utils",
    "unittest",
}
QUERY = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + b"\1a\7example\0" + struct.pack("!2H", 1, 1)


@pytest.fixture
def config_file(short_path, config, free_port):
    port = free_port()
    path = short_path / "schoolgate.toml"
    path.write_text(
        f'[appliance]\nmode = "resolver"\nstate_directory = "{config.appliance.state_directory}"\n'
        f'run_directory = "{config.appliance.run_directory}"\n'
        f'[dns]\nlisten = ["127.0.0.1"]\nport = {port}\nupstreams = ["192.0.2.1"]\n'
    )
    return path, port


def await_answer(port, process, within_s=20.0):
    deadline = time.monotonic() + within_s
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.05)
        client.connect(("127.0.0.1", port))
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.send(QUERY)
                return client.recv(4096)
            except (ConnectionRefusedError, TimeoutError):
                continue
    raise AssertionError("it did not answer")


def test_run_dns_imports_nothing_that_a_worker_does_not_need(steward, config_file):
    path, port = config_file
    argv = [sys.executable, "-X", "importtime", "-m", "gate_appliance"]
    log = path.with_suffix(".log")
    with log.open("w") as stderr:
        process = subprocess.Popen([*argv, "run", "dns-1", "--config", str(path)], stderr=stderr)
        try:
            assert await_answer(port, process)[:2] == QUERY[:2]
        finally:
            process.terminate()
            process.wait(timeout=20)
    imported = set(re.findall(r"^import time: .*\| +(\S+)$", log.read_text(), re.MULTILINE))
    assert "gate_dns.server" in imported
    assert {name for name in imported if name in HEAVY or name.partition(".")[0] in HEAVY} == set()


@pytest.mark.parametrize("part", ["dhcp", "dns-", "dns-x", "dns-0", "firewall-", "webui-2"])
def test_run_names_the_parts_there_are(part, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", part])
    assert ended.value.code == 2
    told = f"argument part: {part!r} is none of steward, firewall, dns, unbound, zone, webui, panel"
    assert told in capsys.readouterr().err


def test_run_prints_faults_of_the_configuration(tmp_path, capsys):
    path = tmp_path / "schoolgate.toml"
    path.write_text("[dns]\nport = 0\n")
    assert main(["run", "dns", "--config", str(path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"{path}:\n")
    assert "dns.port: 0 is not a port" in err


def test_run_is_one_of_the_commands_that_help_lists(capsys):
    def told(*words):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
        return capsys.readouterr().out

    assert re.search(r"^ +run +run one part in the foreground$", told("--help"), re.MULTILINE)
    assert told("run", "--help").startswith("usage: gate run [-h] [--config CONFIG] part\n")
